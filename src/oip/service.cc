#include "oip/service.h"

#include <atomic>
#include <mutex>

#include "oip/status.h"

namespace infenclave {
namespace {

class InferReactor final : public grpc::ServerUnaryReactor, public InferCall {
 public:
  InferReactor(grpc::CallbackServerContext* context, OipModel* model, const inference::ModelInferRequest* request,
               inference::ModelInferResponse* response)
      : context_(context), model_(model), request_(request), response_(response) {}

  const inference::ModelInferRequest& request() const override { return *request_; }
  inference::ModelInferResponse& response() override { return *response_; }
  std::chrono::system_clock::time_point deadline() const override { return context_->deadline(); }
  bool cancelled() const override { return cancelled_.load(std::memory_order_relaxed); }
  void AddTrailer(const std::string& key, const std::string& value) override {
    context_->AddTrailingMetadata(key, value);
  }
  void Finish(const Status& status) override {
    model_->CountFinished(*this, status);
    ServerUnaryReactor::Finish(ToGrpc(status));
  }

  void WhenCancelled(std::function<void()> f) override {
    {
      const std::lock_guard lock(mutex_);
      if (!cancelled()) return void(when_cancelled_ = std::move(f));
    }
    f();
  }

  std::string traceparent() const override {
    const auto found = context_->client_metadata().find(kTraceparent);
    if (found == context_->client_metadata().end()) return {};
    const std::string_view value(found->second.data(), found->second.size());
    return IsTraceparent(value) ? std::string(value) : std::string();
  }

  void OnCancel() override {
    std::function<void()> f;
    {
      const std::lock_guard lock(mutex_);
      cancelled_.store(true, std::memory_order_relaxed);
      f = std::move(when_cancelled_);
    }
    if (f) f();
  }
  void OnDone() override { delete this; }

 private:
  grpc::CallbackServerContext* const context_;
  OipModel* const model_;
  const inference::ModelInferRequest* const request_;
  inference::ModelInferResponse* const response_;
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::function<void()> when_cancelled_;
};

}  // namespace

grpc::ServerUnaryReactor* OipService::FinishNow(grpc::CallbackServerContext* context, const Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

grpc::ServerUnaryReactor* OipService::ModelInfer(grpc::CallbackServerContext* context,
                                                 const inference::ModelInferRequest* request,
                                                 inference::ModelInferResponse* response) {
  OipModel& model = description_.model();
  auto* call = new InferReactor(context, &model, request, response);  // deletes itself in OnDone
  if (Status known = description_.CheckModel(request->model_name(), request->model_version()); !known.ok()) {
    call->Finish(known);
    return call;
  }
  response->set_model_name(model.info().name);
  response->set_model_version(model.info().version);
  response->set_id(request->id());
  model.Infer(call);
  return call;
}

}  // namespace infenclave
