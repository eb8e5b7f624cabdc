#include "assessment/verdict.h"

#include <algorithm>

namespace infenclave {
namespace {

// Unsafe wins over undecided over safe; a verdict that only now exists wins over none.
int Gravity(Safety safety) {
  switch (safety) {
    case Safety::kUnsafe:
      return 3;
    case Safety::kUndecided:
      return 2;
    case Safety::kSafe:
      return 1;
    case Safety::kNotApplicable:
      break;
  }
  return 0;
}

void RaiseCritical(std::vector<CutVerdict::CriticalMargin>& critical, const Score& score) {
  for (CutVerdict::CriticalMargin& c : critical) {
    if (c.attack == score.attack && c.score == score.name) {
      c.margin = std::max(c.margin, score.estimate.upper);
      return;
    }
  }
  critical.push_back({score.attack, score.name, score.estimate.upper});
}

}  // namespace

std::string_view NameOf(Safety safety) {
  switch (safety) {
    case Safety::kSafe:
      return "safe";
    case Safety::kUnsafe:
      return "unsafe";
    case Safety::kUndecided:
      return "undecided";
    case Safety::kNotApplicable:
      break;
  }
  return "not applicable";
}

Safety Judge(const Score& score) {
  if (score.doubt == Doubt::kNotRun) return Safety::kUndecided;
  if (score.estimate.upper <= score.margin) {
    return score.doubt == Doubt::kNone ? Safety::kSafe : Safety::kUndecided;
  }
  return score.estimate.lower > score.margin ? Safety::kUnsafe : Safety::kUndecided;
}

std::vector<CutVerdict> JudgeCuts(const std::vector<std::vector<Score>>& scores) {
  std::vector<CutVerdict> verdicts(scores.size());
  CutVerdict later;  // of all cuts after the one in hand
  for (int cut = static_cast<int>(scores.size()) - 1; cut >= 0; --cut) {
    CutVerdict verdict = later;
    verdict.own = Safety::kNotApplicable;
    for (int s = 0; s < static_cast<int>(scores[cut].size()); ++s) {
      const Safety safety = Judge(scores[cut][s]);
      if (Gravity(safety) > Gravity(verdict.own)) verdict.own = safety;
      if (Gravity(safety) > Gravity(verdict.safety)) {
        verdict.safety = safety;
        verdict.deciding_cut = cut;
        verdict.deciding_score = s;
      }
      if (scores[cut][s].doubt != Doubt::kNotRun) RaiseCritical(verdict.critical, scores[cut][s]);
    }
    later = verdict;
    // That every later cut is safe does not make this one so where nothing could be asked about it.
    if (verdict.own == Safety::kNotApplicable && verdict.safety == Safety::kSafe) {
      verdict.safety = Safety::kNotApplicable;
    }
    verdicts[cut] = std::move(verdict);
  }
  return verdicts;
}

int EarliestSafeCut(const std::vector<CutVerdict>& verdicts) {
  const auto safe = [](const CutVerdict& v) { return v.safety == Safety::kSafe; };
  const auto it = std::find_if(verdicts.begin(), verdicts.end(), safe);
  return it == verdicts.end() ? -1 : static_cast<int>(it - verdicts.begin());
}

}  // namespace infenclave
