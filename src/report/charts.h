// The page's charts: static SVG, drawn with the page's colours (style.h), each with a title and a description.
//
// Every chart exists at two widths, of which the style sheet shows the one that fits: text keeps its size on a phone.
#ifndef INFENCLAVE_REPORT_CHARTS_H_
#define INFENCLAVE_REPORT_CHARTS_H_

#include <string>

#include "assessment/assessment.h"

namespace infenclave {

std::string VerdictStrip(const Assessment& assessment);  // all cuts from input to output
std::string AucChart(const Assessment& assessment);
std::string SsimChart(const Assessment& assessment);  // of each attack that recovers pictures
std::string RecoveredAucChart(const Assessment& assessment);
std::string RatioChart(const Assessment& assessment);
std::string FlopsChart(const Assessment& assessment);
std::string BytesChart(const Assessment& assessment);
std::string LatencyChart(const Assessment& assessment);

// A verdict's mark, the same as in the charts, for legends and tables.
std::string VerdictMark(Safety safety);
std::string VerdictBadge(Safety safety);  // the mark and the word

}  // namespace infenclave

#endif  // INFENCLAVE_REPORT_CHARTS_H_
