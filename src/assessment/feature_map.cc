#include "assessment/feature_map.h"

#include <algorithm>
#include <cmath>

#include "base/status.h"

namespace infenclave {

MapKind NormaliseMap(std::span<const float> map, std::span<float> out) {
  INFENCLAVE_CHECK(!map.empty() && map.size() == out.size());
  float low = map[0], high = map[0];
  bool finite = true;
  for (float v : map) {
    finite &= std::isfinite(v);
    low = std::min(low, v);
    high = std::max(high, v);
  }
  if (!finite) return MapKind::kNotFinite;
  if (low == high) {
    std::fill(out.begin(), out.end(), kMidGrey);
    return MapKind::kConstant;
  }
  // In double: the range of two finite floats may exceed a float.
  const double scale = 255.0 / (static_cast<double>(high) - low);
  for (size_t i = 0; i < map.size(); ++i) out[i] = static_cast<float>((static_cast<double>(map[i]) - low) * scale);
  return MapKind::kPicture;
}

MapResizer::MapResizer(int in_height, int in_width, int out_height, int out_width)
    : in_height_(in_height),
      in_width_(in_width),
      out_height_(out_height),
      out_width_(out_width),
      rows_(MakeAxis(in_height, out_height)),
      columns_(MakeAxis(in_width, out_width)),
      scratch_(static_cast<size_t>(in_height) * out_width) {}

MapResizer::Axis MapResizer::MakeAxis(int in, int out) {
  const double scale = static_cast<double>(in) / out;
  const double support = std::max(scale, 1.0);
  Axis axis;
  axis.taps = std::min(in, 2 * static_cast<int>(std::ceil(support)) + 1);
  axis.first.resize(out);
  axis.weights.resize(static_cast<size_t>(out) * axis.taps);
  for (int i = 0; i < out; ++i) {
    const double centre = (i + 0.5) * scale;
    axis.first[i] = std::clamp(static_cast<int>(std::floor(centre - support)), 0, in - axis.taps);
    double sum = 0;
    std::vector<double> weights(axis.taps);
    for (int k = 0; k < axis.taps; ++k) {
      weights[k] = std::max(0.0, 1 - std::abs(axis.first[i] + k + 0.5 - centre) / support);
      sum += weights[k];
    }
    // Over the pixels that exist: at the border the outermost one is repeated.
    for (int k = 0; k < axis.taps; ++k) axis.weights[i * axis.taps + k] = static_cast<float>(weights[k] / sum);
  }
  return axis;
}

void MapResizer::Resize(std::span<const float> in, std::span<float> out) {
  INFENCLAVE_CHECK(in.size() == static_cast<size_t>(in_height_) * in_width_);
  INFENCLAVE_CHECK(out.size() == static_cast<size_t>(out_height_) * out_width_);
  for (int y = 0; y < in_height_; ++y) {
    const float* from = &in[static_cast<size_t>(y) * in_width_];
    float* to = &scratch_[static_cast<size_t>(y) * out_width_];
    for (int x = 0; x < out_width_; ++x) {
      const float* weights = &columns_.weights[static_cast<size_t>(x) * columns_.taps];
      const float* taps = from + columns_.first[x];
      float sum = 0;
      for (int k = 0; k < columns_.taps; ++k) sum += weights[k] * taps[k];
      to[x] = sum;
    }
  }
  for (int y = 0; y < out_height_; ++y) {
    float* to = &out[static_cast<size_t>(y) * out_width_];
    std::fill(to, to + out_width_, 0.0f);
    for (int k = 0; k < rows_.taps; ++k) {
      const float weight = rows_.weights[static_cast<size_t>(y) * rows_.taps + k];
      if (weight == 0) continue;
      const float* from = &scratch_[static_cast<size_t>(rows_.first[y] + k) * out_width_];
      for (int x = 0; x < out_width_; ++x) to[x] += weight * from[x];
    }
  }
}

}  // namespace infenclave
