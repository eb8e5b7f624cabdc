// From scores to a verdict for each cut, and from verdicts to a recommendation.
//
// The host computes everything after the cut, so what leaks at a cut is the most that leaks at it or at any later one.
// The claim "safe at cut i" is thus the intersection of the claims "every score at cut j stays within its margin", j >=
// i; each is tested at one-sided 95 %, and since all must hold no correction for their number is due (an
// intersection-union test: Berger 1982). Its mirror: one score above its margin makes its cut and every earlier one
// unsafe.
#ifndef INFENCLAVE_ASSESSMENT_VERDICT_H_
#define INFENCLAVE_ASSESSMENT_VERDICT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assessment/statistics.h"

namespace infenclave {

// kNotApplicable: no attack that ran can say anything about this cut. It is not "safe".
enum class Safety : uint8_t { kSafe, kUnsafe, kUndecided, kNotApplicable };
std::string_view NameOf(Safety safety);  // "safe", "unsafe", "undecided", "not applicable"

// What keeps a score within its margin from counting as safe.
enum class Doubt : uint8_t {
  kNone,
  kNotRun,           // the attack has not been run here, nor found nothing at an earlier cut
  kLimitedByData,    // with more photographs the attacker still gets better, and would pass the margin soon
  kStrengthUnknown,  // nobody has looked whether it does
};

// One score of one attack at one cut. Larger is more leakage.
struct Score {
  std::string attack, name;  // "kl", "auc"
  Estimate estimate;         // of attacks that recover pictures: the difference to the baseline
  double margin = 0;
  std::optional<int64_t> images_to_decide;  // where the interval holds the margin
  std::string baseline;                     // what it was compared with, if anything
  Doubt doubt = Doubt::kNone;               // kNotRun: there is no estimate
};

struct CutVerdict {
  Safety own = Safety::kNotApplicable;     // by the scores of this cut alone
  Safety safety = Safety::kNotApplicable;  // with all later cuts: the verdict
  // The score that decides: the first unsafe one at the latest cut, else the first undecided one. -1 where there is
  // none.
  int deciding_cut = -1, deciding_score = -1;
  // The smallest margins, one per attack and score, with which this cut would be safe.
  struct CriticalMargin {
    std::string attack, score;
    double margin = 0;
  };
  std::vector<CriticalMargin> critical;
};

Safety Judge(const Score& score);

// scores[i] are those of cut i, from the input on; no scores where nothing applies, and such cuts add nothing to the
// leakage of earlier ones.
std::vector<CutVerdict> JudgeCuts(const std::vector<std::vector<Score>>& scores);

// The earliest safe cut, -1 if there is none.
int EarliestSafeCut(const std::vector<CutVerdict>& verdicts);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_VERDICT_H_
