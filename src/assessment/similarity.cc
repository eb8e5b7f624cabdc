#include "assessment/similarity.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/status.h"

namespace infenclave {
namespace {

constexpr int kRadius = 5;
constexpr int kWindow = 2 * kRadius + 1;
constexpr double kPeak = 255.0;

std::array<double, kWindow> GaussianWindow() {
  std::array<double, kWindow> w{};
  double sum = 0;
  for (int i = 0; i < kWindow; ++i) sum += w[i] = std::exp(-0.5 * (i - kRadius) * (i - kRadius) / (1.5 * 1.5));
  for (double& v : w) v /= sum;
  return w;
}

// One channel filtered in both directions, over the places where the window fits: [h-10, w-10].
std::vector<double> Filter(std::span<const double> plane, int64_t h, int64_t w) {
  static const std::array<double, kWindow> kGaussian = GaussianWindow();
  int64_t out_h = h - kWindow + 1, out_w = w - kWindow + 1;
  std::vector<double> rows(static_cast<size_t>(out_h * w)), out(static_cast<size_t>(out_h * out_w));
  for (int64_t y = 0; y < out_h; ++y) {
    double* row = &rows[static_cast<size_t>(y * w)];
    for (int k = 0; k < kWindow; ++k) {
      const double* from = &plane[static_cast<size_t>((y + k) * w)];
      for (int64_t x = 0; x < w; ++x) row[x] += kGaussian[static_cast<size_t>(k)] * from[x];
    }
    double* to = &out[static_cast<size_t>(y * out_w)];
    for (int k = 0; k < kWindow; ++k) {
      for (int64_t x = 0; x < out_w; ++x) to[x] += kGaussian[static_cast<size_t>(k)] * row[x + k];
    }
  }
  return out;
}

std::vector<double> Plane(const Picture& p, int channel) {
  std::vector<double> out(static_cast<size_t>(p.height * p.width));
  for (size_t i = 0; i < out.size(); ++i) out[i] = p.rgb[3 * i + static_cast<size_t>(channel)];
  return out;
}

std::vector<double> Product(std::span<const double> a, std::span<const double> b) {
  std::vector<double> out(a.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = a[i] * b[i];
  return out;
}

double SsimOfPlane(std::span<const double> a, std::span<const double> b, int64_t h, int64_t w) {
  constexpr double kC1 = (0.01 * kPeak) * (0.01 * kPeak), kC2 = (0.03 * kPeak) * (0.03 * kPeak);
  std::vector<double> mean_a = Filter(a, h, w), mean_b = Filter(b, h, w);
  std::vector<double> aa = Filter(Product(a, a), h, w), bb = Filter(Product(b, b), h, w);
  std::vector<double> ab = Filter(Product(a, b), h, w);
  double sum = 0;
  for (size_t i = 0; i < aa.size(); ++i) {
    double ma = mean_a[i], mb = mean_b[i];
    double var_a = aa[i] - ma * ma, var_b = bb[i] - mb * mb, cov = ab[i] - ma * mb;
    sum += (2 * ma * mb + kC1) * (2 * cov + kC2) / ((ma * ma + mb * mb + kC1) * (var_a + var_b + kC2));
  }
  return sum / static_cast<double>(aa.size());
}

void CheckSameSize(const Picture& a, const Picture& b) {
  INFENCLAVE_CHECK(a.height == b.height && a.width == b.width);
  INFENCLAVE_CHECK(a.rgb.size() == static_cast<size_t>(3 * a.height * a.width) && b.rgb.size() == a.rgb.size());
}

}  // namespace

double Psnr(const Picture& a, const Picture& b) {
  CheckSameSize(a, b);
  double sum = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) {
    double d = static_cast<double>(a.rgb[i]) - b.rgb[i];
    sum += d * d;
  }
  if (sum == 0) return kPsnrOfEqual;
  return std::min(kPsnrOfEqual, 10 * std::log10(kPeak * kPeak * static_cast<double>(a.rgb.size()) / sum));
}

double Ssim(const Picture& a, const Picture& b) {
  CheckSameSize(a, b);
  INFENCLAVE_CHECK(a.height >= kWindow && a.width >= kWindow);
  double sum = 0;
  for (int c = 0; c < 3; ++c) sum += SsimOfPlane(Plane(a, c), Plane(b, c), a.height, a.width);
  return sum / 3;
}

double CorrelationDistance(const Picture& a, const Picture& b) {
  CheckSameSize(a, b);
  double n = static_cast<double>(a.rgb.size()), sum_a = 0, sum_b = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) {
    sum_a += a.rgb[i];
    sum_b += b.rgb[i];
  }
  double mean_a = sum_a / n, mean_b = sum_b / n, aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) {
    double da = a.rgb[i] - mean_a, db = b.rgb[i] - mean_b;
    aa += da * da;
    bb += db * db;
    ab += da * db;
  }
  // A constant picture correlates with nothing.
  if (aa <= 0 || bb <= 0) return 1;
  return 1 - ab / std::sqrt(aa * bb);
}

}  // namespace infenclave
