#include <grpcpp/client_context.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "host/backnet.h"
#include "oip/infer.h"
#include "oip/open_inference.grpc.pb.h"
#include "oip/status.h"
#include "protocol/calls.h"

namespace infenclave {
namespace {

using inference::GRPCInferenceService;
constexpr auto kMetadataTimeout = std::chrono::seconds(5);
// Bounds what a server that hangs can hold up when the caller set no deadline.
constexpr auto kInferTimeout = std::chrono::seconds(60);
constexpr size_t kSlackBytes = 64 << 10;

struct Server {
  OipEndpoint endpoint;
  std::string address;  // as the user wrote it, for messages
  std::shared_ptr<GRPCInferenceService::Stub> stub;
};

// What all workers share: connections, names, and whose turn it is.
struct Servers {
  std::vector<Server> servers;
  std::string input, output;
  BackNetShape shape;
  std::atomic<size_t> next{0};
};

class Remote final : public BackNet {
 public:
  explicit Remote(std::shared_ptr<Servers> servers) : servers_(std::move(servers)) {}

  Status Run(ByteSpan ir, int64_t batch, std::span<float> output, Deadline deadline) override {
    inference::ModelInferRequest request;
    AddF32Input(request, servers_->input, WithBatch(batch, servers_->shape.ir), Widen(ir));
    request.add_outputs()->set_name(servers_->output);
    const size_t count = servers_->servers.size();
    const size_t first = servers_->next.fetch_add(1, std::memory_order_relaxed);
    Status status;
    for (size_t i = 0; i < count; ++i) {
      const Server& server = servers_->servers[(first + i) % count];
      status = Annotate(Ask(server, request, batch, output, deadline), Concat("BackNet ", server.address));
      if (status.code() != StatusCode::kUnavailable) break;
    }
    return status;
  }

 private:
  Status Ask(const Server& server, inference::ModelInferRequest& request, int64_t batch, std::span<float> output,
             Deadline deadline) {
    request.set_model_name(server.endpoint.model);
    request.set_model_version(server.endpoint.version);
    grpc::ClientContext context;
    context.set_deadline(std::min(deadline, std::chrono::system_clock::now() + kInferTimeout));
    inference::ModelInferResponse response;
    INFENCLAVE_RETURN_IF_ERROR(FromGrpc(server.stub->ModelInfer(&context, request, &response)));
    INFENCLAVE_ASSIGN_OR_RETURN(F32Data scores, ReadF32Output(response, servers_->output));
    const Shape wanted = WithBatch(batch, servers_->shape.output);
    if (scores.shape != wanted) {
      return Internal("output '", servers_->output, "' has shape ", ToString(scores.shape), ", expected ",
                      ToString(wanted));
    }
    std::memcpy(output.data(), scores.data.data(), scores.data.size());
    return OkStatus();
  }

  // OIP has FP32 and no bfloat16 that all servers know.
  ByteSpan Widen(ByteSpan ir) {
    if (servers_->shape.ir_dtype == DType::kF32) return ir;
    wide_.resize(ir.size() / sizeof(uint16_t));
    for (size_t i = 0; i < wide_.size(); ++i) {
      uint16_t narrow;
      std::memcpy(&narrow, ir.data() + i * sizeof(narrow), sizeof(narrow));
      wide_[i] = Bf16ToF32(narrow);
    }
    return {reinterpret_cast<const uint8_t*>(wide_.data()), wide_.size() * sizeof(float)};
  }

  const std::shared_ptr<Servers> servers_;
  std::vector<float> wide_;
};

StatusOr<inference::ModelMetadataResponse> Describe(const Server& server) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kMetadataTimeout);
  inference::ModelMetadataRequest request;
  request.set_name(server.endpoint.model);
  request.set_version(server.endpoint.version);
  inference::ModelMetadataResponse response;
  INFENCLAVE_RETURN_IF_ERROR(FromGrpc(server.stub->ModelMetadata(&context, request, &response)));
  if (response.inputs_size() != 1 || response.outputs_size() != 1) {
    return InvalidArgument("the model has ", response.inputs_size(), " inputs and ", response.outputs_size(),
                           " outputs, expected one of each");
  }
  return response;
}

}  // namespace

StatusOr<BackNetFactory> RemoteBackNet(const std::vector<OipEndpoint>& endpoints, const BackNetShape& shape) {
  auto servers = std::make_shared<Servers>();
  servers->shape = shape;
  const size_t floats = static_cast<size_t>(NumElements(shape.ir).value_or(0)) + shape.output_floats();
  for (const OipEndpoint& endpoint : endpoints) {
    auto channel = MakeChannel(endpoint.target, kMaxBatch * floats * sizeof(float) + kSlackBytes);
    servers->servers.push_back(
        {endpoint, Concat("grpc://", endpoint.target, "/", endpoint.model), GRPCInferenceService::NewStub(channel)});
  }
  Status last;
  for (const Server& server : servers->servers) {
    const StatusOr<inference::ModelMetadataResponse> metadata = Describe(server);
    if (metadata.ok()) {
      servers->input = metadata->inputs(0).name();
      servers->output = metadata->outputs(0).name();
      break;
    }
    last = Annotate(metadata.status(), Concat("BackNet ", server.address));
    if (last.code() != StatusCode::kUnavailable && last.code() != StatusCode::kDeadlineExceeded) return last;
  }
  if (servers->input.empty()) return last;
  return BackNetFactory(
      [servers]() -> StatusOr<std::unique_ptr<BackNet>> { return std::make_unique<Remote>(servers); });
}

}  // namespace infenclave
