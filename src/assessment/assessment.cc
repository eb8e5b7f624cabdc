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

// "the KL oracle's AUC is 0.7 [0.6, 0.8], the margin 0.6"
std::string Evidence(const Score& score) {
  if (score.doubt == Doubt::kNotRun) return Concat("the attack ", score.attack, " has not been run");
  const bool decibel = score.name == "psnr", share = score.name == "top1";
  const auto number = [&](double v) { return decibel ? Fixed(v, 2) : share ? Fixed(100 * v, 1) : Fixed(v, 3); };
  const std::string unit = decibel ? " dB" : share ? " points" : "";
  const std::string range =
      Concat(number(score.estimate.value), " [", number(score.estimate.lower), ", ", number(score.estimate.upper), "]",
             unit, ", the margin ", number(score.margin), unit);
  if (score.baseline.empty()) return Concat("the KL oracle's AUC is ", range);
  std::string text = Concat("the attack ", score.attack, " exceeds the baseline '", score.baseline, "' in ",
                            NameOfScore(score.name), " by ", range);
  if (score.estimate.upper > score.margin) return text;
  if (score.doubt == Doubt::kLimitedByData) text += ", but it still gets better with more photographs";
  if (score.doubt == Doubt::kStrengthUnknown) text += ", but it was not tried with fewer photographs";
  return text;
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
    if (c.score != "auc") continue;  // the others are in the table
    bounds += Concat(bounds.empty() ? "" : ", ", c.attack, " AUC ",
                     c.attack == "kl" ? "at most " : "beyond it at most ", Fixed(c.margin, 3));
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

std::string_view NameOfScore(std::string_view score) {
  if (score == "psnr") return "PSNR";
  if (score == "ssim") return "SSIM";
  if (score == "top1") return "top-1";
  return "AUC";
}

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

namespace {

bool RecoversPictures(const std::string& attack) { return attack != "kl" && attack != "label"; }

// An attack counts for a cut where it ran, and where it found nothing at an earlier one, of which this is a function.
void AddWhatDidNotRun(Assessment& assessment) {
  for (const std::string& attack : assessment.attacks) {
    if (!RecoversPictures(attack)) continue;
    bool covered = false;
    for (CutResult& cut : assessment.cuts) {
      const auto run =
          std::find_if(cut.attacks.begin(), cut.attacks.end(), [&](const AttackRun& r) { return r.attack == attack; });
      if (run != cut.attacks.end()) {
        covered = std::all_of(run->differences.begin(), run->differences.end(),
                              [](const Score& score) { return Judge(score) == Safety::kSafe; });
      } else if (!covered) {
        Score score;
        score.attack = attack;
        score.doubt = Doubt::kNotRun;
        cut.scores.push_back(std::move(score));
      }
    }
  }
}

void AddScores(Assessment& assessment, CutResult& cut) {
  cut.scores.clear();
  if (cut.kl) {
    Score score{"kl", "auc", cut.kl->auc, assessment.margins.kl_auc, {}, {}, Doubt::kNone};
    if (Judge(score) == Safety::kUndecided) {
      score.images_to_decide = ImagesToDecide(cut.kl->auc, static_cast<int>(assessment.control.size()), score.margin);
    }
    cut.scores.push_back(std::move(score));
  }
  for (AttackRun& run : cut.attacks) {
    for (Score& score : run.differences) {
      const bool wide = score.estimate.lower <= score.margin && score.estimate.upper > score.margin;
      if (wide) score.images_to_decide = ImagesToDecideMean(score.estimate, run.scores.images, score.margin);
      cut.scores.push_back(score);
    }
  }
}

}  // namespace

void Conclude(Assessment& assessment) {
  for (CutResult& cut : assessment.cuts) AddScores(assessment, cut);
  AddWhatDidNotRun(assessment);
  std::vector<std::vector<Score>> scores;
  for (const CutResult& cut : assessment.cuts) scores.push_back(cut.scores);
  const std::vector<CutVerdict> verdicts = JudgeCuts(scores);
  for (size_t i = 0; i < verdicts.size(); ++i) assessment.cuts[i].verdict = verdicts[i];
  assessment.recommended = EarliestSafeCut(verdicts);
  assessment.provisional = !AttacksNotRun(assessment).empty();
  assessment.why = assessment.recommended < 0 ? WhyNone(assessment) : WhyThis(assessment, assessment.recommended);
}

}  // namespace infenclave
