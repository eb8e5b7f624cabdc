#include "assessment/remote_model.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "oip/client.h"
#include "oip/infer.h"
#include "oip/open_inference.grpc.pb.h"
#include "oip/status.h"

namespace infenclave {
namespace {

constexpr size_t kMaxMessageBytes = size_t{256} << 20, kLikedMessageBytes = size_t{4} << 20;
constexpr std::chrono::seconds kTimeout{120};  // of one message: the server may be loading the model
constexpr int64_t kMostSide = 1 << 14, kMostClasses = 1 << 20;

class Remote final : public RemoteModel {
 public:
  Remote(std::string url, const OipEndpoint& endpoint)
      : url_(std::move(url)),
        endpoint_(endpoint),
        stub_(inference::GRPCInferenceService::NewStub(
            MakeBalancedChannel(endpoint.target, kMaxMessageBytes, /*retry=*/true))) {}

  Status Describe() {
    inference::ModelMetadataRequest request;
    request.set_name(endpoint_.model);
    request.set_version(endpoint_.version);
    inference::ModelMetadataResponse response;
    INFENCLAVE_RETURN_IF_ERROR(
        Call([&](grpc::ClientContext* context) { return stub_->ModelMetadata(context, request, &response); }));
    if (response.inputs_size() != 1 || response.outputs_size() != 1) {
      return InvalidArgument(url_, ": ", response.inputs_size(), " inputs and ", response.outputs_size(),
                             " outputs; a classifier has one of each");
    }
    const auto &in = response.inputs(0), &out = response.outputs(0);
    const auto &from = in.shape(), &to = out.shape();
    bool fits = in.datatype() == "FP32" && out.datatype() == "FP32" && from.size() == 4 && to.size() >= 2;
    fits = fits && (from[0] == -1 || from[0] == 1) && from[1] == 3 && from[2] > 0 && from[3] > 0 &&
           from[2] <= kMostSide && from[3] <= kMostSide;
    int64_t classes = 1;
    for (int i = 1; i < to.size(); ++i) {
      fits = fits && to[i] > 0 && to[i] <= kMostClasses && classes * to[i] <= kMostClasses;
      if (fits) classes *= to[i];
    }
    if (!fits || classes < 2) {
      return InvalidArgument(url_, ": '", in.name(), "' ", in.datatype(), " of rank ", from.size(), " to '", out.name(),
                             "' ", out.datatype(), " of rank ", to.size(),
                             "; expected FP32 [n,3,H,W] and FP32 [n,classes]");
    }
    height_ = static_cast<int>(from[2]);
    width_ = static_cast<int>(from[3]);
    classes_ = static_cast<int>(classes);
    input_ = in.name();
    output_ = out.name();
    const size_t bytes = sizeof(float) * 3 * height_ * width_;
    most_ = from[0] == 1 ? 1 : static_cast<int>(std::max<size_t>(1, kLikedMessageBytes / bytes));
    identity_ = Concat(url_, ' ', response.name());
    for (const std::string& version : response.versions()) identity_ += Concat(' ', version);
    return OkStatus();
  }

  int classes() const override { return classes_; }
  int height() const override { return height_; }
  int width() const override { return width_; }
  const std::string& identity() const override { return identity_; }

  Status Infer(std::span<const float> input, int count, std::span<float> output) const override {
    const size_t size = size_t{3} * height_ * width_;
    for (int begin = 0; begin < count; begin += most_) {
      const int n = std::min(most_, count - begin);
      const std::span<const float> pictures = input.subspan(begin * size, n * size);
      inference::ModelInferRequest request;
      request.set_model_name(endpoint_.model);
      request.set_model_version(endpoint_.version);
      AddInput(request, input_, DType::kF32, {n, 3, height_, width_},
               {reinterpret_cast<const uint8_t*>(pictures.data()), pictures.size_bytes()});
      inference::ModelInferResponse response;
      INFENCLAVE_RETURN_IF_ERROR(
          Call([&](grpc::ClientContext* context) { return stub_->ModelInfer(context, request, &response); }));
      const StatusOr<TensorData> scores = ReadF32Output(response, output_);
      if (!scores.ok()) return Annotate(scores.status(), url_);
      const std::span<float> out =
          output.subspan(static_cast<size_t>(begin) * classes_, static_cast<size_t>(n) * classes_);
      if (scores->data.size() != out.size_bytes()) {
        return InvalidArgument(url_, ": ", ToString(scores->shape), " for ", n, " pictures of ", classes_, " classes");
      }
      std::memcpy(out.data(), scores->data.data(), out.size_bytes());
    }
    return OkStatus();
  }

 private:
  template <typename Rpc>
  Status Call(Rpc rpc) const {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kTimeout);
    return Annotate(FromGrpc(rpc(&context)), url_);
  }

  const std::string url_;
  const OipEndpoint endpoint_;
  const std::unique_ptr<inference::GRPCInferenceService::Stub> stub_;
  std::string input_, output_, identity_;
  int classes_ = 0, height_ = 0, width_ = 0, most_ = 1;
};

}  // namespace

StatusOr<std::unique_ptr<RemoteModel>> RemoteModel::Connect(const std::string& url) {
  INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<OipEndpoint> endpoints, ParseEndpoints(url));
  if (endpoints.size() != 1) return InvalidArgument("'", url, "' names ", endpoints.size(), " models, expected one");
  auto remote = std::make_unique<Remote>(url, endpoints[0]);
  INFENCLAVE_RETURN_IF_ERROR(remote->Describe());
  return StatusOr<std::unique_ptr<RemoteModel>>(std::move(remote));
}

}  // namespace infenclave
