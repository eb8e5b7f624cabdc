#include "oip/service.h"

#include <atomic>

#include "oip/status.h"

namespace infenclave {
namespace {

class InferReactor final : public grpc::ServerUnaryReactor, public InferCall {
 public:
  InferReactor(grpc::CallbackServerContext* context, const inference::ModelInferRequest* request,
               inference::ModelInferResponse* response)
      : context_(context), request_(request), response_(response) {}

  const inference::ModelInferRequest& request() const override { return *request_; }
  inference::ModelInferResponse& response() override { return *response_; }
  std::chrono::system_clock::time_point deadline() const override { return context_->deadline(); }
  bool cancelled() const override { return cancelled_.load(std::memory_order_relaxed); }
  void AddTrailer(const std::string& key, const std::string& value) override {
    context_->AddTrailingMetadata(key, value);
  }
  void Finish(const Status& status) override { ServerUnaryReactor::Finish(ToGrpc(status)); }

  void OnCancel() override { cancelled_.store(true, std::memory_order_relaxed); }
  void OnDone() override { delete this; }

 private:
  grpc::CallbackServerContext* const context_;
  const inference::ModelInferRequest* const request_;
  inference::ModelInferResponse* const response_;
  std::atomic<bool> cancelled_{false};
};

grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context, const Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

void FillTensors(const std::vector<TensorInfo>& tensors,
                 google::protobuf::RepeatedPtrField<inference::ModelMetadataResponse::TensorMetadata>& out) {
  for (const TensorInfo& tensor : tensors) {
    auto& described = *out.Add();
    described.set_name(tensor.name);
    described.set_datatype(tensor.datatype);
    described.mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
  }
}

}  // namespace

OipService::OipService(std::string server_name, OipModel* model)
    : server_name_(std::move(server_name)), model_(model) {}

Status OipService::CheckModel(const std::string& name, const std::string& version) const {
  const ModelInfo& info = model_->info();
  if (name != info.name) return NotFound("no model '", name, "' here: this server has '", info.name, "'");
  if (!version.empty() && version != info.version) {
    return NotFound("no version '", version, "' of model '", name, "' here: this server has ", info.version);
  }
  return OkStatus();
}

grpc::ServerUnaryReactor* OipService::ServerLive(grpc::CallbackServerContext* context,
                                                 const inference::ServerLiveRequest*,
                                                 inference::ServerLiveResponse* response) {
  response->set_live(true);
  return FinishNow(context, OkStatus());
}

grpc::ServerUnaryReactor* OipService::ServerReady(grpc::CallbackServerContext* context,
                                                  const inference::ServerReadyRequest*,
                                                  inference::ServerReadyResponse* response) {
  response->set_ready(model_->ready());
  return FinishNow(context, OkStatus());
}

grpc::ServerUnaryReactor* OipService::ModelReady(grpc::CallbackServerContext* context,
                                                 const inference::ModelReadyRequest* request,
                                                 inference::ModelReadyResponse* response) {
  const Status known = CheckModel(request->name(), request->version());
  response->set_ready(known.ok() && model_->ready());
  return FinishNow(context, known);
}

grpc::ServerUnaryReactor* OipService::ServerMetadata(grpc::CallbackServerContext* context,
                                                     const inference::ServerMetadataRequest*,
                                                     inference::ServerMetadataResponse* response) {
  response->set_name(server_name_);
  response->set_version(INFENCLAVE_VERSION);
  return FinishNow(context, OkStatus());
}

grpc::ServerUnaryReactor* OipService::ModelMetadata(grpc::CallbackServerContext* context,
                                                    const inference::ModelMetadataRequest* request,
                                                    inference::ModelMetadataResponse* response) {
  const Status known = CheckModel(request->name(), request->version());
  if (known.ok()) {
    const ModelInfo& info = model_->info();
    response->set_name(info.name);
    response->add_versions(info.version);
    response->set_platform(info.platform);
    FillTensors(info.inputs, *response->mutable_inputs());
    FillTensors(info.outputs, *response->mutable_outputs());
    for (const auto& [key, value] : info.properties) (*response->mutable_properties())[key] = value;
  }
  return FinishNow(context, known);
}

grpc::ServerUnaryReactor* OipService::ModelInfer(grpc::CallbackServerContext* context,
                                                 const inference::ModelInferRequest* request,
                                                 inference::ModelInferResponse* response) {
  if (Status known = CheckModel(request->model_name(), request->model_version()); !known.ok()) {
    return FinishNow(context, known);
  }
  response->set_model_name(model_->info().name);
  response->set_model_version(model_->info().version);
  response->set_id(request->id());
  auto* call = new InferReactor(context, request, response);  // deletes itself in OnDone
  model_->Infer(call);
  return call;
}

}  // namespace infenclave
