#include <algorithm>
#include <cmath>

#include "report/attacks.h"
#include "report/charts.h"
#include "report/gallery.h"
#include "report/method.h"
#include "report/plot.h"
#include "report/report.h"
#include "report/style.h"
#include "report/text.h"

namespace infenclave {
namespace {

constexpr double kNearlyAll = 0.95;  // share of operations inside, beyond which a cut is hardly one

std::string FileName(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

// "patch, decoder and whitebox"
std::string Enumerate(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    text += Concat(i == 0 ? "" : i + 1 == words.size() ? " and " : ", ", words[i]);
  }
  return text;
}

bool AnySampled(const Assessment& a) {
  return std::any_of(a.cuts.begin(), a.cuts.end(),
                     [](const CutResult& c) { return c.kl && c.kl->scored < c.kl->maps; });
}

std::string Headline(const Assessment& a) {
  if (a.recommended >= 0) {
    const CutResult& cut = a.cuts[a.recommended];
    return Concat("Cut at ", Escape(cut.name), ": it and all later cuts pass", a.provisional ? ", provisionally" : "");
  }
  const bool undecided = std::any_of(a.cuts.begin(), a.cuts.end(),
                                     [](const CutResult& cut) { return cut.verdict.safety == Safety::kUndecided; });
  return undecided ? "No cut is shown to be safe: keep the whole network inside the enclave"
                   : "No cut is safe: keep the whole network inside the enclave";
}

std::string Fact(std::string_view name, std::string_view value, std::string_view detail) {
  return Concat("<div><dt>", name, "</dt><dd>", value, detail.empty() ? "" : "<small>", detail,
                detail.empty() ? "" : "</small>", "</dd></div>");
}

std::string Facts(const Assessment& a) {
  std::string facts = "<dl class=\"facts\">";
  if (a.recommended >= 0) {
    const CutResult& cut = a.cuts[a.recommended];
    facts += Fact("Operations inside", Percent(cut.cost.flops_share), FormatFlops(static_cast<double>(cut.cost.flops)));
    facts += Fact("Crosses the cut", FormatBytes(static_cast<double>(cut.cost.ir_bytes)), FormatShape(cut.shape));
    if (cut.cost.front_ms && cut.cost.back_ms) {
      facts += Fact("Latency inside", Concat(Fixed(*cut.cost.front_ms, 1), " ms"),
                    Concat("outside ", Fixed(*cut.cost.back_ms, 1), " ms"));
    }
    facts += Fact("Enclave memory", FormatBytes(static_cast<double>(cut.cost.memory_bytes)), "weights and activations");
  }
  facts +=
      Fact("Photographs", FormatCount(static_cast<int64_t>(a.photographs.size())),
           a.skipped.empty() ? "" : Concat(a.skipped.size(), a.skipped.size() == 1 ? " file" : " files", " skipped"));
  facts += Fact("Oracle’s answers", FormatCount(a.run.evaluations), FileName(a.oracle));
  return facts + "</dl>";
}

std::string Provisional(const Assessment& a) {
  std::string text;
  const std::vector<std::string> missing = AttacksNotRun(a);
  if (!missing.empty()) {
    text +=
        Concat("<p class=\"note\"><strong>", a.recommended >= 0 ? "This verdict is provisional. " : "", "The attacks ",
               Enumerate(missing),
               " have not run.</strong> The KL oracle asks whether a feature map still "
               "looks like the photograph. An attacker who trains a decoder recovers pictures from maps in which the "
               "oracle sees nothing, so further attacks can only make cuts unsafe, never safe.</p>");
  }
  if (AnySampled(a)) {
    text += Concat("<p class=\"note\"><strong>A sample of maps was scored</strong>: at most ", a.maps_limit,
                   " of each cut. A map that was left out may reveal more.</p>");
  }
  if (static_cast<int>(a.cuts.size()) < a.cut_points) {
    text += Concat("<p class=\"note\"><strong>", a.cuts.size(), " of ", a.cut_points,
                   " cuts were assessed.</strong> The host also sees what lies between and after them.</p>");
  }
  return text;
}

std::string Legend(std::string_view more = "") {
  std::string legend = "<ul class=\"legend\">";
  for (Safety s : {Safety::kUnsafe, Safety::kUndecided, Safety::kSafe, Safety::kNotApplicable}) {
    legend += Concat("<li>", VerdictMark(s), NameOf(s), "</li>");
  }
  return Concat(legend, more, "</ul>");
}

std::string ChosenKey(const Assessment& a) {
  return a.recommended < 0 ? "" : "<li><span class=\"key chosen\"></span>recommended cut</li>";
}

std::string Leakage(const Assessment& a) {
  const std::vector<double> grey = GreyRatios(a);
  const int64_t below = std::count_if(grey.begin(), grey.end(), [](double ratio) { return ratio < 1; });
  std::string html = "<section aria-labelledby=\"leakage\"><h2 id=\"leakage\">What each cut gives away</h2>";
  html += Concat(
      "<p>Every feature map at a cut is shown, as a grey picture, to an independent classifier, the oracle. The most "
      "revealing "
      "map counts. Two questions are asked: does the map speak of <em>its own</em> photograph rather than of another "
      "one "
      "(AUC, which decides), and how much of what the oracle knows of the photograph is in the map (KL ratio, the "
      "criterion of the original method, shown for comparison).</p>");
  html += Concat(
      "<figure><p class=\"heading\">AUC with its interval</p>", AucChart(a),
      Legend(Concat("<li><span class=\"key dash\"></span>margin ", Fixed(a.margins.kl_auc, 2),
                    "</li><li><span class=\"key dots\"></span>chance</li>", ChosenKey(a))),
      "<figcaption>1.0: the oracle always finds a map's own photograph; 0.5: no better than chance. Whiskers are "
      "one-sided 95&nbsp;% bounds, from a bootstrap over photographs. Colours judge each cut alone; the verdict "
      "also counts every later cut, which the host computes. Below: number of the cut, and height and width of "
      "its maps. ",
      "</figcaption></figure>");
  html +=
      Concat("<figure><p class=\"heading\">KL ratio</p>", RatioChart(a),
             "<ul class=\"legend\"><li><span class=\"key median\"></span>median photograph</li><li><span "
             "class=\"key band\"></span>"
             "5th percentile to largest</li><li><span class=\"key dash\"></span>plain grey, median</li><li><span "
             "class=\"key dots\"></span>uniform guess</li>",
             ChosenKey(a), "</ul>",
             "<figcaption>0: the best map tells the oracle what the photograph tells it. 1: it tells as little as "
             "a uniform guess. The ratio alone cannot decide: the minimum over many maps falls by chance, and a plain "
             "grey picture, which shows nothing, has a ratio below 1 for ",
             below, " of ", grey.size(), " photographs, in the median ", Fixed(Quantile(grey, 0.5), 2),
             ".</figcaption></figure></section>");
  return html;
}

std::string CostSection(const Assessment& a) {
  std::string html =
      "<section aria-labelledby=\"cost\"><h2 id=\"cost\">What each cut costs</h2><p>A later cut shows less, and keeps "
      "more "
      "of the work inside the enclave, where no accelerator helps.";
  if (a.recommended >= 0) {
    const CutCost& cost = a.cuts[a.recommended].cost;
    html += Concat(" At the recommended cut ", Percent(cost.flops_share),
                   " of the network's operations run inside and ", Percent(1 - cost.flops_share), " outside.",
                   cost.flops_share > kNearlyAll ? " That is nearly all of them: this cut saves next to nothing." : "");
  }
  html += Concat(
      "</p><div class=\"thirds\"><figure>", FlopsChart(a),
      "<figcaption>Share of the network's floating-point operations in the FrontNet.</figcaption></figure><figure>",
      BytesChart(a),
      "<figcaption>Size of the intermediate representation in f32, for one photograph.</figcaption>"
      "</figure><figure>",
      LatencyChart(a),
      "<ul class=\"legend\"><li><span class=\"key inside\"></span>inside</li><li><span class=\"key outside\"></span>"
      "outside</li></ul><figcaption>Median of one photograph on one thread of this machine, without a "
      "TEE.</figcaption></figure></div></section>");
  return html;
}

std::string Row(const Assessment& a, size_t i) {
  return Concat("<tr", static_cast<int>(i) == a.recommended ? " class=\"pick\"" : "", "><td>", a.cuts[i].depth + 1,
                "</td><th scope=\"row\" class=\"l wrap\">", Escape(a.cuts[i].name), "</th>");
}

std::string NotApplicableCells(const CutResult& cut, int columns) {
  return Concat("<td colspan=\"", columns, "\" class=\"l\">not applicable: ", Escape(cut.kl_not_applicable), "</td>");
}

std::string LeakageTable(const Assessment& a) {
  std::string rows;
  for (size_t i = 0; i < a.cuts.size(); ++i) {
    const CutResult& cut = a.cuts[i];
    rows += Row(a, i) + Concat("<td>", FormatShape(cut.shape), "</td>");
    rows += cut.kl ? Concat("<td>", cut.kl->scored, "</td><td>", Fixed(cut.kl->auc.value, 3), "</td><td>",
                            FormatInterval(cut.kl->auc, 3), "</td>")
                   : NotApplicableCells(cut, 3);
    rows += Concat("<td class=\"l\">", VerdictBadge(cut.verdict.own), "</td><td class=\"l\">",
                   VerdictBadge(cut.verdict.safety), "</td>");
    const auto& critical = cut.verdict.critical;
    rows += Concat("<td>", critical.empty() ? "–" : Fixed(critical[0].margin, 3), "</td></tr>");
  }
  return Table("leakage-table", "Leakage and verdict at each cut",
               Head({"#", "<Cut", "Shape", "Maps", "AUC", "Interval", "<Alone", "<Verdict", "Critical margin"}), rows);
}

std::string RatioTable(const Assessment& a) {
  std::string rows;
  for (size_t i = 0; i < a.cuts.size(); ++i) {
    const CutResult& cut = a.cuts[i];
    rows += Row(a, i);
    if (!cut.kl) {
      rows += NotApplicableCells(cut, 8) + "</tr>";
      continue;
    }
    const KlScores& kl = *cut.kl;
    for (double v : {kl.ratio_min, kl.ratio_p05, kl.ratio_median, kl.ratio_max})
      rows += Concat("<td>", Fixed(v, 2), "</td>");
    for (const Estimate& e : {kl.ratio_ge_1, kl.top1}) {
      rows += Concat("<td>", Percent(e.value), "</td><td>[", Fixed(100 * e.lower, 0), ", ", Fixed(100 * e.upper, 0),
                     "]</td>");
    }
    rows += "</tr>";
  }
  return Table("ratio-table", "KL ratio, and photographs recognised, at each cut",
               Head({"#", "<Cut", "Min", "5th percentile", "Median", "Max", "Ratio ≥&nbsp;1", "Interval, %",
                     "Same top-1", "Interval, %"}),
               rows);
}

std::string CostTable(const Assessment& a) {
  const auto ms = [](const std::optional<double>& v) { return v ? Fixed(*v, 2) : std::string("–"); };
  std::string rows;
  for (size_t i = 0; i < a.cuts.size(); ++i) {
    const CutCost& c = a.cuts[i].cost;
    rows += Row(a, i);
    rows += Concat("<td>", FormatFlops(static_cast<double>(c.flops)), "</td><td>", Percent(c.flops_share, 1),
                   "</td><td>", FormatBytes(static_cast<double>(c.weight_bytes)), "</td><td>",
                   FormatBytes(static_cast<double>(c.peak_bytes)), "</td><td>",
                   FormatBytes(static_cast<double>(c.memory_bytes)), "</td><td>",
                   FormatBytes(static_cast<double>(c.ir_bytes)), "</td><td>", ms(c.front_ms), "</td><td>",
                   ms(c.back_ms), "</td></tr>");
  }
  return Table("cost-table", "Cost of each cut",
               Head({"#", "<Cut", "Operations inside", "Share", "Weights inside", "Peak activations", "Memory compiled",
                     "IR bytes", "Inside, ms", "Outside, ms"}),
               rows);
}

std::string Numbers(const Assessment& a) {
  return Concat(
      "<section aria-labelledby=\"numbers\"><h2 id=\"numbers\">Every number</h2><p>Figures of single photographs are "
      "in "
      "<code>assessment.json</code>, beside this page. Intervals are 90&nbsp;%: each end is a one-sided 95&nbsp;% "
      "bound.</p>",
      LeakageTable(a), RatioTable(a), AttacksTables(a), CostTable(a), "</section>");
}

std::string Margins(const Assessment& a) {
  std::string text = Concat("AUC of kl ", Fixed(a.margins.kl_auc, 2));
  if (a.baselines.empty()) return text;
  return Concat(text, "; over the baseline AUC ", Fixed(a.margins.auc, 2), ", SSIM ", Fixed(a.margins.ssim, 2),
                ", PSNR ", Fixed(a.margins.psnr, 1), " dB, top-1 ", Percent(a.margins.top1));
}

std::string Reproduce(const Assessment& a) {
  const auto pair = [](std::string_view name, const std::string& value) {
    return Concat("<tr><th scope=\"row\" class=\"l\">", name, "</th><td class=\"l wrap\">", value, "</td></tr>");
  };
  std::string rows = pair("Model", Concat(Escape(a.model), "<br><code>sha256 ", a.model_sha256, "</code>"));
  rows += pair("Oracle",
               Concat(Escape(a.oracle), ", ", a.classes, " classes<br><code>sha256 ", a.oracle_sha256, "</code>"));
  rows += pair("Maps per cut", a.maps_limit == 0 ? "all" : Concat("at most ", a.maps_limit));
  rows += pair("Margins", Margins(a));
  if (a.attacker_photographs > 0) {
    rows += pair("Attacker", Concat(a.attacker_photographs, " photographs, ", FormatCount(a.attacker_pictures),
                                    " views and synthetic pictures"));
  }
  if (a.ir_noise > 0) {
    rows += pair("Noise on the IR", Concat(Fixed(a.ir_noise, 2), " deviations of each channel; ", a.ir_views,
                                           a.ir_views == 1 ? " view" : " views of each picture, averaged"));
  }
  rows += pair("Seed", Concat(a.seed));
  rows += pair("Infenclave", Escape(a.run.version));
  rows += pair("Machine", Concat(Escape(a.run.processor), ", ", a.run.threads,
                                 a.run.threads == 1 ? " thread" : " threads", ", ", Escape(a.run.engine)));
  rows += pair("Oracle's work",
               Concat(FormatCount(a.run.evaluations), " pictures, ", Fixed(a.run.seconds, 0), " seconds of threads"));
  rows += pair("Finished", Escape(a.run.finished));
  std::string html = Concat("<section aria-labelledby=\"reproduce\"><h2 id=\"reproduce\">To repeat it</h2><pre>",
                            Escape(a.run.command), "</pre>",
                            Table("run-table", "Settings",
                                  "<th scope=\"col\" class=\"l\">Setting</th><th scope=\"col\" "
                                  "class=\"l\">Value</th>",
                                  rows));
  if (!a.skipped.empty()) {
    std::string skipped;
    for (const Skipped& s : a.skipped) {
      skipped += Concat("<tr><th scope=\"row\" class=\"l wrap\">", Escape(s.file), "</th><td class=\"l wrap\">",
                        Escape(s.reason), "</td></tr>");
    }
    html += Table("skipped-table", "Files that were skipped",
                  "<th scope=\"col\" class=\"l\">File</th><th scope=\"col\" class=\"l\">Why</th>", skipped);
  }
  return html + "</section>";
}

}  // namespace

std::string RenderReport(const Assessment& a, const std::vector<Exhibit>& exhibits, const Gallery& gallery) {
  const std::string title = Concat("Leakage assessment of ", Escape(FileName(a.model)));
  std::string html = Concat(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width, "
      "initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
      "style-src "
      "'unsafe-inline'\"><link rel=\"icon\" href=\"data:,\"><title>",
      title, "</title><style>", kStyleSheet,
      "</style></head><body><a class=\"skip\" href=\"#main\">Skip to the results</a>");
  html += Concat("<header><p class=\"over\">", title, " · judged by ", Escape(FileName(a.oracle)), " · ",
                 Escape(a.run.finished.substr(0, 10)), "</p><h1>", Headline(a), "</h1><p class=\"lead\">",
                 Escape(a.why), "</p>", Provisional(a), "</header><main id=\"main\">");
  html += Concat("<figure>", VerdictStrip(a), Legend(),
                 "<figcaption>Every cut that was assessed, from the image to the class scores, and its verdict: with "
                 "all later cuts "
                 "counted.</figcaption></figure>",
                 Facts(a));
  html += Leakage(a) + AttacksSection(a) + RecoveredGallery(a, gallery) + CostSection(a) + MapGallery(a, exhibits) +
          Numbers(a) + Method(a) + Reproduce(a);
  return html +
         "</main><footer>Made by Infenclave. This page is one file, needs no network and runs no "
         "script.</footer></body></html>\n";
}

}  // namespace infenclave
