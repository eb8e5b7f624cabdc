// The child that trains: infenclave-attacks, found beside this executable, run on one job's folder (attack_job.h).
#ifndef INFENCLAVE_ASSESSMENT_ATTACK_CHILD_H_
#define INFENCLAVE_ASSESSMENT_ATTACK_CHILD_H_

#include <functional>
#include <string>

#include "assessment/attack_job.h"

namespace infenclave {

// FAILED_PRECONDITION, with what to install and what to leave out, if it is not there.
StatusOr<std::string> FindAttackProgram();

// Waits for its end, and passes its progress on. What it writes to standard error goes to FOLDER/attack.log, whose last
// line becomes the message of its failure. A child that was killed is UNAVAILABLE: its checkpoint stays. It ends by
// itself when this process does.
Status RunAttackProgram(const std::string& program, const std::string& folder, int threads,
                        const std::function<void(const AttackProgress&)>& progress);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_ATTACK_CHILD_H_
