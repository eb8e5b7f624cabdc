// Differences between an attack and a baseline, on simulated photographs whose truth is known: how often the interval
// holds it, and how often an attack that stands exactly at the margin is called safe. More draws with
// INFENCLAVE_SLOW_TESTS set.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "assessment/label.h"
#include "assessment/statistics.h"

namespace infenclave {
namespace {

using ::testing::ElementsAre;

int Draws() { return std::getenv("INFENCLAVE_SLOW_TESTS") != nullptr ? 4000 : 400; }
// What chance allows: 4 deviations of a share of 5 %.
double Most(int draws) { return 0.05 + 4 * std::sqrt(0.05 * 0.95 / draws); }

TEST(MeanOf, CallsAnAttackAtTheMarginSafeAtMostOnceInTwenty) {
  for (int n : {10, 40}) {
    for (bool skewed : {false, true}) {
      int safe = 0, missed_below = 0;
      Random random(n + skewed);
      for (int draw = 0; draw < Draws(); ++draw) {
        std::vector<double> gains(n);
        for (double& g : gains) g = 0.05 + 0.1 * (skewed ? std::pow(random.Normal(), 2) - 1 : random.Normal());
        const Estimate mean = MeanOf(gains, draw);
        safe += mean.upper <= 0.05;
        missed_below += mean.lower > 0.05;
      }
      // Ten photographs tell too little of a tail as heavy as chi-square's with one degree.
      const double most = skewed && n == 10 ? 0.16 : skewed ? 0.09 : Most(Draws());
      EXPECT_LE(static_cast<double>(safe) / Draws(), most) << n << ' ' << skewed;
      EXPECT_LE(static_cast<double>(missed_below) / Draws(), Most(Draws())) << n << ' ' << skewed;
    }
  }
}

TEST(PairedShareDifference, CallsAnAttackAtTheMarginSafeAtMostOnceInTwenty) {
  for (int n : {40, 59, 100, 200}) {
    for (double only_b : {0.0, 0.03}) {
      const double only_a = only_b + 0.05;  // the attack gains exactly 5 points
      int safe = 0;
      Random random(static_cast<uint64_t>(n * 1000 + only_b * 100));
      for (int draw = 0; draw < 4 * Draws(); ++draw) {
        int a = 0, b = 0;
        for (int i = 0; i < n; ++i) {
          const double u = random.Uniform();
          a += u < only_a;
          b += u >= only_a && u < only_a + only_b;
        }
        safe += PairedShareDifference(a, b, n).upper <= 0.05;
      }
      EXPECT_LE(static_cast<double>(safe) / (4 * Draws()), Most(4 * Draws())) << n << ' ' << only_b;
    }
  }
}

TEST(PairedShareDifference, IsBoundedByTheNumberOfPhotographsWhereNothingDiffers) {
  EXPECT_NEAR(PairedShareDifference(0, 0, 59).upper, 1 - std::pow(0.05, 1.0 / 59), 1e-9);
  EXPECT_GT(PairedShareDifference(0, 0, 58).upper, 0.05);
  EXPECT_EQ(PairedShareDifference(3, 3, 20).value, 0);
}

// Two attackers of equal strength, of whom one sees what the other sees and noise of its own: the difference is 0.1 at
// a known shift.
TEST(AucDifference, HoldsTheTruth) {
  const int n = 30, draws = Draws() / 2;
  const double shift = 1.0, other = 0.6;  // areas Phi(shift / sqrt 2): distances are normal with deviation 1
  const auto area = [](double s) { return 0.5 * std::erfc(-s / 2); };
  const double truth = area(shift) - area(other);
  int above = 0, below = 0;
  Random random(5);
  for (int draw = 0; draw < draws; ++draw) {
    std::vector<float> a(n * n), b(n * n);
    for (int i = 0; i < n * n; ++i) {
      const bool own = i % (n + 1) == 0;
      const double common = random.Normal();
      a[i] = static_cast<float>(0.8 * common + 0.6 * random.Normal() - (own ? shift : 0));
      b[i] = static_cast<float>(0.8 * common + 0.6 * random.Normal() - (own ? other : 0));
    }
    const Estimate difference = AucDifference(a, b, n, draw);
    above += difference.upper <= truth;
    below += difference.lower > truth;
  }
  EXPECT_LE(static_cast<double>(above) / draws, Most(draws));
  EXPECT_LE(static_cast<double>(below) / draws, Most(draws));
}

TEST(BestAssignment, IsTheBestOfAll) {
  EXPECT_THAT(BestAssignment(std::vector<double>{1, 2, 3, 2, 4, 6, 3, 6, 9}, 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(BestAssignment(std::vector<double>{9, 8, 8, 1}, 2), ElementsAre(1, 0));
}

// The same head in another order, with features of its own: its rows' correlations are all that remains.
TEST(MatchRows, FindsTheOrderFromTheRowsAmongThemselves) {
  const int n = 30, width = 12;
  Random random(3);
  HeadRows known{n, width, {}}, head{n, width + 4, std::vector<float>(n * (width + 4))};
  for (int i = 0; i < n * width; ++i) known.rows.push_back(static_cast<float>(random.Normal()));
  std::vector<int> order(n);
  for (int i = 0; i < n; ++i) order[i] = i;
  Shuffle(order, random);
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < width; ++k) {  // features reversed: a rotation keeps the correlations
      head.rows[i * (width + 4) + (width - 1 - k)] =
          known.rows[order[i] * width + k] + 0.02f * static_cast<float>(random.Normal());
    }
  }
  EXPECT_EQ(MatchRows(head, known), order);
}

}  // namespace
}  // namespace infenclave
