// SGX and TDX quotes: the hardware-made vectors of INFENCLAVE_SHARED_DIR come out as index.json says at its verify_at,
// and nothing near them is accepted. The reference statuses are dcap-qvl's.
#include "attestation/verify/intel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/attestation/mutations.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

const std::string kVectors = INFENCLAVE_SHARED_DIR "/vectors/attestation/";

std::string Read(const std::string& file) { return std::string(AsText(*ReadFile(kVectors + file, 1 << 20))); }

struct Vector {
  std::string name;
  nlohmann::json entry;
  Bytes quote;
  int64_t at = 0;
  std::optional<IntelCollateralText> collateral;
};

class IntelVectors : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream in(kVectors + "index.json");
    if (!in) GTEST_SKIP() << "SKIPPED: no " << kVectors << "index.json: hardware-made quotes were not verified";
    for (const auto& entry : nlohmann::json::parse(in)) {
      if (entry["kind"] != "intel-quote") continue;
      Vector& v = vectors_.emplace_back();
      v.name = entry["name"];
      v.entry = entry;
      v.quote = *ReadFile(kVectors + entry["file"].get<std::string>(), 1 << 16);
      v.at = 1780000000;  // 2026-05-28: where the index gives no time, one at which the PCK certificates are valid
      if (entry.contains("collateral")) {
        v.collateral = *ParseIntelCollateral(Read(entry["collateral"].get<std::string>()));
        v.at = *ParseTime(entry["verify_at"].get<std::string>());
      }
    }
    ASSERT_EQ(vectors_.size(), 5u);
  }
  const Vector& Get(std::string_view name) const {
    return *std::ranges::find_if(vectors_, [name](const Vector& v) { return v.name == name; });
  }
  std::vector<Vector> vectors_;
};

void ExpectSgx(const SgxReport& r, const nlohmann::json& facts) {
  EXPECT_EQ(HexEncode(r.mrenclave), facts["mrenclave"]);
  EXPECT_EQ(HexEncode(r.mrsigner), facts["mrsigner"]);
  EXPECT_EQ(r.isv_prod_id, facts["isv_prod_id"]);
  EXPECT_EQ(r.isv_svn, facts["isv_svn"]);
  EXPECT_EQ(HexEncode(r.attributes), facts["attributes"]);
  EXPECT_EQ(r.debug(), facts["debug"]);
  EXPECT_EQ(HexEncode(r.report_data), facts["report_data"]);
  EXPECT_EQ(HexEncode(r.cpu_svn), facts["cpu_svn"]);
}

void ExpectTd(const TdReport& r, const nlohmann::json& facts) {
  EXPECT_EQ(HexEncode(r.tee_tcb_svn), facts["tee_tcb_svn"]);
  EXPECT_EQ(HexEncode(r.mrseam), facts["mrseam"]);
  ByteWriter attributes;  // the index gives the bytes as they lie there
  for (uint64_t v : {r.td_attributes, r.xfam}) {
    for (int i = 0; i < 8; ++i) attributes.U8(static_cast<uint8_t>(v >> (8 * i)));
  }
  EXPECT_EQ(HexEncode(ByteSpan(attributes.bytes()).first(8)), facts["td_attributes"]);
  EXPECT_EQ(HexEncode(ByteSpan(attributes.bytes()).last(8)), facts["xfam"]);
  EXPECT_EQ(r.debug(), facts["debug"]);
  EXPECT_EQ(HexEncode(r.mrtd), facts["mrtd"]);
  EXPECT_EQ(HexEncode(r.mrconfigid), facts["mrconfigid"]);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(HexEncode(r.rtmr[i]), facts["rtmr" + std::to_string(i)]);
  EXPECT_EQ(HexEncode(r.report_data), facts["report_data"]);
}

TEST_F(IntelVectors, ComeOutAsTheIndexSays) {
  for (const Vector& v : vectors_) {
    const auto& facts = v.entry["facts"];
    const auto got = VerifyIntel(v.quote, nullptr, v.at);
    ASSERT_TRUE(got.ok()) << v.name << ": " << got.status();
    EXPECT_EQ(got->quote.header.version, facts["version"]);
    EXPECT_EQ(HexEncode(got->pck.fmspc), facts["fmspc"]);
    EXPECT_EQ(HexEncode(got->quote.qe_report.mrsigner), facts["qe_mrsigner"]);
    EXPECT_EQ(got->quote.qe_report.isv_svn, facts["qe_isv_svn"]);
    EXPECT_FALSE(got->tcb_status.has_value());
    if (const auto* td = std::get_if<TdReport>(&got->quote.body)) {
      ExpectTd(*td, facts);
      EXPECT_EQ(td->v15, facts.value("body_type", 2) == 3);
    } else {
      ExpectSgx(std::get<SgxReport>(got->quote.body), facts);
    }
    EXPECT_EQ(EncodeIntelQuote(got->quote), ToBytes(ByteSpan(v.quote).first(got->quote.size))) << v.name;
  }
}

TEST_F(IntelVectors, WithCollateralTheStatusIsTheReferences) {
  int judged = 0;
  for (const Vector& v : vectors_) {
    if (!v.collateral.has_value()) continue;
    const auto collateral = IntelCollateral::Load(*v.collateral);
    ASSERT_TRUE(collateral.ok()) << v.name << ": " << collateral.status();
    const auto got = VerifyIntel(v.quote, &*collateral, v.at);
    if (v.entry.contains("reference_error")) {
      ASSERT_EQ(v.entry["reference_error"], "Verification failed: No matching TCB level found");
      EXPECT_EQ(got.status().code(), StatusCode::kPermissionDenied);
      EXPECT_THAT(MessageOf(got.status()), HasSubstr("older than every level that the TCB info knows"));
    } else {
      ASSERT_TRUE(got.ok()) << v.name << ": " << got.status();
      EXPECT_EQ(NameOf(*got->tcb_status), v.entry["reference_status"].get<std::string>()) << v.name;
      EXPECT_EQ(got->advisories, v.entry["reference_advisories"].get<std::vector<std::string>>()) << v.name;
    }
    ++judged;
    // The window in which all of it is valid, to the second. The index gives that of the JSON; the lists have their
    // own.
    const int64_t from = *ParseTime(v.entry["collateral_valid"][0].get<std::string>());
    const int64_t to = std::min(*ParseTime(v.entry["collateral_valid"][1].get<std::string>()),
                                RevocationList::Parse(AsBytes(v.collateral->pck_crl))->next_update());
    EXPECT_TRUE(collateral->CheckValidAt(from).ok()) << v.name;
    EXPECT_TRUE(collateral->CheckValidAt(to).ok()) << v.name;
    EXPECT_EQ(collateral->CheckValidAt(from - 1).code(), StatusCode::kPermissionDenied);
    EXPECT_EQ(collateral->CheckValidAt(to + 1).code(), StatusCode::kPermissionDenied);
    const Status expired = VerifyIntel(v.quote, &*collateral, 1795478400).status();
    EXPECT_THAT(MessageOf(expired), HasSubstr("expired")) << v.name << " (the reference: CrlExpired)";
  }
  EXPECT_EQ(judged, 3);
}

// The two vectors whose collateral came in parts: the missing issuer chains are the same for all platforms.
TEST_F(IntelVectors, CollateralAsTheServiceAnswersIt) {
  IntelCollateralText text = *Get("tdx-v4-a").collateral;
  std::tie(text.tcb_info, text.tcb_info_signature) = *SplitSigned(Read("tdx-v4-b.tcb_info.json"), "tcbInfo");
  std::tie(text.qe_identity, text.qe_identity_signature) =
      *SplitSigned(Read("tdx-v4-b.qe_identity.json"), "enclaveIdentity");
  text.root_ca_crl = Read("intel-root.crl");
  text.pck_crl = Read("intel-pck-platform.crl");
  const auto b = IntelCollateral::Load(text);
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ(b->tcb_info().evaluation_number, 15u);
  EXPECT_EQ(b->qe_identity().levels.at(0).isv_svn, 4u);
  // Its key was certified anew since, so at that time the signing certificate that we have is from the future.
  EXPECT_THAT(MessageOf(VerifyIntel(Get("tdx-v4-b").quote, &*b, *ParseTime("2023-06-20T00:00:00Z")).status()),
              HasSubstr("TCB info: certificate 'Intel SGX TCB Signing' is valid from 2025-05-06"));

  text = *Get("tdx-v4-outdated").collateral;
  std::tie(text.tcb_info, text.tcb_info_signature) = *SplitSigned(Read("tdx-v5.tcb_info.json"), "tcbInfo");
  const auto v5 = IntelCollateral::Load(text);
  ASSERT_TRUE(v5.ok()) << v5.status();
  const auto got_v5 = VerifyIntel(Get("tdx-v5").quote, &*v5, *ParseTime("2026-02-20T00:00:00Z"));
  ASSERT_TRUE(got_v5.ok()) << got_v5.status();
  EXPECT_EQ(*got_v5->tcb_status, TcbStatus::kUpToDate);
}

bool SameCertificates(const std::vector<Certificate>& a, const std::vector<Certificate>& b) {
  return std::ranges::equal(a, b,
                            [](const Certificate& x, const Certificate& y) { return X509_cmp(x.get(), y.get()) == 0; });
}

// All bytes before the certificates: header, body, signature, key, QE report and its signature, lengths. In the PEM
// text a change may be of no meaning (a bit that base64 ignores); then the certificates are the same.
TEST_F(IntelVectors, EveryMutatedByteOfTheQuoteIsRefused) {
  for (Vector& v : vectors_) {
    const IntelQuote quote = *DecodeIntelQuote(v.quote);
    const size_t pem = quote.size - quote.pck_chain.size();
    const auto chain = *Certificate::ChainFromPem(quote.pck_chain);
    for (size_t i = 0; i < quote.size; ++i) {
      for (uint8_t change : Alterations(i)) {
        v.quote[i] ^= change;
        const auto got = VerifyIntel(v.quote, nullptr, v.at);
        if (got.ok() && i >= pem) {
          EXPECT_TRUE(SameCertificates(*Certificate::ChainFromPem(got->quote.pck_chain), chain));
        } else {
          EXPECT_FALSE(got.ok()) << v.name << ", byte " << i << " altered by " << int{change};
        }
        v.quote[i] ^= change;
      }
    }
    for (size_t n = 0; n < quote.size; n += 7) {
      EXPECT_FALSE(VerifyIntel(ByteSpan(v.quote).first(n), nullptr, v.at).ok()) << v.name << " cut to " << n;
    }
  }
}

TEST_F(IntelVectors, EveryMutatedByteOfSignedCollateralIsRefused) {
  const Vector& v = Get("tdx-v4-a");
  for (auto member : {&IntelCollateralText::tcb_info, &IntelCollateralText::tcb_info_signature,
                      &IntelCollateralText::qe_identity, &IntelCollateralText::qe_identity_signature,
                      &IntelCollateralText::root_ca_crl, &IntelCollateralText::pck_crl}) {
    IntelCollateralText text = *v.collateral;
    std::string& part = text.*member;
    const std::string whole = part;
    const bool hexadecimal = whole[0] != '{';
    for (size_t i = 0; i < whole.size(); ++i) {
      for (uint8_t change : Alterations(i)) {
        part[i] = static_cast<char>(whole[i] ^ change);
        const bool same_digit = hexadecimal && std::tolower(part[i]) == std::tolower(whole[i]);
        EXPECT_EQ(IntelCollateral::Load(text).ok(), same_digit)
            << "byte " << i << " of " << whole.substr(0, 20) << " altered by " << int{change};
      }
      part[i] = whole[i];
    }
    part = whole.substr(0, whole.size() / 2);
    EXPECT_FALSE(IntelCollateral::Load(text).ok());
  }
}

// In the PEM text a change may be of no meaning; then the certificates are the same.
TEST_F(IntelVectors, EveryMutatedByteOfTheIssuerChainsIsRefused) {
  const Vector& v = Get("tdx-v4-a");
  for (auto member : {&IntelCollateralText::tcb_info_issuer_chain, &IntelCollateralText::pck_crl_issuer_chain}) {
    IntelCollateralText text = *v.collateral;
    std::string& pem = text.*member;
    const auto chain = *Certificate::ChainFromPem(pem);
    for (size_t i = 0; i < pem.size(); ++i) {
      for (uint8_t change : Alterations(i)) {
        pem[i] = static_cast<char>(pem[i] ^ change);
        const auto altered = Certificate::ChainFromPem(pem);
        if (!altered.ok() || !SameCertificates(*altered, chain)) {
          EXPECT_FALSE(IntelCollateral::Load(text).ok()) << "byte " << i << " of " << pem.substr(0, 60);
        }
        pem[i] = static_cast<char>(pem[i] ^ change);
      }
    }
  }
}

TEST_F(IntelVectors, SwappedCollateralIsRefusedByName) {
  const Vector &sgx = Get("sgx-v3"), &a = Get("tdx-v4-a"), &old = Get("tdx-v4-outdated");
  auto verify = [](const Vector& v, const IntelCollateralText& text) {
    const auto collateral = IntelCollateral::Load(text);
    if (!collateral.ok()) return MessageOf(collateral.status());
    return MessageOf(VerifyIntel(v.quote, &*collateral, v.at).status());
  };
  EXPECT_THAT(verify(sgx, *a.collateral), HasSubstr("collateral: for TDX and TD_QE, the quote is of SGX"));
  EXPECT_THAT(verify(a, *sgx.collateral), HasSubstr("collateral: for SGX and QE, the quote is of TDX"));
  IntelCollateralText mixed = *a.collateral;
  mixed.qe_identity = sgx.collateral->qe_identity;
  EXPECT_THAT(verify(a, mixed), HasSubstr("QE identity: its signature is not that of 'Intel SGX TCB Signing'"));
  mixed.qe_identity_signature = sgx.collateral->qe_identity_signature;
  EXPECT_THAT(verify(a, mixed), HasSubstr("collateral: for TDX and QE"));
  // Another platform's TCB info, valid at the same time.
  mixed = *old.collateral;
  std::tie(mixed.tcb_info, mixed.tcb_info_signature) = *SplitSigned(Read("tdx-v4-b.tcb_info.json"), "tcbInfo");
  const auto other = IntelCollateral::Load(mixed);
  EXPECT_THAT(MessageOf(VerifyIntel(old.quote, &*other, old.at).status()),
              HasSubstr("TCB info: for FMSPC 50806f000000 and PCE 0000, the quote's platform is 90c06f000000"));
  mixed = *a.collateral;
  mixed.pck_crl = sgx.collateral->pck_crl;
  EXPECT_THAT(verify(a, mixed),
              HasSubstr("PCK CRL: issued by 'Intel SGX PCK Processor CA', not by 'Intel SGX PCK Platform CA'"));
  mixed.pck_crl_issuer_chain = sgx.collateral->pck_crl_issuer_chain;
  EXPECT_THAT(verify(a, mixed),
              HasSubstr("PCK CRL: issued by 'Intel SGX PCK Processor CA', not by 'Intel SGX PCK Platform CA'"));
  mixed = *a.collateral;
  mixed.root_ca_crl = mixed.pck_crl;
  EXPECT_THAT(verify(a, mixed),
              HasSubstr("root CRL: issued by 'Intel SGX PCK Platform CA', not by 'Intel SGX Root CA'"));
  mixed = *a.collateral;
  mixed.tcb_info_issuer_chain = mixed.pck_crl_issuer_chain;
  EXPECT_THAT(verify(a, mixed),
              HasSubstr("TCB info: signed by 'Intel SGX PCK Platform CA', expected 'Intel SGX TCB Signing'"));
}

TEST_F(IntelVectors, PinnedRootIsIntels) {
  const auto root = Certificate::FromDer(*ReadFile(kVectors + "intel-root-ca.der", 1 << 16));
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(X509_cmp(root->get(), IntelSgxRoot().get()), 0);
  EXPECT_TRUE(IntelSgxRoot().CheckIssuedBy(IntelSgxRoot()).ok());
}

}  // namespace
}  // namespace infenclave
