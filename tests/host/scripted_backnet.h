// An OIP server that misbehaves as a test tells it: a BackNet of other make, on the network of backnet_test.cc or any
// other that is given as a function.
#ifndef INFENCLAVE_TESTS_HOST_SCRIPTED_BACKNET_H_
#define INFENCLAVE_TESTS_HOST_SCRIPTED_BACKNET_H_

#include <grpcpp/server.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "oip/grpc_server.h"
#include "oip/infer.h"
#include "oip/open_inference.grpc.pb.h"

namespace infenclave {

class ScriptedBackNet final : public inference::GRPCInferenceService::Service {
 public:
  // From IRs to scores, both with the batch first.
  using Compute = std::function<std::vector<float>(const TensorData& ir)>;
  enum class Mood { kGood, kTyped, kUnavailable, kNotFinite, kWrongShape, kWrongType, kShortData, kHangs, kFails };

  explicit ScriptedBackNet(Compute compute, Mood first_mood = Mood::kGood)
      : mood(first_mood), compute_(std::move(compute)) {
    server_ = GrpcServer::Start("127.0.0.1:0", {this}, 64 << 20).value();
  }
  ~ScriptedBackNet() override {
    mood = Mood::kGood;
    server_.reset();
  }
  const std::string& address() const { return server_->address(); }

  std::atomic<Mood> mood;
  std::atomic<int64_t> max_batch = 1 << 20;  // INVALID_ARGUMENT for more
  std::atomic<size_t> max_bytes = 1 << 30;   // as gRPC's own limit refuses
  std::atomic<int> asked = 0, cancelled = 0;
  std::atomic<int64_t> largest = 0;
  inference::ModelMetadataResponse metadata;  // as it is sent
  std::string datatype = "FP32";

  grpc::Status ModelMetadata(grpc::ServerContext*, const inference::ModelMetadataRequest*,
                             inference::ModelMetadataResponse* response) override {
    *response = metadata;
    return mood == Mood::kUnavailable ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "not now") : grpc::Status::OK;
  }

  grpc::Status ModelInfer(grpc::ServerContext* context, const inference::ModelInferRequest* request,
                          inference::ModelInferResponse* response) override {
    ++asked;
    const TensorData ir = ReadInput(*request, "", DType::kF32).value();
    const int64_t batch = ir.shape[0];
    largest = std::max<int64_t>(largest, batch);
    if (ir.data.size() > max_bytes) {
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, "Received message larger than max (4816896 vs. 4194304)"};
    }
    if (batch > max_batch) return {grpc::StatusCode::INVALID_ARGUMENT, "batch too large"};
    const Mood now = mood;
    if (now == Mood::kUnavailable) return {grpc::StatusCode::UNAVAILABLE, "not now"};
    if (now == Mood::kFails) return {grpc::StatusCode::INTERNAL, "something broke"};
    if (now == Mood::kHangs) {
      while (mood == Mood::kHangs && !context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (context->IsCancelled()) ++cancelled;
      return grpc::Status::CANCELLED;
    }
    std::vector<float> scores = compute_(ir);
    Shape shape = {batch, static_cast<int64_t>(scores.size()) / batch};
    if (now == Mood::kNotFinite) scores.back() = std::numeric_limits<float>::quiet_NaN();
    if (now == Mood::kWrongShape) std::swap(shape[0], shape[1]);
    AddF32Output(*response, "anything", shape,
                 {reinterpret_cast<const uint8_t*>(scores.data()), scores.size() * sizeof(float)},
                 now == Mood::kTyped ? TensorForm::kTyped : TensorForm::kRaw);
    if (now == Mood::kWrongType) response->mutable_outputs(0)->set_datatype("FP64");
    if (now == Mood::kShortData) response->mutable_raw_output_contents(0)->pop_back();
    return grpc::Status::OK;
  }

 private:
  const Compute compute_;
  std::unique_ptr<GrpcServer> server_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_HOST_SCRIPTED_BACKNET_H_
