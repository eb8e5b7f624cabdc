// The page's section on attacks that recover pictures and classes.
#ifndef INFENCLAVE_REPORT_ATTACKS_H_
#define INFENCLAVE_REPORT_ATTACKS_H_

#include <string>

#include "assessment/assessment.h"

namespace infenclave {

// Leakage of each attack over the cuts, with baselines; empty if none of them ran.
std::string AttacksSection(const Assessment& assessment);
// The same in figures.
std::string AttacksTables(const Assessment& assessment);

}  // namespace infenclave

#endif  // INFENCLAVE_REPORT_ATTACKS_H_
