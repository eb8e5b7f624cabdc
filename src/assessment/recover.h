// The part of an assessment in which an attacker recovers pictures and classes: photographs of two kinds in, every
// attack but the KL oracle run, their scores out.
#ifndef INFENCLAVE_ASSESSMENT_RECOVER_H_
#define INFENCLAVE_ASSESSMENT_RECOVER_H_

#include <string>

#include "assessment/assess.h"
#include "assessment/state.h"

namespace infenclave {

inline constexpr int kMostTargets = 500;  // photographs under attack: a sample where there are more

// Whether any of the attacks needs an attacker with photographs.
bool NeedsAttacker(const std::vector<std::string>& attacks);
// Whether any of them is the child's.
bool NeedsAttackProgram(const std::vector<std::string>& attacks);

// Fills what attacks found into `assessment`, which holds the cuts and, unless a shard is at work, the KL oracle's
// scores. `program` is infenclave-attacks, empty where nothing will run.
Status Recover(const AssessOptions& options, const KlJob& job, const StateFolder& state, const std::string& program,
               const ProgressFn& progress, Assessment& assessment);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_RECOVER_H_
