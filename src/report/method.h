// The page's last word: how everything was measured, and where each method comes from.
#ifndef INFENCLAVE_REPORT_METHOD_H_
#define INFENCLAVE_REPORT_METHOD_H_

#include <string>

#include "assessment/assessment.h"

namespace infenclave {

std::string Method(const Assessment& assessment);

}  // namespace infenclave

#endif  // INFENCLAVE_REPORT_METHOD_H_
