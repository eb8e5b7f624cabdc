// Quotes and collateral under keys of our own, for what no hardware-made vector shows: every format, every status,
// every refusal. Synthetic: it tests our reading of Intel's rules, not Intel's hardware.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "attestation/verify/intel.h"
#include "crypto/primitives.h"
#include "tests/attestation/test_pki.h"

namespace infenclave {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr int64_t kAt = 1800000000;  // 2027-01-15

struct Platform {
  std::array<uint8_t, 16> components{};
  uint16_t pce_svn = 11;
  Bytes fmspc = {0, 1, 2, 3, 4, 5};
};

Bytes SgxExtension(const Platform& p) {
  auto oid = [](std::initializer_list<uint8_t> tail) {
    Bytes out = {0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01};
    out.insert(out.end(), tail);
    return Der(0x06, out);
  };
  auto pair = [](Bytes a, const Bytes& b) {
    a.insert(a.end(), b.begin(), b.end());
    return Der(0x30, a);
  };
  auto append = [](Bytes& to, const Bytes& more) { to.insert(to.end(), more.begin(), more.end()); };
  Bytes tcb;
  for (uint8_t i = 0; i < 16; ++i) append(tcb, pair(oid({2, static_cast<uint8_t>(i + 1)}), DerInt(p.components[i])));
  append(tcb, pair(oid({2, 17}), DerInt(p.pce_svn)));
  append(tcb, pair(oid({2, 18}), Der(0x04, p.components)));
  Bytes all = pair(oid({1}), Der(0x04, Bytes(16, 7)));
  append(all, pair(oid({2}), Der(0x30, tcb)));
  append(all, pair(oid({3}), Der(0x04, Bytes(2))));
  append(all, pair(oid({4}), Der(0x04, p.fmspc)));
  append(all, pair(oid({5}), Der(0x0a, Bytes{0})));
  return Der(0x30, all);
}

class Synthetic : public testing::Test {
 protected:
  Synthetic() : root_(Issue({.subject = "Intel SGX Root CA", .ca = true}, NewKey("P-256"), nullptr)) {
    ca_ = Issue({.subject = "Intel SGX PCK Platform CA", .ca = true, .serial = 21}, NewKey("P-256"), &root_);
    signer_ = Issue({.subject = "Intel SGX TCB Signing", .serial = 22}, NewKey("P-256"), &root_);
    platform_.components.fill(5);
    quote_.header.att_key_type = 2;
    quote_.header.qe_vendor_id = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                  0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};
    quote_.qe_auth_data = Bytes(32, 0x1f);
    UseTd();
    qe_identity_ = {
        {"id", "TD_QE"},
        {"version", 2},
        {"tcbEvaluationDataNumber", 17},
        {"miscselect", "00000000"},
        {"miscselectMask", "FFFFFFFF"},
        {"attributes", "11000000000000000000000000000000"},
        {"attributesMask", "FBFFFFFFFFFFFFFF0000000000000000"},
        {"mrsigner", std::string(64, 'A')},
        {"isvprodid", 2},
        {"issueDate", "2027-01-01T00:00:00Z"},
        {"nextUpdate", "2027-02-01T00:00:00Z"},
        {"tcbLevels",
         {IsvLevelJson(4, "UpToDate"), IsvLevelJson(2, "OutOfDate", {"INTEL-SA-2"}), IsvLevelJson(1, "Revoked")}}};
    tcb_info_ = {{"id", "TDX"},
                 {"version", 3},
                 {"tcbType", 0},
                 {"fmspc", "000102030405"},
                 {"pceId", "0000"},
                 {"tcbEvaluationDataNumber", 18},
                 {"issueDate", "2027-01-02T00:00:00Z"},
                 {"nextUpdate", "2027-02-02T00:00:00Z"},
                 {"tdxModule", ModuleJson()},
                 {"tdxModuleIdentities", json::array({ModuleJson()})},
                 {"tcbLevels",
                  {LevelJson(5, 11, 3, "UpToDate"), LevelJson(4, 10, 2, "SWHardeningNeeded", {"INTEL-SA-1"}),
                   LevelJson(3, 9, 1, "ConfigurationNeeded"), LevelJson(2, 9, 1, "OutOfDateConfigurationNeeded"),
                   LevelJson(1, 1, 0, "Revoked")}}};
    tcb_info_["tdxModuleIdentities"][0]["id"] = "TDX_01";
    tcb_info_["tdxModuleIdentities"][0]["tcbLevels"] = {IsvLevelJson(3, "UpToDate"),
                                                        IsvLevelJson(2, "OutOfDate", {"INTEL-SA-3"})};
    crl_root_ = IssueCrl(root_, kAt - 1000, kAt + 1000, {});
    crl_pck_ = IssueCrl(ca_, kAt - 1000, kAt + 1000, {5});
  }

  static json IsvLevelJson(int svn, const char* status, const std::vector<std::string>& advisories = {}) {
    return {{"tcb", {{"isvsvn", svn}}},
            {"tcbDate", "2026-01-01T00:00:00Z"},
            {"tcbStatus", status},
            {"advisoryIDs", advisories}};
  }
  static json LevelJson(int sgx, int pce, int tdx, const char* status,
                        const std::vector<std::string>& advisories = {}) {
    json components = json::array(), td = json::array();
    for (int i = 0; i < 16; ++i) components.push_back({{"svn", sgx}}), td.push_back({{"svn", tdx}});
    return {{"tcb", {{"sgxtcbcomponents", components}, {"pcesvn", pce}, {"tdxtcbcomponents", td}}},
            {"tcbDate", "2026-01-01T00:00:00Z"},
            {"tcbStatus", status},
            {"advisoryIDs", advisories}};
  }
  static json ModuleJson() {
    return {{"mrsigner", std::string(96, '0')},
            {"attributes", std::string(16, '0')},
            {"attributesMask", std::string(16, 'F')}};
  }
  void UseTd(uint16_t version = 5, bool v15 = true) {
    quote_.header.version = version;
    quote_.header.tee_type = 0x81;
    TdReport td;
    td.v15 = v15;
    td.tee_tcb_svn.fill(3);
    td.tee_tcb_svn[1] = 1;  // module TDX_01, of version 3
    if (v15) td.tee_tcb_svn2 = td.tee_tcb_svn;
    td.td_attributes = 1ull << 28;
    td.mrtd.fill(0x44);
    quote_.body = td;
  }
  void UseSgx(uint16_t version) {
    quote_.header.version = version;
    quote_.header.tee_type = 0;
    SgxReport sgx;
    sgx.mrenclave.fill(0x55);
    quote_.body = sgx;
    tcb_info_["id"] = "SGX";
    qe_identity_["id"] = "QE";
  }
  TdReport& td() { return std::get<TdReport>(quote_.body); }

  // Everything signed as it is now.
  Bytes MakeQuote() {
    const TestKey attestation = NewKey("P-256"), pck_key = NewKey("P-256");
    const TestCert pck = Issue({.subject = "Intel SGX PCK Certificate",
                                .not_before = pck_validity_.first,
                                .not_after = pck_validity_.second,
                                .serial = pck_serial_,
                                .extensions = {{"1.2.840.113741.1.13.1", SgxExtension(platform_)}}},
                               pck_key, &ca_);
    quote_.pck_chain = Pem({&pck, &ca_, &root_});
    const Bytes point = Issue({.subject = "key"}, attestation, nullptr).cert().EcPoint();
    std::copy(point.begin() + 1, point.end(), quote_.attestation_key.begin());
    auto& qe = quote_.qe_report_bytes;
    qe.fill(0);
    qe[48] = qe_attributes_;
    std::fill_n(qe.begin() + 128, 32, qe_mrsigner_);  // MRSIGNER
    qe[256] = 2;                                      // product
    qe[258] = qe_svn_;
    ByteWriter bound;
    bound.Raw(quote_.attestation_key);
    bound.Raw(quote_.qe_auth_data);
    std::ranges::copy(Sha256(bound.bytes()), qe.begin() + 320);
    if (break_binding_) qe[383] = 1;
    quote_.qe_report_signature = Signature(pck_key, qe);
    const size_t body = 48 + (quote_.header.version == 5 ? 6 : 0) +
                        (quote_.header.tee_type == 0 ? 384
                         : td().v15                  ? 648
                                                     : 584);
    const Bytes bytes = EncodeIntelQuote(quote_);
    quote_.signature = Signature(attestation, ByteSpan(bytes).first(body));
    return EncodeIntelQuote(quote_);
  }
  static std::array<uint8_t, 64> Signature(const TestKey& key, ByteSpan message) {
    const auto [r, s] = EcdsaSign(key, EVP_sha256(), message, 32);
    std::array<uint8_t, 64> out;
    std::copy(s.begin(), s.end(), std::copy(r.begin(), r.end(), out.begin()));
    return out;
  }
  IntelCollateralText MakeCollateral() {
    IntelCollateralText text;
    text.tcb_info = tcb_info_.dump();
    text.tcb_info_signature = HexEncode(Signature(signer_.key, AsBytes(text.tcb_info)));
    text.qe_identity = qe_identity_.dump();
    text.qe_identity_signature = HexEncode(Signature(signer_.key, AsBytes(text.qe_identity)));
    text.tcb_info_issuer_chain = text.qe_identity_issuer_chain = Pem({&signer_, &root_});
    text.root_ca_crl = std::string(AsText(crl_root_));
    text.pck_crl = HexEncode(crl_pck_);
    text.pck_crl_issuer_chain = Pem({&ca_, &root_});
    return text;
  }
  StatusOr<VerifiedIntel> Verify() {
    const Certificate root = root_.cert();
    INFENCLAVE_ASSIGN_OR_RETURN(const IntelCollateral collateral, IntelCollateral::Load(MakeCollateral(), root));
    return VerifyIntel(MakeQuote(), &collateral, kAt, root);
  }
  std::string StatusName() {
    const auto got = Verify();
    return got.ok() ? std::string(NameOf(*got->tcb_status)) : MessageOf(got.status());
  }

  TestCert root_, ca_, signer_;
  Platform platform_;
  IntelQuote quote_;
  uint8_t qe_svn_ = 4, qe_mrsigner_ = 0xaa, qe_attributes_ = 0x11;
  long pck_serial_ = 4;
  std::pair<int64_t, int64_t> pck_validity_ = {1700000000, 1900000000};
  bool break_binding_ = false;
  json tcb_info_, qe_identity_;
  Bytes crl_root_, crl_pck_;
};

TEST_F(Synthetic, EveryFormat) {
  for (auto [version, v15] : {std::pair{4, false}, {5, false}, {5, true}}) {
    UseTd(static_cast<uint16_t>(version), v15);
    const auto got = Verify();
    ASSERT_TRUE(got.ok()) << version << ": " << got.status();
    EXPECT_EQ(std::get<TdReport>(got->quote.body).v15, v15);
    EXPECT_EQ(got->evaluation_number, 17u);
    EXPECT_EQ(got->quote.qe_report.isv_svn, 4);
  }
  UseSgx(3);
  const auto got = Verify();
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got->tcb_status, TcbStatus::kUpToDate);
}

TEST_F(Synthetic, FormatsThatAreNotKnown) {
  auto code = [this] { return DecodeIntelQuote(MakeQuote()).status().code(); };
  for (uint16_t version : {0, 1, 2, 6, 0x0300}) {
    quote_.header.version = version;
    EXPECT_EQ(code(), StatusCode::kUnimplemented) << version;
  }
  UseTd(3, false);  // version 3 is SGX alone
  EXPECT_EQ(code(), StatusCode::kUnimplemented);
  UseTd(4, false);
  quote_.header.tee_type = 0;  // and SGX is version 3 alone
  EXPECT_EQ(DecodeIntelQuote(EncodeIntelQuote(quote_)).status().code(), StatusCode::kUnimplemented);
  UseTd(5);
  quote_.header.att_key_type = 3;
  EXPECT_EQ(code(), StatusCode::kUnimplemented);
  quote_.header.att_key_type = 2;
  Bytes bytes = MakeQuote();
  bytes[48] = 9;  // the kind of body
  EXPECT_EQ(DecodeIntelQuote(bytes).status().code(), StatusCode::kUnimplemented);
  EXPECT_EQ(DecodeIntelQuote(Bytes(kMaxQuoteBytes + 1)).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(Synthetic, TcbStatusIsThatOfTheFirstLevelReached) {
  EXPECT_EQ(StatusName(), "UpToDate");
  platform_.components[15] = 4;
  EXPECT_EQ(StatusName(), "SWHardeningNeeded");
  EXPECT_THAT(Verify()->advisories, testing::ElementsAre("INTEL-SA-1"));
  platform_.components.fill(5);
  platform_.pce_svn = 10;
  EXPECT_EQ(StatusName(), "SWHardeningNeeded");
  platform_.pce_svn = 9;
  EXPECT_EQ(StatusName(), "ConfigurationNeeded");
  platform_.components[3] = 2;
  EXPECT_EQ(StatusName(), "OutOfDateConfigurationNeeded");
  platform_.components[3] = 1;
  EXPECT_EQ(StatusName(), "TCB: Intel has revoked this level");
  platform_.components[3] = 0;
  EXPECT_THAT(StatusName(), HasSubstr("TCB: this platform is older than every level that the TCB info knows"));
}

TEST_F(Synthetic, TdxComponentsCountButForTheModulesOwn) {
  td().tee_tcb_svn[9] = 2;
  EXPECT_EQ(StatusName(), "SWHardeningNeeded");
  td().tee_tcb_svn.fill(3);
  td().tee_tcb_svn[0] = 200, td().tee_tcb_svn[1] = 1;  // the module's version is no component here
  EXPECT_EQ(StatusName(), "UpToDate");
  td().tee_tcb_svn[1] =
      0;  // no version: all 16 are components, the second of which is too low for the first two levels
  EXPECT_EQ(StatusName(), "TCB: Intel has revoked this level");
  td().tee_tcb_svn[1] = 2;
  EXPECT_EQ(StatusName(), "TCB: the TCB info knows no TDX module TDX_02");
}

TEST_F(Synthetic, ModuleAndQuotingEnclaveMakeItWorse) {
  td().tee_tcb_svn[0] = 2;
  EXPECT_EQ(StatusName(), "OutOfDate");
  EXPECT_THAT(Verify()->advisories, testing::ElementsAre("INTEL-SA-3"));
  platform_.components[0] = 3;
  EXPECT_EQ(StatusName(), "OutOfDateConfigurationNeeded");
  td().tee_tcb_svn[0] = 1;
  EXPECT_EQ(StatusName(), "TCB: TDX module of version 1 is older than every level known");
  td().tee_tcb_svn[0] = 3;
  platform_.components[0] = 4;
  qe_svn_ = 3;
  EXPECT_EQ(StatusName(), "OutOfDate");
  EXPECT_THAT(Verify()->advisories, testing::ElementsAre("INTEL-SA-1", "INTEL-SA-2"));
  qe_svn_ = 1;
  EXPECT_EQ(StatusName(), "TCB: Intel has revoked this level");
  qe_svn_ = 0;
  EXPECT_EQ(StatusName(), "TCB: quoting enclave of version 0 is older than every level known");
}

// A TD that lived through an update of its module keeps the status of its launch; what runs now must be known, too.
TEST_F(Synthetic, TheModuleThatRunsNowMustBeKnownAndNotRevoked) {
  td().tee_tcb_svn[0] = 2;  // launched under an old one
  EXPECT_EQ(StatusName(), "OutOfDate");
  td().tee_tcb_svn = td().tee_tcb_svn2;
  td().tee_tcb_svn2[0] = 1;
  EXPECT_EQ(StatusName(), "TCB: TDX module of version 1 is older than every level known");
  td().tee_tcb_svn2[1] = 7;
  EXPECT_EQ(StatusName(), "TCB: the TCB info knows no TDX module TDX_07");
  td().tee_tcb_svn2 = td().tee_tcb_svn;
  td().tee_tcb_svn2[5] = 0;  // of the levels, only the revoked one is reached
  EXPECT_EQ(StatusName(), "TCB: Intel has revoked this level");
}

TEST_F(Synthetic, EachRefusalByName) {
  struct Bad {
    std::function<void()> change;
    std::string message;
  };
  const Bad bad[] = {
      {[&] { td().mrsignerseam[0] = 1; }, "TDX module: signed by 01"},
      {[&] { td().seam_attributes[7] = 1; }, "TDX module: attributes 0000000000000001, expected 0000000000000000"},
      {[&] {
         tcb_info_["tdxModuleIdentities"][0]["attributesMask"] = "FFFFFFFFFFFFFF00";
         td().seam_attributes[7] = 1;
       },
       "TDX module: attributes 0000000000000001 outside of the mask ffffffffffffff00"},
      {[&] { tcb_info_["tdxModuleIdentities"][0]["tcbLevels"][0]["tcbStatus"] = "SWHardeningNeeded"; },
       "TDX module has the status SWHardeningNeeded, which only a platform can have"},
      {[&] { qe_attributes_ = 0x13; }, "quoting enclave: it runs in debug mode"},
      {[&] { crl_root_ = IssueCrl(root_, kAt - 9, kAt + 9, {1}); },
       "certificate 'Intel SGX Root CA' was revoked by 'Intel SGX Root CA'"},
      {[&] { qe_mrsigner_ = 0xab; }, "quoting enclave: MRSIGNER abab"},
      {[&] { qe_identity_["isvprodid"] = 3; }, "quoting enclave: product 2, expected 3"},
      {[&] { qe_identity_["attributes"] = "13000000000000000000000000000000"; }, "quoting enclave: attributes 1100"},
      {[&] { qe_identity_["miscselect"] = "01000000"; }, "quoting enclave: MISCSELECT 00000000, expected 01000000"},
      {[&] { break_binding_ = true; }, "QE report: its report data does not bind the quote's attestation key"},
      {[&] { quote_.header.qe_vendor_id[0] ^= 1; }, "made by a quoting enclave of vendor 929a"},
      {[&] { platform_.fmspc[5] = 9; },
       "TCB info: for FMSPC 000102030405 and PCE 0000, the quote's platform is 000102030409"},
      {[&] { pck_serial_ = 5; }, "certificate 'Intel SGX PCK Certificate' was revoked by 'Intel SGX PCK Platform CA'"},
      {[&] { crl_root_ = IssueCrl(root_, kAt - 9, kAt + 9, {21}); },
       "certificate 'Intel SGX PCK Platform CA' was revoked by 'Intel SGX Root CA'"},
      {[&] { crl_root_ = IssueCrl(root_, kAt - 9, kAt + 9, {22}); },
       "certificate 'Intel SGX TCB Signing' was revoked by 'Intel SGX Root CA'"},
      {[&] { crl_root_ = IssueCrl(root_, kAt - 9, kAt - 1, {}); }, "root CRL: expired 2027-01-15T07:59:59Z"},
      {[&] { crl_pck_ = IssueCrl(ca_, kAt + 1, kAt + 9, {}); }, "PCK CRL: issued 2027-01-15T08:00:01Z"},
      {[&] { crl_pck_ = IssueCrl(root_, kAt - 9, kAt + 9, {}); }, "PCK CRL: issued by 'Intel SGX Root CA'"},
      {[&] { tcb_info_["nextUpdate"] = "2027-01-15T07:59:59Z"; }, "TCB info: expired 2027-01-15T07:59:59Z"},
      {[&] { tcb_info_["issueDate"] = "2027-01-15T08:00:01Z"; }, "TCB info: issued 2027-01-15T08:00:01Z"},
      {[&] { qe_identity_["nextUpdate"] = "2027-01-15T07:59:59Z"; }, "QE identity: expired 2027-01-15T07:59:59Z"},
      {[&] { tcb_info_["tcbLevels"][0]["tcbStatus"] = "Fine"; }, "TCB info: 'tcbStatus' 'Fine' is no TCB status"},
      {[&] { tcb_info_["tcbLevels"][0]["tcb"]["pcesvn"] = -1; }, "TCB info: 'pcesvn' is no whole number in range"},
      {[&] { tcb_info_["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].erase(3); }, "'sgxtcbcomponents' is no list of 16"},
      {[&] { tcb_info_.erase("fmspc"); }, "TCB info: 'fmspc' is missing"},
      {[&] { tcb_info_["version"] = 2; }, "TCB info: 'version' is not 3"},
      {[&] { qe_identity_["mrsigner"] = "AA"; }, "QE identity: 'mrsigner' is not 64 hexadecimal digits"},
      {[&] { signer_ = Issue({.subject = "Intel SGX TCB Signing"}, NewKey("P-256"), &ca_); },
       "TCB info: certificate 'Intel SGX TCB Signing' names the issuer 'Intel SGX PCK Platform CA'"},
      {[&] { ca_ = Issue({.subject = "Intel SGX PCK Platform CA", .ca = false}, ca_.key, &root_); },
       "certificate 'Intel SGX PCK Platform CA' is no certificate authority"},
      {[&] { signer_ = Issue({.subject = "Intel SGX TCB Signing", .not_after = kAt - 1}, signer_.key, &root_); },
       "TCB info: certificate 'Intel SGX TCB Signing' expired 2027-01-15T07:59:59Z"},
  };
  const auto clean = std::tuple(root_, ca_, signer_, platform_, quote_, tcb_info_, qe_identity_, crl_root_, crl_pck_);
  for (const Bad& b : bad) {
    std::tie(root_, ca_, signer_, platform_, quote_, tcb_info_, qe_identity_, crl_root_, crl_pck_) = clean;
    qe_mrsigner_ = 0xaa, qe_attributes_ = 0x11, pck_serial_ = 4, break_binding_ = false;
    b.change();
    EXPECT_THAT(StatusName(), HasSubstr(b.message));
    EXPECT_FALSE(Verify().ok());
  }
}

// Each part that has dates: refused by its name the second after they end, and the second before they begin.
TEST_F(Synthetic, EachPartExpiredOrFromTheFutureByName) {
  auto certificate = [](TestCert& c, bool ca, long serial, const TestCert* issuer) {
    return [&c, ca, serial, issuer](int64_t from, int64_t to) {
      c = Issue({.subject = c.subject, .ca = ca, .not_before = from, .not_after = to, .serial = serial}, c.key, issuer);
    };
  };
  auto dates = [](json& part) {
    return [&part](int64_t from, int64_t to) {
      part["issueDate"] = FormatTime(from);
      part["nextUpdate"] = FormatTime(to);
    };
  };
  struct Part {
    std::string name, future;
    std::function<void(int64_t, int64_t)> set;
  };
  const Part parts[] = {
      {"root CRL:", "issued", [&](int64_t from, int64_t to) { crl_root_ = IssueCrl(root_, from, to, {}); }},
      {"PCK CRL:", "issued", [&](int64_t from, int64_t to) { crl_pck_ = IssueCrl(ca_, from, to, {}); }},
      {"TCB info:", "issued", dates(tcb_info_)},
      {"QE identity:", "issued", dates(qe_identity_)},
      {"'Intel SGX PCK Certificate'", "is valid from",
       [&](int64_t from, int64_t to) {
         pck_validity_ = {from, to};
       }},
      {"'Intel SGX PCK Platform CA'", "is valid from", certificate(ca_, true, 21, &root_)},
      {"'Intel SGX TCB Signing'", "is valid from", certificate(signer_, false, 22, &root_)},
      {"'Intel SGX Root CA'", "is valid from", certificate(root_, true, 1, nullptr)}};
  const auto clean = std::tuple(root_, ca_, signer_, pck_validity_, tcb_info_, qe_identity_, crl_root_, crl_pck_);
  for (const Part& part : parts) {
    const std::tuple<int64_t, int64_t, std::string> cases[] = {
        {kAt - 9, kAt - 1, part.name + " expired 2027-01-15T07:59:59Z, and it is 2027-01-15T08:00:00Z"},
        {kAt + 1, kAt + 9, part.name + " " + part.future + " 2027-01-15T08:00:01Z, and it is 2027-01-15T08:00:00Z"},
        {kAt, kAt, ""}};
    for (const auto& [from, to, message] : cases) {
      std::tie(root_, ca_, signer_, pck_validity_, tcb_info_, qe_identity_, crl_root_, crl_pck_) = clean;
      part.set(from, to);
      const Status status = Verify().status();
      EXPECT_EQ(status.code(), message.empty() ? StatusCode::kOk : StatusCode::kPermissionDenied) << part.name;
      EXPECT_THAT(MessageOf(status), HasSubstr(message));
    }
  }
}

TEST_F(Synthetic, ForeignRootsAreRefused) {
  const Bytes quote = MakeQuote();
  EXPECT_TRUE(VerifyIntel(quote, nullptr, kAt, root_.cert()).ok());
  EXPECT_THAT(
      MessageOf(VerifyIntel(quote, nullptr, kAt).status()),
      HasSubstr("PCK certificate chain: ends in 'Intel SGX Root CA', whose key is not that of the pinned root"));
  EXPECT_THAT(MessageOf(IntelCollateral::Load(MakeCollateral()).status()), HasSubstr("root CRL: "));
}

TEST_F(Synthetic, DepthOfCollateralIsLimited) {
  std::string deep = "{\"tcb_info\":";
  for (int i = 0; i < 100000; ++i) deep += "[";
  EXPECT_EQ(ParseIntelCollateral(deep).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseTcbInfo("{\"id\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}}")
                .status()
                .code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace infenclave
