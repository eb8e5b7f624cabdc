#include "attestation/claims.h"

#include "attestation/abi/snp_certificates.h"

namespace infenclave {
namespace {

template <size_t N>
ReportData ToReportData(const std::array<uint8_t, N>& data) {
  static_assert(N == std::tuple_size_v<ReportData>);
  return data;
}

StatusOr<Claims> VerifySimulated(ByteSpan evidence) {
  INFENCLAVE_ASSIGN_OR_RETURN(const SimulatedEvidence decoded, DecodeSimulatedEvidence(evidence));
  Claims out;
  out.measurements = {{"measurement", HexEncode(decoded.measurement)}};
  out.report_data = decoded.report_data;
  out.evidence = decoded;
  return out;
}

void ClaimSgx(const SgxReport& r, Claims& out) {
  out.measurements = {{"mrenclave", HexEncode(r.mrenclave)}, {"mrsigner", HexEncode(r.mrsigner)}};
  out.report_data = ToReportData(r.report_data);
  out.debug = r.debug();
}

void ClaimTd(const TdReport& r, Claims& out) {
  out.measurements = {{"mrtd", HexEncode(r.mrtd)}};
  for (size_t i = 0; i < r.rtmr.size(); ++i) out.measurements.push_back({Concat("rtmr", i), HexEncode(r.rtmr[i])});
  out.measurements.push_back({"mrseam", HexEncode(r.mrseam)});
  out.measurements.push_back({"mrconfigid", HexEncode(r.mrconfigid)});
  out.measurements.push_back({"mrowner", HexEncode(r.mrowner)});
  out.measurements.push_back({"mrownerconfig", HexEncode(r.mrownerconfig)});
  if (r.v15) out.measurements.push_back({"mrservicetd", HexEncode(r.mrservicetd)});
  out.report_data = ToReportData(r.report_data);
  out.debug = r.debug();
}

StatusOr<Claims> VerifyIntelClaims(TeeKind tee, ByteSpan evidence, ByteSpan collateral_json, int64_t at) {
  std::shared_ptr<const IntelCollateral> collateral;
  if (!collateral_json.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(collateral, IntelCollateral::LoadRemembered(AsText(collateral_json)));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(VerifiedIntel verified, VerifyIntel(evidence, collateral.get(), at));
  Claims out;
  const auto* td = std::get_if<TdReport>(&verified.quote.body);
  if ((td != nullptr) != (tee == TeeKind::kTdx)) {
    return PermissionDenied("quote: of ", td != nullptr ? "TDX" : "SGX", ", presented as ", NameOf(tee));
  }
  out.version = verified.quote.header.version;
  if (td != nullptr) {
    ClaimTd(*td, out);
  } else {
    ClaimSgx(std::get<SgxReport>(verified.quote.body), out);
  }
  if (verified.tcb_status.has_value()) out.tcb_status = NameOf(*verified.tcb_status);
  out.advisories = verified.advisories;
  out.evidence = std::move(verified);
  return out;
}

// From the collateral, and what that lacks from the certificates behind the report.
StatusOr<SnpEndorsement> EndorsementOf(ByteSpan evidence, ByteSpan collateral) {
  SnpEndorsement out;
  const size_t crl = std::min(AsText(collateral).find("-----BEGIN X509 CRL-----"), collateral.size());
  out.vek = ToBytes(collateral.first(crl));
  out.crl = ToBytes(collateral.subspan(crl));
  if (evidence.size() <= kSnpReportBytes) return out;
  INFENCLAVE_ASSIGN_OR_RETURN(const SnpCertificates table, DecodeSnpCertificates(evidence.subspan(kSnpReportBytes)));
  if (out.vek.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(const SnpReport report, DecodeSnpReport(evidence.first(kSnpReportBytes)));
    out.vek = ToBytes(report.signing_key() == SnpReport::kVlek ? table.vlek : table.vcek);
  }
  if (out.crl.empty()) out.crl = ToBytes(table.crl);
  return out;
}

StatusOr<Claims> VerifySnpClaims(ByteSpan evidence, ByteSpan collateral, int64_t at) {
  INFENCLAVE_ASSIGN_OR_RETURN(const SnpEndorsement endorsement, EndorsementOf(evidence, collateral));
  INFENCLAVE_ASSIGN_OR_RETURN(VerifiedSnp verified,
                              VerifySnp(evidence.first(std::min(kSnpReportBytes, evidence.size())), endorsement, at));
  const SnpReport& r = verified.report;
  Claims out;
  out.version = r.version;
  out.measurements = {{"measurement", HexEncode(r.measurement)},
                      {"host_data", HexEncode(r.host_data)},
                      {"id_key_digest", HexEncode(r.id_key_digest)},
                      {"author_key_digest", HexEncode(r.author_key_digest)}};
  out.report_data = ToReportData(r.report_data);
  out.debug = r.debug_allowed();
  out.evidence = std::move(verified);
  return out;
}

}  // namespace

StatusOr<TeeKind> RecognizeEvidence(ByteSpan evidence) {
  if (AsText(evidence).starts_with(kSimulatedMagic)) return TeeKind::kSimulated;
  if (evidence.size() >= 8) {
    const bool two_byte_version = evidence[1] == 0;
    if (evidence.size() >= kSnpReportBytes && two_byte_version && evidence[2] == 0 && evidence[3] == 0) {
      return TeeKind::kSevSnp;
    }
    // A quote goes on with the type of its attestation key, which is never 0, and with the TEE.
    if (two_byte_version && evidence[0] >= 3 && evidence[0] <= 5 && evidence[2] != 0) {
      return evidence[4] == 0x81 ? TeeKind::kTdx : TeeKind::kSgx;
    }
  }
  return InvalidArgument("neither an SGX or TDX quote nor an SEV-SNP report (of ", kSnpReportBytes,
                         " bytes, and perhaps its certificate table)");
}

StatusOr<Claims> VerifyEvidence(TeeKind tee, ByteSpan evidence, ByteSpan collateral, int64_t at) {
  StatusOr<Claims> claims = tee == TeeKind::kSimulated ? VerifySimulated(evidence)
                            : tee == TeeKind::kSevSnp  ? VerifySnpClaims(evidence, collateral, at)
                                                       : VerifyIntelClaims(tee, evidence, collateral, at);
  if (claims.ok()) claims->tee = tee;
  return claims;
}

}  // namespace infenclave
