#include "assessment/similarity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace infenclave {
namespace {

// The pictures of similarity_reference.py, made by the same formula.
struct Pair {
  int64_t height, width;
  uint32_t seed;
  double amplitude, shift;
  double psnr, ssim, correlation;  // scikit-image 0.25.2
};

std::vector<float> Waves(const Pair& p, double shift, double amplitude) {
  std::vector<float> out;
  uint32_t state = p.seed;
  for (int64_t y = 0; y < p.height; ++y) {
    for (int64_t x = 0; x < p.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        state = state * 1664525u + 1013904223u;
        double noise = state / 4294967296.0 - 0.5;
        double v =
            127.5 + 100 * std::sin(0.11 * static_cast<double>(y) + 0.07 * (static_cast<double>(x) + shift) * (c + 1));
        out.push_back(static_cast<float>(std::clamp(v + amplitude * noise, 0.0, 255.0)));
      }
    }
  }
  return out;
}

TEST(Similarity, AgreesWithScikitImage) {
  static constexpr Pair kPairs[] = {
      {112, 112, 1, 10, 0, 38.883236, 0.978629, 0.000839}, {112, 112, 2, 120, 0, 17.701243, 0.360741, 0.099127},
      {112, 112, 3, 40, 5, 13.672562, 0.447779, 0.274930}, {11, 37, 4, 60, 1, 22.197269, 0.585020, 0.038635},
      {64, 48, 5, 0, 20, 6.613600, -0.208010, 1.419406},
  };
  for (const Pair& p : kPairs) {
    std::vector<float> a = Waves(p, 0, 0), b = Waves(p, p.shift, p.amplitude);
    Picture pa{p.height, p.width, a}, pb{p.height, p.width, b};
    EXPECT_NEAR(Psnr(pa, pb), p.psnr, 1e-4) << p.seed;
    EXPECT_NEAR(Ssim(pa, pb), p.ssim, 1e-4) << p.seed;
    EXPECT_NEAR(CorrelationDistance(pa, pb), p.correlation, 1e-4) << p.seed;
  }
}

TEST(Similarity, OfAPictureWithItselfAndWithNothing) {
  std::vector<float> a = Waves({32, 32, 1, 0, 0, 0, 0, 0}, 0, 50), grey(a.size(), 127.0f);
  Picture pa{32, 32, a}, pg{32, 32, grey};
  EXPECT_EQ(Psnr(pa, pa), kPsnrOfEqual);
  EXPECT_NEAR(Ssim(pa, pa), 1, 1e-12);
  EXPECT_NEAR(CorrelationDistance(pa, pa), 0, 1e-12);
  EXPECT_EQ(CorrelationDistance(pa, pg), 1);
}

}  // namespace
}  // namespace infenclave
