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
constexpr double kBeyond = 15;  // found by simulation: the least that keeps the promise for the tests' gains
constexpr double kNormalQuantile = 1.6448536269514722;  // of 1 - kOneSidedError

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

// What a comparison of pairs adds up: who wins, and which pairs count. wins[x,y] = 1, 1/2 or 0, and 0 where the pair
// does not count; the diagonal never does, which drops pairs of a photograph with itself from every sum.
struct Pairs {
  std::vector<float> wins, counted;
};

Pairs Compare(std::span<const float> d, int n, std::span<const uint8_t> pairs) {
  INFENCLAVE_CHECK(n >= 2 && d.size() == static_cast<size_t>(n) * n && (pairs.empty() || pairs.size() == d.size()));
  Pairs out{std::vector<float>(d.size()), std::vector<float>(d.size())};
  for (int x = 0; x < n; ++x) {
    const float own = d[static_cast<size_t>(x) * n + x];
    for (int y = 0; y < n; ++y) {
      const size_t at = static_cast<size_t>(x) * n + y;
      if (x == y || (!pairs.empty() && pairs[at] == 0)) continue;
      out.counted[at] = 1;
      out.wins[at] = own < d[at] ? 1.0f : own == d[at] ? 0.5f : 0.0f;
    }
  }
  return out;
}

double Sum(const std::vector<float>& values) {
  double sum = 0;
  for (float v : values) sum += v;
  return sum;
}

// Counts are small integers and wins halves: their sums are exact in float up to 2^23, so the order does not matter.
double WeightedRow(const float* values, const float* weights, int n) {
  float lanes[16] = {};
  int y = 0;
  for (; y + 16 <= n; y += 16) {
    for (int k = 0; k < 16; ++k) lanes[k] += values[y + k] * weights[y + k];
  }
  double sum = 0;
  for (float lane : lanes) sum += lane;
  for (; y < n; ++y) sum += values[y] * weights[y];
  return sum;
}

// The area minus another's if there is one, for photographs drawn with replacement, rows and columns together.
std::vector<double> BootstrapAuc(const Pairs& first, const Pairs* second, int n, uint64_t seed) {
  Random random(seed);
  std::vector<double> aucs;
  aucs.reserve(kBootstrapResamples);
  std::vector<float> weights(n);
  for (int draws = 0; static_cast<int>(aucs.size()) < kBootstrapResamples && draws < 2 * kBootstrapResamples; ++draws) {
    std::fill(weights.begin(), weights.end(), 0.0f);
    for (int i = 0; i < n; ++i) weights[random.Below(n)] += 1;
    double hits = 0, pairs = 0;
    for (int x = 0; x < n; ++x) {
      if (weights[x] == 0) continue;
      const size_t row = static_cast<size_t>(x) * n;
      double won = WeightedRow(&first.wins[row], weights.data(), n);
      if (second != nullptr) won -= WeightedRow(&second->wins[row], weights.data(), n);
      hits += weights[x] * won;
      pairs += weights[x] * WeightedRow(&first.counted[row], weights.data(), n);
    }
    if (pairs > 0) aucs.push_back(hits / pairs);  // one photograph n times over has no pair
  }
  return aucs;
}

double Deviation(const std::vector<double>& values) {
  double mean = 0, square = 0;
  for (double v : values) mean += v;
  mean /= static_cast<double>(values.size());
  for (double v : values) square += (v - mean) * (v - mean);
  return std::sqrt(square / static_cast<double>(values.size()));
}

// Whether an area is so near its end, or from so few photographs, that resampling sees too little.
bool BootstrapIsBlind(double auc, int n) { return n < kFewestForBootstrap || std::min(auc, 1 - auc) * n < 2; }

void WidenTo(Estimate& estimate, double lower, double upper) {
  estimate.lower = std::min(estimate.lower, lower);
  estimate.upper = std::max(estimate.upper, upper);
}

// Tango's statistic for the difference `delta` of two shares; it falls as delta grows.
double TangoStatistic(double a, double b, double n, double delta) {
  const double p = 2 * n, q = -a - b + (2 * n - a + b) * delta, r = -b * delta * (1 - delta);
  const double share = (std::sqrt(std::max(0.0, q * q - 4 * p * r)) - q) / (2 * p);
  const double variance = n * (2 * share + delta * (1 - delta));
  const double gap = a - b - n * delta;
  if (variance <= 0) return gap == 0 ? 0 : std::copysign(std::numeric_limits<double>::infinity(), gap);
  return gap / std::sqrt(variance);
}

double TangoBound(double a, double b, double n, double z) {
  double low = -1, high = 1;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (TangoStatistic(a, b, n, middle) > z ? low : high) = middle;
  }
  return (low + high) / 2;
}

// Student's bound of the mean with one more value, beyond the last on that side by 15/n of its distance to the median:
// no resampling of n values shows the tail that they happened to miss.
double BoundWithOneMore(std::span<const double> values, double mean, double square, int side) {
  const double n = static_cast<double>(values.size());
  const double last =
      side > 0 ? *std::max_element(values.begin(), values.end()) : *std::min_element(values.begin(), values.end());
  const double median = Quantile({values.begin(), values.end()}, 0.5);
  const double away = last + (last - median) * kBeyond / n - mean;  // of the further value from the mean of the others
  const double variance = (square + away * away * n / (n + 1)) / n;
  return mean + away / (n + 1) + side * StudentQuantile(1 - kOneSidedError, n - 1) * std::sqrt(variance / (n + 1));
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

void Shuffle(std::vector<int>& values, Random& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.Below(i)]);
}

double AucValue(std::span<const float> d, int n, std::span<const uint8_t> pairs) {
  const Pairs compared = Compare(d, n, pairs);
  return Sum(compared.wins) / Sum(compared.counted);
}

Estimate AreaUnderCurve(std::span<const float> d, int n, uint64_t seed, std::span<const uint8_t> pairs) {
  const Pairs compared = Compare(d, n, pairs);
  const double auc = Sum(compared.wins) / Sum(compared.counted);

  Estimate estimate{auc, auc, auc};
  // A constant tensor ties every pair, whatever the photographs: there is nothing to be unsure of.
  bool all_tied = true;
  for (size_t i = 0; i < d.size(); ++i) all_tied &= compared.wins[i] == compared.counted[i] / 2;
  if (all_tied) return estimate;
  if (n >= kFewestForBootstrap && auc > 0 && auc < 1) {
    const std::vector<double> aucs = BootstrapAuc(compared, nullptr, n, seed);
    const double reach = StudentQuantile(1 - kOneSidedError, n - 1) * Deviation(aucs) / (auc * (1 - auc));
    WidenTo(estimate, Quantile(aucs, kOneSidedError), Quantile(aucs, 1 - kOneSidedError));
    WidenTo(estimate, FromLogOdds(LogOdds(auc) - reach), FromLogOdds(LogOdds(auc) + reach));
  }
  if (BootstrapIsBlind(auc, n)) {
    const int disjoint = n / 2;
    const Estimate exact = ShareOf(auc * disjoint, disjoint);
    WidenTo(estimate, exact.lower, exact.upper);
  }
  return estimate;
}

Estimate AucDifference(std::span<const float> a, std::span<const float> b, int n, uint64_t seed,
                       std::span<const uint8_t> pairs) {
  const Pairs first = Compare(a, n, pairs), second = Compare(b, n, pairs);
  const double counted = Sum(first.counted), auc_a = Sum(first.wins) / counted, auc_b = Sum(second.wins) / counted;
  Estimate estimate{auc_a - auc_b, auc_a - auc_b, auc_a - auc_b};
  if (first.wins == second.wins) return estimate;  // the same reconstructions, or two that show nothing
  if (n >= kFewestForBootstrap) {
    const std::vector<double> differences = BootstrapAuc(first, &second, n, seed);
    const double reach = StudentQuantile(1 - kOneSidedError, n - 1) * Deviation(differences);
    WidenTo(estimate, Quantile(differences, kOneSidedError), Quantile(differences, 1 - kOneSidedError));
    WidenTo(estimate, estimate.value - reach, estimate.value + reach);
  }
  if (BootstrapIsBlind(auc_a, n) || BootstrapIsBlind(auc_b, n)) {
    const Estimate one = AreaUnderCurve(a, n, seed, pairs), other = AreaUnderCurve(b, n, seed, pairs);
    WidenTo(estimate, estimate.value - std::hypot(one.value - one.lower, other.upper - other.value),
            estimate.value + std::hypot(one.upper - one.value, other.value - other.lower));
  }
  return {estimate.value, std::max(-1.0, estimate.lower), std::min(1.0, estimate.upper)};
}

Estimate MeanOf(std::span<const double> values, uint64_t seed) {
  INFENCLAVE_CHECK(!values.empty());
  const int n = static_cast<int>(values.size());
  double mean = 0, square = 0;
  for (double v : values) mean += v;
  mean /= n;
  for (double v : values) square += (v - mean) * (v - mean);
  const double infinity = std::numeric_limits<double>::infinity();
  if (n == 1) return {mean, -infinity, infinity};
  const double reach = StudentQuantile(1 - kOneSidedError, n - 1) * std::sqrt(square / (n - 1) / n);
  Estimate estimate{mean, mean - reach, mean + reach};
  if (square == 0) return estimate;
  // Skewed gains mislead Student's t and the percentiles: resampled t statistics follow the skew (Hall 1988).
  Random random(seed);
  std::vector<double> means, ratios;
  for (int resample = 0; resample < kBootstrapResamples; ++resample) {
    double sum = 0, squares = 0;
    for (int i = 0; i < n; ++i) {
      const double v = values[random.Below(n)] - mean;
      sum += v;
      squares += v * v;
    }
    const double shift = sum / n, deviation = std::sqrt(std::max(0.0, squares / n - shift * shift) / (n - 1));
    means.push_back(mean + shift);
    if (deviation > 0) ratios.push_back(shift / deviation);
  }
  WidenTo(estimate, Quantile(means, kOneSidedError), Quantile(means, 1 - kOneSidedError));
  const double deviation = std::sqrt(square / (n - 1) / n);
  if (!ratios.empty()) {
    WidenTo(estimate, mean - Quantile(ratios, 1 - kOneSidedError) * deviation,
            mean - Quantile(ratios, kOneSidedError) * deviation);
  }
  WidenTo(estimate, BoundWithOneMore(values, mean, square, /*side=*/-1), BoundWithOneMore(values, mean, square, 1));
  return estimate;
}

Estimate PairedShareDifference(int only_a, int only_b, int n) {
  INFENCLAVE_CHECK(only_a >= 0 && only_b >= 0 && n > 0 && only_a + only_b <= n);
  Estimate estimate{static_cast<double>(only_a - only_b) / n, TangoBound(only_a, only_b, n, kNormalQuantile),
                    TangoBound(only_a, only_b, n, -kNormalQuantile)};
  if (only_b == 0) estimate.upper = std::max(estimate.upper, ShareOf(only_a, n).upper);
  if (only_a == 0) estimate.lower = std::min(estimate.lower, -ShareOf(only_b, n).upper);
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

std::optional<int64_t> ImagesToDecideMean(const Estimate& mean, int n, double margin) {
  if (margin <= mean.lower || margin >= mean.upper) return n;
  const double width = mean.value < margin ? mean.upper - mean.value : mean.value - mean.lower;
  const double ratio = width / std::abs(margin - mean.value), images = n * ratio * ratio;
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
