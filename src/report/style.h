// The page's style sheet.
#ifndef INFENCLAVE_REPORT_STYLE_H_
#define INFENCLAVE_REPORT_STYLE_H_

#include <string_view>

namespace infenclave {

extern const std::string_view kStyleSheet;

}  // namespace infenclave

#endif  // INFENCLAVE_REPORT_STYLE_H_
