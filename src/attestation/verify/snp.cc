#include "attestation/verify/snp.h"

#include <algorithm>

#include "attestation/verify/der.h"

namespace infenclave {
namespace {

// AMD, Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification (57230), table 8 and after.
constexpr char kProductName[] = "1.3.6.1.4.1.3704.1.2", kHardwareId[] = "1.3.6.1.4.1.3704.1.4",
               kCspId[] = "1.3.6.1.4.1.3704.1.5";
constexpr char kBootLoaderSpl[] = "1.3.6.1.4.1.3704.1.3.1", kTeeSpl[] = "1.3.6.1.4.1.3704.1.3.2",
               kSnpSpl[] = "1.3.6.1.4.1.3704.1.3.3", kMicrocodeSpl[] = "1.3.6.1.4.1.3704.1.3.8",
               kFmcSpl[] = "1.3.6.1.4.1.3704.1.3.9";

StatusOr<uint8_t> PatchLevel(const Certificate& vek, const char* oid, std::string_view name) {
  const auto extension = vek.Extension(oid);
  const auto level = extension.has_value() ? DerUnsigned(*extension) : std::nullopt;
  if (!level.has_value() || *level > 255) {
    return PermissionDenied("VEK certificate: no patch level of the ", name, " (", oid, ")");
  }
  return static_cast<uint8_t>(*level);
}

}  // namespace

StatusOr<SnpTcb> ReadVekTcb(const Certificate& vek, bool turin) {
  SnpTcb tcb;
  INFENCLAVE_ASSIGN_OR_RETURN(tcb.boot_loader, PatchLevel(vek, kBootLoaderSpl, "boot loader"));
  INFENCLAVE_ASSIGN_OR_RETURN(tcb.tee, PatchLevel(vek, kTeeSpl, "TEE"));
  INFENCLAVE_ASSIGN_OR_RETURN(tcb.snp, PatchLevel(vek, kSnpSpl, "SNP firmware"));
  INFENCLAVE_ASSIGN_OR_RETURN(tcb.microcode, PatchLevel(vek, kMicrocodeSpl, "microcode"));
  if (turin) {
    INFENCLAVE_ASSIGN_OR_RETURN(tcb.fmc, PatchLevel(vek, kFmcSpl, "FMC"));
  }
  return tcb;
}

namespace {

// The line of processors that the VEK is for: its product name is "Milan-B0" (VCEK) or "Milan" (VLEK).
StatusOr<const AmdRoots*> RootsFor(const Certificate& vek, const std::vector<AmdRoots>& roots) {
  const auto extension = vek.Extension(kProductName);
  const auto name = extension.has_value() ? OnlyDer(*extension, kDerIa5String) : std::nullopt;
  if (!name.has_value()) return PermissionDenied("VEK certificate: no product name (", kProductName, ")");
  const std::string_view product = AsText(*name);
  for (const AmdRoots& r : roots) {
    if (product == r.line || (product.starts_with(r.line) && product[r.line.size()] == '-')) return &r;
  }
  return PermissionDenied("VEK certificate: product '", HexEncode(*name), "' (hexadecimal) is of no line known here");
}

}  // namespace

std::string_view LineOf(const SnpReport& r) {
  const bool zen3 = r.cpuid_family == 0x19, zen5 = r.cpuid_family == 0x1a;
  const uint8_t block = r.cpuid_model >> 4;
  if (zen3 && block == 0) return "Milan";
  if (zen3 && (block == 1 || block == 10)) return "Genoa";  // 10: Bergamo and Siena
  return zen5 && block <= 1 ? "Turin" : "";
}

namespace {

// The processor that the report itself names, from version 3 on.
Status CheckProcessor(const SnpReport& r, std::string_view line) {
  if (r.version < 3 || LineOf(r) == line) return OkStatus();
  return PermissionDenied("SEV-SNP report: made by a processor of family ", int{r.cpuid_family}, ", model ",
                          int{r.cpuid_model}, ", and the VEK is for ", line);
}

// For a key per chip, the report's chip id is the certificate's hardware id, or zero where the host hides it
// (MaskChipId); the key is that chip's all the same.
StatusOr<bool> CheckChip(const SnpReport& report, const Certificate& vek, bool vlek) {
  const auto id = vek.Extension(kHardwareId);
  if (vlek) {
    if (id.has_value() || !vek.Extension(kCspId).has_value()) {
      return PermissionDenied("VEK certificate: the report names a VLEK, and this is no certificate of one");
    }
    return false;
  }
  if (!id.has_value() || id->size() > report.chip_id.size() || id->size() < 8) {
    return PermissionDenied("VEK certificate: the report names a VCEK, and this has no hardware id (", kHardwareId,
                            ")");
  }
  if (std::ranges::all_of(report.chip_id, [](uint8_t b) { return b == 0; })) return false;
  Bytes padded = *id;  // Turin's is of 8 bytes
  padded.resize(report.chip_id.size());
  if (!std::ranges::equal(padded, report.chip_id)) {
    return PermissionDenied("SEV-SNP report: chip id ", HexEncode(report.chip_id),
                            " is not the hardware id of the VEK's certificate, ", HexEncode(*id));
  }
  return true;
}

Status CheckSignature(const SnpReport& report, ByteSpan bytes, const Certificate& vek) {
  const Bytes point = vek.EcPoint();
  if (point.size() != 97) return PermissionDenied("VEK certificate: its key is not on P-384");
  auto number = [](std::array<uint8_t, 72> little_endian) {
    std::ranges::reverse(little_endian);
    return little_endian;
  };
  const auto r = number(report.r), s = number(report.s);
  for (const auto& v : {r, s}) {
    if (std::any_of(v.begin(), v.begin() + 24, [](uint8_t b) { return b != 0; })) {
      return PermissionDenied("SEV-SNP report: its signature is out of range");
    }
  }
  if (!EcdsaVerify(EcdsaCurve::kP384Sha384, point, bytes.first(kSnpSignedBytes), ByteSpan(r).last(48),
                   ByteSpan(s).last(48))) {
    return PermissionDenied("SEV-SNP report: its signature is not that of the VEK over this report");
  }
  return OkStatus();
}

Status CheckEndorsement(const Certificate& vek, const AmdRoots& roots, bool vlek, ByteSpan crl, int64_t at) {
  const Certificate& signer = vlek ? roots.asvk : roots.ask;
  INFENCLAVE_RETURN_IF_ERROR(Annotate(vek.CheckIssuedBy(signer), "VEK certificate"));
  INFENCLAVE_RETURN_IF_ERROR(Annotate(signer.CheckIssuedBy(roots.ark), "VEK certificate"));
  for (const Certificate* c : {&vek, &signer, &roots.ark}) {
    INFENCLAVE_RETURN_IF_ERROR(Annotate(c->CheckValidAt(at), "VEK certificate"));
  }
  if (crl.empty()) return OkStatus();
  INFENCLAVE_ASSIGN_OR_RETURN(const RevocationList list, RevocationList::Parse(crl));
  INFENCLAVE_RETURN_IF_ERROR(list.CheckIssuedBy(roots.ark, "AMD's revocation list"));
  INFENCLAVE_RETURN_IF_ERROR(list.CheckValidAt(at, "AMD's revocation list"));
  return list.CheckNotRevoked(signer);
}

}  // namespace

StatusOr<VerifiedSnp> VerifySnp(ByteSpan bytes, const SnpEndorsement& endorsement, int64_t at,
                                const std::vector<AmdRoots>& roots) {
  VerifiedSnp out;
  INFENCLAVE_ASSIGN_OR_RETURN(out.report, DecodeSnpReport(bytes));
  const SnpReport& report = out.report;
  if (report.signature_algo != kSnpEcdsaP384) {
    return PermissionDenied("SEV-SNP report: signature algorithm ", report.signature_algo,
                            ", expected 1 (ECDSA P-384 with SHA-384)");
  }
  if (report.signing_key() != SnpReport::kVcek && report.signing_key() != SnpReport::kVlek) {
    return PermissionDenied("SEV-SNP report: signing key ", report.signing_key(), ", expected VCEK (0) or VLEK (1)");
  }
  if (report.reserved_policy()) {
    return PermissionDenied("SEV-SNP report: its guest policy ", report.policy, " has bits without a meaning");
  }
  out.vlek = report.signing_key() == SnpReport::kVlek;
  if (endorsement.vek.empty()) return InvalidArgument("SEV-SNP report: the certificate of its VEK is missing");
  INFENCLAVE_ASSIGN_OR_RETURN(const Certificate vek, Certificate::FromDerOrPem(endorsement.vek));
  INFENCLAVE_ASSIGN_OR_RETURN(const AmdRoots* line, RootsFor(vek, roots));
  out.line = line->line;
  INFENCLAVE_RETURN_IF_ERROR(CheckEndorsement(vek, *line, out.vlek, endorsement.crl, at));
  out.crl_checked = !endorsement.crl.empty();
  INFENCLAVE_RETURN_IF_ERROR(CheckSignature(report, bytes, vek));
  INFENCLAVE_RETURN_IF_ERROR(CheckProcessor(report, out.line));
  INFENCLAVE_ASSIGN_OR_RETURN(out.chip_bound, CheckChip(report, vek, out.vlek));
  out.reported_tcb = DecodeTcb(report.reported_tcb, line->turin_tcb);
  out.current_tcb = DecodeTcb(report.current_tcb, line->turin_tcb);
  out.committed_tcb = DecodeTcb(report.committed_tcb, line->turin_tcb);
  out.launch_tcb = DecodeTcb(report.launch_tcb, line->turin_tcb);
  INFENCLAVE_ASSIGN_OR_RETURN(const SnpTcb certified, ReadVekTcb(vek, line->turin_tcb));
  if (out.reported_tcb != certified) {
    return PermissionDenied("SEV-SNP report: TCB ", ToString(out.reported_tcb), ", the VEK's certificate is for ",
                            ToString(certified));
  }
  if (!out.current_tcb.AtLeast(out.reported_tcb)) {
    return PermissionDenied("SEV-SNP report: reports TCB ", ToString(out.reported_tcb), ", and runs ",
                            ToString(out.current_tcb));
  }
  return out;
}

}  // namespace infenclave
