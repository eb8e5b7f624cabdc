// One plot over the cuts of a network: axes, grid, and the marks that charts.cc puts on it. Coordinates are CSS pixels.
#ifndef INFENCLAVE_REPORT_PLOT_H_
#define INFENCLAVE_REPORT_PLOT_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "assessment/assessment.h"

namespace infenclave {

struct PlotSpec {
  std::string id;  // unique on the page
  std::string title, description;
  std::string y_label;
  double low = 0, high = 1;
  bool logarithmic = false;
  std::vector<std::pair<double, std::string>> ticks;  // of the y axis
  int height = 300;
};

class Plot {
 public:
  // Draws axes, grid and the cuts' numbers with the sizes of their maps.
  Plot(const Assessment& assessment, const PlotSpec& spec, int width);

  // Values outside the axis are drawn at its end; NaN leaves a gap.
  void Band(const std::vector<double>& low, const std::vector<double>& high, std::string_view style);
  void Line(const std::vector<double>& values, std::string_view style);
  void Whisker(int cut, double low, double high, std::string_view style);
  void Bar(int cut, double from, double to, std::string_view style);
  void Dot(int cut, double value, std::string_view style);
  void Verdict(int cut, double value, Safety safety);
  void NotApplicable(int cut);                           // a mark on the axis
  void Reference(double value, std::string_view style);  // a line across; the legend says what it is
  void Shade(double from, double to, std::string_view style);

  std::string Finish();

 private:
  double X(int cut) const;
  double Y(double value) const;
  void DrawYAxis();
  void DrawCuts();
  void DrawRecommended();

  const Assessment& assessment_;
  const PlotSpec& spec_;
  int width_, cuts_;
  double left_, right_, top_, bottom_;
  std::string body_, over_;  // `over_` is drawn last
};

// The mark of a verdict: shape and colour, so that neither is needed alone.
std::string MarkPath(double x, double y, Safety safety);
std::string_view StyleOf(Safety safety);  // "safe", "unsafe", "undecided", "none"

// An SVG element with title and description for screen readers.
std::string Svg(std::string_view id, std::string_view title, std::string_view description, int width, int height,
                std::string_view body);

}  // namespace infenclave

#endif  // INFENCLAVE_REPORT_PLOT_H_
