#include "report/charts.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "report/plot.h"
#include "report/text.h"

namespace infenclave {
namespace {

constexpr int kWide = 860, kNarrow = 340, kThird = 340;
constexpr double kGap = std::numeric_limits<double>::quiet_NaN();

template <typename Draw>
std::string AtTwoWidths(Draw draw) {
  return Concat("<div class=\"wide\">", draw(kWide), "</div><div class=\"narrow\">", draw(kNarrow), "</div>");
}

template <typename Get>
std::vector<double> OverCuts(const Assessment& a, Get get) {
  std::vector<double> values;
  for (const CutResult& cut : a.cuts) values.push_back(get(cut));
  return values;
}
template <typename Get>
std::vector<double> OverKl(const Assessment& a, Get get) {
  return OverCuts(a, [&](const CutResult& cut) { return cut.kl ? get(*cut.kl) : kGap; });
}

// Round steps, about `count` of them, from 0 to at least `high`.
std::vector<std::pair<double, std::string>> LinearTicks(double high, int count, std::string_view unit = "") {
  const double raw = high / count, power = std::pow(10, std::floor(std::log10(raw)));
  double step = power;
  for (double factor : {1.0, 2.0, 2.5, 5.0, 10.0}) {
    step = power * factor;
    if (step >= raw * 0.999) break;
  }
  const int digits = step >= 1 ? (step == 2.5 ? 1 : 0) : static_cast<int>(std::ceil(-std::log10(step) + 0.001));
  std::vector<std::pair<double, std::string>> ticks;
  for (int i = 0; i == 0 || ticks.back().first < high * 0.999; ++i)
    ticks.push_back({i * step, Fixed(i * step, digits)});
  ticks.back().second += unit;
  return ticks;
}

std::string FirstAndLast(const std::vector<double>& values, int digits) {
  double first = kGap, last = kGap;
  for (double v : values) {
    if (std::isnan(v)) continue;
    if (std::isnan(first)) first = v;
    last = v;
  }
  return Concat("from ", Fixed(first, digits), " at the first to ", Fixed(last, digits),
                " at the last cut that was judged");
}

PlotSpec CostSpec(std::string id, std::string title, std::string y_label) {
  PlotSpec spec;
  spec.id = std::move(id);
  spec.title = std::move(title);
  spec.y_label = std::move(y_label);
  spec.height = 210;
  return spec;
}

}  // namespace

std::string VerdictMark(Safety safety) {
  return Concat("<svg class=\"icon\" viewBox=\"0 0 12 12\" width=\"12\" height=\"12\" aria-hidden=\"true\">",
                MarkPath(6, 6, safety), "</svg>");
}

std::string VerdictBadge(Safety safety) {
  return Concat("<span class=\"verdict ", StyleOf(safety), "\">", VerdictMark(safety), NameOf(safety), "</span>");
}

std::string VerdictStrip(const Assessment& a) {
  const int n = static_cast<int>(a.cuts.size());
  int counts[4] = {};
  for (const CutResult& cut : a.cuts) ++counts[static_cast<int>(cut.verdict.safety)];
  std::string description = "All cuts in order from the input to the output:";
  for (Safety s : {Safety::kUnsafe, Safety::kUndecided, Safety::kSafe, Safety::kNotApplicable}) {
    if (counts[static_cast<int>(s)] > 0) description += Concat(' ', counts[static_cast<int>(s)], ' ', NameOf(s), ';');
  }
  description.back() = '.';
  return AtTwoWidths([&](int width) {
    const double left = 4, cell = (width - 8.0) / n;
    std::string body =
        Concat("<text class=\"tick\" x=\"4\" y=\"11\">image</text><text class=\"tick\" text-anchor=\"end\" x=\"",
               width - 4, "\" y=\"11\">class scores</text>");
    for (int i = 0; i < n; ++i) {
      const Safety safety = a.cuts[i].verdict.safety;
      const double x = left + i * cell;
      body += Concat("<rect class=\"cell ", StyleOf(safety), "\" x=\"", x + 0.75, "\" y=\"18\" width=\"",
                     std::max(1.0, cell - 1.5), "\" height=\"26\" rx=\"2\"/>");
      if (cell >= 9) body += MarkPath(x + cell / 2, 31, safety);
    }
    if (a.recommended >= 0) {
      const double x = left + (a.recommended + 0.5) * cell;
      const bool fits_left = x - left > 130, fits_right = width - 4 - x > 130;
      body += Concat("<path class=\"chosen\" d=\"M", x, " 14V50\"/><path class=\"brace\" d=\"M", left, " 52H", x - 3,
                     "\"/><path class=\"brace out\" d=\"M", x + 3, " 52H", width - 4, "\"/>");
      body += Concat("<text class=\"tick\" x=\"", fits_left ? left : 4, "\" y=\"68\">inside the enclave</text>");
      if (fits_right || fits_left) {
        body += Concat("<text class=\"tick\" text-anchor=\"end\" x=\"", width - 4, "\" y=\"68\">outside</text>");
      }
    }
    return Svg(Concat("strip-", width), "Verdict of each cut", description, width, a.recommended >= 0 ? 74 : 48, body);
  });
}

std::string AucChart(const Assessment& a) {
  PlotSpec spec;
  const std::vector<double> auc = OverKl(a, [](const KlScores& kl) { return kl.auc.value; });
  double least = 0.4;
  for (const CutResult& cut : a.cuts) {
    if (cut.kl) least = std::min(least, cut.kl->auc.lower);
  }
  spec.id = "auc";
  spec.title = "AUC of the KL oracle at each cut";
  spec.description = Concat("The area under the curve goes ", FirstAndLast(auc, 2), ". The margin is ",
                            Fixed(a.margins.kl_auc, 2), ", chance is 0.50. The table of leakage holds every value.");
  spec.y_label = "AUC: does an IR match its own photograph?";
  spec.low = std::max(0.0, std::floor(least * 10) / 10);
  for (int tenth = static_cast<int>(std::lround(spec.low * 10)); tenth <= 10; ++tenth) {
    spec.ticks.push_back({tenth / 10.0, Fixed(tenth / 10.0, 1)});
  }
  return AtTwoWidths([&](int width) {
    Plot plot(a, spec, width);
    plot.Shade(spec.low, a.margins.kl_auc, "zone");
    plot.Reference(a.margins.kl_auc, "margin");
    plot.Reference(0.5, "chance");
    plot.Line(auc, "quiet");
    for (size_t i = 0; i < a.cuts.size(); ++i) {
      const CutResult& cut = a.cuts[i];
      if (!cut.kl) {
        plot.NotApplicable(static_cast<int>(i));
        continue;
      }
      plot.Whisker(static_cast<int>(i), cut.kl->auc.lower, cut.kl->auc.upper, StyleOf(cut.verdict.own));
      plot.Verdict(static_cast<int>(i), cut.kl->auc.value, cut.verdict.own);
    }
    return plot.Finish();
  });
}

std::string RatioChart(const Assessment& a) {
  const std::vector<double> median = OverKl(a, [](const KlScores& kl) { return kl.ratio_median; });
  const std::vector<double> low = OverKl(a, [](const KlScores& kl) { return kl.ratio_p05; });
  const std::vector<double> high = OverKl(a, [](const KlScores& kl) { return kl.ratio_max; });
  // One photograph of which the oracle is unsure has a huge ratio: the axis follows the medians.
  double most = 1.4;
  for (double v : median) most = std::isfinite(v) ? std::max(most, v * 1.5) : most;
  const double grey = Quantile(GreyRatios(a), 0.5);
  PlotSpec spec;
  spec.id = "ratio";
  spec.title = "KL ratio at each cut";
  spec.description =
      Concat("The median ratio goes ", FirstAndLast(median, 2),
             "; the band reaches from the 5th percentile to the largest. The table of leakage holds every value.");
  spec.y_label = "KL ratio: divergence of the best map ÷ divergence of ignorance";
  spec.ticks = LinearTicks(most, 5);
  spec.high = spec.ticks.back().first;
  return AtTwoWidths([&](int width) {
    PlotSpec own = spec;
    if (width < kWide) own.y_label = "KL ratio";
    Plot plot(a, own, width);
    plot.Band(low, high, "band");
    plot.Reference(1, "chance");
    plot.Reference(grey, "margin");
    plot.Line(median, "strong");
    for (size_t i = 0; i < a.cuts.size(); ++i) {
      if (a.cuts[i].kl) {
        plot.Dot(static_cast<int>(i), median[i], "dot");
      } else {
        plot.NotApplicable(static_cast<int>(i));
      }
    }
    return plot.Finish();
  });
}

namespace {

// One line for each attack, with its interval at every cut where it ran, and the baselines across.
template <typename Get>
std::string AttackChart(const Assessment& a, PlotSpec spec, Get get) {
  double nothing = kGap, output = kGap;
  for (const BaselineRun& run : a.baselines) {
    const double value = get(run.scores).value;
    double& best = run.name == "nothing" ? nothing : output;
    best = std::isnan(best) ? value : std::max(best, value);
  }
  for (int tick = 0; tick <= 5; ++tick) spec.ticks.push_back({tick / 5.0, Fixed(tick / 5.0, 1)});
  return AtTwoWidths([&](int width) {
    Plot plot(a, spec, width);
    plot.Reference(nothing, "chance");
    if (!std::isnan(output)) plot.Reference(output, "margin");
    for (std::string_view attack : kAllAttacks) {
      std::vector<double> values(a.cuts.size(), kGap);
      for (size_t i = 0; i < a.cuts.size(); ++i) {
        for (const AttackRun& run : a.cuts[i].attacks) {
          if (run.attack != attack) continue;
          const Estimate e = get(run.scores);
          values[i] = e.value;
          plot.Whisker(static_cast<int>(i), e.lower, e.upper, Concat("by-", attack));
          plot.Dot(static_cast<int>(i), e.value, Concat("by-", attack));
        }
      }
      plot.Line(values, Concat("by-", attack));
    }
    return plot.Finish();
  });
}

}  // namespace

std::string SsimChart(const Assessment& a) {
  PlotSpec spec;
  spec.id = "ssim";
  spec.title = "SSIM of what each attack recovered at each cut";
  spec.description =
      "One line for each attack; the mean image and the best baseline from the scores alone are drawn "
      "across. The table of attacks holds every value.";
  spec.y_label = "SSIM";
  return AttackChart(a, spec, [&a](const AttackScores& s) {
    return Estimate{a.mean_ssim + s.ssim.value, a.mean_ssim + s.ssim.lower, a.mean_ssim + s.ssim.upper};
  });
}

std::string RecoveredAucChart(const Assessment& a) {
  PlotSpec spec;
  spec.id = "recovered-auc";
  spec.title = "AUC of what each attack recovered at each cut";
  spec.description = "One line for each attack, the baselines across. The table of attacks holds every value.";
  spec.y_label = "AUC";
  return AttackChart(a, spec, [](const AttackScores& s) { return s.auc; });
}

std::string FlopsChart(const Assessment& a) {
  PlotSpec spec = CostSpec("flops", "Share of the network's operations inside the enclave", "operations inside");
  const std::vector<double> share = OverCuts(a, [](const CutResult& cut) { return 100 * cut.cost.flops_share; });
  spec.description =
      Concat("The share goes from ", Fixed(share.front(), 1), " to ", Fixed(share.back(), 1), " percent.");
  spec.high = 100;
  for (int tick : {0, 25, 50, 75, 100}) spec.ticks.push_back({tick, Concat(tick, " %")});
  Plot plot(a, spec, kThird);
  plot.Band(std::vector<double>(share.size(), 0.0), share, "band");
  plot.Line(share, "strong");
  return plot.Finish();
}

std::string BytesChart(const Assessment& a) {
  PlotSpec spec = CostSpec("bytes", "Bytes that cross the cut, per photograph", "bytes across the cut");
  const std::vector<double> bytes =
      OverCuts(a, [](const CutResult& cut) { return static_cast<double>(cut.cost.ir_bytes); });
  const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
  spec.description = Concat("Between ", FormatBytes(*least), " and ", FormatBytes(*most), ", on a logarithmic axis.");
  spec.logarithmic = true;
  const int highest = static_cast<int>(std::ceil(std::log10(std::max(10.0, *most))));
  const int lowest = std::min(static_cast<int>(std::floor(std::log10(std::max(1.0, *least)))), highest - 1);
  spec.low = std::pow(10, lowest);
  spec.high = std::pow(10, highest);
  static constexpr const char* kUnits[] = {" B", " kB", " MB", " GB", " TB"};
  for (int power = lowest; power <= highest; ++power) {
    spec.ticks.push_back({std::pow(10, power), Fixed(std::pow(10, power % 3), 0) + kUnits[std::min(power / 3, 4)]});
  }
  Plot plot(a, spec, kThird);
  for (size_t i = 0; i < bytes.size(); ++i) plot.Bar(static_cast<int>(i), spec.low, bytes[i], "bar inside");
  return plot.Finish();
}

std::string LatencyChart(const Assessment& a) {
  PlotSpec spec = CostSpec("latency", "Latency inside and outside the enclave", "milliseconds");
  double most = 0;
  for (const CutResult& cut : a.cuts)
    most = std::max(most, cut.cost.front_ms.value_or(0) + cut.cost.back_ms.value_or(0));
  spec.description = Concat("Stacked bars, inside below and outside above; together at most ", Fixed(most, 1),
                            " milliseconds. The table of costs holds every value.");
  spec.ticks = LinearTicks(std::max(most, 0.001), 4);
  spec.high = spec.ticks.back().first;
  Plot plot(a, spec, kThird);
  for (size_t i = 0; i < a.cuts.size(); ++i) {
    const double front = a.cuts[i].cost.front_ms.value_or(0), back = a.cuts[i].cost.back_ms.value_or(0);
    plot.Bar(static_cast<int>(i), 0, front, "bar inside");
    plot.Bar(static_cast<int>(i), front, front + back, "bar outside");
  }
  return plot.Finish();
}

}  // namespace infenclave
