#include "assessment/likeness.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "assessment/similarity.h"
#include "assessment/statistics.h"
#include "crypto/primitives.h"

namespace infenclave {
namespace {

constexpr std::string_view kMagic = "infenclave.likeness/1";
constexpr size_t kMostImages = 1 << 14;

Picture View(std::span<const float> rgb) { return {kPictureSide, kPictureSide, rgb}; }

// Less its mean and of length one, so that a correlation is a scalar product; zeros for a picture without contrast.
std::vector<float> Standardised(std::span<const float> rgb) {
  double mean = 0, square = 0;
  for (float v : rgb) mean += v;
  mean /= static_cast<double>(rgb.size());
  for (float v : rgb) square += (v - mean) * (v - mean);
  std::vector<float> out(rgb.size(), 0.0f);
  if (square <= 0) return out;
  const double scale = 1 / std::sqrt(square);
  for (size_t i = 0; i < rgb.size(); ++i) out[i] = static_cast<float>((rgb[i] - mean) * scale);
  return out;
}

float Dot(const float* a, const float* b, size_t n) {
  float lanes[16] = {};
  for (size_t i = 0; i + 16 <= n; i += 16) {
    for (size_t k = 0; k < 16; ++k) lanes[k] += a[i + k] * b[i + k];
  }
  float sum = 0;
  for (float lane : lanes) sum += lane;
  return sum;
}
static_assert(kPictureValues % 16 == 0);

Image ToImage(std::span<const float> rgb) {
  Image image{kPictureSide, kPictureSide, Bytes(rgb.size())};
  for (size_t i = 0; i < rgb.size(); ++i) image.rgb[i] = static_cast<uint8_t>(std::lround(rgb[i]));
  return image;
}

int MostLikely(std::span<const float> p) { return static_cast<int>(std::max_element(p.begin(), p.end()) - p.begin()); }

Status AskOracle(const Targets& targets, const std::vector<float>& pictures, OraclePool& pool, Likeness& out) {
  const size_t n = out.psnr.size(), batch = pool.batch();
  for (size_t begin = 0; begin < n; begin += batch) {
    const size_t end = std::min(n, begin + batch);
    const auto ask = [&, begin, end](Oracle& oracle) -> Status {
      for (size_t i = begin; i < end; ++i) {
        oracle.SetPicture(static_cast<int>(i - begin),
                          ToImage(std::span(pictures).subspan(i * kPictureValues, kPictureValues)));
      }
      INFENCLAVE_RETURN_IF_ERROR(oracle.Evaluate(static_cast<int>(end - begin)));
      for (size_t i = begin; i < end; ++i) {
        const auto answer = oracle.Probabilities(static_cast<int>(i - begin));
        const int want = MostLikely(std::span(targets.probabilities).subspan(i * targets.classes, targets.classes));
        // Of equal scores the first counts, as in a sorted list.
        int before = 0;
        for (int c = 0; c < targets.classes; ++c) {
          before += answer[c] > answer[want] || (answer[c] == answer[want] && c < want);
        }
        out.top1[i] = before == 0;
        out.top5[i] = before < 5;
      }
      return OkStatus();
    };
    INFENCLAVE_RETURN_IF_ERROR(pool.Submit(ask));
  }
  return pool.Drain();
}

}  // namespace

void FillMeanScores(Targets& targets) {
  for (int i = 0; i < targets.n(); ++i) {
    targets.mean_psnr.push_back(Psnr(View(targets.mean), View(targets.Truth(i))));
    targets.mean_ssim.push_back(Ssim(View(targets.mean), View(targets.Truth(i))));
  }
}

StatusOr<Likeness> Compare(const Targets& targets, std::span<const float> reconstructions, OraclePool& oracle) {
  const int n = static_cast<int>(reconstructions.size() / kPictureValues);
  INFENCLAVE_CHECK(n <= targets.n() && reconstructions.size() % kPictureValues == 0);
  std::vector<float> pictures(reconstructions.begin(), reconstructions.end());
  for (float& v : pictures) {
    if (!std::isfinite(v)) return InvalidArgument("a reconstruction is not finite");
    v = std::clamp(v, 0.0f, 255.0f);
  }
  Likeness out;
  out.psnr.resize(n);
  out.ssim.resize(n);
  out.top1.resize(n);
  out.top5.resize(n);
  out.distance.resize(static_cast<size_t>(n) * n);
  float most = 0;  // difference to the first
  std::vector<std::vector<float>> photographs;
  for (int y = 0; y < n; ++y) photographs.push_back(Standardised(targets.Truth(y)));
  for (int x = 0; x < n; ++x) {
    const auto picture = std::span<const float>(pictures).subspan(x * kPictureValues, kPictureValues);
    const Picture truth = View(targets.Truth(x));
    out.psnr[x] = Psnr(View(picture), truth) - targets.mean_psnr[x];
    out.ssim[x] = Ssim(View(picture), truth) - targets.mean_ssim[x];
    for (size_t i = 0; i < picture.size(); ++i) most = std::max(most, std::abs(picture[i] - pictures[i]));
    const std::vector<float> own = Standardised(picture);
    for (int y = 0; y < n; ++y) {
      out.distance[static_cast<size_t>(x) * n + y] = 1 - Dot(own.data(), photographs[y].data(), kPictureValues);
    }
  }
  out.same_for_all = most < 0.5f;
  INFENCLAVE_RETURN_IF_ERROR(AskOracle(targets, pictures, oracle, out));
  return out;
}

Likeness FirstOf(const Likeness& likeness, int n) {
  Likeness out;
  out.same_for_all = likeness.same_for_all;
  const int all = likeness.n();
  INFENCLAVE_CHECK(n <= all);
  out.psnr.assign(likeness.psnr.begin(), likeness.psnr.begin() + n);
  out.ssim.assign(likeness.ssim.begin(), likeness.ssim.begin() + n);
  out.top1.assign(likeness.top1.begin(), likeness.top1.begin() + n);
  out.top5.assign(likeness.top5.begin(), likeness.top5.begin() + n);
  for (int x = 0; x < n; ++x) {
    const auto row = likeness.distance.begin() + static_cast<ptrdiff_t>(x) * all;
    out.distance.insert(out.distance.end(), row, row + n);
  }
  return out;
}

std::vector<uint8_t> LookAlikes(const Targets& targets, int n) {
  KlRows rows(targets.classes);
  const auto answer = [&](int i) {
    return std::span(targets.probabilities).subspan(i * targets.classes, targets.classes);
  };
  for (int x = 0; x < n; ++x) rows.Add(answer(x));
  std::vector<float> divergence(static_cast<size_t>(n) * n);  // row y, column x: KL(V(x) || V(y))
  for (int y = 0; y < n; ++y) rows.Against(answer(y), std::span(divergence).subspan(static_cast<size_t>(y) * n, n));
  std::vector<uint8_t> pairs(static_cast<size_t>(n) * n, 0);
  for (int x = 0; x < n; ++x) {
    std::vector<int> others;
    for (int y = 0; y < n; ++y) {
      if (y != x) others.push_back(y);
    }
    const auto nearer = [&](int a, int b) {
      const float da = divergence[static_cast<size_t>(a) * n + x], db = divergence[static_cast<size_t>(b) * n + x];
      return da < db || (da == db && a < b);
    };
    std::sort(others.begin(), others.end(), nearer);
    others.resize(std::min<size_t>(others.size(), kLookAlikes));
    for (int y : others) pairs[static_cast<size_t>(x) * n + y] = pairs[static_cast<size_t>(y) * n + x] = 1;
  }
  return pairs;
}

Bytes EncodeLikeness(const Likeness& likeness) {
  ByteWriter out;
  out.Text(kMagic);
  out.Count(likeness.psnr.size());
  out.Bool(likeness.same_for_all);
  const auto put = [&out](double v) { out.U64(std::bit_cast<uint64_t>(v)); };
  for (double v : likeness.psnr) put(v);
  for (double v : likeness.ssim) put(v);
  out.Raw(likeness.top1);
  out.Raw(likeness.top5);
  for (float v : likeness.distance) out.F32(v);
  const Sha256Digest digest = Sha256(out.bytes());
  out.Raw(digest);
  return out.Take();
}

StatusOr<Likeness> DecodeLikeness(ByteSpan bytes) {
  if (bytes.size() < 32) return InvalidArgument("likeness: ", bytes.size(), " bytes are too few");
  const ByteSpan body = bytes.first(bytes.size() - 32);
  const Sha256Digest digest = Sha256(body);
  if (!std::equal(digest.begin(), digest.end(), bytes.end() - 32)) return InvalidArgument("likeness: damaged");
  ByteReader in(body, "likeness");
  if (in.Text(64) != kMagic) in.Fail("another format");
  const size_t n = in.Count(kMostImages);
  if (in.ok() && in.remaining() != 1 + n * 18 + n * n * 4) in.Fail("another length");
  Likeness out;
  if (in.ok()) {
    out.same_for_all = in.Bool();
    const auto get = [&in] { return std::bit_cast<double>(in.U64()); };
    for (size_t i = 0; i < n; ++i) out.psnr.push_back(get());
    for (size_t i = 0; i < n; ++i) out.ssim.push_back(get());
    out.top1 = ToBytes(in.Raw(n));
    out.top5 = ToBytes(in.Raw(n));
    for (size_t i = 0; i < n * n; ++i) out.distance.push_back(in.F32());
  }
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

}  // namespace infenclave
