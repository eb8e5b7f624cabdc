#include "attestation/collateral/services.h"

#include <algorithm>
#include <cstdio>

#include "attestation/abi/snp_certificates.h"
#include "attestation/collateral/http.h"
#include "attestation/verify/intel.h"
#include "attestation/verify/snp.h"

namespace infenclave {
namespace {

constexpr char kIntelService[] = "https://api.trustedservices.intel.com",
               kIntelRootCrl[] = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
               kAmdService[] = "https://kdsintf.amd.com";

StatusOr<HttpReply> Get(const std::string& url, std::chrono::milliseconds timeout) {
  INFENCLAVE_ASSIGN_OR_RETURN(HttpReply reply, HttpGet(url, timeout));
  if (reply.status == 200) return reply;
  if (reply.status == 404) return NotFound(url, ": the service has nothing there (HTTP status 404)");
  return Unavailable(url, ": HTTP status ", reply.status);
}

std::string BaseOf(const std::string& where, const char* manufacturer) {
  std::string base = where == kOnline ? manufacturer : where;
  while (base.ends_with('/')) base.pop_back();
  return base;
}

// ---- Intel ----------------------------------------------------------------------------------------------------------

// %41 to A; nullopt for what is not well formed.
std::optional<std::string> PercentDecode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const auto byte = HexDecode(text.substr(i + 1, 2));
    if (!byte.ok() || byte->size() != 1) return std::nullopt;
    out += static_cast<char>(byte->front());
    i += 2;
  }
  return out;
}

// The chain that comes in a header, by one of its names (versions of the API differ).
StatusOr<std::string> ChainOf(const HttpReply& reply, std::initializer_list<const char*> names,
                              const std::string& url) {
  for (const char* name : names) {
    const auto it = reply.headers.find(name);
    if (it == reply.headers.end()) continue;
    if (auto chain = PercentDecode(it->second)) return *std::move(chain);
  }
  return InvalidArgument(url, ": no issuer chain in the header ", *names.begin());
}

struct IntelPlatform {
  bool tdx = false;
  std::string fmspc, ca;
};

// As the quote says; whether that is true is found when it is verified with what was fetched.
StatusOr<IntelPlatform> PlatformOf(ByteSpan evidence) {
  INFENCLAVE_ASSIGN_OR_RETURN(const IntelQuote quote, DecodeIntelQuote(evidence));
  INFENCLAVE_ASSIGN_OR_RETURN(const auto chain, Certificate::ChainFromPem(quote.pck_chain));
  INFENCLAVE_ASSIGN_OR_RETURN(const PckInfo pck, ReadPckInfo(chain.front()));
  IntelPlatform out;
  out.tdx = std::holds_alternative<TdReport>(quote.body);
  out.fmspc = HexEncode(pck.fmspc);
  const std::string issuer = chain.size() > 1 ? chain[1].CommonName() : "";
  if (issuer != "Intel SGX PCK Platform CA" && issuer != "Intel SGX PCK Processor CA") {
    return InvalidArgument("quote: its PCK is certified by '", issuer, "', which is no authority of Intel's");
  }
  out.ca = issuer == "Intel SGX PCK Platform CA" ? "platform" : "processor";
  return out;
}

StatusOr<Bytes> FetchIntel(const IntelPlatform& platform, const std::string& where, std::chrono::milliseconds timeout) {
  const std::string base = BaseOf(where, kIntelService), sgx = base + "/sgx/certification/v4/",
                    api = base + (platform.tdx ? "/tdx" : "/sgx") + "/certification/v4/";
  IntelCollateralText out;
  auto fetch_signed = [&](const std::string& url, std::string_view member, std::string& json, std::string& signature,
                          std::string& chain, std::initializer_list<const char*> names) -> Status {
    INFENCLAVE_ASSIGN_OR_RETURN(const HttpReply reply, Get(url, timeout));
    const auto parts = SplitSigned(reply.body, member);
    if (!parts.ok()) return Annotate(parts.status(), url);
    std::tie(json, signature) = *parts;
    INFENCLAVE_ASSIGN_OR_RETURN(chain, ChainOf(reply, names, url));
    return OkStatus();
  };
  INFENCLAVE_RETURN_IF_ERROR(fetch_signed(api + "tcb?fmspc=" + platform.fmspc, "tcbInfo", out.tcb_info,
                                          out.tcb_info_signature, out.tcb_info_issuer_chain,
                                          {"tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain"}));
  INFENCLAVE_RETURN_IF_ERROR(fetch_signed(api + "qe/identity", "enclaveIdentity", out.qe_identity,
                                          out.qe_identity_signature, out.qe_identity_issuer_chain,
                                          {"sgx-enclave-identity-issuer-chain"}));
  const std::string crl_url = sgx + "pckcrl?ca=" + platform.ca + "&encoding=der";
  INFENCLAVE_ASSIGN_OR_RETURN(const HttpReply crl, Get(crl_url, timeout));
  INFENCLAVE_ASSIGN_OR_RETURN(out.pck_crl_issuer_chain, ChainOf(crl, {"sgx-pck-crl-issuer-chain"}, crl_url));
  const std::string root_url = where == kOnline ? kIntelRootCrl : sgx + "rootcacrl";
  INFENCLAVE_ASSIGN_OR_RETURN(const HttpReply root, Get(root_url, timeout));
  // As text, whatever form they came in.
  auto as_text = [](const std::string& body) { return HexDecode(body).ok() ? body : HexEncode(AsBytes(body)); };
  out.pck_crl = as_text(crl.body);
  out.root_ca_crl = as_text(root.body);
  return ToBytes(AsBytes(EncodeIntelCollateral(out)));
}

std::vector<CollateralPart> IntelParts(const IntelPlatform& platform, const std::string& where) {
  CollateralPart part;
  part.name = Concat("intel-", platform.tdx ? "tdx-" : "sgx-", platform.fmspc, "-", platform.ca, ".json");
  part.fetch = [platform, where](std::chrono::milliseconds timeout) { return FetchIntel(platform, where, timeout); };
  part.check = [platform](ByteSpan bytes, int64_t at) -> Status {
    INFENCLAVE_ASSIGN_OR_RETURN(const IntelCollateralText text, ParseIntelCollateral(AsText(bytes)));
    INFENCLAVE_ASSIGN_OR_RETURN(const IntelCollateral collateral, IntelCollateral::Load(text));
    const TcbInfo& info = collateral.tcb_info();
    if (info.tdx != platform.tdx || HexEncode(info.fmspc) != platform.fmspc) {
      return PermissionDenied("TCB info: for ", info.tdx ? "TDX" : "SGX", " on FMSPC ", HexEncode(info.fmspc),
                              ", asked for ", platform.tdx ? "TDX" : "SGX", " on ", platform.fmspc);
    }
    return collateral.CheckValidAt(at);
  };
  return {std::move(part)};
}

// ---- AMD ------------------------------------------------------------------------------------------------------------

const AmdRoots* RootsOf(std::string_view line) {
  const auto it = std::ranges::find_if(AmdRootsPinned(), [line](const AmdRoots& r) { return r.line == line; });
  return it != AmdRootsPinned().end() ? &*it : nullptr;
}

std::string TwoDigits(int n) {
  char text[8];
  std::snprintf(text, sizeof(text), "%02d", n);
  return text;
}

std::string VcekUrl(const std::string& base, const SnpReport& r, const AmdRoots& roots) {
  const SnpTcb tcb = DecodeTcb(r.reported_tcb, roots.turin_tcb);
  const ByteSpan id = ByteSpan(r.chip_id).first(roots.turin_tcb ? 8 : r.chip_id.size());
  return Concat(base, "/vcek/v1/", roots.line, "/", HexEncode(id), "?blSPL=", TwoDigits(tcb.boot_loader),
                "&teeSPL=", TwoDigits(tcb.tee), "&snpSPL=", TwoDigits(tcb.snp), "&ucodeSPL=", TwoDigits(tcb.microcode),
                roots.turin_tcb ? "&fmcSPL=" + TwoDigits(tcb.fmc) : "");
}

// The lines of processors that the report can be of: before version 3 it does not say, and Turin is not among them.
std::vector<std::string> LinesOf(const SnpReport& r) {
  if (r.version < 3) return {"Milan", "Genoa"};
  const std::string_view line = LineOf(r);
  return line.empty() ? std::vector<std::string>{} : std::vector<std::string>{std::string(line)};
}

CollateralPart VcekPart(const SnpReport& report, ByteSpan evidence, const std::string& base) {
  CollateralPart part;
  ByteWriter id;
  id.Raw(report.chip_id);
  id.Raw(report.reported_tcb);
  part.name = Concat("amd-vcek-", HexEncode(ByteSpan(Sha256(id.bytes())).first(16)), ".pem");
  part.forever = true;
  part.fetch = [report, base](std::chrono::milliseconds timeout) -> StatusOr<Bytes> {
    StatusOr<HttpReply> reply = NotFound("a line of processors that is not known here");
    for (const std::string& line : LinesOf(report)) {
      reply = Get(VcekUrl(base, report, *RootsOf(line)), timeout);
      if (reply.status().code() != StatusCode::kNotFound) break;
    }
    INFENCLAVE_RETURN_IF_ERROR(reply.status());
    INFENCLAVE_ASSIGN_OR_RETURN(const Certificate vek, Certificate::FromDerOrPem(AsBytes(reply->body)));
    return ToBytes(AsBytes(vek.ToPem()));
  };
  part.check = [bytes = ToBytes(evidence)](ByteSpan vek, int64_t at) {
    return VerifySnp(ByteSpan(bytes).first(kSnpReportBytes), {ToBytes(vek), {}}, at).status();
  };
  return part;
}

CollateralPart AmdCrlPart(const AmdRoots& roots, bool vlek, const std::string& base) {
  CollateralPart part;
  const std::string kind = vlek ? "vlek" : "vcek";
  part.name = Concat("amd-", kind, "-", roots.line, ".crl");
  part.fetch = [&roots, kind, base](std::chrono::milliseconds timeout) -> StatusOr<Bytes> {
    INFENCLAVE_ASSIGN_OR_RETURN(const HttpReply reply,
                                Get(Concat(base, "/", kind, "/v1/", roots.line, "/crl"), timeout));
    INFENCLAVE_ASSIGN_OR_RETURN(const RevocationList list, RevocationList::Parse(AsBytes(reply.body)));
    return ToBytes(AsBytes(list.ToPem()));
  };
  part.check = [&roots](ByteSpan crl, int64_t at) -> Status {
    INFENCLAVE_ASSIGN_OR_RETURN(const RevocationList list, RevocationList::Parse(crl));
    INFENCLAVE_RETURN_IF_ERROR(list.CheckIssuedBy(roots.ark, "AMD's revocation list"));
    return list.CheckValidAt(at, "AMD's revocation list");
  };
  return part;
}

StatusOr<std::vector<CollateralPart>> AmdParts(ByteSpan evidence, const std::string& where) {
  const std::string base = BaseOf(where, kAmdService);
  INFENCLAVE_ASSIGN_OR_RETURN(const SnpReport report,
                              DecodeSnpReport(evidence.first(std::min(kSnpReportBytes, evidence.size()))));
  INFENCLAVE_ASSIGN_OR_RETURN(const SnpCertificates table, DecodeSnpCertificates(evidence.subspan(kSnpReportBytes)));
  const bool vlek = report.signing_key() == SnpReport::kVlek;
  std::vector<CollateralPart> out;
  if ((vlek ? table.vlek : table.vcek).empty()) {
    if (vlek) return InvalidArgument("a VLEK's certificate comes from the cloud provider alone, and not from AMD");
    if (std::ranges::all_of(report.chip_id, [](uint8_t b) { return b == 0; })) {
      return InvalidArgument("the host hides the chip's id, by which AMD would know the VCEK's certificate");
    }
    out.push_back(VcekPart(report, evidence, base));
  }
  const std::vector<std::string> lines = LinesOf(report);
  // Before version 3 the certificate alone would say which line's list is meant; and the list is of the authorities
  // above it, which are compiled in.
  if (lines.size() == 1) out.push_back(AmdCrlPart(*RootsOf(lines.front()), vlek, base));
  return out;
}

}  // namespace

StatusOr<std::vector<CollateralPart>> PartsFor(TeeKind tee, ByteSpan evidence, const std::string& where) {
  if (tee == TeeKind::kSevSnp) return AmdParts(evidence, where);
  INFENCLAVE_ASSIGN_OR_RETURN(const IntelPlatform platform, PlatformOf(evidence));
  return IntelParts(platform, where);
}

}  // namespace infenclave
