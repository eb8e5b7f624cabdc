// An assessment as one self-contained HTML page: no script, no network, pictures and charts inside. It reads on a phone
// and on paper, light and dark, by keyboard and by screen reader; every charted number stands in a table.
#ifndef INFENCLAVE_REPORT_REPORT_H_
#define INFENCLAVE_REPORT_REPORT_H_

#include <string>
#include <vector>

#include "assessment/assessment.h"
#include "assessment/exhibits.h"
#include "assessment/gallery.h"

namespace infenclave {

std::string RenderReport(const Assessment& assessment, const std::vector<Exhibit>& exhibits, const Gallery& gallery);

}  // namespace infenclave

#endif  // INFENCLAVE_REPORT_REPORT_H_
