#include "oip/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <climits>

#include "oip/status.h"

namespace infenclave {
namespace {

constexpr std::string_view kScheme = "grpc://";
constexpr int kMaxMetadataBytes = 64 << 10;

StatusOr<OipEndpoint> ParseEndpoint(std::string_view text) {
  const auto bad = [&] { return InvalidArgument("'", text, "' is not grpc://HOST:PORT/MODEL[/VERSION]"); };
  if (!text.starts_with(kScheme)) return bad();
  const std::string_view rest = text.substr(kScheme.size());
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos) return bad();
  OipEndpoint endpoint;
  endpoint.target = rest.substr(0, slash);
  std::string_view model = rest.substr(slash + 1);
  if (const size_t second = model.find('/'); second != std::string_view::npos) {
    endpoint.version = model.substr(second + 1);
    model = model.substr(0, second);
    if (endpoint.version.empty() || endpoint.version.find('/') != std::string::npos) return bad();
  }
  endpoint.model = model;
  if (endpoint.model.empty() || endpoint.target.rfind(':') == std::string::npos || endpoint.target.front() == ':') {
    return bad();
  }
  return endpoint;
}

}  // namespace

StatusOr<std::vector<OipEndpoint>> ParseEndpoints(std::string_view list) {
  std::vector<OipEndpoint> endpoints;
  while (true) {
    const size_t comma = list.find(',');
    INFENCLAVE_ASSIGN_OR_RETURN(OipEndpoint endpoint, ParseEndpoint(list.substr(0, comma)));
    endpoints.push_back(std::move(endpoint));
    if (comma == std::string_view::npos) return endpoints;
    list.remove_prefix(comma + 1);
  }
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target, size_t max_message_bytes) {
  QuietGrpc();
  grpc::ChannelArguments arguments;
  const int limit = static_cast<int>(std::min<size_t>(max_message_bytes, INT_MAX));
  arguments.SetMaxReceiveMessageSize(limit);
  arguments.SetMaxSendMessageSize(limit);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace infenclave
