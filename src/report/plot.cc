#include "report/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "report/text.h"

namespace infenclave {
namespace {

constexpr double kCharacter = 6.6;  // average width of the charts' 12 pixel text

std::string Px(double v) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", v);
  std::string_view s = text;
  if (s.ends_with(".0")) s.remove_suffix(2);
  return std::string(s);
}

std::string LineElement(double x1, double y1, double x2, double y2, std::string_view style) {
  return Concat("<line class=\"", style, "\" x1=\"", Px(x1), "\" y1=\"", Px(y1), "\" x2=\"", Px(x2), "\" y2=\"", Px(y2),
                "\"/>");
}

std::string TextElement(double x, double y, std::string_view anchor, std::string_view text,
                        std::string_view style = "") {
  return Concat("<text x=\"", Px(x), "\" y=\"", Px(y), "\" text-anchor=\"", anchor, "\" class=\"", style, "\">",
                Escape(text), "</text>");
}

// What the cuts of a stretch have in common: the size of their maps.
std::string SizeOfMaps(const Shape& shape) {
  if (shape.size() != 4) return "vector";
  if (shape[2] == shape[3]) return Concat(shape[2], "²");
  return Concat(shape[2], "×", shape[3]);
}

}  // namespace

std::string_view StyleOf(Safety safety) { return safety == Safety::kNotApplicable ? "none" : NameOf(safety); }

std::string MarkPath(double x, double y, Safety safety) {
  const auto at = [&](double dx, double dy) { return Concat(Px(x + dx), ' ', Px(y + dy)); };
  const std::string style = Concat("\" class=\"mark ", StyleOf(safety), "\"/>");
  switch (safety) {
    case Safety::kSafe:
      return Concat("<circle cx=\"", Px(x), "\" cy=\"", Px(y), "\" r=\"4", style);
    case Safety::kUnsafe:  // a square
      return Concat("<path d=\"M", at(-3.6, -3.6), "H", Px(x + 3.6), "V", Px(y + 3.6), "H", Px(x - 3.6), "Z", style);
    case Safety::kUndecided:  // a triangle
      return Concat("<path d=\"M", at(0, -4.8), "L", at(4.6, 3.6), "L", at(-4.6, 3.6), "Z", style);
    case Safety::kNotApplicable:  // a ring
      break;
  }
  return Concat("<circle cx=\"", Px(x), "\" cy=\"", Px(y), "\" r=\"3.4", style);
}

std::string Svg(std::string_view id, std::string_view title, std::string_view description, int width, int height,
                std::string_view body) {
  return Concat("<svg role=\"img\" aria-labelledby=\"", id, "-t ", id, "-d\" viewBox=\"0 0 ", width, ' ', height,
                "\" width=\"", width, "\" height=\"", height, "\"><title id=\"", id, "-t\">", Escape(title),
                "</title><desc id=\"", id, "-d\">", Escape(description), "</desc>", body, "</svg>");
}

Plot::Plot(const Assessment& assessment, const PlotSpec& spec, int width)
    : assessment_(assessment),
      spec_(spec),
      width_(width),
      cuts_(static_cast<int>(assessment.cuts.size())),
      left_(46),
      right_(width - 12),
      top_(26),
      bottom_(spec.height - 44) {
  DrawYAxis();
  DrawCuts();
  DrawRecommended();
}

double Plot::X(int cut) const { return left_ + (cut + 0.5) * (right_ - left_) / cuts_; }

double Plot::Y(double value) const {
  const auto scale = [&](double v) { return spec_.logarithmic ? std::log10(std::max(v, 1e-300)) : v; };
  const double share = (scale(value) - scale(spec_.low)) / (scale(spec_.high) - scale(spec_.low));
  return bottom_ - std::clamp(share, 0.0, 1.0) * (bottom_ - top_);
}

void Plot::DrawYAxis() {
  body_ += TextElement(2, 12, "start", spec_.y_label, "axis-title");
  for (const auto& [value, text] : spec_.ticks) {
    body_ += LineElement(left_, Y(value), right_, Y(value), "grid");
    body_ += TextElement(left_ - 7, Y(value) + 4, "end", text, "tick");
  }
}

void Plot::DrawCuts() {
  body_ += LineElement(left_, bottom_, right_, bottom_, "axis");
  const double step = (right_ - left_) / cuts_;
  int stride = 1;
  for (int candidate : {1, 2, 5, 10, 20, 50, 100}) {
    stride = candidate;
    if (step * candidate >= 20) break;
  }
  for (int cut = 0; cut < cuts_; ++cut) {
    const int number = assessment_.cuts[cut].depth + 1;
    if (cut == 0 || number % stride == 0) {
      // The second label gives way where it would touch the first.
      if (cut == 0 || X(cut) - X(0) >= 18) body_ += TextElement(X(cut), bottom_ + 15, "middle", Concat(number), "tick");
    }
  }
  for (int begin = 0; begin < cuts_;) {
    const std::string size = SizeOfMaps(assessment_.cuts[begin].shape);
    int end = begin + 1;
    while (end < cuts_ && SizeOfMaps(assessment_.cuts[end].shape) == size) ++end;
    const double from = left_ + begin * step + 1.5, to = left_ + end * step - 1.5;
    body_ += LineElement(from, bottom_ + 23, to, bottom_ + 23, "bracket");
    if (to - from >= kCharacter * (static_cast<double>(size.size()) - (size.ends_with("²") ? 1 : 0))) {
      body_ += TextElement((from + to) / 2, bottom_ + 37, "middle", size, "tick");
    }
    begin = end;
  }
}

void Plot::DrawRecommended() {
  const int cut = assessment_.recommended;
  if (cut < 0) return;
  over_ += LineElement(X(cut), top_, X(cut), bottom_, "chosen");
}

void Plot::Band(const std::vector<double>& low, const std::vector<double>& high, std::string_view style) {
  for (int begin = 0; begin < cuts_;) {
    int end = begin;
    while (end < cuts_ && !std::isnan(low[end]) && !std::isnan(high[end])) ++end;
    std::string path;
    for (int cut = begin; cut < end; ++cut) path += Concat(cut == begin ? "M" : "L", Px(X(cut)), ' ', Px(Y(high[cut])));
    for (int cut = end - 1; cut >= begin; --cut) path += Concat("L", Px(X(cut)), ' ', Px(Y(low[cut])));
    if (!path.empty()) body_ += Concat("<path class=\"", style, "\" d=\"", path, "Z\"/>");
    begin = end + 1;
  }
}

void Plot::Line(const std::vector<double>& values, std::string_view style) {
  std::string path;
  bool open = false;
  for (int cut = 0; cut < cuts_; ++cut) {
    if (std::isnan(values[cut])) {
      open = false;
      continue;
    }
    path += Concat(open ? "L" : "M", Px(X(cut)), ' ', Px(Y(values[cut])));
    open = true;
  }
  if (!path.empty()) body_ += Concat("<path class=\"line ", style, "\" d=\"", path, "\"/>");
}

void Plot::Whisker(int cut, double low, double high, std::string_view style) {
  body_ += LineElement(X(cut), Y(low), X(cut), Y(high), Concat("whisker ", style));
}

void Plot::Bar(int cut, double from, double to, std::string_view style) {
  const double width = std::clamp((right_ - left_) / cuts_ * 0.64, 1.0, 22.0);
  const double high = Y(std::max(from, to)), low = Y(std::min(from, to));
  body_ += Concat("<rect class=\"", style, "\" x=\"", Px(X(cut) - width / 2), "\" y=\"", Px(high), "\" width=\"",
                  Px(width), "\" height=\"", Px(low - high), "\"/>");
}

void Plot::Dot(int cut, double value, std::string_view style) {
  over_ += Concat("<circle class=\"", style, "\" cx=\"", Px(X(cut)), "\" cy=\"", Px(Y(value)), "\" r=\"2.6\"/>");
}

void Plot::Verdict(int cut, double value, Safety safety) { over_ += MarkPath(X(cut), Y(value), safety); }

void Plot::NotApplicable(int cut) { over_ += MarkPath(X(cut), bottom_ - 8, Safety::kNotApplicable); }

void Plot::Reference(double value, std::string_view style) {
  body_ += LineElement(left_, Y(value), right_, Y(value), style);
}

void Plot::Shade(double from, double to, std::string_view style) {
  body_ += Concat("<rect class=\"", style, "\" x=\"", Px(left_), "\" y=\"", Px(Y(to)), "\" width=\"",
                  Px(right_ - left_), "\" height=\"", Px(Y(from) - Y(to)), "\"/>");
}

std::string Plot::Finish() {
  return Svg(Concat(spec_.id, '-', width_), spec_.title, spec_.description, width_, spec_.height, body_ + over_);
}

}  // namespace infenclave
