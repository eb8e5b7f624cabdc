#include "assessment/assessment.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/status.h"

namespace infenclave {
namespace {

std::string Fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::string Place(const Assessment& a, int cut) {
  return Concat("'", a.cuts[cut].name, "' (cut ", a.cuts[cut].depth + 1, " of ", a.cut_points, ")");
}

std::string Evidence(const Score& score) {
  return Concat("the KL oracle's AUC is ", Fixed(score.estimate.value, 3), " [", Fixed(score.estimate.lower, 3), ", ",
                Fixed(score.estimate.upper, 3), "], the margin ", Fixed(score.margin, 3));
}

// The latest cut with a verdict, where a search for a safe one must have ended.
int LatestJudged(const Assessment& a) {
  for (int cut = static_cast<int>(a.cuts.size()) - 1; cut >= 0; --cut) {
    if (a.cuts[cut].verdict.own != Safety::kNotApplicable) return cut;
  }
  return -1;
}

std::string WhyNone(const Assessment& a) {
  const std::string keep = "; keep the whole network inside the enclave.";
  const int latest = LatestJudged(a);
  if (latest < 0)
    return Concat("No cut could be judged: ", a.cuts.empty() ? "there is none" : "the oracle does not apply", keep);
  const CutVerdict& verdict = a.cuts[latest].verdict;
  const Score& score = a.cuts[verdict.deciding_cut].scores[verdict.deciding_score];
  if (verdict.safety == Safety::kUnsafe) {
    return Concat("No cut is safe: even at ", Place(a, verdict.deciding_cut), ' ', Evidence(score), keep);
  }
  std::string more;
  if (score.images_to_decide) {
    more =
        Concat(" (about ", *score.images_to_decide, " photographs would decide; ", a.photographs.size(), " were used)");
  }
  return Concat("No cut is shown to be safe: at ", Place(a, verdict.deciding_cut), ' ', Evidence(score), more, keep);
}

std::string WhyThis(const Assessment& a, int cut) {
  const CutVerdict& verdict = a.cuts[cut].verdict;
  std::string bounds;
  for (const CutVerdict::CriticalMargin& c : verdict.critical) {
    bounds += Concat(bounds.empty() ? "" : ", ", c.attack, ' ', c.score, " at most ", Fixed(c.margin, 3));
  }
  std::string why =
      Concat(Place(a, cut), " is the earliest cut at which, and after which, every score stays within its ",
             "margin at 95 % (", bounds, ")");
  if (cut == 0 || a.cuts[cut - 1].verdict.safety == Safety::kNotApplicable) return why + ".";
  const CutVerdict& before = a.cuts[cut - 1].verdict;
  const Score& score = a.cuts[before.deciding_cut].scores[before.deciding_score];
  return Concat(why, "; just before it, at ", Place(a, before.deciding_cut), ", ", Evidence(score), '.');
}

}  // namespace

std::string LabelOf(const Assessment& assessment, int label) {
  if (label >= 0 && label < static_cast<int>(assessment.labels.size())) return assessment.labels[label];
  return Concat("class ", label);
}

std::vector<std::string> AttacksNotRun(const Assessment& assessment) {
  std::vector<std::string> missing;
  for (std::string_view attack : kAllAttacks) {
    if (std::find(assessment.attacks.begin(), assessment.attacks.end(), attack) == assessment.attacks.end()) {
      missing.emplace_back(attack);
    }
  }
  return missing;
}

std::vector<double> GreyRatios(const Assessment& assessment) {
  std::vector<double> ratios;
  for (const Photograph& p : assessment.photographs) ratios.push_back(p.bound > 0 ? p.grey / p.bound : INFINITY);
  return ratios;
}

void Conclude(Assessment& assessment) {
  std::vector<std::vector<Score>> scores;
  for (CutResult& cut : assessment.cuts) {
    cut.scores.clear();
    if (cut.kl) {
      Score score{"kl", "auc", cut.kl->auc, assessment.margins.kl_auc, {}};
      if (Judge(score) == Safety::kUndecided) {
        score.images_to_decide = ImagesToDecide(cut.kl->auc, static_cast<int>(assessment.control.size()), score.margin);
      }
      cut.scores.push_back(std::move(score));
    }
    scores.push_back(cut.scores);
  }
  const std::vector<CutVerdict> verdicts = JudgeCuts(scores);
  for (size_t i = 0; i < verdicts.size(); ++i) assessment.cuts[i].verdict = verdicts[i];
  assessment.recommended = EarliestSafeCut(verdicts);
  assessment.provisional = !AttacksNotRun(assessment).empty();
  assessment.why = assessment.recommended < 0 ? WhyNone(assessment) : WhyThis(assessment, assessment.recommended);
}

}  // namespace infenclave
