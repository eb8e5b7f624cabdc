// The appraisal of simulated evidence: what a client checks before it seals anything (design §5), each refusal by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "attestation/policy.h"
#include "tee/evidence.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

class Appraisals : public testing::Test {
 protected:
  Appraisals() : owner_(Ed25519PrivateKey::Generate()) {
    measurement_.fill(0x11);
    nonce_.fill(0x22);
    manifest_.model_name = "net";
    manifest_.model_version = 4;
    manifest_.ir_shape = {8, 4, 4};
    manifest_.classes = 10;
    manifest_.backnet_output_shape = {10};
    manifest_.tee_class = TeeClass::kSimulated;
    manifest_.owner = owner_.public_key();
    policy_.accept = {TeeKind::kSimulated};
    policy_.owner = owner_.public_key();
    policy_.min_bundle_version = 4;
    policy_.simulated.measurements = {Sha256Digest{}, measurement_};
    Build();
  }
  // The reply of an honest enclave for what the fixture holds now.
  void Build() {
    reply_.manifest = EncodeManifest(manifest_);
    reply_.manifest_signature = EncodeManifestSignature(*SignManifest(owner_, reply_.manifest));
    config_.public_key = {9};
    config_.manifest_digest = Sha256(reply_.manifest);
    reply_.key_config = EncodeKeyConfig(config_);
    Attest(TeeKind::kSimulated, nonce_);
  }
  void Attest(TeeKind kind, const std::optional<Nonce>& nonce) {
    const auto evidence = MakeSimulatedEvidenceMaker(measurement_)->Make(ReportDataFor(config_, nonce));
    reply_.evidence = EncodeEvidenceEnvelope({kind, *evidence, {}});
  }
  Appraisal Judge() const { return Appraise(reply_, nonce_, policy_); }
  // Refused, with just this finding first.
  void ExpectRefused(const std::string& message) const {
    const Appraisal appraisal = Judge();
    EXPECT_EQ(appraisal.verdict.code(), StatusCode::kPermissionDenied);
    EXPECT_THAT(MessageOf(appraisal.verdict), HasSubstr(message));
    EXPECT_TRUE(std::ranges::any_of(appraisal.findings, [](const Finding& f) { return !f.passed; }));
  }

  Ed25519PrivateKey owner_;
  Sha256Digest measurement_;
  Nonce nonce_;
  KeyConfig config_;
  Manifest manifest_;
  Policy policy_;
  GetEvidenceReply reply_;
};

TEST_F(Appraisals, AcceptsTheHonestEnclave) {
  const Appraisal appraisal = Judge();
  EXPECT_TRUE(appraisal.verdict.ok()) << appraisal.verdict;
  EXPECT_TRUE(std::ranges::all_of(appraisal.findings, [](const Finding& f) { return f.passed; }));
  EXPECT_GE(appraisal.findings.size(), 9u);
  EXPECT_EQ(appraisal.key_config, config_);
  EXPECT_EQ(appraisal.manifest.model_version, 4u);
}

TEST_F(Appraisals, EvidenceWithoutNonceIsForCallersWithoutOne) {
  Attest(TeeKind::kSimulated, std::nullopt);
  EXPECT_TRUE(Appraise(reply_, std::nullopt, policy_).verdict.ok());
  ExpectRefused("report data: another key configuration or nonce; wanted: this key configuration and nonce");
}

TEST_F(Appraisals, AnotherMeasurement) {
  policy_.simulated.measurements = {Sha256Digest{}};
  ExpectRefused("measurement: " + HexEncode(measurement_) + "; wanted: " + std::string(64, '0'));
  policy_.simulated.measurements.clear();
  ExpectRefused("wanted: nothing: the policy lists none under [simulated]");
}

// Neither stands in for the other, whatever the evidence, the policy or the bundle claims.
TEST_F(Appraisals, SimulatedAndHardwareNeverMix) {
  policy_.accept = {TeeKind::kSgx, TeeKind::kTdx, TeeKind::kSevSnp};
  ExpectRefused("TEE: simulated; wanted: sgx or tdx or sev-snp");
  policy_.accept = {TeeKind::kSimulated};
  for (TeeKind kind : {TeeKind::kSgx, TeeKind::kTdx, TeeKind::kSevSnp}) {
    Attest(kind, nonce_);
    ExpectRefused(Concat("TEE: ", NameOf(kind), "; wanted: simulated"));
  }
  // Simulated evidence under a hardware TEE's name.
  policy_.accept = {TeeKind::kSgx, TeeKind::kTdx, TeeKind::kSevSnp};
  for (TeeKind kind : policy_.accept) {
    Attest(kind, nonce_);
    ExpectRefused("evidence: ");
  }
  policy_.accept = {TeeKind::kSimulated};
  manifest_.tee_class = TeeClass::kHardware;
  Build();
  ExpectRefused("bundle's TEE class: hardware; wanted: simulated");
}

TEST_F(Appraisals, RolledBackBundle) {
  policy_.min_bundle_version = 5;
  ExpectRefused("bundle version: 4; wanted: at least 5");
}

TEST_F(Appraisals, AnotherOwner) {
  const auto other = Ed25519PrivateKey::Generate();
  policy_.owner = other.public_key();
  ExpectRefused("owner: ed25519:" + HexEncode(owner_.public_key()) +
                "; wanted: ed25519:" + HexEncode(other.public_key()));
  // Signed by the owner whom the policy wants, for a manifest that names another.
  policy_.owner = owner_.public_key();
  manifest_.owner = other.public_key();
  Build();
  ExpectRefused("manifest's owner: ed25519:" + HexEncode(other.public_key()));
}

TEST_F(Appraisals, ManifestThatIsNotTheOneSigned) {
  manifest_.open = true;
  reply_.manifest = EncodeManifest(manifest_);
  ExpectRefused("manifest digest: ");
  // The enclave's key vouches for it, the owner does not.
  config_.manifest_digest = Sha256(reply_.manifest);
  reply_.key_config = EncodeKeyConfig(config_);
  Attest(TeeKind::kSimulated, nonce_);
  ExpectRefused("manifest signature: manifest: its signature is not that of the key it names");
}

TEST_F(Appraisals, KeyThatWasSwapped) {
  config_.public_key = {10};
  reply_.key_config = EncodeKeyConfig(config_);
  ExpectRefused("report data: another key configuration or nonce");
}

// Every single-byte change of evidence, key configuration, manifest or signature is refused.
TEST_F(Appraisals, EveryAlteredByteIsRefused) {
  for (Bytes* part : {&reply_.evidence, &reply_.key_config, &reply_.manifest, &reply_.manifest_signature}) {
    for (size_t i = 0; i < part->size(); ++i) {
      for (uint8_t flip : {0x01, 0x80}) {
        (*part)[i] ^= flip;
        EXPECT_EQ(Judge().verdict.code(), StatusCode::kPermissionDenied) << i;
        (*part)[i] ^= flip;
      }
    }
    const Bytes whole = *part;
    for (size_t n = 0; n < whole.size(); ++n) {
      *part = ToBytes(ByteSpan(whole).first(n));
      EXPECT_EQ(Judge().verdict.code(), StatusCode::kPermissionDenied) << "cut to " << n;
    }
    *part = whole;
  }
  EXPECT_TRUE(Judge().verdict.ok());
}

}  // namespace
}  // namespace infenclave
