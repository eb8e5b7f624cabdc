#include "host/enclave_service.h"

#include <algorithm>

#include "oip/confidential.h"
#include "oip/status.h"

namespace infenclave {

void EnclaveService::AnswerGetEvidence(ServedModel& model, const v1::GetEvidenceRequest& request,
                                       const std::function<void(StatusOr<v1::GetEvidenceResponse>)>& done) {
  std::optional<Nonce> nonce;
  if (!request.nonce().empty()) {
    nonce.emplace();
    if (request.nonce().size() != nonce->size()) {
      return done(
          InvalidArgument("the nonce has ", request.nonce().size(), " bytes, expected ", nonce->size(), " or none"));
    }
    std::ranges::copy(AsBytes(request.nonce()), nonce->begin());
  }
  model.GetEvidence(nonce, request.waiting(), [done](const StatusOr<GetEvidenceReply>& reply) {
    if (!reply.ok()) return done(reply.status());
    done(ToProto(*reply));
  });
}

void EnclaveService::AnswerProvision(ServedModel& model, const v1::ProvisionRequest& request,
                                     const std::function<void(Status)>& done) {
  ProvisionCall call;
  StatusOr<SealedGrant> grant = DecodeSealedGrant(AsBytes(request.sealed_grant()));
  if (!grant.ok()) return done(grant.status());
  if (request.key_id().size() != call.key_id.size()) {
    return done(InvalidArgument("the key id has ", request.key_id().size(), " bytes, expected ", call.key_id.size()));
  }
  std::ranges::copy(AsBytes(request.key_id()), call.key_id.begin());
  call.grant = *std::move(grant);
  model.Provision(EncodeCall(call), done);
}

grpc::ServerUnaryReactor* EnclaveService::GetEvidence(grpc::CallbackServerContext* context,
                                                      const v1::GetEvidenceRequest* request,
                                                      v1::GetEvidenceResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  AnswerGetEvidence(*model_, *request, [reactor, response](StatusOr<v1::GetEvidenceResponse> reply) {
    if (reply.ok()) *response = *std::move(reply);
    reactor->Finish(ToGrpc(reply.status()));
  });
  return reactor;
}

grpc::ServerUnaryReactor* EnclaveService::Provision(grpc::CallbackServerContext* context,
                                                    const v1::ProvisionRequest* request, v1::ProvisionResponse*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  AnswerProvision(*model_, *request, [reactor](const Status& status) { reactor->Finish(ToGrpc(status)); });
  return reactor;
}

}  // namespace infenclave
