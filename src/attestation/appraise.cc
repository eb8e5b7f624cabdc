#include <ctime>

#include "attestation/appraise_evidence.h"
#include "attestation/policy.h"

namespace infenclave {
namespace {

std::string KeyText(const Ed25519PublicKey& key) { return "ed25519:" + HexEncode(key); }

std::string_view WhatItIs(TeeKind tee) {
  return tee == TeeKind::kSimulated ? "simulated: unsigned, proves nothing"
         : tee == TeeKind::kSevSnp  ? "signed by a key that leads to AMD's root"
                                    : "signed by a key that leads to Intel's root";
}

// The report data that the evidence attests; null where it is not to be believed.
std::optional<ReportData> AppraiseEnvelope(const EvidenceEnvelope& envelope, const Policy& policy, int64_t at,
                                           Findings& findings, Appraisal& out) {
  if (!AppraiseTee(envelope.tee, policy, findings)) return std::nullopt;
  const auto claims = VerifyEvidence(envelope.tee, envelope.evidence, envelope.collateral, at);
  if (!findings.Add("evidence", claims.status(), WhatItIs(envelope.tee))) return std::nullopt;
  AppraiseEvidence(*claims, policy, findings);
  out.tee = claims->tee;
  out.measurements = claims->measurements;
  if (const auto* intel = std::get_if<VerifiedIntel>(&claims->evidence); intel && intel->tcb_status.has_value()) {
    out.tcb_evaluation = {Concat(NameOf(claims->tee), ":", HexEncode(intel->pck.fmspc)), intel->evaluation_number};
  }
  return claims->report_data;
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
  if (policy.bundle_id.has_value()) {
    findings.Add("bundle", HexEncode(manifest->bundle_id), HexEncode(*policy.bundle_id),
                 manifest->bundle_id == *policy.bundle_id);
  }
  auto name = [](TeeClass c) { return c == TeeClass::kSimulated ? "simulated" : "hardware"; };
  if (tee.has_value()) {
    findings.Add("bundle's TEE class", name(manifest->tee_class), name(ClassOf(*tee)),
                 manifest->tee_class == ClassOf(*tee));
  }
  out.manifest = *std::move(manifest);
}

}  // namespace

Appraisal Appraise(const GetEvidenceReply& reply, const std::optional<Nonce>& nonce, const Policy& policy,
                   std::optional<int64_t> at) {
  Appraisal out;
  Findings findings(out);
  const auto envelope = DecodeEvidenceEnvelope(reply.evidence);
  std::optional<ReportData> attested;
  std::optional<TeeKind> tee;
  if (envelope.ok()) {
    attested = AppraiseEnvelope(*envelope, policy, at.value_or(std::time(nullptr)), findings, out);
    tee = envelope->tee;
  } else {
    findings.Add("evidence", envelope.status(), "");
  }
  AppraiseKeyConfig(reply, attested, nonce, findings, out);
  AppraiseManifest(reply, policy, tee, findings, out);
  return out;
}

}  // namespace infenclave
