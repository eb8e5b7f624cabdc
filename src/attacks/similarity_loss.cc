#include "attacks/similarity_loss.h"

namespace infenclave {
namespace {

constexpr int64_t kWindow = 11;
constexpr double kSigma = 1.5, kC1 = 0.01 * 0.01, kC2 = 0.03 * 0.03;

// Where the whole window fits.
at::Tensor Blur(const at::Tensor& x) {
  const at::Tensor place = at::arange(kWindow) - (kWindow - 1) / 2;
  at::Tensor weights = at::exp(-place.pow(2) / (2 * kSigma * kSigma));
  weights = weights / weights.sum();
  const int64_t channels = x.size(1);
  const at::Tensor down = weights.view({1, 1, kWindow, 1}).expand({channels, 1, kWindow, 1}).contiguous(),
                   across = weights.view({1, 1, 1, kWindow}).expand({channels, 1, 1, kWindow}).contiguous();
  const auto along = [channels](const at::Tensor& y, const at::Tensor& kernel) {
    return at::conv2d(y, kernel, {}, at::IntArrayRef{1, 1}, at::IntArrayRef{0, 0}, at::IntArrayRef{1, 1}, channels);
  };
  return along(along(x, down), across);
}

}  // namespace

at::Tensor MeanSsim(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor blurred = Blur(at::cat({a, b, a * a + b * b, a * b}, 1));
  const at::Tensor mean_a = blurred.slice(1, 0, 3), mean_b = blurred.slice(1, 3, 6);
  const at::Tensor product = mean_a * mean_b, squares = mean_a * mean_a + mean_b * mean_b;
  const at::Tensor variances = blurred.slice(1, 6, 9) - squares, covariance = blurred.slice(1, 9, 12) - product;
  return ((2 * product + kC1) * (2 * covariance + kC2) / ((squares + kC1) * (variances + kC2))).mean();
}

at::Tensor PictureLoss(const at::Tensor& reconstruction, const at::Tensor& picture) {
  return (reconstruction - picture).pow(2).mean() / kPixelUnit + 1 - MeanSsim(reconstruction, picture);
}

}  // namespace infenclave
