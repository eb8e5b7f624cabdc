#include "oip/status.h"

#include <grpc/support/log.h>

#include <cstdlib>

namespace infenclave {

grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), MessageOf(status));
}

Status FromGrpc(const grpc::Status& status) {
  const int code = static_cast<int>(status.error_code());
  const bool known = code >= 0 && code <= static_cast<int>(StatusCode::kUnauthenticated);
  return MakeStatus(known ? static_cast<StatusCode>(code) : StatusCode::kUnknown, status.error_message());
}

void QuietGrpc() {
  static const bool once = [] {
    if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function([](gpr_log_func_args*) {});
    return true;
  }();
  (void)once;
}

}  // namespace infenclave
