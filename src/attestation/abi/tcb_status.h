// What Intel says of a platform's, a TDX module's or a quoting enclave's version.
#ifndef INFENCLAVE_ATTESTATION_ABI_TCB_STATUS_H_
#define INFENCLAVE_ATTESTATION_ABI_TCB_STATUS_H_

#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace infenclave {

// Intel's names, from the best to the worst.
enum class TcbStatus : uint8_t {
  kUpToDate,
  kSwHardeningNeeded,
  kConfigurationNeeded,
  kConfigurationAndSwHardeningNeeded,
  kOutOfDate,
  kOutOfDateConfigurationNeeded,
  kRevoked,
};
std::string_view NameOf(TcbStatus status);  // "UpToDate", "SWHardeningNeeded", …
StatusOr<TcbStatus> ParseTcbStatus(std::string_view name);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_ABI_TCB_STATUS_H_
