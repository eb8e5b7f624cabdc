#include "attestation/verify/intel.h"

#include <algorithm>

#include "attestation/verify/der.h"
#include "crypto/primitives.h"

namespace infenclave {
namespace {

// Intel, SGX PCK Certificate and Certificate Revocation List Profile: 1.2.840.113741.1.13.1 and below.
constexpr char kSgxExtension[] = "1.2.840.113741.1.13.1";
constexpr std::array<uint8_t, 9> kSgxArc = {0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01};
constexpr uint8_t kArcTcb = 2, kArcPceId = 3, kArcFmspc = 4;
constexpr uint8_t kArcPceSvn = 17;

constexpr std::array<uint8_t, 16> kIntelQeVendor = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                                    0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};

// ---- the PCK certificate --------------------------------------------------------------------------------------------

// SEQUENCE { OID kSgxArc.path…, value }: takes one off `in` and gives the last number of the path and the value.
struct Entry {
  uint8_t last = 0;
  ByteSpan value;  // with its tag
};
std::optional<Entry> NextEntry(ByteSpan& in, ByteSpan path) {
  const auto sequence = NextDer(in);
  if (!sequence.has_value() || sequence->tag != kDerSequence) return std::nullopt;
  ByteSpan content = sequence->content;
  const auto oid = NextDer(content);
  if (!oid.has_value() || oid->tag != kDerOid || oid->content.size() != path.size() + 1) return std::nullopt;
  if (!std::ranges::equal(oid->content.first(path.size()), path)) return std::nullopt;
  return Entry{oid->content.back(), content};
}

template <size_t N>
bool ReadOctets(ByteSpan value, std::array<uint8_t, N>& out) {
  const auto octets = OnlyDer(value, kDerOctetString);
  if (!octets.has_value() || octets->size() != N) return false;
  std::copy(octets->begin(), octets->end(), out.begin());
  return true;
}

// The 16 components and the PCE's SVN, each exactly once.
bool ReadTcb(ByteSpan value, PckInfo& out) {
  Bytes path(kSgxArc.begin(), kSgxArc.end());
  path.push_back(kArcTcb);
  const auto list = OnlyDer(value, kDerSequence);
  if (!list.has_value()) return false;
  uint32_t seen = 0;
  for (ByteSpan rest = *list; !rest.empty();) {
    const auto entry = NextEntry(rest, path);
    if (!entry.has_value() || entry->last < 1 || entry->last > 18 || (seen >> entry->last & 1) != 0) return false;
    seen |= 1u << entry->last;
    if (entry->last > kArcPceSvn) continue;  // 18: the CPUSVN, which is the components again
    const auto svn = DerUnsigned(entry->value);
    if (!svn.has_value() || *svn > (entry->last == kArcPceSvn ? 0xffffu : 0xffu)) return false;
    if (entry->last == kArcPceSvn) {
      out.pce_svn = static_cast<uint16_t>(*svn);
    } else {
      out.tcb_components[entry->last - 1u] = static_cast<uint8_t>(*svn);
    }
  }
  return (seen & 0x3fffe) == 0x3fffe;
}

}  // namespace

std::optional<PckInfo> ParsePckExtension(ByteSpan extension) {
  const auto list = OnlyDer(extension, kDerSequence);
  if (!list.has_value()) return std::nullopt;
  PckInfo out;
  bool tcb = false, pce_id = false, fmspc = false;
  for (ByteSpan rest = *list; !rest.empty();) {
    const auto entry = NextEntry(rest, kSgxArc);
    if (!entry.has_value()) return std::nullopt;
    bool good = true;
    if (entry->last == kArcTcb) good = !std::exchange(tcb, true) && ReadTcb(entry->value, out);
    if (entry->last == kArcPceId) good = !std::exchange(pce_id, true) && ReadOctets(entry->value, out.pce_id);
    if (entry->last == kArcFmspc) good = !std::exchange(fmspc, true) && ReadOctets(entry->value, out.fmspc);
    if (!good) return std::nullopt;
  }
  return tcb && pce_id && fmspc ? std::optional(out) : std::nullopt;
}

StatusOr<PckInfo> ReadPckInfo(const Certificate& pck) {
  const auto extension = pck.Extension(kSgxExtension);
  const auto info = extension.has_value() ? ParsePckExtension(*extension) : std::nullopt;
  if (!info.has_value()) {
    return PermissionDenied("PCK certificate: no well-formed SGX extension (", kSgxExtension, ")");
  }
  return *info;
}

// ---- signatures -----------------------------------------------------------------------------------------------------

namespace {

Status CheckSignatures(const IntelQuote& quote, ByteSpan bytes, const Certificate& pck) {
  const ByteSpan by_pck(quote.qe_report_signature), by_key(quote.signature);
  if (!pck.HasSigned(EcdsaCurve::kP256Sha256, quote.qe_report_bytes, by_pck.first(32), by_pck.last(32))) {
    return PermissionDenied("QE report: its signature is not that of the PCK certificate's key over it");
  }
  ByteWriter bound;
  bound.Raw(quote.attestation_key);
  bound.Raw(quote.qe_auth_data);
  std::array<uint8_t, 64> expected{};
  std::ranges::copy(Sha256(bound.bytes()), expected.begin());
  if (quote.qe_report.report_data != expected) {
    return PermissionDenied("QE report: its report data does not bind the quote's attestation key");
  }
  Bytes point = {0x04};
  point.insert(point.end(), quote.attestation_key.begin(), quote.attestation_key.end());
  if (!EcdsaVerify(EcdsaCurve::kP256Sha256, point, bytes.first(quote.signed_bytes), by_key.first(32),
                   by_key.last(32))) {
    return PermissionDenied("quote: its signature is not that of the attestation key over it");
  }
  if (quote.qe_report.debug()) return PermissionDenied("quoting enclave: it runs in debug mode");
  if (quote.header.qe_vendor_id != kIntelQeVendor) {
    return PermissionDenied("quote: made by a quoting enclave of vendor ", HexEncode(quote.header.qe_vendor_id),
                            ", expected Intel, ", HexEncode(kIntelQeVendor));
  }
  return OkStatus();
}

// ---- the TCB --------------------------------------------------------------------------------------------------------

struct Judgement {
  TcbStatus status = TcbStatus::kUpToDate;
  std::vector<std::string> advisories;
};

bool AtLeast(ByteSpan have, ByteSpan want) {
  for (size_t i = 0; i < have.size(); ++i) {
    if (have[i] < want[i]) return false;
  }
  return true;
}

template <size_t N>
bool EqualMasked(const std::array<uint8_t, N>& have, const std::array<uint8_t, N>& want,
                 const std::array<uint8_t, N>& mask) {
  for (size_t i = 0; i < N; ++i) {
    if ((have[i] & mask[i]) != (want[i] & mask[i])) return false;
  }
  return true;
}

using TdxSvn = std::array<uint8_t, 16>;  // TEE_TCB_SVN

StatusOr<Judgement> JudgePlatform(const PckInfo& pck, const TdxSvn* td, const TcbInfo& info) {
  // Where the TDX module has an identity of its own, its two components are judged by that.
  const size_t from = td != nullptr && (*td)[1] > 0 ? 2 : 0;
  for (const TcbInfo::Level& level : info.levels) {
    if (!AtLeast(pck.tcb_components, level.sgx) || pck.pce_svn < level.pce_svn) continue;
    if (td != nullptr && !AtLeast(ByteSpan(*td).subspan(from), ByteSpan(level.tdx).subspan(from))) continue;
    return Judgement{level.status, level.advisories};
  }
  return PermissionDenied("TCB: this platform is older than every level that the TCB info knows (components ",
                          HexEncode(pck.tcb_components), ", PCE ", pck.pce_svn,
                          td != nullptr ? ", TDX " + HexEncode(*td) : "", ")");
}

StatusOr<Judgement> JudgeIsv(uint32_t isv_svn, const std::vector<IsvLevel>& levels, std::string_view what) {
  for (const IsvLevel& level : levels) {
    if (isv_svn < level.isv_svn) continue;
    // Software is new enough, or it is not; only platforms need another configuration.
    if (level.status == TcbStatus::kUpToDate || level.status == TcbStatus::kOutOfDate ||
        level.status == TcbStatus::kRevoked) {
      return Judgement{level.status, level.advisories};
    }
    return PermissionDenied("TCB: ", what, " has the status ", NameOf(level.status),
                            ", which only a platform can have");
  }
  return PermissionDenied("TCB: ", what, " of version ", isv_svn, " is older than every level known");
}

// The module that a TD names by its version; null where it names none.
StatusOr<const TcbInfo::Module*> FindModule(const TdxSvn& td, const TcbInfo& info) {
  const uint8_t version = td[1];
  if (version == 0) return nullptr;
  const std::string id = "TDX_" + HexEncode(Bytes{version});
  const auto it = std::ranges::find_if(info.modules, [&](const auto& m) {
    return std::ranges::equal(m.id, id, [](char a, char b) { return std::toupper(a) == std::toupper(b); });
  });
  if (it == info.modules.end()) return PermissionDenied("TCB: the TCB info knows no TDX module ", id);
  return &*it;
}

Status CheckModule(const TdReport& td, const TcbInfo& info) {
  INFENCLAVE_ASSIGN_OR_RETURN(const TcbInfo::Module* module, FindModule(td.tee_tcb_svn, info));
  if (module == nullptr) module = &*info.module;
  if (td.mrsignerseam != module->mrsigner) {
    return PermissionDenied("TDX module: signed by ", HexEncode(td.mrsignerseam), ", expected ",
                            HexEncode(module->mrsigner));
  }
  if (!EqualMasked(td.seam_attributes, module->attributes, module->attributes_mask)) {
    return PermissionDenied("TDX module: attributes ", HexEncode(td.seam_attributes), ", expected ",
                            HexEncode(module->attributes), " under mask ", HexEncode(module->attributes_mask));
  }
  for (size_t i = 0; i < td.seam_attributes.size(); ++i) {
    if ((td.seam_attributes[i] & ~module->attributes_mask[i]) != 0) {
      return PermissionDenied("TDX module: attributes ", HexEncode(td.seam_attributes), " outside of the mask ",
                              HexEncode(module->attributes_mask));
    }
  }
  return OkStatus();
}

StatusOr<Judgement> JudgeQe(const SgxReport& qe, const QeIdentity& identity) {
  auto refuse = [](std::string_view what, const auto& found, const auto& wanted) {
    return PermissionDenied("quoting enclave: ", what, " ", found, ", expected ", wanted);
  };
  std::array<uint8_t, 4> misc_select;
  for (size_t i = 0; i < 4; ++i) misc_select[i] = static_cast<uint8_t>(qe.misc_select >> (8 * i));
  if (!EqualMasked(misc_select, identity.misc_select, identity.misc_select_mask)) {
    return refuse("MISCSELECT", HexEncode(misc_select), HexEncode(identity.misc_select));
  }
  if (!EqualMasked(qe.attributes, identity.attributes, identity.attributes_mask)) {
    return refuse("attributes", HexEncode(qe.attributes), HexEncode(identity.attributes));
  }
  if (qe.mrsigner != identity.mrsigner) {
    return refuse("MRSIGNER", HexEncode(qe.mrsigner), HexEncode(identity.mrsigner));
  }
  if (qe.isv_prod_id != identity.isv_prod_id) return refuse("product", qe.isv_prod_id, identity.isv_prod_id);
  return JudgeIsv(qe.isv_svn, identity.levels, "quoting enclave");
}

// A part (UpToDate, OutOfDate or Revoked) that is out of date makes the whole so, and keeps that the platform needs
// another configuration.
TcbStatus Merge(TcbStatus platform, TcbStatus part) {
  if (platform == TcbStatus::kRevoked || part == TcbStatus::kRevoked) return TcbStatus::kRevoked;
  if (part == TcbStatus::kUpToDate) return platform;
  const bool configuration = platform == TcbStatus::kConfigurationNeeded ||
                             platform == TcbStatus::kConfigurationAndSwHardeningNeeded ||
                             platform == TcbStatus::kOutOfDateConfigurationNeeded;
  return configuration ? TcbStatus::kOutOfDateConfigurationNeeded : TcbStatus::kOutOfDate;
}

// That the collateral speaks of this kind of quote and of this platform.
Status CheckCollateralIsFor(const VerifiedIntel& v, const IntelCollateral& collateral) {
  const TcbInfo& info = collateral.tcb_info();
  const bool tdx = std::holds_alternative<TdReport>(v.quote.body);
  if (info.tdx != tdx || collateral.qe_identity().tdx != tdx) {
    return PermissionDenied("collateral: for ", info.tdx ? "TDX" : "SGX", " and ",
                            collateral.qe_identity().tdx ? "TD_QE" : "QE", ", the quote is of ", tdx ? "TDX" : "SGX");
  }
  if (info.fmspc != v.pck.fmspc || info.pce_id != v.pck.pce_id) {
    return PermissionDenied("TCB info: for FMSPC ", HexEncode(info.fmspc), " and PCE ", HexEncode(info.pce_id),
                            ", the quote's platform is ", HexEncode(v.pck.fmspc), " and ", HexEncode(v.pck.pce_id));
  }
  return OkStatus();
}

// Platform and, for a TD, its module.
StatusOr<Judgement> JudgePlatformAndModule(const PckInfo& pck, const TdxSvn* td, const TcbInfo& info) {
  INFENCLAVE_ASSIGN_OR_RETURN(Judgement out, JudgePlatform(pck, td, info));
  if (td == nullptr) return out;
  INFENCLAVE_ASSIGN_OR_RETURN(const TcbInfo::Module* named, FindModule(*td, info));
  if (named == nullptr) return out;
  INFENCLAVE_ASSIGN_OR_RETURN(const Judgement module, JudgeIsv((*td)[0], named->levels, "TDX module"));
  out.status = Merge(out.status, module.status);
  out.advisories.insert(out.advisories.end(), module.advisories.begin(), module.advisories.end());
  return out;
}

Status JudgeTcb(const IntelCollateral& collateral, VerifiedIntel& out) {
  const TcbInfo& info = collateral.tcb_info();
  const TdReport* td = std::get_if<TdReport>(&out.quote.body);
  INFENCLAVE_ASSIGN_OR_RETURN(const Judgement qe, JudgeQe(out.quote.qe_report, collateral.qe_identity()));
  if (td != nullptr) INFENCLAVE_RETURN_IF_ERROR(CheckModule(*td, info));
  INFENCLAVE_ASSIGN_OR_RETURN(const Judgement platform,
                              JudgePlatformAndModule(out.pck, td != nullptr ? &td->tee_tcb_svn : nullptr, info));
  TcbStatus status = Merge(platform.status, qe.status);
  if (td != nullptr && td->v15) {
    // What the module is now, after updates that the TD lived through: the TD keeps the status of its launch, but what
    // runs now must be known and not revoked.
    INFENCLAVE_ASSIGN_OR_RETURN(const Judgement now, JudgePlatformAndModule(out.pck, &td->tee_tcb_svn2, info));
    if (now.status == TcbStatus::kRevoked) status = TcbStatus::kRevoked;
  }
  for (const Judgement* j : {&platform, &qe}) {
    out.advisories.insert(out.advisories.end(), j->advisories.begin(), j->advisories.end());
  }
  std::ranges::sort(out.advisories);
  out.advisories.erase(std::unique(out.advisories.begin(), out.advisories.end()), out.advisories.end());
  out.evaluation_number = std::min(info.evaluation_number, collateral.qe_identity().evaluation_number);
  out.tcb_status = status;
  if (status == TcbStatus::kRevoked) return PermissionDenied("TCB: Intel has revoked this level");
  return OkStatus();
}

}  // namespace

StatusOr<VerifiedIntel> VerifyIntel(ByteSpan bytes, const IntelCollateral* collateral, int64_t at,
                                    const Certificate& root) {
  VerifiedIntel out;
  INFENCLAVE_ASSIGN_OR_RETURN(out.quote, DecodeIntelQuote(bytes));
  const std::span<const Certificate> known =
      collateral != nullptr ? collateral->pck_authorities() : std::span(&root, 1);
  const auto chain = Certificate::ChainFromPem(out.quote.pck_chain, known);
  if (!chain.ok()) return Annotate(chain.status(), "PCK");
  if (chain->size() != 3) {
    return PermissionDenied("PCK certificate chain: ", chain->size(),
                            " certificates, expected PCK, its CA and the root");
  }
  INFENCLAVE_RETURN_IF_ERROR(CheckChain(*chain, root, "PCK certificate chain", known));
  INFENCLAVE_RETURN_IF_ERROR(CheckChainValidAt(*chain, at, "PCK certificate chain"));
  INFENCLAVE_ASSIGN_OR_RETURN(out.pck, ReadPckInfo(chain->front()));
  INFENCLAVE_RETURN_IF_ERROR(CheckSignatures(out.quote, bytes, chain->front()));
  if (collateral == nullptr) return out;
  INFENCLAVE_RETURN_IF_ERROR(CheckCollateralIsFor(out, *collateral));
  INFENCLAVE_RETURN_IF_ERROR(collateral->CheckValidAt(at));
  INFENCLAVE_RETURN_IF_ERROR(collateral->CheckNotRevoked(*chain));
  INFENCLAVE_RETURN_IF_ERROR(JudgeTcb(*collateral, out));
  return out;
}

}  // namespace infenclave
