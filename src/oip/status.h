// absl::Status to grpc::Status and back: the codes are the same numbers.
#ifndef INFENCLAVE_OIP_STATUS_H_
#define INFENCLAVE_OIP_STATUS_H_

#include <grpcpp/support/status.h>

#include "base/status.h"

namespace infenclave {

grpc::Status ToGrpc(const Status& status);
// A code that absl does not know becomes UNKNOWN.
Status FromGrpc(const grpc::Status& status);

// gRPC logs connection errors on standard error by itself; ours say the same in one line. Silences it, unless the
// environment asks for its log (GRPC_VERBOSITY).
void QuietGrpc();

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_STATUS_H_
