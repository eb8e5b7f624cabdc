#include "host/backnet_server.h"

#include "host/http_front.h"
#include "oip/infer.h"
#include "protocol/calls.h"

namespace infenclave {
namespace {

constexpr char kInput[] = "ir", kOutput[] = "scores";
constexpr size_t kSlackBytes = 64 << 10;
constexpr int kHttpThreads = 8;

}  // namespace

StatusOr<std::unique_ptr<BackNetModel>> BackNetModel::Start(const Manifest& manifest, const BackNetFactory& backnet,
                                                            int workers) {
  std::unique_ptr<BackNetModel> model(new BackNetModel);
  model->shape_ = ServerShapeOf(BackNetShapeOf(manifest));
  model->info_ = {manifest.model_name,
                  Concat(manifest.model_version),
                  "infenclave_backnet",
                  {{kInput, std::string(OipTypeOf(model->shape_.ir_dtype)), WithBatch(-1, model->shape_.ir)}},
                  {{kOutput, "FP32", WithBatch(-1, manifest.backnet_output_shape)}},
                  {},
                  static_cast<int>(kMaxBatch)};
  RequestQueue::Options queue;
  queue.workers = workers;
  INFENCLAVE_ASSIGN_OR_RETURN(model->pool_,
                              WorkerPool::Start(queue, backnet, [model = model.get()](auto& batch, int, BackNet& net) {
                                for (InferCall* call : batch) call->Finish(model->Serve(call, net));
                                return true;
                              }));
  return model;
}

size_t BackNetModel::max_message_bytes() const {
  return kMaxBatch * std::max(shape_.ir_bytes(), shape_.output_floats() * sizeof(float)) + kSlackBytes;
}

void BackNetModel::Infer(InferCall* call) {
  Status status = Check(call->request());
  if (status.ok()) status = pool_->queue().Push(call);
  if (!status.ok()) call->Finish(status);
}

Status BackNetModel::Check(const inference::ModelInferRequest& request) const {
  for (const auto& output : request.outputs()) {
    if (output.name() != kOutput) {
      return InvalidArgument("no output '", output.name(), "': the model's output is '", kOutput, "'");
    }
  }
  INFENCLAVE_ASSIGN_OR_RETURN(const TensorData ir, ReadInput(request, kInput, shape_.ir_dtype));
  const int64_t batch = ir.shape.empty() ? 0 : ir.shape[0];
  if (batch < 1 || batch > static_cast<int64_t>(kMaxBatch) || ir.shape != WithBatch(batch, shape_.ir)) {
    return InvalidArgument("input '", kInput, "' has shape ", ToString(ir.shape), ", expected ",
                           ToString(WithBatch(-1, shape_.ir)), " with a batch of 1 to ", kMaxBatch);
  }
  return OkStatus();
}

Status BackNetModel::Serve(InferCall* call, BackNet& backnet) {
  INFENCLAVE_ASSIGN_OR_RETURN(const TensorData ir, ReadInput(call->request(), kInput, shape_.ir_dtype));
  const int64_t batch = ir.shape[0];
  std::vector<float> scores(static_cast<size_t>(batch) * shape_.output_floats());
  ServingStatistics::StageTimes times{};
  const auto began = ServingStatistics::Clock::now();
  times[static_cast<size_t>(Stage::kQueue)] = began - call->received();
  const BackNet::Started started = backnet.Start({ir.data, batch, scores, call->deadline()}, nullptr);
  INFENCLAVE_CHECK(started.finished.has_value());
  INFENCLAVE_RETURN_IF_ERROR(*started.finished);
  times[static_cast<size_t>(Stage::kBackNet)] = ServingStatistics::Clock::now() - began;
  statistics().CountBatch(batch, times);
  AddF32Output(call->response(), kOutput, WithBatch(batch, shape_.output),
               {reinterpret_cast<const uint8_t*>(scores.data()), scores.size() * sizeof(float)},
               FormOf(call->request()));
  return OkStatus();
}

StatusOr<std::unique_ptr<BackNetServer>> BackNetServer::Start(const Manifest& manifest, const BackNetFactory& backnet,
                                                              const Options& options) {
  std::unique_ptr<BackNetServer> server(new BackNetServer);
  INFENCLAVE_ASSIGN_OR_RETURN(server->model_, BackNetModel::Start(manifest, backnet, options.workers));
  server->model_->Observe(options.observer);
  server->service_ = std::make_unique<OipService>("infenclave backnet", server->model_.get());
  INFENCLAVE_ASSIGN_OR_RETURN(server->server_, GrpcServer::Start(options.listen, {server->service_.get()},
                                                                 server->model_->max_message_bytes()));
  if (!options.http.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(
        server->http_, HttpServer::Start(options.http, MaxHttpBody(server->model_->max_message_bytes()), kHttpThreads,
                                         HttpFront(&server->service_->description(), nullptr)));
  }
  return server;
}

}  // namespace infenclave
