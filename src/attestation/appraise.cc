#include <algorithm>

#include "attestation/policy.h"
#include "tee/evidence.h"

namespace infenclave {
namespace {

// The findings as they come. The first that failed is the verdict.
class Findings {
 public:
  explicit Findings(Appraisal& out) : out_(out) {}
  bool Add(std::string_view what, std::string_view found, std::string_view wanted, bool passed) {
    out_.findings.push_back({Concat(what), Concat(found), Concat(wanted), passed});
    if (!passed && out_.verdict.ok()) {
      out_.verdict = PermissionDenied(what, ": ", found, wanted.empty() ? "" : "; wanted: ", wanted);
    }
    return passed;
  }
  bool Add(std::string_view what, const Status& status, std::string_view ok) {
    return Add(what, status.ok() ? ok : MessageOf(status), status.ok() ? ok : "", status.ok());
  }

 private:
  Appraisal& out_;
};

std::string KeyText(const Ed25519PublicKey& key) { return "ed25519:" + HexEncode(key); }

template <typename Range, typename F>
std::string OneOf(const Range& range, F text, std::string_view if_empty) {
  std::string out;
  for (const auto& v : range) out += Concat(out.empty() ? "" : " or ", text(v));
  return out.empty() ? Concat("nothing: ", if_empty) : out;
}

// What any TEE's evidence comes down to here: the report data it attests. Null if it was refused.
std::optional<ReportData> AppraiseSimulated(ByteSpan evidence, const Policy& policy, Findings& findings) {
  const auto decoded = DecodeSimulatedEvidence(evidence);
  if (!findings.Add("evidence", decoded.status(), "simulated: unsigned, proves nothing")) return std::nullopt;
  const auto& accepted = policy.simulated.measurements;
  findings.Add("measurement", HexEncode(decoded->measurement),
               OneOf(
                   accepted, [](const auto& m) { return HexEncode(m); }, "the policy lists none under [simulated]"),
               std::ranges::find(accepted, decoded->measurement) != accepted.end());
  return decoded->report_data;
}

std::optional<ReportData> AppraiseEvidence(const EvidenceEnvelope& envelope, const Policy& policy, Findings& findings) {
  const bool accepted = std::ranges::find(policy.accept, envelope.tee) != policy.accept.end();
  const std::string wanted = OneOf(
      policy.accept, [](TeeKind k) { return NameOf(k); }, "the policy accepts no TEE");
  if (!findings.Add("TEE", NameOf(envelope.tee), wanted, accepted)) return std::nullopt;
  if (envelope.tee == TeeKind::kSimulated) return AppraiseSimulated(envelope.evidence, policy, findings);
  findings.Add("evidence", Concat(NameOf(envelope.tee), " evidence cannot be verified by this version"), "", false);
  return std::nullopt;
}

void AppraiseKeyConfig(const GetEvidenceReply& reply, const std::optional<ReportData>& attested,
                       const std::optional<Nonce>& nonce, Findings& findings, Appraisal& out) {
  const auto key_config = DecodeKeyConfig(reply.key_config);
  if (!findings.Add("key configuration", key_config.status(), "well formed")) return;
  out.key_config = *key_config;
  if (attested.has_value()) {
    const bool bound = *attested == ReportDataFor(*key_config, nonce);
    const std::string_view wanted = nonce.has_value() ? "this key configuration and nonce" : "this key configuration";
    findings.Add("report data", bound ? wanted : "another key configuration or nonce", wanted, bound);
  }
  const Sha256Digest digest = Sha256(reply.manifest);
  findings.Add("manifest digest", HexEncode(digest), HexEncode(key_config->manifest_digest),
               digest == key_config->manifest_digest);
}

void AppraiseManifest(const GetEvidenceReply& reply, const Policy& policy, const std::optional<TeeKind>& tee,
                      Findings& findings, Appraisal& out) {
  const auto signature = DecodeManifestSignature(reply.manifest_signature);
  if (!findings.Add("manifest signature", signature.status(), "present")) return;
  const std::string owner = KeyText(policy.owner);
  if (!findings.Add("owner", KeyText(signature->owner), owner, signature->owner == policy.owner)) return;
  if (!findings.Add("manifest signature", VerifyManifest(reply.manifest, *signature, policy.owner), "valid")) return;
  auto manifest = DecodeManifest(reply.manifest);
  if (!findings.Add("manifest", manifest.status(), "well formed")) return;
  findings.Add("manifest's owner", KeyText(manifest->owner), owner, manifest->owner == policy.owner);
  findings.Add("bundle version", Concat(manifest->model_version), Concat("at least ", policy.min_bundle_version),
               manifest->model_version >= policy.min_bundle_version);
  auto name = [](TeeClass c) { return c == TeeClass::kSimulated ? "simulated" : "hardware"; };
  if (tee.has_value()) {
    findings.Add("bundle's TEE class", name(manifest->tee_class), name(ClassOf(*tee)),
                 manifest->tee_class == ClassOf(*tee));
  }
  out.manifest = *std::move(manifest);
}

}  // namespace

Appraisal Appraise(const GetEvidenceReply& reply, const std::optional<Nonce>& nonce, const Policy& policy) {
  Appraisal out;
  Findings findings(out);
  const auto envelope = DecodeEvidenceEnvelope(reply.evidence);
  std::optional<ReportData> attested;
  std::optional<TeeKind> tee;
  if (envelope.ok()) {
    attested = AppraiseEvidence(*envelope, policy, findings);
    tee = envelope->tee;
  } else {
    findings.Add("evidence", envelope.status(), "");
  }
  AppraiseKeyConfig(reply, attested, nonce, findings, out);
  AppraiseManifest(reply, policy, tee, findings, out);
  return out;
}

}  // namespace infenclave
