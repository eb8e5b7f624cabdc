#include "client/provision.h"

#include <grpcpp/client_context.h>

#include "oip/enclave.grpc.pb.h"
#include "oip/status.h"

namespace infenclave {
namespace {

constexpr auto kEvidenceTimeout = std::chrono::seconds(30);
// Compiling the network in the enclave takes its time.
constexpr auto kProvisionTimeout = std::chrono::seconds(120);

}  // namespace

StatusOr<GetEvidenceReply> FetchEvidenceFor(const ServerConnection& server, const BundleKeys& keys,
                                            const std::optional<Nonce>& nonce, std::chrono::milliseconds timeout) {
  INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceReply reply, FetchEvidence(server, nonce, timeout, true));
  const StatusOr<Manifest> manifest = DecodeManifest(reply.manifest);  // not verified: only a choice hangs on it
  if (manifest.ok() && manifest->bundle_id == keys.bundle_id) return reply;
  return FetchEvidence(server, nonce, timeout);
}

StatusOr<Appraisal> ProvisionEnclave(const ServerConnection& server, const BundleKeys& keys, const Policy& policy,
                                     uint64_t lease) {
  const Nonce nonce = RandomArray<32>();
  INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceReply reply, FetchEvidenceFor(server, keys, nonce, kEvidenceTimeout));
  Appraisal appraisal = Appraise(reply, nonce, policy);
  INFENCLAVE_RETURN_IF_ERROR(appraisal.verdict);
  if (appraisal.manifest.bundle_id != keys.bundle_id) {
    return PermissionDenied(server.address(), " serves bundle ", HexEncode(appraisal.manifest.bundle_id),
                            ", and these keys are for bundle ", HexEncode(keys.bundle_id), ": take that bundle's keys");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Ed25519PrivateKey release_key, Ed25519PrivateKey::FromSeed(keys.release_seed.span()));
  const Grant grant{keys.frontnet_key.Clone(), keys.mapping_key.Clone(), lease};
  INFENCLAVE_ASSIGN_OR_RETURN(SealedGrant sealed, SealGrant(appraisal.key_config, release_key, grant));

  v1::ProvisionRequest request;
  request.set_key_id(std::string(AsText(appraisal.key_config.key_id)));
  request.set_sealed_grant(std::string(AsText(EncodeSealedGrant(sealed))));
  v1::ProvisionResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kProvisionTimeout);
  const grpc::Status status = v1::Enclave::NewStub(server.channel())->Provision(&context, request, &response);
  if (!status.ok()) return server.Explain(FromGrpc(status));
  return appraisal;
}

}  // namespace infenclave
