#include "attestation/abi/snp_report.h"

#include "attestation/abi/layout.h"

namespace infenclave {
namespace {

template <typename Report, typename Archive>
void Visit(Report& r, Archive& a) {
  a(r.version);
  a(r.guest_svn);
  a(r.policy);
  a(r.family_id);
  a(r.image_id);
  a(r.vmpl);
  a(r.signature_algo);
  a(r.current_tcb);
  a(r.platform_info);
  a(r.key_info);
  a.Zeros("after the key information", 4);
  a(r.report_data);
  a(r.measurement);
  a(r.host_data);
  a(r.id_key_digest);
  a(r.author_key_digest);
  a(r.report_id);
  a(r.report_id_ma);
  a(r.reported_tcb);
  if (r.version >= 3) {
    a(r.cpuid_family);
    a(r.cpuid_model);
    a(r.cpuid_stepping);
  }
  a.Zeros("before the chip id", r.version >= 3 ? 21 : 24);
  a(r.chip_id);
  a(r.committed_tcb);
  a(r.current_version);
  a.Zeros("after the current version", 1);
  a(r.committed_version);
  a.Zeros("after the committed version", 1);
  a(r.launch_tcb);
  if (r.version >= 5) {
    a(r.launch_mit_vector);
    a(r.current_mit_vector);
  }
  a.Zeros("before the signature", r.version >= 5 ? 152 : 168);
  a(r.r);
  a(r.s);
  a.Zeros("after the signature", 368);
}

}  // namespace

StatusOr<SnpReport> DecodeSnpReport(ByteSpan bytes) {
  if (bytes.size() != kSnpReportBytes) {
    return InvalidArgument("SEV-SNP report: ", bytes.size(), " bytes, expected ", kSnpReportBytes);
  }
  SnpReport report;
  LayoutReader version(bytes, "SEV-SNP report");
  version(report.version);
  if (report.version < 2 || report.version > 5) {
    return Unimplemented("SEV-SNP report: version ", report.version, " is not known here, only 2 to 5");
  }
  LayoutReader in(bytes, "SEV-SNP report");
  Visit(report, in);
  INFENCLAVE_CHECK(!in.ok() || in.remaining() == 0);
  INFENCLAVE_RETURN_IF_ERROR(in.status());
  if (report.key_info >> 5 != 0) return InvalidArgument("SEV-SNP report: reserved bits of the key information are set");
  return report;
}

Bytes EncodeSnpReport(const SnpReport& report) {
  LayoutWriter out;
  Visit(report, out);
  return out.Take();
}

bool SnpTcb::AtLeast(const SnpTcb& o) const {
  return fmc >= o.fmc && boot_loader >= o.boot_loader && tee >= o.tee && snp >= o.snp && microcode >= o.microcode;
}

std::string ToString(const SnpTcb& t) {
  return Concat("boot loader ", int{t.boot_loader}, ", TEE ", int{t.tee}, ", SNP ", int{t.snp}, ", microcode ",
                int{t.microcode}, t.fmc != 0 ? Concat(", FMC ", int{t.fmc}) : "");
}

SnpTcb DecodeTcb(const std::array<uint8_t, 8>& b, bool turin) {
  if (turin) return {.fmc = b[0], .boot_loader = b[1], .tee = b[2], .snp = b[3], .microcode = b[7]};
  return {.boot_loader = b[0], .tee = b[1], .snp = b[6], .microcode = b[7]};
}

}  // namespace infenclave
