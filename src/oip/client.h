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

// A model on an OIP server: grpc://TARGET/MODEL[/VERSION]. TARGET is HOST:PORT, or a target URI of gRPC's that names
// several servers between which gRPC balances: dns:///HOST:PORT, ipv4:ADDRESS:PORT,…, ipv6:…, xds:///NAME.
struct OipEndpoint {
  std::string target, model, version;
};
// Endpoints with commas between them; INVALID_ARGUMENT with the one that is none.
StatusOr<std::vector<OipEndpoint>> ParseEndpoints(std::string_view list);
// Whether the target names its servers in another way than as one HOST:PORT.
bool IsTargetUri(std::string_view target);

// Connects when first used. Messages of up to `max_message_bytes` each way, trailing metadata of up to 64 KiB (evidence
// travels there). `target` is HOST:PORT or any other of gRPC's target URIs.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target, size_t max_message_bytes);
// To servers that all do the same: calls go to their addresses in turn, leaving out those whose health service
// (grpc.health.v1; servers without one count as healthy) says that they do not serve. With `retry`, a call for which a
// server was not there is sent again, within its deadline.
std::shared_ptr<grpc::Channel> MakeBalancedChannel(const std::string& target, size_t max_message_bytes, bool retry);

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_CLIENT_H_
