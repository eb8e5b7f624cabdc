// Evidence makers: each TEE turns 64 bytes of report data into evidence that a verifier elsewhere can check.
#ifndef INFENCLAVE_TEE_EVIDENCE_H_
#define INFENCLAVE_TEE_EVIDENCE_H_

#include <memory>

#include "base/status.h"
#include "crypto/primitives.h"
#include "protocol/key_config.h"

namespace infenclave {

// Used by one thread at a time. What it needs to open (files, a directory of configfs), it opens when it is made,
// before the sandbox closes.
class EvidenceMaker {
 public:
  virtual ~EvidenceMaker() = default;
  virtual TeeKind kind() const = 0;
  virtual StatusOr<Bytes> Make(const ReportData& report_data) = 0;
};

// The simulated TEE's evidence: a magic string, the measurement and the report data, unsigned. It proves nothing.
inline constexpr std::string_view kSimulatedMagic = "INFENCLAVE SIMULATED EVIDENCE: PROVES NOTHING\n";
std::unique_ptr<EvidenceMaker> MakeSimulatedEvidenceMaker(const Sha256Digest& measurement);
struct SimulatedEvidence {
  Sha256Digest measurement{};
  ReportData report_data{};
};
StatusOr<SimulatedEvidence> DecodeSimulatedEvidence(ByteSpan evidence);

}  // namespace infenclave

#endif  // INFENCLAVE_TEE_EVIDENCE_H_
