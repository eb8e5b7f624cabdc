// infenclave.v1.Enclave: passes the enclave's own calls on, over gRPC and for any other transport.
#ifndef INFENCLAVE_HOST_ENCLAVE_SERVICE_H_
#define INFENCLAVE_HOST_ENCLAVE_SERVICE_H_

#include "host/served_model.h"
#include "oip/enclave.grpc.pb.h"

namespace infenclave {

class EnclaveService final : public v1::Enclave::CallbackService {
 public:
  // The model must outlive the service.
  explicit EnclaveService(ServedModel* model) : model_(model) {}

  // `done` is called once, perhaps before this returns, perhaps on a worker.
  static void AnswerGetEvidence(ServedModel& model, const v1::GetEvidenceRequest& request,
                                const std::function<void(StatusOr<v1::GetEvidenceResponse>)>& done);
  static void AnswerProvision(ServedModel& model, const v1::ProvisionRequest& request,
                              const std::function<void(Status)>& done);

  grpc::ServerUnaryReactor* GetEvidence(grpc::CallbackServerContext*, const v1::GetEvidenceRequest*,
                                        v1::GetEvidenceResponse*) override;
  grpc::ServerUnaryReactor* Provision(grpc::CallbackServerContext*, const v1::ProvisionRequest*,
                                      v1::ProvisionResponse*) override;

 private:
  ServedModel* const model_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_ENCLAVE_SERVICE_H_
