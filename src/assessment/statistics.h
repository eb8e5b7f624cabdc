// The statistics of an assessment: every figure with the interval that it deserves.
//
// All bounds are one-sided at 95 %, so the two of them make a 90 % interval: a verdict looks at one end only.
// Everything is a function of its input and a seed.
#ifndef INFENCLAVE_ASSESSMENT_STATISTICS_H_
#define INFENCLAVE_ASSESSMENT_STATISTICS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace infenclave {

inline constexpr double kOneSidedError = 0.05;
inline constexpr int kBootstrapResamples = 2000;

// A generator whose numbers are the same everywhere, unlike the standard library's distributions (Steele, Lea and Flood
// 2014, SplitMix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  uint64_t Below(uint64_t n);  // uniform on 0 .. n-1; n > 0
  double Uniform();            // [0, 1)
  double Normal();

 private:
  uint64_t state_;
};

// `count` of 0 .. n-1, each subset equally likely, in ascending order; all of them if count >= n.
std::vector<int> Sample(int n, int count, Random& random);

// Every order equally likely (Fisher and Yates).
void Shuffle(std::vector<int>& values, Random& random);

struct Estimate {
  double value = 0, lower = 0, upper = 0;
};

// The share of pairs (x, y != x) with d(x,x) < d(x,y), ties one half; `d` is [n,n], row x, n >= 2, finite. This is the
// chance that an IR scores better against its own photograph than against another one.
//
// The interval resamples photographs, rows and columns together, and drops the pairs of a photograph with itself
// (Bickel, Götze and van Zwet 1997 for the principle). Its ends are the wider of the bootstrap's percentiles and of
// Student's t on the log-odds with the bootstrap's deviation. Where fewer than two photographs' worth of pairs is on
// one side, 0 and 1 included, and below 10 photographs, the bootstrap sees too little: there the ends are as wide at
// least as Clopper and Pearson's for n/2 pairs that share no photograph.
//
// `pairs`, [n,n], says which (x,y) are compared; empty: all. Give it with (y,x) for every (x,y): then a reconstruction
// that is the same for all photographs has 0.5 exactly.
Estimate AreaUnderCurve(std::span<const float> d, int n, uint64_t seed, std::span<const uint8_t> pairs = {});
double AucValue(std::span<const float> d, int n, std::span<const uint8_t> pairs = {});  // without the interval

// The area of `a` minus that of `b`, over the same photographs and pairs, both resampled together. At the ends, where
// the bootstrap sees nothing, as wide at least as the two intervals allow (Zou and Donner 2008, without correlation).
Estimate AucDifference(std::span<const float> a, std::span<const float> b, int n, uint64_t seed,
                       std::span<const uint8_t> pairs = {});

// The mean of values that belong to one photograph each: the widest of Student's t, the bootstrap's percentiles, its t
// statistics, which follow the values' skew, and Student's t with one more value beyond the last on either side.
// Simulated gains that are normal, exponential, chi-square with one degree or lognormal exceed a bound at most once in
// twenty, from ten photographs on. What happens to so few photographs that none of them may be among n, no interval
// shows: one in ten, say, is missing from ten photographs once in three.
Estimate MeanOf(std::span<const double> values, uint64_t seed);

// The difference of two shares of the same `n` photographs, of which `only_a` count for the first alone and `only_b`
// for the second alone (Tango 1998); where one of them is 0, as wide at least as Clopper and Pearson's for the other.
Estimate PairedShareDifference(int only_a, int only_b, int n);

// How many photographs would bring the end of the interval to `margin`, where the interval of n holds it: widths shrink
// with the square root. None if the estimate is too near the margin for any sensible number.
std::optional<int64_t> ImagesToDecide(const Estimate& auc, int n, double margin);
// The same for an estimate that has no ends, such as a difference.
std::optional<int64_t> ImagesToDecideMean(const Estimate& mean, int n, double margin);

// Clopper and Pearson 1934: `hits` of `trials`, which may be fractional.
Estimate ShareOf(double hits, double trials);

// Linear between order statistics (Hyndman and Fan 1996, type 7); `values` must not be empty.
double Quantile(std::vector<double> values, double q);

// Regularised incomplete beta function I_x(a,b), its inverse in x, and the quantile of Student's t.
double IncompleteBeta(double a, double b, double x);
double BetaQuantile(double p, double a, double b);
double StudentQuantile(double p, double degrees);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_STATISTICS_H_
