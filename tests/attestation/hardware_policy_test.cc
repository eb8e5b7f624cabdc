// Policies against the hardware-made evidence of INFENCLAVE_SHARED_DIR: what passes, and each refusal by its line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "attestation/abi/snp_certificates.h"
#include "attestation/claims.h"
#include "attestation/policy.h"
#include "base/file.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

const std::string kVectors = INFENCLAVE_SHARED_DIR "/vectors/attestation/";
constexpr char kOwner[] = "owner = \"ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"\n";

Bytes Read(const std::string& file) { return *ReadFile(kVectors + file, 1 << 20); }

class HardwarePolicy : public testing::Test {
 protected:
  void SetUp() override {
    if (!ReadFile(kVectors + "index.json", 1 << 20).ok()) {
      GTEST_SKIP() << "SKIPPED: no " << kVectors << ": policies were not tried on hardware-made evidence";
    }
    sgx_ = *VerifyEvidence(TeeKind::kSgx, Read("sgx-v3.quote.bin"), Read("sgx-v3.collateral.json"),
                           *ParseTime("2025-07-04T10:28:44Z"));
    tdx_ = *VerifyEvidence(TeeKind::kTdx, Read("tdx-v4-a.quote.bin"), Read("tdx-v4-a.collateral.json"),
                           *ParseTime("2025-07-04T10:24:15Z"));
    milan_ = *VerifyEvidence(TeeKind::kSevSnp, Read("snp-vcek-milan.report.bin"), Read("snp-vcek-milan.vek.der"),
                             *ParseTime("2025-02-19T00:00:00Z"));
    vlek_ = *VerifyEvidence(TeeKind::kSevSnp, Read("snp-vlek.report.bin"), Read("snp-vlek.vek.der"),
                            *ParseTime("2025-02-19T00:00:00Z"));
  }
  // The first refusal, or "" where the policy accepts.
  static std::string Judge(const Claims& claims, const std::string& text) {
    const auto policy = ParsePolicy("accept = [\"sgx\", \"tdx\", \"sev-snp\"]\n" + std::string(kOwner) + text, "p");
    if (!policy.ok()) return MessageOf(policy.status());
    const Appraisal appraisal = AppraiseClaims(claims, *policy);
    const bool all = std::ranges::all_of(appraisal.findings, [](const Finding& f) { return f.passed; });
    EXPECT_EQ(all, appraisal.verdict.ok());
    EXPECT_TRUE(all || appraisal.verdict.code() == StatusCode::kPermissionDenied);
    return MessageOf(appraisal.verdict);
  }
  static std::string Quote(const std::string& hex) { return "[\"" + hex + "\"]\n"; }
  static std::string Measurement(const Claims& claims, const std::string& name) {
    for (const auto& [n, hex] : claims.measurements) {
      if (n == name) return Quote(hex);
    }
    return "";
  }

  Claims sgx_, tdx_, milan_, vlek_;
};

TEST_F(HardwarePolicy, Sgx) {
  const std::string lenient =
      "tcb_status = \"ConfigurationAndSWHardeningNeeded\"\n"
      "allow_advisories = [\"INTEL-SA-00289\", \"INTEL-SA-00615\"]\n";
  const std::string enclave = "[sgx]\nmrenclave = " + Measurement(sgx_, "mrenclave");
  const std::string signer = "[sgx]\nmrsigner = " + Measurement(sgx_, "mrsigner");
  EXPECT_EQ(Judge(sgx_, enclave + lenient), "");
  EXPECT_EQ(Judge(sgx_, enclave + lenient + "min_tcb_evaluation = 17\n"), "");
  EXPECT_EQ(Judge(sgx_, signer + "product_id = 0\nmin_svn = 0\n" + lenient), "");
  EXPECT_EQ(Judge(sgx_, enclave), "TCB status: ConfigurationAndSWHardeningNeeded; wanted: UpToDate");
  EXPECT_EQ(Judge(sgx_, enclave + "tcb_status = \"OutOfDate\"\nallow_advisories = [\"INTEL-SA-00289\"]\n"),
            "advisories: INTEL-SA-00289 or INTEL-SA-00615; wanted: INTEL-SA-00289");
  EXPECT_EQ(Judge(sgx_, enclave + lenient + "min_tcb_evaluation = 18\n"),
            "TCB evaluation number: 17; wanted: at least 18");
  EXPECT_EQ(Judge(sgx_, signer + "product_id = 1\nmin_svn = 0\n" + lenient), "product: 0; wanted: 1");
  EXPECT_EQ(Judge(sgx_, signer + "product_id = 0\nmin_svn = 1\n" + lenient), "version (ISVSVN): 0; wanted: at least 1");
  EXPECT_THAT(Judge(sgx_, "[sgx]\n" + lenient), HasSubstr("wanted: nothing: the policy lists none under [sgx]"));
  EXPECT_EQ(Judge(sgx_, signer + lenient), "p:4: sgx.mrsigner: needs product_id and min_svn beside it");
  EXPECT_EQ(Judge(sgx_, "[sgx]\ntcb_status = \"Revoked\"\n"),
            "p:4: sgx.tcb_status: a revoked platform is never accepted");
  EXPECT_EQ(Judge(sgx_, "[sgx]\ntcb_status = \"Fine\"\n"), "p:4: sgx.tcb_status: 'Fine' is no TCB status");
}

TEST_F(HardwarePolicy, SgxWithoutCollateralIsNotJudgedAndSoRefused) {
  const Claims claims =
      *VerifyEvidence(TeeKind::kSgx, Read("sgx-v3.quote.bin"), {}, *ParseTime("2025-07-04T10:28:44Z"));
  EXPECT_EQ(claims.tcb_status, "NotJudged");
  EXPECT_EQ(Judge(claims, "[sgx]\ntcb_status = \"OutOfDateConfigurationNeeded\"\nmrenclave = " +
                              Measurement(claims, "mrenclave")),
            "TCB status: not judged, for there is no collateral; wanted: OutOfDateConfigurationNeeded or better");
}

TEST_F(HardwarePolicy, Tdx) {
  std::string policy = "[tdx]\nmrtd = " + Measurement(tdx_, "mrtd");
  EXPECT_EQ(Judge(tdx_, policy), "p:4: tdx.mrtd: needs rtmr0 beside it (a list, or [\"any\"])");
  for (const char* rtmr : {"rtmr0", "rtmr1", "rtmr2"}) policy += std::string(rtmr) + " = " + Measurement(tdx_, rtmr);
  EXPECT_EQ(Judge(tdx_, policy), "");
  EXPECT_EQ(Judge(tdx_, policy + "rtmr3 = " + Quote(std::string(96, '0'))), "");
  EXPECT_THAT(Judge(tdx_, policy + "rtmr3 = " + Quote(std::string(96, '1'))), HasSubstr("RTMR3: 0000"));
  EXPECT_EQ(Judge(tdx_, "[tdx]\nmrtd = " + Measurement(tdx_, "mrtd") +
                            "rtmr0 = [\"any\"]\nrtmr1 = [\"any\"]\nrtmr2 = [\"any\"]\n"),
            "");
  EXPECT_THAT(Judge(tdx_, "[tdx]\n"), HasSubstr("MRTD: "));
  auto changed = [&](const std::function<void(TdReport&)>& change) {
    Claims claims = tdx_;
    TdReport& td = std::get<TdReport>(std::get<VerifiedIntel>(claims.evidence).quote.body);
    change(td);
    claims.debug = td.debug();
    return Judge(claims, policy);
  };
  EXPECT_EQ(changed([](TdReport& td) { td.td_attributes |= 1; }),
            "debugging: allowed: the host can read its memory; wanted: off");
  EXPECT_EQ(changed([](TdReport& td) { td.td_attributes &= ~(1ull << 28); }), "SEPT_VE_DISABLE: not set; wanted: set");
  EXPECT_THAT(changed([](TdReport& td) { td.td_attributes |= 1ull << 29; }),
              HasSubstr("so the TD must not be migratable"));
  EXPECT_THAT(changed([](TdReport& td) { td.td_attributes |= 1ull << 17; }),
              HasSubstr("so the TD must not be migratable"));
  EXPECT_EQ(changed([](TdReport& td) { td.td_attributes |= 1ull << 30; }),
            "TD attributes: supervisor protection keys (PKS) are on; wanted: known ones, without PKS and KL");
  EXPECT_THAT(changed([](TdReport& td) { td.td_attributes |= 1ull << 31; }), HasSubstr("key locker (KL) is on"));
  for (int bit : {8, 15, 23, 26, 32, 61}) {
    EXPECT_THAT(changed([bit](TdReport& td) { td.td_attributes |= 1ull << bit; }), HasSubstr("unknown bits are set"));
  }
  EXPECT_EQ(changed([](TdReport& td) { td.td_attributes |= 1ull << 27 | 1ull << 62 | 1ull << 63; }), "");
  EXPECT_THAT(changed([](TdReport& td) { td.mrservicetd[3] = 1; }), HasSubstr("migratable, by service TD: 00000001"));
  EXPECT_THAT(changed([](TdReport& td) { td.rtmr[1][0] ^= 1; }), HasSubstr("RTMR1: "));
  EXPECT_THAT(changed([](TdReport& td) { td.mrtd[0] ^= 1; }), HasSubstr("MRTD: "));
}

TEST_F(HardwarePolicy, Snp) {
  const std::string measurement = "[sev-snp]\nmeasurements = " + Measurement(vlek_, "measurement");
  const std::string tcb = "min_tcb = { boot_loader = 4, snp = 24, microcode = 217 }\n";
  const std::string rest = "max_vmpl = 1\nallow_vlek = true\n";
  EXPECT_EQ(Judge(vlek_, measurement + tcb + rest), "");
  EXPECT_EQ(Judge(vlek_, measurement + tcb + "max_vmpl = 1\n"),
            "signed by: a key of the cloud provider (VLEK); wanted: the chip's key (VCEK)");
  EXPECT_EQ(Judge(vlek_, measurement + tcb + "allow_vlek = true\n"), "VMPL: 1; wanted: at most 0");
  EXPECT_EQ(Judge(vlek_, measurement + rest),
            "reported TCB: boot loader 4, TEE 0, SNP 24, microcode 217; wanted: nothing: the policy has no [sev-snp] "
            "min_tcb");
  EXPECT_EQ(Judge(vlek_, measurement + rest + "min_tcb = { snp = 25 }\n"),
            "reported TCB: boot loader 4, TEE 0, SNP 24, microcode 217; wanted: at least boot loader 0, TEE 0, SNP 25, "
            "microcode 0");
  EXPECT_EQ(Judge(vlek_, measurement + "min_tcb = { smp = 25 }\n"), "p:5: unknown key sev-snp.min_tcb.smp");
  EXPECT_EQ(Judge(vlek_, measurement + "min_tcb = { snp = 256 }\n"), "p:5: sev-snp.min_tcb.snp: must be at most 255");
  EXPECT_EQ(Judge(vlek_, measurement + "id_key_digests = " + Quote(std::string(96, '0'))),
            "p:5: sev-snp.id_key_digests: needs min_guest_svn beside it");
  EXPECT_THAT(Judge(vlek_, "[sev-snp]\n" + tcb + rest), HasSubstr("the policy lists none under [sev-snp]"));
  auto changed = [&](const std::function<void(SnpReport&)>& change, const std::string& policy) {
    Claims claims = vlek_;
    change(std::get<VerifiedSnp>(claims.evidence).report);
    return Judge(claims, policy);
  };
  EXPECT_EQ(changed([](SnpReport& r) { r.policy |= 1 << 18; }, measurement + tcb + rest),
            "migration agent: allowed; wanted: off");
  EXPECT_EQ(changed([](SnpReport& r) { r.policy |= 1 << 21; }, measurement + tcb + rest),
            "CXL memory: allowed; wanted: off");
  EXPECT_EQ(changed([](SnpReport& r) { r.policy |= 1 << 21; }, measurement + tcb + rest + "allow_cxl = true\n"), "");
  const std::string strict = measurement + tcb + rest + "guest_policy = [\"no-smt\", \"ciphertext-hiding\"]\n";
  EXPECT_EQ(Judge(vlek_, strict),
            "guest policy: without no-smt and ciphertext-hiding; wanted: no-smt and ciphertext-hiding");
  EXPECT_EQ(changed([](SnpReport& r) { r.policy |= 1 << 24; }, strict),
            "guest policy: without no-smt; wanted: no-smt and ciphertext-hiding");
  EXPECT_EQ(changed([](SnpReport& r) { r.policy = 1 << 17 | 1 << 24; }, strict), "");
  for (const SnpGuestDemand& d : kSnpGuestDemands) {
    const auto one = measurement + tcb + rest + Concat("guest_policy = [\"", d.name, "\"]\n");
    auto with = [&d](bool set) { return [&d, set](SnpReport& r) { r.policy = 1 << 17 | uint64_t{set} << d.bit; }; };
    EXPECT_EQ(changed(with(d.set), one), "");
    EXPECT_EQ(changed(with(!d.set), one), Concat("guest policy: without ", d.name, "; wanted: ", d.name));
  }
  EXPECT_THAT(Judge(vlek_, "[sev-snp]\nguest_policy = [\"smt\"]\n"),
              HasSubstr("p:4: sev-snp.guest_policy: 'smt' is unknown; there are no-smt"));
  EXPECT_EQ(Judge(vlek_, measurement + tcb + rest + "require_crl = true\n"),
            "AMD's revocation list: not given; wanted: names neither key");
  const std::string by_key =
      "[sev-snp]\nid_key_digests = " + Quote(std::string(96, '7')) + "min_guest_svn = 2\n" + tcb + rest;
  auto keyed = [](uint32_t svn) { return [svn](SnpReport& r) { r.id_key_digest.fill(0x77), r.guest_svn = svn; }; };
  EXPECT_EQ(changed(keyed(2), by_key), "");
  EXPECT_EQ(changed(keyed(1), by_key), "guest SVN: 1; wanted: at least 2");
  // Made by hardware with debugging allowed.
  EXPECT_TRUE(milan_.debug);
  EXPECT_EQ(Judge(milan_, "[sev-snp]\nmin_tcb = { snp = 5 }\nmeasurements = " + Measurement(milan_, "measurement")),
            "debugging: allowed: the host can read its memory; wanted: off");
}

TEST_F(HardwarePolicy, EvidenceIsRecognized) {
  EXPECT_EQ(*RecognizeEvidence(Read("sgx-v3.quote.bin")), TeeKind::kSgx);
  for (const char* name : {"a", "b", "outdated"}) {
    EXPECT_EQ(*RecognizeEvidence(Read(std::string("tdx-v4-") + name + ".quote.bin")), TeeKind::kTdx);
  }
  EXPECT_EQ(*RecognizeEvidence(Read("tdx-v5.quote.bin")), TeeKind::kTdx);
  EXPECT_EQ(*RecognizeEvidence(Read("snp-vlek.report.bin")), TeeKind::kSevSnp);
  EXPECT_EQ(*RecognizeEvidence(Read("snp-vcek-milan.report.bin")), TeeKind::kSevSnp);
  EXPECT_FALSE(RecognizeEvidence(Read("intel-root-ca.der")).ok());
  EXPECT_FALSE(RecognizeEvidence({}).ok());
  // Presented as something else.
  const int64_t at = *ParseTime("2025-07-04T10:28:44Z");
  EXPECT_EQ(MessageOf(VerifyEvidence(TeeKind::kTdx, Read("sgx-v3.quote.bin"), {}, at).status()),
            "quote: of SGX, presented as tdx");
  EXPECT_FALSE(VerifyEvidence(TeeKind::kSevSnp, Read("sgx-v3.quote.bin"), Read("snp-vlek.vek.der"), at).ok());
  EXPECT_FALSE(VerifyEvidence(TeeKind::kSgx, Read("snp-vlek.report.bin"), {}, at).ok());
}

// What needs no policy to be refused: so plain `infenclave verify` never accepts a guest that its host can look into.
TEST_F(HardwarePolicy, WithoutAPolicy) {
  auto judge = [](const Claims& claims) { return MessageOf(AppraiseWithoutPolicy(claims).verdict); };
  EXPECT_THAT(judge(milan_), HasSubstr("debugging: allowed")) << "as hardware made it";
  for (const Claims* claims : {&sgx_, &tdx_, &vlek_}) {
    EXPECT_EQ(judge(*claims), "");
    Claims debug = *claims;
    debug.debug = true;
    EXPECT_EQ(judge(debug), "debugging: allowed: the host can read its memory; wanted: off");
  }
  // A guest of 2022 that hardware made: with PKS, and without SEPT_VE_DISABLE.
  const Claims b = *VerifyEvidence(TeeKind::kTdx, Read("tdx-v4-b.quote.bin"), {}, *ParseTime("2026-05-28T00:00:00Z"));
  EXPECT_EQ(judge(b), "SEPT_VE_DISABLE: not set; wanted: set");
}

// The report of hardware with the certificate table of a host behind it, as configfs-tsm and extended requests give it.
TEST_F(HardwarePolicy, TheVekOfACertificateTable) {
  const int64_t at = *ParseTime("2025-02-19T00:00:00Z");
  const Bytes vcek = Read("snp-vcek-milan.vek.der"), vlek = Read("snp-vlek.vek.der");
  for (const char* name : {"snp-vcek-milan", "snp-vlek"}) {
    Bytes evidence = Read(Concat(name, ".report.bin"));
    const Bytes table = EncodeSnpCertificates({.vcek = vcek, .vlek = vlek, .crl = {}});
    evidence.insert(evidence.end(), table.begin(), table.end());
    EXPECT_EQ(*RecognizeEvidence(evidence), TeeKind::kSevSnp);
    const auto claims = VerifyEvidence(TeeKind::kSevSnp, evidence, {}, at);
    ASSERT_TRUE(claims.ok()) << claims.status();
    EXPECT_EQ(claims->report_data, (std::string(name) == "snp-vlek" ? vlek_ : milan_).report_data);
    // Collateral counts before the host's table, and the wrong one is not made up for by it.
    EXPECT_FALSE(VerifyEvidence(TeeKind::kSevSnp, evidence, std::string(name) == "snp-vlek" ? vcek : vlek, at).ok());
    evidence.pop_back();
    EXPECT_THAT(MessageOf(VerifyEvidence(TeeKind::kSevSnp, evidence, {}, at).status()), HasSubstr("reaches outside"));
  }
}

// The whole appraisal, with evidence that hardware made for somebody else: all of it is right but what it attests.
TEST_F(HardwarePolicy, TheWholeAppraisalRefusesReportDataThatIsNotOurs) {
  const auto owner = Ed25519PrivateKey::Generate();
  auto policy =
      *ParsePolicy("accept = [\"tdx\"]\n" + std::string(kOwner) + "[tdx]\nmrtd = " + Measurement(tdx_, "mrtd") +
                       "rtmr0 = [\"any\"]\nrtmr1 = [\"any\"]\nrtmr2 = [\"any\"]\n",
                   "p");
  policy.owner = owner.public_key();
  Manifest manifest;
  manifest.model_name = "net";
  manifest.ir_shape = {8, 4, 4};
  manifest.classes = 10;
  manifest.backnet_output_shape = {10};
  manifest.owner = owner.public_key();
  GetEvidenceReply reply;
  reply.manifest = EncodeManifest(manifest);
  reply.manifest_signature = EncodeManifestSignature(*SignManifest(owner, reply.manifest));
  KeyConfig config;
  config.manifest_digest = Sha256(reply.manifest);
  reply.key_config = EncodeKeyConfig(config);
  EvidenceEnvelope envelope{TeeKind::kTdx, Read("tdx-v4-a.quote.bin"), Read("tdx-v4-a.collateral.json")};
  reply.evidence = EncodeEvidenceEnvelope(envelope);
  auto judge = [&](const char* at) { return Appraise(reply, std::nullopt, policy, *ParseTime(at)); };
  const Appraisal appraisal = judge("2025-07-04T10:24:15Z");
  EXPECT_EQ(MessageOf(appraisal.verdict),
            "report data: another key configuration or nonce; wanted: this key configuration");
  EXPECT_EQ(std::ranges::count_if(appraisal.findings, [](const Finding& f) { return !f.passed; }), 1);
  EXPECT_THAT(MessageOf(judge("2025-08-04T10:24:15Z").verdict), HasSubstr("evidence: PCK CRL: expired 2025-07-19"));
  envelope.collateral.clear();
  reply.evidence = EncodeEvidenceEnvelope(envelope);
  EXPECT_THAT(MessageOf(judge("2025-07-04T10:24:15Z").verdict), HasSubstr("TCB status: not judged"));
}

}  // namespace
}  // namespace infenclave
