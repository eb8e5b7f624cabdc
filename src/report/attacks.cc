#include "report/attacks.h"

#include <algorithm>
#include <cmath>

#include "report/charts.h"
#include "report/text.h"

namespace infenclave {
namespace {

std::string AttackKeys(const Assessment& a) {
  std::string keys;
  for (std::string_view attack : kAllAttacks) {
    const bool ran = std::any_of(a.cuts.begin(), a.cuts.end(), [&](const CutResult& cut) {
      return std::any_of(cut.attacks.begin(), cut.attacks.end(),
                         [&](const AttackRun& run) { return run.attack == attack; });
    });
    if (ran) keys += Concat("<li><span class=\"key by-", attack, "\"></span>", attack, "</li>");
  }
  return Concat("<ul class=\"legend\">", keys,
                "<li><span class=\"key dots\"></span>baseline <em>nothing</em></li><li><span class=\"key dash\"></span>"
                "best baseline <em>output</em></li></ul>");
}

std::string Label(const Assessment& a) {
  if (!a.label) return "";
  std::string html = "<h3>Which score is which class?</h3>";
  if (!a.label->not_applicable.empty()) html += Concat("<p>", Escape(a.label->not_applicable), ".</p>");
  std::string rows;
  for (const LabelAttempt& attempt : a.label->attempts) {
    rows += Concat("<tr><th scope=\"row\" class=\"l\">", Escape(attempt.method), "</th><td>", attempt.classes,
                   "</td><td>", Percent(attempt.named.value, 1), "</td><td>[", Fixed(100 * attempt.named.lower, 1),
                   ", ", Fixed(100 * attempt.named.upper, 1), "]</td><td>", Percent(attempt.chance, 1),
                   "</td><td class=\"l\">", NameOf(attempt.safety), "</td></tr>");
  }
  if (!rows.empty()) {
    html += Table("label-table", "Classes named by the host, whatever the cut",
                  Head({"<Method", "Classes", "Named", "Interval, %", "Chance", "<Alone"}), rows);
  }
  return Concat(html, "<p>", Escape(a.label->advice), "</p>");
}

std::string Cells(const AttackScores& s) {
  return Concat("<td>", s.images, "</td><td>", Fixed(s.psnr.value, 2), "</td><td>", FormatInterval(s.psnr, 2),
                "</td><td>", Fixed(s.ssim.value, 3), "</td><td>", FormatInterval(s.ssim, 3), "</td><td>",
                Percent(s.top1.value), "</td><td>", Percent(s.top5.value), "</td><td>", Fixed(s.auc.value, 3),
                "</td><td>", FormatInterval(s.auc, 3), "</td>");
}

std::string_view WordFor(const Score& score) {
  if (score.doubt == Doubt::kLimitedByData && score.estimate.upper <= score.margin) return "limited by data";
  if (score.doubt == Doubt::kStrengthUnknown && score.estimate.upper <= score.margin) return "strength not tried";
  return NameOf(Judge(score));
}

}  // namespace

std::string AttacksSection(const Assessment& a) {
  if (a.baselines.empty()) return a.label ? Concat("<section aria-label=\"Labels\">", Label(a), "</section>") : "";
  std::string html = "<section aria-labelledby=\"attacks\"><h2 id=\"attacks\">What attackers recovered</h2>";
  html += Concat(
      "<p>An attacker with ", a.attacker_photographs, " photographs of its own (", FormatCount(a.attacker_pictures),
      " views and synthetic pictures) tried to restore ", a.targets.size(),
      " others from what crosses each cut. Attacks that train run where the verdict turns; at the other cuts the "
      "curves are lower bounds. No cut can be safer than the <em>output</em>, the same attacks given only the class "
      "scores, which the host sees at any cut.</p>");
  html += Concat("<figure><p class=\"heading\">SSIM of what was recovered</p>", SsimChart(a), AttackKeys(a),
                 "<figcaption>1.0: the photograph itself; the dotted line is the mean image, which shows nothing. "
                 "Whiskers are one-sided 95&nbsp;% bounds.</figcaption></figure>");
  html += Concat("<figure><p class=\"heading\">AUC: does what was recovered pick out its photograph?</p>",
                 RecoveredAucChart(a), AttackKeys(a),
                 "<figcaption>Against all other photographs, or against those that the oracle finds most alike, "
                 "whichever is harder. 0.5 is chance.</figcaption></figure>");
  return html + Label(a) + "</section>";
}

std::string AttacksTables(const Assessment& a) {
  if (a.baselines.empty()) return "";
  std::string scores, differences;
  for (const BaselineRun& run : a.baselines) {
    scores += Concat("<tr><td>–</td><th scope=\"row\" class=\"l wrap\">baseline ", Escape(run.name),
                     "</th><td class=\"l\">–</td>", Cells(run.scores), "<td class=\"l\">–</td></tr>");
  }
  for (const CutResult& cut : a.cuts) {
    for (const AttackRun& run : cut.attacks) {
      const std::string head = Concat("<tr><td>", cut.depth + 1, "</td><th scope=\"row\" class=\"l wrap\">",
                                      Escape(cut.name), "</th><td class=\"l\">", run.attack, "</td>");
      std::string remark = run.converged ? "converged" : "still improving";
      if (!run.weaker_than.empty()) remark += Concat("; under-trained: weaker than at ", Escape(run.weaker_than));
      if (run.match) remark = Concat("match ", Percent(*run.match));
      scores += Concat(head, Cells(run.scores), "<td class=\"l wrap\">", remark, "</td></tr>");
      for (const Score& score : run.differences) {
        differences +=
            Concat(head, "<td class=\"l\">", NameOfScore(score.name), "</td><td class=\"l\">", Escape(score.baseline),
                   "</td><td>", Fixed(score.estimate.value, 3), "</td><td>", FormatInterval(score.estimate, 3),
                   "</td><td>", Fixed(score.margin, 3), "</td><td class=\"l\">", WordFor(score), "</td></tr>");
      }
    }
  }
  return Table("attack-scores", "What each attack recovered: PSNR and SSIM as gains over the mean image",
               Head({"#", "<Cut", "<Attack", "Images", "PSNR, dB", "Interval", "SSIM", "Interval", "Top-1", "Top-5",
                     "AUC", "Interval", "<Training"}),
               scores) +
         Table("attack-differences", "Beyond the better baseline, and the margins",
               Head({"#", "<Cut", "<Attack", "<Score", "<Baseline", "Gain", "Interval", "Margin", "<Alone"}),
               differences);
}

}  // namespace infenclave
