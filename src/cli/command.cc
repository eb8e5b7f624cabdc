#include "cli/command.h"

#include "absl/strings/cord.h"

namespace infenclave {
namespace {

constexpr char kUsagePayload[] = "infenclave/usage";

}  // namespace

Status UsageError(const std::string& message) {
  Status status = InvalidArgument(message);
  status.SetPayload(kUsagePayload, absl::Cord());
  return status;
}

bool IsUsageError(const Status& status) { return status.GetPayload(kUsagePayload).has_value(); }

}  // namespace infenclave
