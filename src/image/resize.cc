#include <algorithm>
#include <cmath>
#include <vector>

#include "image/image.h"
#include "image/resample.h"

namespace infenclave {
namespace {

// Pillow's resampling for 8-bit pictures: two passes, along x and then along y, each a weighted mean of the source
// pixels under the filter, the filter widened by the scale when shrinking. Weights are rounded to 22 fractional bits
// and each pass to 8 bits, which has to be done alike for pixels to be equal.
constexpr int kPrecisionBits = 32 - 8 - 2;

struct Filter {
  double support;
  double (*weight)(double distance);
};

double Triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

double Cubic(double x) {  // Keys (1981) with a = -1/2
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

Filter FilterOf(Preprocessing::Filter filter) {
  return filter == Preprocessing::Filter::kBilinear ? Filter{1.0, Triangle} : Filter{2.0, Cubic};
}

// For each wanted position, the source positions [first, first + count) that it is the mean of.
struct Taps {
  struct Window {
    size_t first, count;
  };
  std::vector<Window> windows;
  std::vector<int32_t> weights;  // `stride` per position
  size_t stride = 0;
};

Taps ComputeTaps(uint32_t in, const ResizeAxis& axis, const Filter& filter) {
  const double scale = static_cast<double>(in) / axis.size, widening = std::max(scale, 1.0);
  const double support = filter.support * widening;
  Taps taps;
  taps.stride = static_cast<size_t>(std::ceil(support)) * 2 + 1;
  taps.windows.resize(axis.count);
  taps.weights.resize(taps.stride * axis.count);
  std::vector<double> exact(taps.stride);
  for (size_t i = 0; i < axis.count; ++i) {
    const double center = (static_cast<double>(axis.first + i) + 0.5) * scale;
    const auto first = static_cast<int64_t>(std::max(0.0, center - support + 0.5));
    // NOLINTNEXTLINE(bugprone-incorrect-roundings): as Pillow does; it is never negative
    const auto end = std::min<int64_t>(in, static_cast<int64_t>(center + support + 0.5));
    const auto count = static_cast<size_t>(end - first);
    double sum = 0.0;
    for (size_t k = 0; k < count; ++k) {
      exact[k] = filter.weight((static_cast<double>(first) + static_cast<double>(k) - center + 0.5) * (1.0 / widening));
      sum += exact[k];
    }
    for (size_t k = 0; k < count; ++k) {
      const double weight = (sum != 0.0 ? exact[k] / sum : exact[k]) * (1 << kPrecisionBits);
      taps.weights[taps.stride * i + k] = static_cast<int32_t>(weight + (weight < 0 ? -0.5 : 0.5));
    }
    taps.windows[i] = {static_cast<size_t>(first), count};
  }
  return taps;
}

constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);

uint8_t Round(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255)); }

// Rows [first_row, first_row + rows) of the picture, resized along x.
Image ResizeRows(const Image& in, const Taps& taps, size_t first_row, size_t rows) {
  Image out{static_cast<uint32_t>(taps.windows.size()), static_cast<uint32_t>(rows), {}};
  out.rgb.resize(taps.windows.size() * rows * 3);
  uint8_t* to = out.rgb.data();
  for (size_t y = 0; y < rows; ++y) {
    const uint8_t* row = &in.rgb[(first_row + y) * in.width * 3];
    for (size_t x = 0; x < taps.windows.size(); ++x, to += 3) {
      const int32_t* weight = &taps.weights[taps.stride * x];
      const uint8_t* from = row + taps.windows[x].first * 3;
      int32_t sum[3] = {kHalf, kHalf, kHalf};
      for (size_t k = 0; k < taps.windows[x].count; ++k, from += 3) {
        for (int c = 0; c < 3; ++c) sum[c] += from[c] * weight[k];
      }
      for (int c = 0; c < 3; ++c) to[c] = Round(sum[c]);
    }
  }
  return out;
}

// `in` holds the source's rows from `first_row` on.
Image ResizeColumns(const Image& in, const Taps& taps, size_t first_row) {
  const size_t row = size_t{in.width} * 3;
  Image out{in.width, static_cast<uint32_t>(taps.windows.size()), {}};
  out.rgb.resize(row * taps.windows.size());
  std::vector<int32_t> sums(row);
  for (size_t y = 0; y < taps.windows.size(); ++y) {
    std::fill(sums.begin(), sums.end(), kHalf);
    for (size_t k = 0; k < taps.windows[y].count; ++k) {
      const int32_t weight = taps.weights[taps.stride * y + k];
      const uint8_t* from = &in.rgb[(taps.windows[y].first - first_row + k) * row];
      for (size_t i = 0; i < row; ++i) sums[i] += from[i] * weight;
    }
    std::transform(sums.begin(), sums.end(), &out.rgb[y * row], Round);
  }
  return out;
}

}  // namespace

Image ResizeWindow(const Image& image, const ResizeAxis& x, const ResizeAxis& y, Preprocessing::Filter filter) {
  INFENCLAVE_CHECK(x.count > 0 && y.count > 0 && image.width > 0 && image.height > 0);
  const Taps columns = ComputeTaps(image.width, x, FilterOf(filter)),
             rows = ComputeTaps(image.height, y, FilterOf(filter));
  const size_t first = rows.windows.front().first, end = rows.windows.back().first + rows.windows.back().count;
  return ResizeColumns(ResizeRows(image, columns, first, end - first), rows, first);
}

Image Resize(const Image& image, uint32_t width, uint32_t height, Preprocessing::Filter filter) {
  if (image.width == width && image.height == height) return image;  // as Pillow does; every filter is exact there
  return ResizeWindow(image, {width, 0, width}, {height, 0, height}, filter);
}

}  // namespace infenclave
