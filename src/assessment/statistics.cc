#include "assessment/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/status.h"

namespace infenclave {
namespace {

constexpr int kFewestForBootstrap = 10;
constexpr int64_t kMostImagesToAdvise = 1000000;

double LogOdds(double p) { return std::log(p / (1 - p)); }
double FromLogOdds(double z) { return 1 / (1 + std::exp(-z)); }

// Lentz's evaluation of the continued fraction of I_x(a,b) (Abramowitz and Stegun 26.5.8); converges for
// x < (a+1)/(a+b+2).
double BetaFraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  double c = 1, d = 1 - (a + b) * x / (a + 1);
  d = 1 / (std::abs(d) < kTiny ? kTiny : d);
  double h = d;
  for (int m = 1; m < 10000; ++m) {
    for (double term : {m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
                        -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))}) {
      d = 1 + term * d;
      c = 1 + term / c;
      d = 1 / (std::abs(d) < kTiny ? kTiny : d);
      if (std::abs(c) < kTiny) c = kTiny;
      h *= d * c;
    }
    if (std::abs(d * c - 1) < 1e-15) break;
  }
  return h;
}

// wins[x,y] = 1, 1/2 or 0; the diagonal is 0, which drops pairs of a photograph with itself from every sum.
std::vector<float> Wins(std::span<const float> d, int n) {
  std::vector<float> wins(d.size());
  for (int x = 0; x < n; ++x) {
    const float own = d[static_cast<size_t>(x) * n + x];
    for (int y = 0; y < n; ++y) {
      const size_t at = static_cast<size_t>(x) * n + y;
      wins[at] = x == y ? 0.0f : own < d[at] ? 1.0f : own == d[at] ? 0.5f : 0.0f;
    }
  }
  return wins;
}

// Counts are small integers and wins halves: their sums are exact in float up to 2^23, so the order does not matter.
double WeightedRow(const float* wins, const float* weights, int n) {
  float lanes[16] = {};
  int y = 0;
  for (; y + 16 <= n; y += 16) {
    for (int k = 0; k < 16; ++k) lanes[k] += wins[y + k] * weights[y + k];
  }
  double sum = 0;
  for (float lane : lanes) sum += lane;
  for (; y < n; ++y) sum += wins[y] * weights[y];
  return sum;
}

std::vector<double> BootstrapAuc(const std::vector<float>& wins, int n, Random& random) {
  std::vector<double> aucs;
  aucs.reserve(kBootstrapResamples);
  std::vector<float> weights(n);
  while (static_cast<int>(aucs.size()) < kBootstrapResamples) {
    std::fill(weights.begin(), weights.end(), 0.0f);
    for (int i = 0; i < n; ++i) weights[random.Below(n)] += 1;
    double hits = 0, pairs = static_cast<double>(n) * n;
    for (int x = 0; x < n; ++x) {
      if (weights[x] == 0) continue;
      hits += weights[x] * WeightedRow(&wins[static_cast<size_t>(x) * n], weights.data(), n);
      pairs -= weights[x] * weights[x];
    }
    if (pairs > 0) aucs.push_back(hits / pairs);  // one photograph n times over has no pair
  }
  return aucs;
}

}  // namespace

uint64_t Random::Next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

uint64_t Random::Below(uint64_t n) {
  const uint64_t reject = (0 - n) % n;  // 2^64 mod n: below it, some remainders would come up once more than others
  for (;;) {
    if (const uint64_t v = Next(); v >= reject) return v % n;
  }
}

double Random::Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

double Random::Normal() {  // Box and Muller 1958
  const double radius = std::sqrt(-2 * std::log(1 - Uniform()));
  return radius * std::cos(2 * std::numbers::pi * Uniform());
}

std::vector<int> Sample(int n, int count, Random& random) {
  std::vector<int> chosen;
  for (int i = 0; i < n; ++i) {  // Knuth's selection sampling: i is in with chance (still wanted) / (still to come)
    const uint64_t wanted = static_cast<uint64_t>(count) - chosen.size();
    if (count >= n || random.Below(static_cast<uint64_t>(n - i)) < wanted) chosen.push_back(i);
  }
  return chosen;
}

Estimate AreaUnderCurve(std::span<const float> d, int n, uint64_t seed) {
  INFENCLAVE_CHECK(n >= 2 && d.size() == static_cast<size_t>(n) * n);
  const std::vector<float> wins = Wins(d, n);
  double hits = 0;
  for (float win : wins) hits += win;
  const double auc = hits / (static_cast<double>(n) * (n - 1));

  Estimate estimate{auc, auc, auc};
  // A constant tensor ties every pair, whatever the photographs: there is nothing to be unsure of.
  if (std::count(wins.begin(), wins.end(), 0.5f) == static_cast<int64_t>(n) * (n - 1)) return estimate;
  if (n >= kFewestForBootstrap && auc > 0 && auc < 1) {
    Random random(seed);
    const std::vector<double> aucs = BootstrapAuc(wins, n, random);
    double mean = 0, square = 0;
    for (double a : aucs) mean += a;
    mean /= static_cast<double>(aucs.size());
    for (double a : aucs) square += (a - mean) * (a - mean);
    const double deviation = std::sqrt(square / static_cast<double>(aucs.size()));
    const double reach = StudentQuantile(1 - kOneSidedError, n - 1) * deviation / (auc * (1 - auc));
    estimate.lower = std::min(Quantile(aucs, kOneSidedError), FromLogOdds(LogOdds(auc) - reach));
    estimate.upper = std::max(Quantile(aucs, 1 - kOneSidedError), FromLogOdds(LogOdds(auc) + reach));
  }
  if (n < kFewestForBootstrap || std::min(auc, 1 - auc) * n < 2) {
    const int disjoint = n / 2;
    const Estimate exact = ShareOf(auc * disjoint, disjoint);
    estimate.lower = std::min(estimate.lower, exact.lower);
    estimate.upper = std::max(estimate.upper, exact.upper);
  }
  return estimate;
}

std::optional<int64_t> ImagesToDecide(const Estimate& auc, int n, double margin) {
  if (margin <= auc.lower || margin >= auc.upper) return n;
  const auto odds = [](double p) { return LogOdds(std::clamp(p, 1e-9, 1 - 1e-9)); };
  const double width = auc.value < margin ? odds(auc.upper) - odds(auc.value) : odds(auc.value) - odds(auc.lower);
  const double gap = std::abs(odds(margin) - odds(auc.value));
  const double images = n * (width / gap) * (width / gap);
  if (!(images < kMostImagesToAdvise)) return std::nullopt;
  return std::max<int64_t>(n + 1, static_cast<int64_t>(std::ceil(images)));
}

Estimate ShareOf(double hits, double trials) {
  INFENCLAVE_CHECK(trials > 0 && hits >= 0 && hits <= trials);
  Estimate share{hits / trials, 0, 1};
  if (hits > 0) share.lower = BetaQuantile(kOneSidedError, hits, trials - hits + 1);
  if (hits < trials) share.upper = BetaQuantile(1 - kOneSidedError, hits + 1, trials - hits);
  return share;
}

double Quantile(std::vector<double> values, double q) {
  INFENCLAVE_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const size_t below = static_cast<size_t>(at);
  if (below + 1 >= values.size()) return values.back();
  const double rest = at - static_cast<double>(below);
  return rest == 0 ? values[below] : values[below] + (values[below + 1] - values[below]) * rest;
}

double IncompleteBeta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  return x < (a + 1) / (a + b + 2) ? front * BetaFraction(a, b, x) / a : 1 - front * BetaFraction(b, a, 1 - x) / b;
}

double BetaQuantile(double p, double a, double b) {
  double low = 0, high = 1;
  for (int i = 0; i < 200 && high - low > std::numeric_limits<double>::epsilon() * high; ++i) {
    const double middle = (low + high) / 2;
    (IncompleteBeta(a, b, middle) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

double StudentQuantile(double p, double degrees) {
  if (p < 0.5) return -StudentQuantile(1 - p, degrees);
  if (p == 0.5) return 0;
  const double x = BetaQuantile(2 * (1 - p), degrees / 2, 0.5);  // x = degrees / (degrees + t^2)
  return std::sqrt(degrees * (1 - x) / x);
}

}  // namespace infenclave
