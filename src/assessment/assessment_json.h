// assessment.json: the fields of the command line's table, and what else it takes to check a claim of the report.
#ifndef INFENCLAVE_ASSESSMENT_ASSESSMENT_JSON_H_
#define INFENCLAVE_ASSESSMENT_ASSESSMENT_JSON_H_

#include <string>
#include <vector>

#include "assessment/assessment.h"
#include "base/bytes.h"

namespace infenclave {

inline constexpr size_t kMaxAssessmentBytes = size_t{256} << 20;

std::string AssessmentToJson(const Assessment& assessment);

// What `partition` needs from an assessment.json: the recommendation, and what to put into the manifest.
struct AssessmentSummary {
  std::string model_sha256;  // the model that was assessed
  std::string cut;           // recommended; empty if none is
  std::string why;           // one sentence
  bool provisional = true;
  std::vector<std::string> attacks;  // those that ran
  struct Cut {
    std::string name, verdict;
  };
  std::vector<Cut> cuts;
};
// `json` is from outside: INVALID_ARGUMENT with the field that is missing or wrong.
StatusOr<AssessmentSummary> ParseAssessmentSummary(ByteSpan json);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_ASSESSMENT_JSON_H_
