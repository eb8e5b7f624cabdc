// How alike two pictures are: PSNR, SSIM and the correlation distance, on f32 RGB [height,width,3] in 0..255.
//
// SSIM is Wang, Bovik, Sheikh & Simoncelli 2004, eq. 13, with an 11x11 Gaussian window of sigma 1.5, population
// covariance, K1 = 0.01, K2 = 0.03, averaged over the places where the whole window fits and over the three channels:
// scikit-image's structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False).
#ifndef INFENCLAVE_ASSESSMENT_SIMILARITY_H_
#define INFENCLAVE_ASSESSMENT_SIMILARITY_H_

#include <cstdint>
#include <span>

namespace infenclave {

struct Picture {
  int64_t height = 0, width = 0;
  std::span<const float> rgb;  // borrowed
};

// 10 log10(255^2 / mean squared error), in dB; equal pictures give kPsnrOfEqual rather than infinity.
inline constexpr double kPsnrOfEqual = 100.0;
double Psnr(const Picture& a, const Picture& b);

// Both sides at least 11 long (a programming error otherwise).
double Ssim(const Picture& a, const Picture& b);

// 1 - Pearson's correlation over all values; 1 where either picture is constant.
double CorrelationDistance(const Picture& a, const Picture& b);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_SIMILARITY_H_
