// What evidence of any TEE proves once its signatures are verified: the claims, before anyone's policy.
#ifndef INFENCLAVE_ATTESTATION_CLAIMS_H_
#define INFENCLAVE_ATTESTATION_CLAIMS_H_

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "attestation/verify/intel.h"
#include "attestation/verify/snp.h"
#include "tee/evidence.h"

namespace infenclave {

struct Claims {
  TeeKind tee = TeeKind::kSimulated;
  uint32_t version = 0;                                           // of the evidence's format; 0: simulated
  std::vector<std::pair<std::string, std::string>> measurements;  // by name, hexadecimal
  ReportData report_data{};
  bool debug = false;
  std::string tcb_status = "NotJudged";  // Intel's name for it; SEV-SNP has none, a policy's minimum decides
  std::vector<std::string> advisories;
  std::variant<SimulatedEvidence, VerifiedIntel, VerifiedSnp> evidence;
};

// Which TEE made it, by its first bytes. INVALID_ARGUMENT if none that is known here.
StatusOr<TeeKind> RecognizeEvidence(ByteSpan evidence);

// Verifies it. `collateral` may be empty: for SGX and TDX the JSON of verify/intel_collateral.h, without which the TCB
// is not judged; for SEV-SNP the VEK's certificate (DER or PEM), and after it AMD's revocation list (PEM). SEV-SNP's
// evidence is a report, and behind it perhaps the host's certificate table, which stands in for what collateral lacks.
StatusOr<Claims> VerifyEvidence(TeeKind tee, ByteSpan evidence, ByteSpan collateral, int64_t at);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_CLAIMS_H_
