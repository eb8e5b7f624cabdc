#include "attestation/abi/tcb_status.h"

#include <algorithm>

namespace infenclave {
namespace {

constexpr std::string_view kStatusNames[] = {"UpToDate",
                                             "SWHardeningNeeded",
                                             "ConfigurationNeeded",
                                             "ConfigurationAndSWHardeningNeeded",
                                             "OutOfDate",
                                             "OutOfDateConfigurationNeeded",
                                             "Revoked"};

}  // namespace

std::string_view NameOf(TcbStatus status) { return kStatusNames[static_cast<size_t>(status)]; }

StatusOr<TcbStatus> ParseTcbStatus(std::string_view name) {
  const auto it = std::ranges::find(kStatusNames, name);
  if (it != std::end(kStatusNames)) return static_cast<TcbStatus>(it - std::begin(kStatusNames));
  return InvalidArgument("'", name, "' is no TCB status");
}

}  // namespace infenclave
