#include "assessment/nearest.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "assessment/likeness.h"
#include "crypto/primitives.h"

namespace infenclave {
namespace {

constexpr size_t kChunkBytes = size_t{64} << 20;  // of targets that are compared at a time

// One row as f32, each value divided by its channel's deviation.
class Rows {
 public:
  explicit Rows(const RowFile& file) : file_(file) {
    size_ = 1;
    for (size_t i = 1; i < file.shape().size(); ++i) size_ *= static_cast<size_t>(file.shape()[i]);
    channels_ = file.shape().size() > 1 ? static_cast<size_t>(file.shape()[1]) : 1;
    scale_.assign(channels_, 1.0f);
  }
  size_t size() const { return size_; }
  void Read(int64_t row, std::span<float> out) const {
    const ByteSpan bytes = file_.Row(row);
    const size_t per_channel = size_ / channels_;
    for (size_t c = 0, i = 0; c < channels_; ++c) {
      for (size_t k = 0; k < per_channel; ++k, ++i) out[i] = Value(bytes, i) * scale_[c];
    }
  }
  // From the pictures in `rows`.
  void Standardise(const std::vector<int64_t>& rows) {
    std::vector<double> sum(channels_), square(channels_);
    std::vector<float> values(size_);
    const size_t per_channel = size_ / channels_;
    for (int64_t row : rows) {
      Read(row, values);
      for (size_t i = 0; i < size_; ++i) {
        sum[i / per_channel] += values[i];
        square[i / per_channel] += static_cast<double>(values[i]) * values[i];
      }
    }
    const double n = static_cast<double>(rows.size() * per_channel);
    for (size_t c = 0; c < channels_; ++c) {
      const double variance = square[c] / n - sum[c] / n * sum[c] / n;
      // What rounding leaves of a constant channel is no deviation.
      if (variance > 1e-12 * square[c] / n) scale_[c] = static_cast<float>(1 / std::sqrt(variance));
    }
  }
  void ScaleAs(const Rows& other) { scale_ = other.scale_; }

 private:
  float Value(ByteSpan bytes, size_t i) const {
    if (file_.dtype() == DType::kF32) {
      float v;
      std::memcpy(&v, &bytes[4 * i], 4);
      return v;
    }
    uint16_t v;
    std::memcpy(&v, &bytes[2 * i], 2);
    return Bf16ToF32(v);
  }

  const RowFile& file_;
  size_t size_ = 0, channels_ = 1;
  std::vector<float> scale_;
};

// Added in the same order for every pair, so that equal IRs have equal distances.
float SquaredDistance(const float* a, const float* b, size_t n) {
  float lanes[16] = {};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (size_t k = 0; k < 16; ++k) {
      const float gap = a[i + k] - b[i + k];
      lanes[k] += gap * gap;
    }
  }
  float sum = 0;
  for (float lane : lanes) sum += lane;
  for (; i < n; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

struct Best {
  float distance = std::numeric_limits<float>::infinity();
  std::vector<int64_t> rows;  // at that distance
  void Offer(float d, int64_t row) {
    if (d > distance) return;
    if (d < distance) rows.clear();
    distance = d;
    rows.push_back(row);
  }
};

void MeanPicture(const RowFile& rgb, const std::vector<int64_t>& rows, std::span<float> out) {
  std::vector<double> sum(out.size());
  for (int64_t row : rows) {
    const ByteSpan pixels = rgb.Row(row);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += pixels[i];
  }
  for (size_t i = 0; i < sum.size(); ++i) out[i] = static_cast<float>(sum[i] / static_cast<double>(rows.size()));
}

}  // namespace

StatusOr<std::vector<float>> Nearest(const RowFile& attacker_ir, const RowFile& attacker_rgb,
                                     const std::vector<int32_t>& photograph, const RowFile& target_ir,
                                     int photographs) {
  Rows attacker(attacker_ir), target(target_ir);
  const int64_t pictures = attacker_ir.rows(), targets = target_ir.rows();
  if (attacker.size() != target.size() || attacker_rgb.rows() != pictures ||
      static_cast<int64_t>(photograph.size()) != pictures) {
    return InvalidArgument("nearest: ", pictures, " IRs of ", attacker.size(), " values, ", attacker_rgb.rows(),
                           " pictures, and targets of ", target.size(), " values do not fit");
  }
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < pictures; ++i) {
    if (photograph[i] != kNoPhotograph && (photographs == 0 || photograph[i] < photographs)) rows.push_back(i);
  }
  if (rows.empty()) return InvalidArgument("nearest: the attacker has no photograph");
  attacker.Standardise(rows);
  target.ScaleAs(attacker);
  std::vector<float> out(static_cast<size_t>(targets) * kPictureValues), own(attacker.size());
  const int64_t chunk = std::max<int64_t>(1, static_cast<int64_t>(kChunkBytes / (4 * target.size())));
  for (int64_t begin = 0; begin < targets; begin += chunk) {
    const int64_t end = std::min(targets, begin + chunk);
    std::vector<std::vector<float>> irs(end - begin, std::vector<float>(target.size()));
    for (int64_t t = begin; t < end; ++t) target.Read(t, irs[t - begin]);
    std::vector<Best> best(end - begin);
    for (int64_t row : rows) {
      attacker.Read(row, own);
      for (int64_t t = begin; t < end; ++t) {
        best[t - begin].Offer(SquaredDistance(own.data(), irs[t - begin].data(), own.size()), row);
      }
    }
    for (int64_t t = begin; t < end; ++t) {
      MeanPicture(attacker_rgb, best[t - begin].rows, std::span(out).subspan(t * kPictureValues, kPictureValues));
    }
  }
  return out;
}

std::vector<double> Matches(const RowFile& target_ir) {
  std::map<Sha256Digest, int> count;
  const auto key = [&](int64_t i) { return Sha256(target_ir.Row(i)); };
  for (int64_t i = 0; i < target_ir.rows(); ++i) ++count[key(i)];
  std::vector<double> matches;
  for (int64_t i = 0; i < target_ir.rows(); ++i) matches.push_back(1.0 / count[key(i)]);
  return matches;
}

}  // namespace infenclave
