#include "oip/client.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <future>
#include <memory>

#include "oip/open_inference.grpc.pb.h"
#include "oip/status.h"

namespace infenclave {
namespace {

constexpr std::string_view kScheme = "grpc://";
constexpr int kMaxMetadataBytes = 64 << 10;

constexpr std::string_view kTargetSchemes[] = {"dns:", "ipv4:", "ipv6:", "xds:"};

// Up to the slash before the model. "dns://AUTHORITY/HOST:PORT" and "xds:///NAME" have slashes of their own.
size_t TargetLength(std::string_view text) {
  size_t at = 0;
  if (IsTargetUri(text)) {
    at = text.find(':') + 1;
    if (text.substr(at).starts_with("//")) at = text.find('/', at + 2) + 1;
    if (at == 0) return std::string_view::npos;
  }
  return text.find('/', at);
}

StatusOr<OipEndpoint> ParseEndpoint(std::string_view text) {
  const auto bad = [&] { return InvalidArgument("'", text, "' is not grpc://HOST:PORT/MODEL[/VERSION]"); };
  if (!text.starts_with(kScheme)) return bad();
  const std::string_view rest = text.substr(kScheme.size());
  const size_t slash = TargetLength(rest);
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
  if (endpoint.model.empty() || endpoint.target.rfind(':') == std::string::npos || endpoint.target.front() == ':' ||
      text.substr(kScheme.size() + slash).find(',') != std::string_view::npos) {
    return bad();
  }
  return endpoint;
}

grpc::ChannelArguments Limits(size_t max_message_bytes) {
  grpc::ChannelArguments arguments;
  const int limit = static_cast<int>(std::min<size_t>(max_message_bytes, INT_MAX));
  arguments.SetMaxReceiveMessageSize(limit);
  arguments.SetMaxSendMessageSize(limit);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  return arguments;
}

constexpr char kBalancing[] = R"("loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":""})";
constexpr char kRetries[] = R"("methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":4,"initialBackoff":"0.02s",)"
                            R"("maxBackoff":"0.5s","backoffMultiplier":3,"retryableStatusCodes":["UNAVAILABLE"]}}])";

// gRPC runs callbacks on threads that end with the last channel that used them. Where a callback itself drops that
// channel, such a thread waits for its own end, and gRPC aborts. This channel reaches nobody, has had a callback and is
// never dropped, so that the threads stay.
void KeepCallbackThreads() {
  static const auto* const kept = [] {
    auto* const channel =
        new std::shared_ptr<grpc::Channel>(grpc::CreateChannel("unix:/dev/null", grpc::InsecureChannelCredentials()));
    const auto stub = inference::GRPCInferenceService::NewStub(*channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now());
    const inference::ServerLiveRequest request;
    inference::ServerLiveResponse response;
    const auto called = std::make_shared<std::promise<void>>();
    stub->async()->ServerLive(&context, &request, &response, [called](const grpc::Status&) { called->set_value(); });
    called->get_future().wait();
    return channel;
  }();
  static_cast<void>(kept);
}

}  // namespace

bool IsTargetUri(std::string_view target) {
  return std::ranges::any_of(kTargetSchemes, [&](std::string_view scheme) { return target.starts_with(scheme); });
}

// A target may hold commas, so an endpoint ends where the next one begins.
StatusOr<std::vector<OipEndpoint>> ParseEndpoints(std::string_view list) {
  const std::string next = Concat(",", kScheme);
  std::vector<OipEndpoint> endpoints;
  while (true) {
    const size_t end = list.find(next);
    INFENCLAVE_ASSIGN_OR_RETURN(OipEndpoint endpoint, ParseEndpoint(list.substr(0, end)));
    endpoints.push_back(std::move(endpoint));
    if (end == std::string_view::npos) return endpoints;
    list.remove_prefix(end + 1);
  }
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target, size_t max_message_bytes) {
  QuietGrpc();
  KeepCallbackThreads();
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), Limits(max_message_bytes));
}

std::shared_ptr<grpc::Channel> MakeBalancedChannel(const std::string& target, size_t max_message_bytes, bool retry) {
  QuietGrpc();
  KeepCallbackThreads();
  grpc::ChannelArguments arguments = Limits(max_message_bytes);
  arguments.SetServiceConfigJSON(Concat("{", kBalancing, retry ? "," : "", retry ? kRetries : "", "}"));
  // What is larger than this could not be sent again.
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, static_cast<int>(std::min<size_t>(max_message_bytes, INT_MAX)));
  // A connection that was lost is sought again soon.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace infenclave
