// The lines of an appraisal as they come; the first that failed is the verdict. For this module's own use.
#ifndef INFENCLAVE_ATTESTATION_FINDINGS_H_
#define INFENCLAVE_ATTESTATION_FINDINGS_H_

#include "attestation/policy.h"

namespace infenclave {

class Findings {
 public:
  explicit Findings(Appraisal& out) : out_(out) {}
  bool Add(std::string_view what, std::string_view found, std::string_view wanted, bool passed) {
    out_.findings.push_back({Concat(what), Concat(found), Concat(wanted), passed});
    if (!passed && out_.verdict.ok()) {
      out_.verdict = PermissionDenied(what, ": ", found, wanted.empty() ? "" : "; wanted: ", wanted);
    }
    return passed;
  }
  // A check that either passed, as `ok` says, or failed with a message.
  bool Add(std::string_view what, const Status& status, std::string_view ok) {
    return Add(what, status.ok() ? ok : MessageOf(status), status.ok() ? ok : "", status.ok());
  }

 private:
  Appraisal& out_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_FINDINGS_H_
