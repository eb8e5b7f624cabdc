#include "client/provision.h"

#include <grpcpp/client_context.h>

#include <ctime>

#include "attestation/verify/certificate.h"
#include "client/release_log.h"
#include "oip/enclave.grpc.pb.h"
#include "oip/status.h"

namespace infenclave {
namespace {

constexpr auto kEvidenceTimeout = std::chrono::seconds(30);
// Compiling the network in the enclave takes its time.
constexpr auto kProvisionTimeout = std::chrono::seconds(120);

Release ReleaseOf(const ServerConnection& server, const Appraisal& a, uint64_t lease) {
  Release out;
  out.time = FormatTime(std::time(nullptr));
  out.server = server.address();
  out.tee = NameOf(a.tee);
  if (!a.measurements.empty()) out.measurement = a.measurements.front().second;
  out.key_id = HexEncode(a.key_config.key_id);
  out.bundle_id = HexEncode(a.manifest.bundle_id);
  out.manifest_digest = HexEncode(a.key_config.manifest_digest);
  out.model = a.manifest.model_name;
  out.version = a.manifest.model_version;
  out.lease = lease;
  return out;
}

}  // namespace

StatusOr<GetEvidenceReply> FetchEvidenceFor(const ServerConnection& server, const BundleKeys& keys,
                                            const std::optional<Nonce>& nonce, std::chrono::milliseconds timeout) {
  INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceReply reply, FetchEvidence(server, nonce, timeout, true));
  const StatusOr<Manifest> manifest = DecodeManifest(reply.manifest);  // not verified: only a choice hangs on it
  if (manifest.ok() && manifest->bundle_id == keys.bundle_id) return reply;
  return FetchEvidence(server, nonce, timeout);
}

StatusOr<Appraisal> ProvisionEnclave(const ServerConnection& server, const BundleKeys& keys,
                                     const ProvisionOptions& options) {
  const Nonce nonce = RandomArray<32>();
  const int64_t now = std::time(nullptr);
  INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceReply reply, FetchEvidenceFor(server, keys, nonce, kEvidenceTimeout));
  if (options.collateral != nullptr) INFENCLAVE_RETURN_IF_ERROR(AddCollateral(*options.collateral, now, reply));
  Appraisal appraisal = Appraise(reply, nonce, options.policy, now);
  INFENCLAVE_RETURN_IF_ERROR(appraisal.verdict);
  if (options.seen_versions != nullptr) {
    INFENCLAVE_RETURN_IF_ERROR(options.seen_versions->CheckAndRecord(options.policy, appraisal));
  }
  if (appraisal.manifest.bundle_id != keys.bundle_id) {
    return PermissionDenied(server.address(), " serves bundle ", HexEncode(appraisal.manifest.bundle_id),
                            ", and these keys are for bundle ", HexEncode(keys.bundle_id), ": take that bundle's keys");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(const Ed25519PrivateKey own, Ed25519PrivateKey::FromSeed(keys.release_seed.span()));
  const Ed25519Signer& release_key = options.release_key != nullptr ? *options.release_key : own;
  const Grant grant{keys.frontnet_key.Clone(), keys.mapping_key.Clone(), options.lease};
  INFENCLAVE_ASSIGN_OR_RETURN(SealedGrant sealed, SealGrant(appraisal.key_config, release_key, grant));
  if (!options.log.empty()) {
    INFENCLAVE_RETURN_IF_ERROR(AppendRelease(options.log, ReleaseOf(server, appraisal, options.lease)));
  }

  v1::ProvisionRequest request;
  request.set_key_id(std::string(AsText(appraisal.key_config.key_id)));
  request.set_sealed_grant(std::string(AsText(EncodeSealedGrant(sealed))));
  v1::ProvisionResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kProvisionTimeout);
  server.AddAffinity(context);
  const grpc::Status status = v1::Enclave::NewStub(server.channel())->Provision(&context, request, &response);
  if (!status.ok()) return server.Explain(FromGrpc(status));
  return appraisal;
}

}  // namespace infenclave
