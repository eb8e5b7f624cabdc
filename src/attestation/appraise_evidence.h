// One TEE's claims against its part of a policy. For this module's own use.
#ifndef INFENCLAVE_ATTESTATION_APPRAISE_EVIDENCE_H_
#define INFENCLAVE_ATTESTATION_APPRAISE_EVIDENCE_H_

#include "attestation/claims.h"
#include "attestation/findings.h"

namespace infenclave {

// That the policy accepts this TEE at all.
bool AppraiseTee(TeeKind tee, const Policy& policy, Findings& findings);
// Measurement, debugging, TCB and what else the TEE's section of the policy speaks of.
void AppraiseEvidence(const Claims& claims, const Policy& policy, Findings& findings);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_APPRAISE_EVIDENCE_H_
