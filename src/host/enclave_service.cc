#include "host/enclave_service.h"

#include <algorithm>

#include "oip/confidential.h"
#include "oip/status.h"

namespace infenclave {

grpc::ServerUnaryReactor* EnclaveService::GetEvidence(grpc::CallbackServerContext* context,
                                                      const v1::GetEvidenceRequest* request,
                                                      v1::GetEvidenceResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  std::optional<Nonce> nonce;
  if (!request->nonce().empty()) {
    nonce.emplace();
    if (request->nonce().size() != nonce->size()) {
      reactor->Finish(ToGrpc(
          InvalidArgument("the nonce has ", request->nonce().size(), " bytes, expected ", nonce->size(), " or none")));
      return reactor;
    }
    std::ranges::copy(AsBytes(request->nonce()), nonce->begin());
  }
  model_->GetEvidence(nonce, [reactor, response](const StatusOr<GetEvidenceReply>& reply) {
    if (reply.ok()) *response = ToProto(*reply);
    reactor->Finish(ToGrpc(reply.status()));
  });
  return reactor;
}

grpc::ServerUnaryReactor* EnclaveService::Provision(grpc::CallbackServerContext* context,
                                                    const v1::ProvisionRequest* request, v1::ProvisionResponse*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  ProvisionCall call;
  StatusOr<SealedGrant> grant = DecodeSealedGrant(AsBytes(request->sealed_grant()));
  if (!grant.ok() || request->key_id().size() != call.key_id.size()) {
    reactor->Finish(ToGrpc(grant.ok() ? InvalidArgument("the key id has ", request->key_id().size(),
                                                        " bytes, expected ", call.key_id.size())
                                      : grant.status()));
    return reactor;
  }
  std::ranges::copy(AsBytes(request->key_id()), call.key_id.begin());
  call.grant = *std::move(grant);
  model_->Provision(EncodeCall(call), [reactor](const Status& status) { reactor->Finish(ToGrpc(status)); });
  return reactor;
}

}  // namespace infenclave
