#include "assessment/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace infenclave {
namespace {

using ::testing::ElementsAre;

// Reference values of this file: SciPy 1.16's special.betainc, stats.beta.ppf, stats.t.ppf, stats.norm.cdf.

TEST(IncompleteBeta, AgreesWithSciPy) {
  EXPECT_NEAR(IncompleteBeta(2.5, 3.5, 0.3), 0.29675298929566646, 1e-13);
  EXPECT_NEAR(IncompleteBeta(120, 80, 0.62), 0.7158196279556703, 1e-12);
  EXPECT_NEAR(IncompleteBeta(0.5, 0.5, 0.01), 0.06376856085851985, 1e-13);
}

TEST(BetaQuantile, AgreesWithSciPy) {
  const struct {
    double p, a, b, want;
  } kCases[] = {{0.05, 3, 8, 0.08726443391415033},
                {0.95, 4, 7, 0.6066242161054123},
                {0.05, 12, 1, 0.7790778080544442},
                {0.95, 0.5, 0.5, 0.9938441702975689},
                {0.9, 300, 4, 0.994229695133332}};
  for (const auto& c : kCases) EXPECT_NEAR(BetaQuantile(c.p, c.a, c.b), c.want, 1e-12) << c.a << " " << c.b;
}

TEST(StudentQuantile, AgreesWithSciPy) {
  const struct {
    double p, degrees, want;
  } kCases[] = {{0.95, 1, 6.313751514675037},
                {0.95, 9, 1.833112932656237},
                {0.95, 23, 1.713871527747048},
                {0.975, 199, 1.9719565442517533},
                {0.05, 4, -2.131846786326651}};
  for (const auto& c : kCases) EXPECT_NEAR(StudentQuantile(c.p, c.degrees), c.want, 1e-9) << c.degrees;
}

TEST(ShareOf, IsClopperPearson) {
  const struct {
    double hits, trials, lower, upper;
  } kCases[] = {{0, 12, 0, 0.22092219194555585},
                {12, 12, 0.7790778080544442, 1},
                {3, 24, 0.03495333483371806, 0.29227319650798933},
                {17, 24, 0.5212720941280307, 0.8543135197119636},
                {1, 200, 0.0002564335872234742, 0.023498470434950704}};
  for (const auto& c : kCases) {
    const Estimate share = ShareOf(c.hits, c.trials);
    EXPECT_DOUBLE_EQ(share.value, c.hits / c.trials);
    EXPECT_NEAR(share.lower, c.lower, 1e-12);
    EXPECT_NEAR(share.upper, c.upper, 1e-12);
  }
}

TEST(Quantile, IsLinearBetweenOrderStatistics) {
  EXPECT_EQ(Quantile({3, 1, 2}, 0.5), 2);
  EXPECT_EQ(Quantile({4, 1, 2, 3}, 0.5), 2.5);
  EXPECT_NEAR(Quantile({10, 20, 30, 40}, 0.05), 11.5, 1e-12);  // numpy.quantile
  EXPECT_EQ(Quantile({7}, 0.05), 7);
  EXPECT_EQ(Quantile({1, 2}, 1), 2);
}

TEST(Random, IsTheSameEverywhere) {
  Random random(0);  // the first outputs of SplitMix64 from seed 0, as in its authors' reference code
  EXPECT_EQ(random.Next(), 0xe220a8397b1dcdafu);
  EXPECT_EQ(random.Next(), 0x6e789e6aa1b965f4u);
  EXPECT_EQ(random.Next(), 0x06c45d188009454fu);
}

TEST(Random, BelowIsUniform) {
  Random random(7);
  int counts[6] = {};
  for (int i = 0; i < 60000; ++i) ++counts[random.Below(6)];
  double chi2 = 0;
  for (int count : counts) chi2 += (count - 10000.0) * (count - 10000.0) / 10000;
  EXPECT_LT(chi2, 20.5);  // 99.9 % of chi-square with 5 degrees
}

TEST(Sample, IsSortedWithoutRepeatsAndFair) {
  Random random(3);
  EXPECT_THAT(Sample(4, 9, random), ElementsAre(0, 1, 2, 3));
  int counts[10] = {};
  for (int i = 0; i < 20000; ++i) {
    const std::vector<int> chosen = Sample(10, 3, random);
    ASSERT_EQ(chosen.size(), 3u);
    ASSERT_TRUE(chosen[0] < chosen[1] && chosen[1] < chosen[2]);
    for (int c : chosen) ++counts[c];
  }
  for (int count : counts) EXPECT_NEAR(count, 6000, 6 * std::sqrt(20000 * 0.3 * 0.7));
}

TEST(AreaUnderCurve, CountsPairsAndHalvesTies) {
  const float d[] = {1, 2, 1,   // against y=1 a win, against y=2 a tie
                     5, 4, 3,   // a win, a loss
                     0, 9, 7};  // a loss, a win
  EXPECT_DOUBLE_EQ(AreaUnderCurve(d, 3, 1).value, (1 + 0.5 + 1 + 0 + 0 + 1) / 6);
}

TEST(AreaUnderCurve, OfConstantsIsExactlyOneHalf) {
  for (int n : {2, 5, 12, 40}) {
    std::vector<float> d(static_cast<size_t>(n) * n);
    for (int x = 0; x < n; ++x) {
      for (int y = 0; y < n; ++y) d[x * n + y] = 0.3f * static_cast<float>(x);  // V(x) against one fixed answer
    }
    const Estimate auc = AreaUnderCurve(d, n, 1);
    EXPECT_EQ(auc.value, 0.5);
    EXPECT_EQ(auc.lower, 0.5);
    EXPECT_EQ(auc.upper, 0.5);
  }
}

TEST(AreaUnderCurve, IsBoundedByTheNumberOfPhotographsWhereAllPairsAgree) {
  for (int n : {4, 24, 25}) {
    std::vector<float> d(static_cast<size_t>(n) * n, 1.0f);
    for (int x = 0; x < n; ++x) d[x * n + x] = 0;
    const Estimate all = AreaUnderCurve(d, n, 1);
    EXPECT_EQ(all.value, 1);
    EXPECT_EQ(all.upper, 1);
    EXPECT_NEAR(all.lower, std::pow(0.05, 1.0 / (n / 2)), 1e-12);  // 95 %: n/2 disjoint pairs, none lost
    for (int x = 0; x < n; ++x) d[x * n + x] = 2;
    const Estimate none = AreaUnderCurve(d, n, 1);
    EXPECT_EQ(none.value, 0);
    EXPECT_EQ(none.lower, 0);
    EXPECT_NEAR(none.upper, 1 - std::pow(0.05, 1.0 / (n / 2)), 1e-12);
  }
}

TEST(AreaUnderCurve, RepeatsWithItsSeed) {
  Random random(11);
  std::vector<float> d(30 * 30);
  for (float& v : d) v = static_cast<float>(random.Normal());
  const Estimate a = AreaUnderCurve(d, 30, 5), b = AreaUnderCurve(d, 30, 5), c = AreaUnderCurve(d, 30, 6);
  EXPECT_EQ(a.lower, b.lower);
  EXPECT_EQ(a.upper, b.upper);
  EXPECT_NE(a.lower, c.lower);
}

// Distances with a known area under the curve: d(x,y) = effect of y + noise, and d(x,x) lower by `shift` and an effect
// of x, all normal; then the area is Phi(shift / sqrt(2 s_y^2 + 2 s_e^2 + s_x^2)).
struct Population {
  double per_ir, noise, per_photograph;
  double Deviation() const {
    return std::sqrt(2 * per_ir * per_ir + 2 * noise * noise + per_photograph * per_photograph);
  }
};
constexpr Population kPopulations[] = {{1, 1, 0}, {2, 0.3, 0}, {0.3, 1, 0}, {1, 1, 2}, {0.2, 0.2, 2}};

std::vector<float> Draw(const Population& p, double quantile, int n, Random& random) {
  std::vector<float> d(static_cast<size_t>(n) * n);
  std::vector<double> ir(n);
  for (double& v : ir) v = p.per_ir * random.Normal();
  for (int x = 0; x < n; ++x) {
    for (int y = 0; y < n; ++y) d[x * n + y] = static_cast<float>(ir[y] + p.noise * random.Normal());
    d[x * n + x] -= static_cast<float>(quantile * p.Deviation() + p.per_photograph * random.Normal());
  }
  return d;
}

// Shares of draws whose interval misses the truth on either side, over all populations.
struct Misses {
  double below = 0, above = 0;  // truth below the lower end; truth above the upper end
};
Misses MissesOf(double area, double quantile, int n, int draws) {
  Misses misses;
  Random random(1000 + n);
  for (const Population& p : kPopulations) {
    for (int i = 0; i < draws; ++i) {
      const Estimate auc = AreaUnderCurve(Draw(p, quantile, n, random), n, i);
      misses.below += area < auc.lower;
      misses.above += area > auc.upper;
    }
  }
  misses.below /= draws * std::size(kPopulations);
  misses.above /= draws * std::size(kPopulations);
  return misses;
}

// The nominal rate on each side is 5 %; the allowance is three standard errors of the simulation.
TEST(AreaUnderCurve, IntervalsCoverTheTruth) {
  const struct {
    double area, quantile;  // Phi(quantile) = area
  } kTruths[] = {{0.5, 0}, {0.6, 0.2533471031357997}, {0.8, 0.8416212335729143}};
  for (const auto& truth : kTruths) {
    for (int n : {6, 12, 24, 60}) {
      const int draws = n > 30 ? 60 : 120;
      const double allowance = 3 * std::sqrt(0.05 * 0.95 / (draws * std::size(kPopulations)));
      const Misses misses = MissesOf(truth.area, truth.quantile, n, draws);
      EXPECT_LE(misses.below, 0.05 + allowance) << "area " << truth.area << ", " << n << " photographs";
      EXPECT_LE(misses.above, 0.05 + allowance) << "area " << truth.area << ", " << n << " photographs";
      // An interval that covers always is no interval.
      EXPECT_GE(misses.below + misses.above, n >= 24 ? 0.02 : 0) << truth.area << ", " << n;
    }
  }
}

TEST(ImagesToDecide, IsWhatDecidesInSimulation) {
  Random random(5);
  const Population p{1, 1, 0};
  const double quantile = 0.1256613468550741;  // area 0.55, margin 0.60
  int advised = 0, decided = 0;
  for (int i = 0; i < 60; ++i) {
    const Estimate auc = AreaUnderCurve(Draw(p, quantile, 24, random), 24, i);
    if (auc.lower > 0.6 || auc.upper <= 0.6 || std::abs(auc.value - 0.55) > 0.02) continue;
    const std::optional<int64_t> images = ImagesToDecide(auc, 24, 0.6);
    ASSERT_TRUE(images.has_value());
    if (*images > 400) continue;
    ++advised;
    const int n = static_cast<int>(*images);
    decided += AreaUnderCurve(Draw(p, quantile, n, random), n, i).upper <= 0.6;
  }
  ASSERT_GE(advised, 8);
  EXPECT_GE(decided, advised * 0.3);  // at that number the end of the interval meets the margin: an even chance
  EXPECT_EQ(ImagesToDecide({0.6, 0.5, 0.7}, 24, 0.6), std::nullopt);
}

}  // namespace
}  // namespace infenclave
