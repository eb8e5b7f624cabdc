#include "assessment/verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace infenclave {
namespace {

Score Auc(double value, double lower, double upper) { return {"kl", "auc", {value, lower, upper}, 0.6, {}}; }
const Score kSafe = Auc(0.52, 0.48, 0.57), kUnsafe = Auc(0.9, 0.8, 0.95), kUnsure = Auc(0.58, 0.52, 0.65);

std::vector<Safety> Verdicts(const std::vector<CutVerdict>& verdicts) {
  std::vector<Safety> safety;
  for (const CutVerdict& v : verdicts) safety.push_back(v.safety);
  return safety;
}

TEST(JudgeCuts, LeakageIsThatOfTheCutAndAllLaterOnes) {
  constexpr Safety S = Safety::kSafe, U = Safety::kUnsafe, Q = Safety::kUndecided, N = Safety::kNotApplicable;
  const struct {
    std::vector<std::vector<Score>> scores;
    std::vector<Safety> want;
    int earliest;
  } kCases[] = {
      {{}, {}, -1},
      {{{kUnsafe}, {kUnsafe}, {kSafe}}, {U, U, S}, 2},
      {{{kSafe}, {kUnsafe}, {kSafe}}, {U, U, S}, 2},  // safe by itself, but a later cut shows the picture
      {{{kUnsafe}, {kSafe}, {kUnsure}}, {U, Q, Q}, -1},
      {{{kUnsure}, {kSafe}, {kSafe}}, {Q, S, S}, 1},
      {{{kSafe}, {kSafe}, {}}, {S, S, N}, 0},  // nothing can be asked about the last
      {{{kSafe}, {}, {kSafe}}, {S, N, S}, 0},  // not applicable is not safe
      {{{}, {kUnsafe}}, {U, U}, -1},           // but a later leak tells
      {{{}, {kUnsure}}, {Q, Q}, -1},
      {{{kSafe, kUnsafe}, {kSafe, kSafe}}, {U, S}, 1},  // every score must stay within its margin
      {{{kSafe, kUnsure}}, {Q}, -1},
  };
  for (const auto& c : kCases) {
    const std::vector<CutVerdict> verdicts = JudgeCuts(c.scores);
    EXPECT_EQ(Verdicts(verdicts), c.want);
    EXPECT_EQ(EarliestSafeCut(verdicts), c.earliest);
  }
}

TEST(JudgeCuts, NamesTheLatestCutThatDecides) {
  const std::vector<CutVerdict> verdicts = JudgeCuts({{kUnsafe}, {kSafe, kUnsafe}, {kUnsure}, {kSafe}});
  EXPECT_EQ(verdicts[0].deciding_cut, 1);
  EXPECT_EQ(verdicts[0].deciding_score, 1);
  EXPECT_EQ(verdicts[2].deciding_cut, 2);
  EXPECT_EQ(verdicts[1].own, Safety::kUnsafe);
  EXPECT_EQ(verdicts[3].deciding_cut, 3);
}

TEST(JudgeCuts, CriticalMarginIsTheSmallestThatMakesTheCutSafe) {
  std::vector<std::vector<Score>> scores = {{Auc(0.9, 0.8, 0.95)}, {Auc(0.5, 0.4, 0.55)}, {Auc(0.6, 0.5, 0.7)}, {}};
  const std::vector<CutVerdict> verdicts = JudgeCuts(scores);
  const double kWant[] = {0.95, 0.7, 0.7};
  for (int cut = 0; cut < 3; ++cut) {
    ASSERT_EQ(verdicts[cut].critical.size(), 1u);
    EXPECT_EQ(verdicts[cut].critical[0].margin, kWant[cut]);
    for (double step : {0.0, -1e-9}) {
      for (auto& s : scores) {
        for (Score& score : s) score.margin = kWant[cut] + step;
      }
      EXPECT_EQ(JudgeCuts(scores)[cut].safety == Safety::kSafe, step == 0.0) << cut;
    }
  }
  EXPECT_TRUE(verdicts[3].critical.empty());
}

// An owner is harmed by a false "safe": a cut at which the truth lies at the margin is called safe in at most 5 % of
// assessments, also where several cuts and scores are all at the margin (then in fewer).
TEST(JudgeCuts, FalseSafeRateIsAtMostFivePercentAtTheMargin) {
  constexpr double kQuantile = 0.2533471031357997;  // Phi(kQuantile) = 0.60
  constexpr int kDraws = 600;
  const double allowance = 3 * std::sqrt(0.05 * 0.95 / kDraws);
  for (int n : {12, 24, 48}) {
    Random random(n);
    int safe_one = 0, safe_both = 0;
    for (int draw = 0; draw < kDraws; ++draw) {
      std::vector<std::vector<Score>> scores;
      for (int cut = 0; cut < 2; ++cut) {
        std::vector<float> d(static_cast<size_t>(n) * n);
        std::vector<double> ir(n);
        for (double& v : ir) v = random.Normal();
        for (int x = 0; x < n; ++x) {
          for (int y = 0; y < n; ++y) d[x * n + y] = static_cast<float>(ir[y] + random.Normal());
          d[x * n + x] -= static_cast<float>(2 * kQuantile);
        }
        const Estimate auc = AreaUnderCurve(d, n, draw);
        scores.push_back({Auc(auc.value, auc.lower, auc.upper)});
      }
      const std::vector<CutVerdict> verdicts = JudgeCuts(scores);
      safe_one += verdicts[1].safety == Safety::kSafe;
      safe_both += verdicts[0].safety == Safety::kSafe;
    }
    EXPECT_LE(safe_one, kDraws * (0.05 + allowance)) << n << " photographs";
    EXPECT_LE(safe_both, safe_one);
    EXPECT_GE(safe_one, kDraws * 0.01) << "a test that never says safe says nothing";
  }
}

}  // namespace
}  // namespace infenclave
