#include "attestation/verify/intel_collateral.h"

#include <algorithm>
#include <deque>
#include <mutex>

#include "attestation/json_members.h"
#include "crypto/primitives.h"

namespace infenclave {
namespace {

using Json = nlohmann::json;

using internal::JsonMembers;
using internal::ParseJsonObject;

constexpr size_t kMaxLevels = 256, kMaxAdvisories = 64;

// What the levels of a TCB have in common.
class Members : public JsonMembers {
 public:
  using JsonMembers::JsonMembers;

  int64_t Time(const Json& object, const char* key) {
    const auto at = ParseTime(Text(object, key));
    if (at.ok()) return *at;
    Fail(key, MessageOf(at.status()));
    return 0;
  }
  TcbStatus Status(const Json& level) {
    const auto status = ParseTcbStatus(Text(level, "tcbStatus"));
    if (status.ok()) return *status;
    Fail("tcbStatus", MessageOf(status.status()));
    return TcbStatus::kRevoked;
  }
  std::vector<std::string> Advisories(const Json& level) {
    if (!level.contains("advisoryIDs")) return {};
    return Texts(level, "advisoryIDs", kMaxAdvisories);
  }
  std::vector<IsvLevel> IsvLevels(const Json& object) {
    std::vector<IsvLevel> out;
    for (const Json& level : Objects(object, "tcbLevels", kMaxLevels)) {
      const Json& tcb = Get(level, "tcb");
      out.push_back({static_cast<uint32_t>(Unsigned(tcb, "isvsvn", 0xffff)), Status(level), Advisories(level)});
    }
    return out;
  }
};

TcbInfo::Module ReadModule(Members& in, const Json& object) {
  TcbInfo::Module m;
  in.Hex(object, "mrsigner", m.mrsigner);
  in.Hex(object, "attributes", m.attributes);
  in.Hex(object, "attributesMask", m.attributes_mask);
  return m;
}

void ReadComponents(Members& in, const Json& tcb, const char* key, std::array<uint8_t, 16>& out) {
  const Json& components = in.Objects(tcb, key, out.size());
  if (components.size() != out.size()) in.Fail(key, "is no list of 16 components");
  for (size_t i = 0; i < components.size(); ++i) out[i] = static_cast<uint8_t>(in.Unsigned(components[i], "svn", 255));
}

}  // namespace

StatusOr<TcbInfo> ParseTcbInfo(std::string_view text) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, kMaxIntelCollateralBytes, "TCB info"));
  Members in("TCB info");
  TcbInfo out;
  const std::string id = in.Text(json, "id");
  out.tdx = id == "TDX";
  if (id != "SGX" && id != "TDX") in.Fail("id", "is neither SGX nor TDX");
  if (in.Unsigned(json, "version", 100) != 3) in.Fail("version", "is not 3");
  if (in.Unsigned(json, "tcbType", 100) != 0) in.Fail("tcbType", "is not 0");
  out.issue_date = in.Time(json, "issueDate");
  out.next_update = in.Time(json, "nextUpdate");
  in.Hex(json, "fmspc", out.fmspc);
  in.Hex(json, "pceId", out.pce_id);
  out.evaluation_number = static_cast<uint32_t>(in.Unsigned(json, "tcbEvaluationDataNumber", UINT32_MAX));
  if (out.tdx) {
    out.module = ReadModule(in, in.Get(json, "tdxModule"));
    if (json.contains("tdxModuleIdentities")) {
      for (const Json& object : in.Objects(json, "tdxModuleIdentities", kMaxLevels)) {
        TcbInfo::Module& m = out.modules.emplace_back(ReadModule(in, object));
        m.id = in.Text(object, "id");
        m.levels = in.IsvLevels(object);
      }
    }
  }
  for (const Json& object : in.Objects(json, "tcbLevels", kMaxLevels)) {
    TcbInfo::Level& level = out.levels.emplace_back();
    const Json& tcb = in.Get(object, "tcb");
    ReadComponents(in, tcb, "sgxtcbcomponents", level.sgx);
    if (out.tdx) ReadComponents(in, tcb, "tdxtcbcomponents", level.tdx);
    level.pce_svn = static_cast<uint16_t>(in.Unsigned(tcb, "pcesvn", 0xffff));
    level.status = in.Status(object);
    level.advisories = in.Advisories(object);
  }
  INFENCLAVE_RETURN_IF_ERROR(in.status());
  return out;
}

StatusOr<QeIdentity> ParseQeIdentity(std::string_view text) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, kMaxIntelCollateralBytes, "QE identity"));
  Members in("QE identity");
  QeIdentity out;
  const std::string id = in.Text(json, "id");
  out.tdx = id == "TD_QE";
  if (id != "QE" && id != "TD_QE") in.Fail("id", "is neither QE nor TD_QE");
  if (in.Unsigned(json, "version", 100) != 2) in.Fail("version", "is not 2");
  out.issue_date = in.Time(json, "issueDate");
  out.next_update = in.Time(json, "nextUpdate");
  out.evaluation_number = static_cast<uint32_t>(in.Unsigned(json, "tcbEvaluationDataNumber", UINT32_MAX));
  in.Hex(json, "miscselect", out.misc_select);
  in.Hex(json, "miscselectMask", out.misc_select_mask);
  in.Hex(json, "attributes", out.attributes);
  in.Hex(json, "attributesMask", out.attributes_mask);
  in.Hex(json, "mrsigner", out.mrsigner);
  out.isv_prod_id = static_cast<uint16_t>(in.Unsigned(json, "isvprodid", 0xffff));
  out.levels = in.IsvLevels(json);
  INFENCLAVE_RETURN_IF_ERROR(in.status());
  return out;
}

namespace {

constexpr std::pair<const char*, std::string IntelCollateralText::*> kCollateralMembers[] = {
    {"tcb_info", &IntelCollateralText::tcb_info},
    {"tcb_info_signature", &IntelCollateralText::tcb_info_signature},
    {"tcb_info_issuer_chain", &IntelCollateralText::tcb_info_issuer_chain},
    {"qe_identity", &IntelCollateralText::qe_identity},
    {"qe_identity_signature", &IntelCollateralText::qe_identity_signature},
    {"qe_identity_issuer_chain", &IntelCollateralText::qe_identity_issuer_chain},
    {"root_ca_crl", &IntelCollateralText::root_ca_crl},
    {"pck_crl", &IntelCollateralText::pck_crl},
    {"pck_crl_issuer_chain", &IntelCollateralText::pck_crl_issuer_chain}};

}  // namespace

StatusOr<IntelCollateralText> ParseIntelCollateral(std::string_view text) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, kMaxIntelCollateralBytes, "collateral"));
  Members in("collateral");
  IntelCollateralText out;
  for (const auto& [key, field] : kCollateralMembers) out.*field = in.Text(json, key);
  INFENCLAVE_RETURN_IF_ERROR(in.status());
  return out;
}

std::string EncodeIntelCollateral(const IntelCollateralText& text) {
  Json json;
  for (const auto& [key, field] : kCollateralMembers) json[key] = text.*field;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

StatusOr<std::pair<std::string, std::string>> SplitSigned(std::string_view json, std::string_view member) {
  const std::string head = Concat("{\"", member, "\":"), middle = ",\"signature\":\"";
  while (!json.empty() && (json.back() == '\n' || json.back() == '\r')) json.remove_suffix(1);
  const size_t at = json.rfind(middle);
  if (!json.starts_with(head) || at == json.npos || !json.ends_with("\"}") || at < head.size()) {
    return InvalidArgument("expected ", head, "…", middle, "…\"}");
  }
  const size_t signature = at + middle.size();
  return std::pair{std::string(json.substr(head.size(), at - head.size())),
                   std::string(json.substr(signature, json.size() - 2 - signature))};
}

// ---- loading: signatures and chains ---------------------------------------------------------------------------------

namespace {

// The signing certificate and the root, and its signature over the JSON. What the chain shares with `checked`, which
// has passed, is neither parsed nor checked again.
StatusOr<std::vector<Certificate>> CheckSignedJson(std::string_view json, std::string_view signature,
                                                   std::string_view chain_pem, const Certificate& root,
                                                   std::span<const Certificate> checked, std::string_view what) {
  auto chain = Certificate::ChainFromPem(chain_pem, checked);
  if (!chain.ok()) return Annotate(chain.status(), what);
  INFENCLAVE_RETURN_IF_ERROR(CheckChain(*chain, root, what, checked));
  if (chain->size() != 2) {
    return PermissionDenied(what, ": signed under ", chain->size(), " certificates, expected one and the root");
  }
  if (chain->front().CommonName() != "Intel SGX TCB Signing") {
    return PermissionDenied(what, ": signed by '", chain->front().CommonName(), "', expected 'Intel SGX TCB Signing'");
  }
  const auto raw = HexDecode(signature);
  if (!raw.ok() || raw->size() != 64 ||
      !chain->front().HasSigned(EcdsaCurve::kP256Sha256, AsBytes(json), ByteSpan(*raw).first(32),
                                ByteSpan(*raw).last(32))) {
    return PermissionDenied(what, ": its signature is not that of '", chain->front().CommonName(), "' over it");
  }
  return *std::move(chain);
}

Status CheckDates(int64_t issue_date, int64_t next_update, int64_t at, std::string_view what) {
  if (at < issue_date) {
    return PermissionDenied(what, ": issued ", FormatTime(issue_date), ", and it is ", FormatTime(at));
  }
  if (at > next_update) {
    return PermissionDenied(what, ": expired ", FormatTime(next_update), ", and it is ", FormatTime(at));
  }
  return OkStatus();
}

}  // namespace

StatusOr<IntelCollateral> IntelCollateral::Load(const IntelCollateralText& text, const Certificate& root) {
  auto root_crl = RevocationList::Parse(AsBytes(text.root_ca_crl));
  if (!root_crl.ok()) return Annotate(root_crl.status(), "root CRL");
  INFENCLAVE_RETURN_IF_ERROR(root_crl->CheckIssuedBy(root, "root CRL"));
  auto pck_crl = RevocationList::Parse(AsBytes(text.pck_crl));
  if (!pck_crl.ok()) return Annotate(pck_crl.status(), "PCK CRL");
  IntelCollateral out(*std::move(root_crl), *std::move(pck_crl));

  auto crl_chain = Certificate::ChainFromPem(text.pck_crl_issuer_chain, std::span(&root, 1));
  if (!crl_chain.ok()) return Annotate(crl_chain.status(), "PCK CRL issuer chain");
  out.crl_chain_ = *std::move(crl_chain);
  INFENCLAVE_RETURN_IF_ERROR(CheckChain(out.crl_chain_, root, "PCK CRL issuer chain"));
  INFENCLAVE_RETURN_IF_ERROR(out.pck_crl_.CheckIssuedBy(out.crl_chain_.front(), "PCK CRL"));
  INFENCLAVE_ASSIGN_OR_RETURN(out.tcb_chain_,
                              CheckSignedJson(text.tcb_info, text.tcb_info_signature, text.tcb_info_issuer_chain, root,
                                              out.crl_chain_, "TCB info"));
  INFENCLAVE_ASSIGN_OR_RETURN(
      out.qe_chain_, CheckSignedJson(text.qe_identity, text.qe_identity_signature, text.qe_identity_issuer_chain, root,
                                     out.tcb_chain_, "QE identity"));
  for (const auto* chain : {&out.tcb_chain_, &out.qe_chain_, &out.crl_chain_}) {
    for (const Certificate& c : *chain) INFENCLAVE_RETURN_IF_ERROR(out.root_crl_.CheckNotRevoked(c));
  }
  INFENCLAVE_RETURN_IF_ERROR(out.root_crl_.CheckNotRevoked(root));
  INFENCLAVE_ASSIGN_OR_RETURN(out.tcb_info_, ParseTcbInfo(text.tcb_info));
  INFENCLAVE_ASSIGN_OR_RETURN(out.qe_identity_, ParseQeIdentity(text.qe_identity));
  return out;
}

StatusOr<std::shared_ptr<const IntelCollateral>> IntelCollateral::LoadRemembered(std::string_view json) {
  using Entry = std::pair<Sha256Digest, std::shared_ptr<const IntelCollateral>>;
  constexpr size_t kRemembered = 8;  // kinds of platform that a client talks to at a time; about 100 kB each
  static std::mutex mutex;
  static auto& remembered = *new std::deque<Entry>;
  const Sha256Digest digest = Sha256(AsBytes(json));
  {
    const std::lock_guard lock(mutex);
    const auto it = std::ranges::find(remembered, digest, &Entry::first);
    if (it != remembered.end()) return it->second;
  }
  INFENCLAVE_ASSIGN_OR_RETURN(const IntelCollateralText text, ParseIntelCollateral(json));
  INFENCLAVE_ASSIGN_OR_RETURN(IntelCollateral loaded, Load(text));
  auto shared = std::make_shared<const IntelCollateral>(std::move(loaded));
  const std::lock_guard lock(mutex);
  remembered.emplace_front(digest, shared);
  if (remembered.size() > kRemembered) remembered.pop_back();
  return shared;
}

Status IntelCollateral::CheckValidAt(int64_t at) const {
  INFENCLAVE_RETURN_IF_ERROR(CheckChainValidAt(tcb_chain_, at, "TCB info"));
  INFENCLAVE_RETURN_IF_ERROR(CheckChainValidAt(qe_chain_, at, "QE identity"));
  INFENCLAVE_RETURN_IF_ERROR(CheckChainValidAt(crl_chain_, at, "PCK CRL issuer chain"));
  INFENCLAVE_RETURN_IF_ERROR(root_crl_.CheckValidAt(at, "root CRL"));
  INFENCLAVE_RETURN_IF_ERROR(pck_crl_.CheckValidAt(at, "PCK CRL"));
  INFENCLAVE_RETURN_IF_ERROR(CheckDates(tcb_info_.issue_date, tcb_info_.next_update, at, "TCB info"));
  return CheckDates(qe_identity_.issue_date, qe_identity_.next_update, at, "QE identity");
}

Status IntelCollateral::CheckNotRevoked(const std::vector<Certificate>& pck_chain) const {
  INFENCLAVE_CHECK(pck_chain.size() >= 2);
  const Certificate& issuer = pck_chain[1];
  // The certificate whose list this is was checked already; another one of the same name has to have signed it too.
  if (X509_cmp(issuer.get(), crl_chain_.front().get()) != 0) {
    INFENCLAVE_RETURN_IF_ERROR(pck_crl_.CheckIssuedBy(issuer, "PCK CRL"));
  }
  INFENCLAVE_RETURN_IF_ERROR(root_crl_.CheckNotRevoked(issuer));
  return pck_crl_.CheckNotRevoked(pck_chain.front());
}

}  // namespace infenclave
