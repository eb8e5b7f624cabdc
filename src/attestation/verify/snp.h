// Verifies an AMD SEV-SNP attestation report: its signature, the key that made it up to AMD's root, and that key's
// certificate against the report (patch levels, chip, product). Knows no policy.
#ifndef INFENCLAVE_ATTESTATION_VERIFY_SNP_H_
#define INFENCLAVE_ATTESTATION_VERIFY_SNP_H_

#include <optional>

#include "attestation/abi/snp_report.h"
#include "attestation/verify/roots.h"

namespace infenclave {

// The line of processors that a report from version 3 on names: "Milan", "Genoa", "Turin"; empty for another.
std::string_view LineOf(const SnpReport& report);
// The patch levels that the certificate of a VEK is for.
StatusOr<SnpTcb> ReadVekTcb(const Certificate& vek, bool turin);

struct SnpEndorsement {
  Bytes vek;  // the VCEK's or VLEK's certificate, DER or PEM
  Bytes crl;  // AMD's revocation list for this line of processors; empty if there is none to check
};

struct VerifiedSnp {
  SnpReport report;
  std::string line;         // "Milan", "Genoa", "Turin"
  bool vlek = false;        // signed by a cloud provider's key, not the chip's
  bool chip_bound = false;  // the report's chip id is the certificate's (false: hidden, or a VLEK)
  bool crl_checked = false;
  SnpTcb reported_tcb, current_tcb, committed_tcb, launch_tcb;
};

// PERMISSION_DENIED with the first check that failed; INVALID_ARGUMENT or UNIMPLEMENTED for what cannot be parsed.
// `roots` other than the pinned ones are for tests with keys of their own.
StatusOr<VerifiedSnp> VerifySnp(ByteSpan report, const SnpEndorsement& endorsement, int64_t at,
                                const std::vector<AmdRoots>& roots = AmdRootsPinned());

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_VERIFY_SNP_H_
