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

void Normalize(const Preprocessing& p, ByteSpan rgb, std::span<float> out) {
  const size_t pixels = size_t{p.height} * p.width;
  INFENCLAVE_CHECK(rgb.size() == 3 * pixels && out.size() == 3 * pixels);
  const bool bgr = p.channels == Preprocessing::Channels::kBgr;
  const uint8_t* first = rgb.data() + (bgr ? 2 : 0);
  const uint8_t* third = rgb.data() + (bgr ? 0 : 2);
  const uint8_t* second = rgb.data() + 1;
  float *a = out.data(), *b = a + pixels, *c = b + pixels;
  const auto [mean_a, mean_b, mean_c] = p.mean;
  const auto [scale_a, scale_b, scale_c] = p.scale;
  for (size_t i = 0; i < pixels; ++i) {
    a[i] = (static_cast<float>(first[3 * i]) - mean_a) * scale_a;
    b[i] = (static_cast<float>(second[3 * i]) - mean_b) * scale_b;
    c[i] = (static_cast<float>(third[3 * i]) - mean_c) * scale_c;
  }
}

}  // namespace infenclave
