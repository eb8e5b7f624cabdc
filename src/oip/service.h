// A server of the Open Inference Protocol over gRPC, with one model.
//
// gRPC's callback API throughout: no thread waits for a request. ModelInfer hands an InferCall to the model, which
// finishes it later, from any thread.
#ifndef INFENCLAVE_OIP_SERVICE_H_
#define INFENCLAVE_OIP_SERVICE_H_

#include <string>

#include "oip/model.h"
#include "oip/open_inference.grpc.pb.h"

namespace infenclave {

class OipService final : public inference::GRPCInferenceService::CallbackService {
 public:
  // The model must outlive the service.
  OipService(std::string server_name, OipModel* model) : description_(std::move(server_name), model) {}

  const OipDescription& description() const { return description_; }

  grpc::ServerUnaryReactor* ModelInfer(grpc::CallbackServerContext*, const inference::ModelInferRequest*,
                                       inference::ModelInferResponse*) override;

#define INFENCLAVE_OIP_DESCRIBED(Call)                                                                          \
  grpc::ServerUnaryReactor* Call(grpc::CallbackServerContext* context, const inference::Call##Request* request, \
                                 inference::Call##Response* response) override {                                \
    return FinishNow(context, description_.Answer(*request, response));                                         \
  }
  INFENCLAVE_OIP_DESCRIBED(ServerLive)
  INFENCLAVE_OIP_DESCRIBED(ServerReady)
  INFENCLAVE_OIP_DESCRIBED(ModelReady)
  INFENCLAVE_OIP_DESCRIBED(ServerMetadata)
  INFENCLAVE_OIP_DESCRIBED(ModelMetadata)
  INFENCLAVE_OIP_DESCRIBED(ModelConfig)
  INFENCLAVE_OIP_DESCRIBED(ModelStatistics)
  INFENCLAVE_OIP_DESCRIBED(RepositoryIndex)
  INFENCLAVE_OIP_DESCRIBED(RepositoryModelLoad)
  INFENCLAVE_OIP_DESCRIBED(RepositoryModelUnload)
#undef INFENCLAVE_OIP_DESCRIBED

 private:
  static grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context, const Status& status);

  const OipDescription description_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_SERVICE_H_
