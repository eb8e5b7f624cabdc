#include "enclave/ir_noise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "crypto/primitives.h"

namespace infenclave {
namespace {

constexpr size_t kValues = 100'001;  // odd: a pair is cut in two

std::vector<float> NoiseOn(const IrNoise& noise, uint8_t pixel, size_t values = kValues) {
  std::vector<float> ir(values);
  noise.Add(Bytes(300, pixel), ir);
  return ir;
}

IrNoise Noise(uint8_t key = 1, uint8_t bundle = 2, float deviation = 1) {
  BundleId id{};
  id.fill(bundle);
  return IrNoise(Bytes(32, key), id, deviation);
}

double Correlation(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum / static_cast<double>(a.size());
}

// By the standard library, which branches.
TEST(NormalFromBits, IsBoxAndMullers) {
  Bytes random(8000);
  RandomBytes(random);
  std::vector<uint32_t> cases = {0, 1, 0x3fffffff, 0x40000000, 0x7fffffff, 0x80000000, 0xc0000000, 0xffffffff};
  for (size_t i = 0; i < random.size(); i += 4) {
    cases.push_back(uint32_t{random[i]} << 24 | uint32_t{random[i + 1]} << 16 | random[i + 2] << 8 | random[i + 3]);
  }
  for (uint32_t radius : cases) {
    for (uint32_t angle : {cases[0], cases[2], cases[3], cases[5], cases[6], cases[7], radius * 2654435761u}) {
      const double length = std::sqrt(-2 * std::log((radius + 0.5) / 4294967296.0));
      const double quarter = angle >> 30, within = ((angle & 0x3fffffff) + 0.5) / 1073741824.0 - 0.5;
      const double theta = std::numbers::pi / 2 * (quarter + within);
      const NormalPair pair = NormalFromBits(radius, angle);
      EXPECT_NEAR(pair.first, length * std::cos(theta), 1e-9) << radius << ' ' << angle;
      EXPECT_NEAR(pair.second, length * std::sin(theta), 1e-9) << radius << ' ' << angle;
    }
  }
}

// The largest distance between the values' distribution and the normal one (Kolmogorov), at most 1.95 / sqrt(n) but
// once in a thousand. The key is fixed, and so is the outcome.
TEST(IrNoise, IsNormalAndIndependentFromValueToValue) {
  const std::vector<float> noise = NoiseOn(Noise(), 7);
  const double n = kValues, some = 4 / std::sqrt(n);
  EXPECT_NEAR(Correlation(noise, std::vector<float>(kValues, 1)), 0, some);
  EXPECT_NEAR(Correlation(noise, noise), 1, 2 * some);
  for (size_t lag : {1, 2, 4096}) {
    EXPECT_NEAR(Correlation(std::span(noise).subspan(lag), std::span(noise).first(kValues - lag)), 0, some) << lag;
  }
  std::vector<float> sorted = noise;
  std::sort(sorted.begin(), sorted.end());
  double most = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    const double normal = 0.5 * std::erfc(-sorted[i] / std::numbers::sqrt2);
    most = std::max({most, std::abs(normal - static_cast<double>(i) / n), std::abs(normal - (i + 1.0) / n)});
  }
  EXPECT_LT(most, 1.95 / std::sqrt(n));
}

TEST(IrNoise, IsTheSameForTheSamePictureAndKeyAlone) {
  const std::vector<float> noise = NoiseOn(Noise(), 7);
  EXPECT_EQ(NoiseOn(Noise(), 7), noise);
  const double some = 4 / std::sqrt(static_cast<double>(kValues));
  EXPECT_NEAR(Correlation(NoiseOn(Noise(), 8), noise), 0, some) << "another picture";
  EXPECT_NEAR(Correlation(NoiseOn(Noise(3, 2), 7), noise), 0, some) << "another key";
  EXPECT_NEAR(Correlation(NoiseOn(Noise(1, 3), 7), noise), 0, some) << "another bundle";
}

TEST(IrNoise, IsAddedInUnitsOfItsDeviation) {
  const std::vector<float> unit = NoiseOn(Noise(), 7, 11);
  std::vector<float> ir(11, 5);
  Noise(1, 2, 0.25f).Add(Bytes(300, 7), ir);
  for (size_t i = 0; i < ir.size(); ++i) EXPECT_FLOAT_EQ(ir[i], 5 + 0.25f * unit[i]);
}

}  // namespace
}  // namespace infenclave
