#include "protocol/preprocessing.h"

#include <cmath>

namespace infenclave {

void EncodePreprocessing(const Preprocessing& p, ByteWriter& out) {
  out.U32(p.width);
  out.U32(p.height);
  out.U8(static_cast<uint8_t>(p.resize));
  out.U32(p.crop_padding);
  out.U32(p.short_side);
  out.U8(static_cast<uint8_t>(p.filter));
  out.U8(static_cast<uint8_t>(p.channels));
  for (float v : p.mean) out.F32(v);
  for (float v : p.scale) out.F32(v);
}

namespace {

uint32_t ReadSize(ByteReader& in, std::string_view name, uint32_t low) {
  const uint32_t v = in.U32();
  if (in.ok() && (v < low || v > kMaxImageSide)) {
    in.Fail(Concat(name, " is ", v, ", expected ", low, " to ", kMaxImageSide));
  }
  return v;
}

template <typename Enum>
Enum ReadEnum(ByteReader& in, std::string_view name, Enum last) {
  const uint8_t v = in.U8();
  if (v > static_cast<uint8_t>(last)) in.Fail(Concat(name, " is ", int{v}, ", which is not known"));
  return static_cast<Enum>(v);
}

void ReadFloats(ByteReader& in, std::string_view name, std::array<float, 3>& out) {
  for (float& v : out) {
    v = in.F32();
    if (!std::isfinite(v)) in.Fail(Concat(name, " is not finite"));
  }
}

}  // namespace

Preprocessing DecodePreprocessing(ByteReader& in) {
  Preprocessing p;
  p.width = ReadSize(in, "width", 1);
  p.height = ReadSize(in, "height", 1);
  p.resize = ReadEnum(in, "resize mode", Preprocessing::Resize::kShortSide);
  p.crop_padding = ReadSize(in, "crop padding", 0);
  p.short_side = ReadSize(in, "short side", 1);
  p.filter = ReadEnum(in, "resize filter", Preprocessing::Filter::kBicubic);
  p.channels = ReadEnum(in, "channel order", Preprocessing::Channels::kBgr);
  ReadFloats(in, "mean", p.mean);
  ReadFloats(in, "scale", p.scale);
  return p;
}

namespace {

// Pixels of three interleaved bytes to three planes of floats, of which the first is of the bytes at `first`.
struct Planes {
  size_t pixels;
  int first;  // of 0 and 2; the third is of the other
  std::array<float, 3> mean, scale;
};

// Vectors are the compiler's; the two that follow differ in the instructions that they may be made of.
[[gnu::always_inline]] inline void ToPlanes(const Planes& p, const uint8_t* __restrict rgb, float* __restrict a,
                                            float* __restrict b, float* __restrict c) {
  const auto [mean_a, mean_b, mean_c] = p.mean;
  const auto [scale_a, scale_b, scale_c] = p.scale;
  const uint8_t *first = rgb + p.first, *third = rgb + 2 - p.first;
  for (size_t i = 0; i < p.pixels; ++i) {
    a[i] = (static_cast<float>(first[3 * i]) - mean_a) * scale_a;
    b[i] = (static_cast<float>(rgb[3 * i + 1]) - mean_b) * scale_b;
    c[i] = (static_cast<float>(third[3 * i]) - mean_c) * scale_c;
  }
}

void ToPlanesAnywhere(const Planes& p, const uint8_t* __restrict rgb, float* __restrict a, float* __restrict b,
                      float* __restrict c) {
  ToPlanes(p, rgb, a, b, c);
}

#ifdef __x86_64__
[[gnu::target("avx2")]] void ToPlanesAvx2(const Planes& p, const uint8_t* __restrict rgb, float* __restrict a,
                                          float* __restrict b, float* __restrict c) {
  ToPlanes(p, rgb, a, b, c);
}
#endif

}  // namespace

void Normalize(const Preprocessing& p, ByteSpan rgb, std::span<float> out) {
  const size_t pixels = size_t{p.height} * p.width;
  INFENCLAVE_CHECK(rgb.size() == 3 * pixels && out.size() == 3 * pixels);
  const Planes planes{pixels, p.channels == Preprocessing::Channels::kBgr ? 2 : 0, p.mean, p.scale};
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2")) {
    return ToPlanesAvx2(planes, rgb.data(), &out[0], &out[pixels], &out[2 * pixels]);
  }
#endif
  ToPlanesAnywhere(planes, rgb.data(), &out[0], &out[pixels], &out[2 * pixels]);
}

}  // namespace infenclave
