// Evidence of an SGX enclave under Gramine, by its pseudo-files: write the report data to
// /dev/attestation/user_report_data, read the quote from /dev/attestation/quote.
#ifndef INFENCLAVE_TEE_GRAMINE_H_
#define INFENCLAVE_TEE_GRAMINE_H_

#include <memory>
#include <string>

#include "tee/evidence.h"

namespace infenclave {

inline constexpr char kGramineAttestation[] = "/dev/attestation";

// NOT_FOUND outside Gramine; FAILED_PRECONDITION where its manifest has remote attestation switched off or not DCAP.
StatusOr<std::unique_ptr<EvidenceMaker>> MakeGramineEvidenceMaker(const std::string& folder = kGramineAttestation);

}  // namespace infenclave

#endif  // INFENCLAVE_TEE_GRAMINE_H_
