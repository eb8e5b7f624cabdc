// SEV-SNP reports: the hardware-made vectors of INFENCLAVE_SHARED_DIR come out as index.json says, and nothing near
// them is accepted. Versions 4 and 5, Genoa, Turin and revocation are tested with synthetic evidence under keys of our
// own.
#include "attestation/verify/snp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "attestation/abi/snp_certificates.h"
#include "base/file.h"
#include "tests/attestation/mutations.h"
#include "tests/attestation/test_pki.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

const std::string kVectors = INFENCLAVE_SHARED_DIR "/vectors/attestation/";
constexpr int64_t kAt = 1740000000;  // 2025-02-19, when both VEK certificates are valid

struct Vector {
  nlohmann::json facts;
  Bytes report;
  SnpEndorsement endorsement;
};

class SnpVectors : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream in(kVectors + "index.json");
    if (!in)
      GTEST_SKIP() << "SKIPPED: no " << kVectors << "index.json: hardware-made SEV-SNP reports were not verified";
    for (const auto& entry : nlohmann::json::parse(in)) {
      if (entry["kind"] != "amd-snp-report") continue;
      Vector& v = vectors_.emplace_back();
      v.facts = entry["facts"];
      v.report = *ReadFile(kVectors + entry["file"].get<std::string>(), 1 << 16);
      v.endorsement.vek = *ReadFile(kVectors + entry["vek"].get<std::string>(), 1 << 16);
    }
    ASSERT_EQ(vectors_.size(), 2u);
  }
  std::vector<Vector> vectors_;
};

TEST_F(SnpVectors, ComeOutAsTheIndexSays) {
  for (const Vector& v : vectors_) {
    const auto got = VerifySnp(v.report, v.endorsement, kAt);
    ASSERT_TRUE(got.ok()) << got.status();
    const SnpReport& r = got->report;
    EXPECT_EQ(r.version, v.facts["version"]);
    EXPECT_EQ(r.guest_svn, v.facts["guest_svn"]);
    EXPECT_EQ(r.policy, std::stoull(v.facts["policy"].get<std::string>(), nullptr, 16));
    EXPECT_EQ(r.debug_allowed(), v.facts["debug"]);
    EXPECT_EQ(r.vmpl, v.facts["vmpl"]);
    EXPECT_EQ(r.signature_algo, v.facts["sig_algo"]);
    EXPECT_EQ(HexEncode(r.report_data), v.facts["report_data"]);
    EXPECT_EQ(HexEncode(r.measurement), v.facts["measurement"]);
    EXPECT_EQ(HexEncode(r.host_data), v.facts["host_data"]);
    EXPECT_EQ(HexEncode(r.chip_id), v.facts["chip_id"]);
    EXPECT_EQ(HexEncode(r.reported_tcb), v.facts["reported_tcb"]);
    EXPECT_EQ(r.signing_key(), v.facts["signing_key"]);
    EXPECT_EQ(got->vlek, v.facts["signing_key"] == 1);
    EXPECT_EQ(got->chip_bound, !got->vlek);
    EXPECT_EQ(got->line, "Milan");
    EXPECT_EQ(EncodeSnpReport(r), v.report);
  }
}

TEST_F(SnpVectors, EveryMutatedByteOfTheReportIsRefused) {
  for (Vector& v : vectors_) {
    for (size_t i = 0; i < v.report.size(); ++i) {
      for (uint8_t change : Alterations(i)) {
        v.report[i] ^= change;
        EXPECT_FALSE(VerifySnp(v.report, v.endorsement, kAt).ok()) << "byte " << i << " altered by " << int{change};
        v.report[i] ^= change;
      }
    }
    for (size_t n = 0; n < v.report.size(); ++n) {
      EXPECT_FALSE(VerifySnp(ByteSpan(v.report).first(n), v.endorsement, kAt).ok()) << "cut to " << n;
    }
  }
}

TEST_F(SnpVectors, EveryMutatedByteOfTheVekCertificateIsRefused) {
  for (Vector& v : vectors_) {
    for (size_t i = 0; i < v.endorsement.vek.size(); ++i) {
      for (uint8_t change : Alterations(i)) {
        v.endorsement.vek[i] ^= change;
        EXPECT_FALSE(VerifySnp(v.report, v.endorsement, kAt).ok()) << "byte " << i << " altered by " << int{change};
        v.endorsement.vek[i] ^= change;
      }
    }
  }
}

TEST_F(SnpVectors, AnothersVekAndOtherTimesAreRefused) {
  const Status swapped = VerifySnp(vectors_[0].report, vectors_[1].endorsement, kAt).status();
  EXPECT_EQ(swapped.code(), StatusCode::kPermissionDenied);
  const Status early = VerifySnp(vectors_[1].report, vectors_[1].endorsement, 1700000000).status();
  EXPECT_EQ(
      MessageOf(early),
      "VEK certificate: certificate 'SEV-VLEK' is valid from 2024-12-10T22:14:21Z, and it is 2023-11-14T22:13:20Z");
  const Status late = VerifySnp(vectors_[1].report, vectors_[1].endorsement, 1770000000).status();
  EXPECT_THAT(MessageOf(late), HasSubstr("certificate 'SEV-VLEK' expired 2025-12-10T22:14:21Z"));
  EXPECT_EQ(MessageOf(VerifySnp(vectors_[0].report, {}, kAt).status()),
            "SEV-SNP report: the certificate of its VEK is missing");
}

// The certificates that are compiled in are those of the shared files.
TEST_F(SnpVectors, PinnedCertificatesAreAmds) {
  for (const AmdRoots& roots : AmdRootsPinned()) {
    std::string line = roots.line;
    line[0] = static_cast<char>(std::tolower(line[0]));
    auto chain = Certificate::ChainFromPem(AsText(*ReadFile(kVectors + "amd-" + line + ".pem", 1 << 16)));
    auto vlek = Certificate::ChainFromPem(AsText(*ReadFile(kVectors + "amd-" + line + "-vlek.pem", 1 << 16)));
    ASSERT_TRUE(chain.ok() && vlek.ok()) << chain.status();
    EXPECT_EQ(X509_cmp((*chain)[0].get(), roots.ask.get()), 0);
    EXPECT_EQ(X509_cmp((*chain)[1].get(), roots.ark.get()), 0);
    EXPECT_EQ(X509_cmp((*vlek)[0].get(), roots.asvk.get()), 0);
    for (const Certificate* c : {&roots.ask, &roots.asvk, &roots.ark}) {
      EXPECT_TRUE(c->CheckIssuedBy(roots.ark).ok()) << c->CommonName();
    }
  }
}

// ---- synthetic evidence ---------------------------------------------------------------------------------------------

class SyntheticSnp : public testing::Test {
 protected:
  SyntheticSnp() { UseLine("Milan"); }
  void UseLine(const std::string& line) {
    line_ = line;
    const bool turin = line == "Turin";
    const TestKey key = NewKey("P-384");
    ark_ = Issue({.subject = "ARK-" + line, .ca = true}, key, nullptr);
    ask_ = Issue({.subject = "SEV-" + line, .ca = true, .serial = 17}, NewKey("P-384"), &ark_);
    asvk_ = Issue({.subject = "SEV-VLEK-" + line, .ca = true, .serial = 18}, NewKey("P-384"), &ark_);
    roots_.clear();
    roots_.push_back({line, turin, ark_.cert(), ask_.cert(), asvk_.cert()});
    report_ = {};
    report_.version = 2;
    report_.signature_algo = 1;
    report_.policy = 0x30000;
    report_.chip_id.fill(0);
    for (size_t i = 0; i < (turin ? 8u : 64u); ++i) report_.chip_id[i] = static_cast<uint8_t>(i + 1);
    report_.reported_tcb =
        turin ? std::array<uint8_t, 8>{1, 2, 3, 4, 0, 0, 0, 9} : std::array<uint8_t, 8>{2, 3, 0, 0, 0, 0, 4, 9};
    report_.current_tcb = report_.committed_tcb = report_.launch_tcb = report_.reported_tcb;
    tcb_ = {.fmc = static_cast<uint8_t>(turin ? 1 : 0), .boot_loader = 2, .tee = 3, .snp = 4, .microcode = 9};
    vek_ = {.subject = "SEV-VCEK"};
  }
  // The certificate's extensions as AMD makes them, then the report, signed.
  void Make(bool vlek = false) {
    auto spl = [](const char* last, uint32_t v) {
      return std::pair{std::string("1.3.6.1.4.1.3704.1.3.") + last, DerInt(v)};
    };
    vek_.extensions = {
        {"1.3.6.1.4.1.3704.1.2", Der(0x16, AsBytes(product_.empty() ? line_ + (vlek ? "" : "-B1") : product_))},
        spl("1", tcb_.boot_loader),
        spl("2", tcb_.tee),
        spl("3", tcb_.snp),
        spl("8", tcb_.microcode)};
    if (line_ == "Turin") vek_.extensions.push_back(spl("9", tcb_.fmc));
    if (vlek) {
      vek_.extensions.push_back({"1.3.6.1.4.1.3704.1.5", Der(0x16, AsBytes("CN=cloud.example"))});
      report_.key_info = SnpReport::kVlek << 2;
    } else {
      Bytes id(hardware_id_.empty()
                   ? Bytes(report_.chip_id.begin(), report_.chip_id.begin() + (line_ == "Turin" ? 8 : 64))
                   : hardware_id_);
      vek_.extensions.push_back({"1.3.6.1.4.1.3704.1.4", id});
    }
    const TestCert vek = Issue(vek_, NewKey("P-384"), vlek ? &asvk_ : &ask_);
    endorsement_.vek = vek.der;
    const Bytes unsigned_report = EncodeSnpReport(report_);
    auto [r, s] = EcdsaSign(vek.key, EVP_sha384(), ByteSpan(unsigned_report).first(kSnpSignedBytes), 72);
    std::reverse_copy(r.begin(), r.end(), report_.r.begin());
    std::reverse_copy(s.begin(), s.end(), report_.s.begin());
    bytes_ = EncodeSnpReport(report_);
  }
  StatusOr<VerifiedSnp> Verify() const { return VerifySnp(bytes_, endorsement_, 1800000000, roots_); }
  std::string Refusal() const { return MessageOf(Verify().status()); }

  std::string line_, product_;
  TestCert ark_, ask_, asvk_;
  std::vector<AmdRoots> roots_;
  SnpReport report_;
  SnpTcb tcb_;
  CertSpec vek_;
  Bytes hardware_id_, bytes_;
  SnpEndorsement endorsement_;
};

TEST_F(SyntheticSnp, EveryVersionLineAndKey) {
  const std::tuple<const char*, uint8_t, uint8_t> processors[] = {{"Milan", 0x19, 0x01},
                                                                  {"Genoa", 0x19, 0x11},
                                                                  {"Genoa", 0x19, 0xa0},
                                                                  {"Turin", 0x1a, 0x02},
                                                                  {"Turin", 0x1a, 0x11}};
  for (const auto& [line, family, model] : processors) {
    for (uint32_t version = 2; version <= 5; ++version) {
      for (bool vlek : {false, true}) {
        UseLine(line);
        report_.version = version;
        if (version >= 3) report_.cpuid_family = family, report_.cpuid_model = model, report_.cpuid_stepping = 1;
        if (version >= 5) report_.launch_mit_vector = 5, report_.current_mit_vector = 7;
        Make(vlek);
        const auto got = Verify();
        ASSERT_TRUE(got.ok()) << line << " version " << version << ": " << got.status();
        EXPECT_EQ(got->line, line);
        EXPECT_EQ(got->vlek, vlek);
        EXPECT_EQ(got->reported_tcb, tcb_);
        EXPECT_EQ(got->report.current_mit_vector, version >= 5 ? 7u : 0u);
        EXPECT_EQ(EncodeSnpReport(got->report), bytes_);
      }
    }
  }
}

TEST_F(SyntheticSnp, EachRefusalByName) {
  struct Bad {
    std::function<void()> change;
    std::string message;
  };
  const Bad bad[] = {
      {[&] { report_.signature_algo = 2; }, "signature algorithm 2, expected 1"},
      {[&] { report_.key_info = SnpReport::kNoKey << 2; }, "signing key 7, expected VCEK (0) or VLEK (1)"},
      {[&] { report_.version = 3, report_.cpuid_family = 0x19, report_.cpuid_model = 0x11; },
       "made by a processor of family 25, model 17, and the VEK is for Milan"},
      {[&] { report_.policy = 0x10000; }, "its guest policy 65536 has bits without a meaning"},
      {[&] { report_.policy |= 1ull << 26; }, "has bits without a meaning"},
      {[&] { hardware_id_ = Bytes(64, 9); }, "is not the hardware id of the VEK's certificate, 0909"},
      {[&] { hardware_id_ = Bytes(3, 9); }, "this has no hardware id"},
      {[&] { tcb_.microcode = 8; },
       "microcode 9, the VEK's certificate is for boot loader 2, TEE 3, SNP 4, microcode 8"},
      {[&] { report_.current_tcb[6] = 3; },
       "reports TCB boot loader 2, TEE 3, SNP 4, microcode 9, and runs boot loader 2, TEE 3, SNP 3"},
      {[&] { product_ = "Rome-B0"; }, "is of no line known here"},
      {[&] { product_ = "Milano"; }, "is of no line known here"},
      {[&] { vek_.not_after = 1750000000; }, "certificate 'SEV-VCEK' expired 2025-06-15T15:06:40Z"},
      {[&] { vek_.not_before = 1850000000; }, "certificate 'SEV-VCEK' is valid from 2028-08-16T00:53:20Z"},
  };
  for (const Bad& b : bad) {
    UseLine("Milan");
    product_.clear();
    hardware_id_.clear();
    b.change();
    Make();
    EXPECT_EQ(Verify().status().code(), StatusCode::kPermissionDenied);
    EXPECT_THAT(Refusal(), HasSubstr(b.message));
  }
}

// The certificates above the VEK are compiled in; they have dates all the same.
TEST_F(SyntheticSnp, SignersExpiredOrFromTheFutureByName) {
  for (bool of_root : {false, true}) {
    for (auto [from, to, message] : {std::tuple{1790000000, 1799999999, "expired 2027-01-15T07:59:59Z"},
                                     {1800000001, 1810000000, "is valid from 2027-01-15T08:00:01Z"},
                                     {1800000000, 1800000000, ""}}) {
      UseLine("Milan");
      TestCert& signer = of_root ? ark_ : ask_;
      signer = Issue({.subject = signer.subject, .ca = true, .not_before = from, .not_after = to}, signer.key, &ark_);
      roots_.clear();
      roots_.push_back({line_, false, ark_.cert(), ask_.cert(), asvk_.cert()});
      Make();
      EXPECT_EQ(Verify().ok(), std::string_view(message).empty());
      EXPECT_THAT(Refusal(), HasSubstr(*message != 0 ? Concat("'", signer.subject, "' ", message) : ""));
    }
  }
}

TEST_F(SyntheticSnp, HiddenChipIdIsNotBound) {
  hardware_id_ = Bytes(64, 9);
  report_.chip_id.fill(0);
  Make();
  ASSERT_TRUE(Verify().ok()) << Verify().status();
  EXPECT_FALSE(Verify()->chip_bound);
}

TEST_F(SyntheticSnp, AVlekDoesNotStandForAVcek) {
  Make(true);
  report_.key_info = 0;  // the signature breaks as well, but the chain is looked at first
  bytes_ = EncodeSnpReport(report_);
  EXPECT_THAT(Refusal(), HasSubstr("names the issuer 'SEV-VLEK-Milan', not 'SEV-Milan'"));
}

TEST_F(SyntheticSnp, ForeignRootsAreRefused) {
  Make();
  const auto own = std::move(roots_);
  UseLine("Milan");  // the same names, other keys
  EXPECT_EQ(Refusal(), "VEK certificate: certificate 'SEV-VCEK' is not signed by 'SEV-Milan'");
  EXPECT_FALSE(VerifySnp(bytes_, endorsement_, 1800000000).ok()) << "the pinned ones";
}

TEST_F(SyntheticSnp, RevocationLists) {
  Make();
  endorsement_.crl = IssueCrl(ark_, 1790000000, 1810000000, {5});
  ASSERT_TRUE(Verify().ok()) << Verify().status();
  EXPECT_TRUE(Verify()->crl_checked);
  endorsement_.crl = IssueCrl(ark_, 1790000000, 1810000000, {5, 17});
  EXPECT_EQ(Refusal(), "certificate 'SEV-Milan' was revoked by 'ARK-Milan'");
  endorsement_.crl = IssueCrl(ark_, 1780000000, 1790000000, {});
  EXPECT_EQ(Refusal(), "AMD's revocation list: expired 2026-09-21T14:13:20Z, and it is 2027-01-15T08:00:00Z");
  endorsement_.crl = IssueCrl(ark_, 1805000000, 1810000000, {});
  EXPECT_EQ(Refusal(), "AMD's revocation list: issued 2027-03-14T04:53:20Z, and it is 2027-01-15T08:00:00Z");
  // The provider's signer, where the key is a VLEK.
  Make(/*vlek=*/true);
  endorsement_.crl = IssueCrl(ark_, 1790000000, 1810000000, {17});
  ASSERT_TRUE(Verify().ok()) << Verify().status();
  endorsement_.crl = IssueCrl(ark_, 1790000000, 1810000000, {18});
  EXPECT_EQ(Refusal(), "certificate 'SEV-VLEK-Milan' was revoked by 'ARK-Milan'");
  report_.key_info = 0;
  Make();
  endorsement_.crl = IssueCrl(ask_, 1790000000, 1810000000, {});
  EXPECT_EQ(Refusal(), "AMD's revocation list: issued by 'SEV-Milan', not by 'ARK-Milan'");
  const TestCert impostor = Issue({.subject = "ARK-Milan", .ca = true}, NewKey("P-384"), nullptr);
  endorsement_.crl = IssueCrl(impostor, 1790000000, 1810000000, {});
  EXPECT_EQ(Refusal(), "AMD's revocation list: not signed by 'ARK-Milan'");
  endorsement_.crl = ToBytes(AsBytes("no list"));
  EXPECT_THAT(Refusal(), HasSubstr("revocation list: not one X.509 revocation list"));
}

TEST(SnpCertificates, TheTablesFormat) {
  // A table as go-sev-guest's `abi.CertTable` writes it: GUIDs in the order of their text, little-endian numbers.
  const Bytes table = *HexDecode(
      "63da758de6644564adc5f4b93be8accd"
      "48000000"
      "03000000"
      "4ab7b379bbac4fe4a02f05aef327c782"
      "4b000000"
      "01000000"
      "00000000000000000000000000000000"
      "00000000"
      "00000000"
      "010203"
      "ff");
  const auto got = DecodeSnpCertificates(table);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(ToBytes(got->vcek), (Bytes{1, 2, 3}));
  EXPECT_TRUE(got->vlek.empty());
  EXPECT_TRUE(got->crl.empty());
  EXPECT_TRUE(DecodeSnpCertificates({})->vcek.empty());
  EXPECT_TRUE(DecodeSnpCertificates(Bytes(4096))->vcek.empty());
  for (size_t n = 1; n < table.size(); ++n) EXPECT_FALSE(DecodeSnpCertificates(ByteSpan(table).first(n)).ok()) << n;
  Bytes bad = table;
  bad[23] = 1;  // a length of 2^24
  EXPECT_FALSE(DecodeSnpCertificates(bad).ok());
  bad = table;
  std::copy_n(bad.begin(), 16, bad.begin() + 24);
  EXPECT_EQ(MessageOf(DecodeSnpCertificates(bad).status()), "SEV-SNP certificate table: a kind is there twice");
  bad.assign(24 * 66, 1);
  for (size_t i = 16; i < bad.size(); i += 24) std::fill_n(bad.begin() + static_cast<ptrdiff_t>(i), 8, 0);
  EXPECT_THAT(MessageOf(DecodeSnpCertificates(bad).status()), HasSubstr("more than 64 entries"));
  const SnpCertificates all{.vcek = ByteSpan(table).first(7), .vlek = ByteSpan(table).first(2), .crl = table};
  const Bytes encoded = EncodeSnpCertificates(all);
  const auto again = DecodeSnpCertificates(encoded);
  EXPECT_EQ(ToBytes(again->crl), table);
  EXPECT_EQ(again->vlek.size(), 2u);
}

TEST(SnpReport, LimitsOfTheFormat) {
  Bytes bytes(kSnpReportBytes);
  for (uint32_t version : {0u, 1u, 6u, 0x01000000u}) {
    for (int i = 0; i < 4; ++i) bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(version >> 8 * i);
    EXPECT_EQ(DecodeSnpReport(bytes).status().code(), StatusCode::kUnimplemented) << version;
  }
  bytes[0] = 2, bytes[3] = 0;
  EXPECT_TRUE(DecodeSnpReport(bytes).ok());
  bytes[0x4c] = 1;
  EXPECT_EQ(MessageOf(DecodeSnpReport(bytes).status()),
            "SEV-SNP report: reserved bytes after the key information are not zero at byte 80");
  EXPECT_EQ(MessageOf(DecodeSnpReport(Bytes(1185)).status()), "SEV-SNP report: 1185 bytes, expected 1184");
}

}  // namespace
}  // namespace infenclave
