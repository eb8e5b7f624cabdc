// The client's side of gRPC: addresses and channels.
#ifndef INFENCLAVE_OIP_CLIENT_H_
#define INFENCLAVE_OIP_CLIENT_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace infenclave {

// A model on an OIP server: grpc://HOST:PORT/MODEL[/VERSION].
struct OipEndpoint {
  std::string target, model, version;
};
// A comma-separated list; INVALID_ARGUMENT with the entry that is not one.
StatusOr<std::vector<OipEndpoint>> ParseEndpoints(std::string_view list);

// Connects when first used. Messages of up to `max_message_bytes` each way, trailing metadata of up to 64 KiB (evidence
// travels there). `target` is HOST:PORT or any other of gRPC's target URIs.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target, size_t max_message_bytes);

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_CLIENT_H_
