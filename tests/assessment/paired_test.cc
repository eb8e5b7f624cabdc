// Differences between an attack and a baseline, on simulated photographs whose truth is known: how often the interval
// holds it, and how often an attack that stands exactly at the margin is called safe. More draws with
// INFENCLAVE_SLOW_TESTS set.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <iostream>

#include "assessment/label.h"
#include "assessment/statistics.h"

namespace infenclave {
namespace {

using ::testing::ElementsAre;

int Draws() { return std::getenv("INFENCLAVE_SLOW_TESTS") != nullptr ? 4000 : 400; }
// What chance allows: 4 deviations of a share of 5 %.
double Most(int draws) { return 0.05 + 4 * std::sqrt(0.05 * 0.95 / draws); }

TEST(MeanOf, CallsAnAttackAtTheMarginSafeAtMostOnceInTwenty) {
  const struct {
    const char* name;
    double (*draw)(Random&);  // of mean 0
  } kGains[] = {{"normal", [](Random& r) { return r.Normal(); }},
                {"exponential", [](Random& r) { return -std::log(1 - r.Uniform()) - 1; }},
                {"chi-square", [](Random& r) { return std::pow(r.Normal(), 2) - 1; }},
                {"lognormal", [](Random& r) { return std::exp(r.Normal()) - std::exp(0.5); }}};
  for (int n : {10, 20, 40, 100}) {
    for (const auto& gains : kGains) {
      int safe = 0, unsafe = 0;
      Random random(n);
      for (int draw = 0; draw < Draws(); ++draw) {
        // As they are, and as losses of a baseline that is better now and then: the tail on the other side.
        std::vector<double> above(n), below(n);
        for (int i = 0; i < n; ++i) {
          const double gain = 0.1 * gains.draw(random);
          above[i] = 0.05 + gain;
          below[i] = 0.05 - gain;
        }
        safe += MeanOf(above, draw).upper <= 0.05;
        unsafe += MeanOf(below, draw).lower > 0.05;
      }
      const std::string rates = Concat(n, ' ', gains.name, ": ", static_cast<double>(safe) / Draws(), " called safe, ",
                                       static_cast<double>(unsafe) / Draws(), " unsafe");
      EXPECT_LE(static_cast<double>(safe) / Draws(), Most(Draws())) << rates;
      EXPECT_LE(static_cast<double>(unsafe) / Draws(), Most(Draws())) << rates;
      if (Draws() > 1000) std::cout << rates << "\n";
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
