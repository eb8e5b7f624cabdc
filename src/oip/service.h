// A server of the Open Inference Protocol with one model: the protocol is here, the model behind an interface.
//
// gRPC's callback API throughout: no thread waits for a request. ModelInfer hands an InferCall to the model, which
// finishes it later, from any thread.
#ifndef INFENCLAVE_OIP_SERVICE_H_
#define INFENCLAVE_OIP_SERVICE_H_

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "oip/open_inference.grpc.pb.h"

namespace infenclave {

// One ModelInfer in flight. It lives until Finish, which must be called exactly once and may destroy it.
class InferCall {
 public:
  virtual const inference::ModelInferRequest& request() const = 0;
  virtual inference::ModelInferResponse& response() = 0;
  // The caller's; the far future if it set none.
  virtual std::chrono::system_clock::time_point deadline() const = 0;
  virtual bool cancelled() const = 0;
  // Trailing metadata; a key that ends in "-bin" may have any bytes as its value.
  virtual void AddTrailer(const std::string& key, const std::string& value) = 0;
  virtual void Finish(const Status& status) = 0;

 protected:
  virtual ~InferCall() = default;
};

struct TensorInfo {
  std::string name, datatype;  // the protocol's names: "BYTES", "FP32"
  std::vector<int64_t> shape;  // -1: any size
};
struct ModelInfo {
  std::string name, version, platform;
  std::vector<TensorInfo> inputs, outputs;
  std::vector<std::pair<std::string, std::string>> properties;
};

class OipModel {
 public:
  virtual ~OipModel() = default;
  virtual const ModelInfo& info() const = 0;  // does not change
  virtual bool ready() const = 0;
  // The request is for this model and version. Must not block.
  virtual void Infer(InferCall* call) = 0;
};

class OipService final : public inference::GRPCInferenceService::CallbackService {
 public:
  // `server_name` goes into ServerMetadata, beside the project's version. The model must outlive the service.
  OipService(std::string server_name, OipModel* model);

  grpc::ServerUnaryReactor* ServerLive(grpc::CallbackServerContext*, const inference::ServerLiveRequest*,
                                       inference::ServerLiveResponse*) override;
  grpc::ServerUnaryReactor* ServerReady(grpc::CallbackServerContext*, const inference::ServerReadyRequest*,
                                        inference::ServerReadyResponse*) override;
  grpc::ServerUnaryReactor* ModelReady(grpc::CallbackServerContext*, const inference::ModelReadyRequest*,
                                       inference::ModelReadyResponse*) override;
  grpc::ServerUnaryReactor* ServerMetadata(grpc::CallbackServerContext*, const inference::ServerMetadataRequest*,
                                           inference::ServerMetadataResponse*) override;
  grpc::ServerUnaryReactor* ModelMetadata(grpc::CallbackServerContext*, const inference::ModelMetadataRequest*,
                                          inference::ModelMetadataResponse*) override;
  grpc::ServerUnaryReactor* ModelInfer(grpc::CallbackServerContext*, const inference::ModelInferRequest*,
                                       inference::ModelInferResponse*) override;

 private:
  // NOT_FOUND for a model or version that is not this one.
  Status CheckModel(const std::string& name, const std::string& version) const;

  const std::string server_name_;
  OipModel* const model_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_SERVICE_H_
