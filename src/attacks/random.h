// Random numbers that are the same on every machine and library: a stream has a name, so that what is drawn for one
// purpose, or at one step of training, does not depend on what was drawn before.
#ifndef INFENCLAVE_ATTACKS_RANDOM_H_
#define INFENCLAVE_ATTACKS_RANDOM_H_

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace infenclave {

class Random {
 public:
  Random(uint64_t seed, std::string_view purpose, uint64_t step = 0) : state_(seed) {
    for (const char c : purpose) state_ = Mix(state_ ^ static_cast<uint8_t>(c));
    state_ = Mix(state_ ^ step);
  }

  uint64_t Next() { return Mix(state_ += 0x9e3779b97f4a7c15); }
  // 0 .. n-1; the bias for n far below 2^64 does not matter here.
  uint64_t Below(uint64_t n) { return Next() % n; }
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

 private:
  // The finaliser of SplitMix64 (Steele, Lea & Flood 2014).
  static uint64_t Mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

template <typename T>
void Shuffle(std::vector<T>& values, Random random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.Below(i)]);
}

}  // namespace infenclave

#endif  // INFENCLAVE_ATTACKS_RANDOM_H_
