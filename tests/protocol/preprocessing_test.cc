#include "protocol/preprocessing.h"

#include <gtest/gtest.h>

#include <random>

namespace infenclave {
namespace {

Bytes RandomPicture(const Preprocessing& p) {
  std::mt19937 random(1);
  Bytes rgb(size_t{3} * p.width * p.height);
  for (uint8_t& b : rgb) b = static_cast<uint8_t>(random());
  return rgb;
}

TEST(Normalize, OrdersChannelsAndScales) {
  for (auto channels : {Preprocessing::Channels::kRgb, Preprocessing::Channels::kBgr}) {
    Preprocessing p;
    p.width = 37;
    p.height = 19;
    p.channels = channels;
    p.mean = {104, 117, 123.5f};
    p.scale = {1, 1 / 58.f, -0.5f};
    const Bytes rgb = RandomPicture(p);
    const size_t pixels = size_t{p.width} * p.height;
    std::vector<float> out(3 * pixels, -1e9f);
    Normalize(p, rgb, out);
    for (size_t c = 0; c < 3; ++c) {
      const size_t source = channels == Preprocessing::Channels::kRgb ? c : 2 - c;
      for (size_t i = 0; i < pixels; ++i) {
        const double expected = (static_cast<double>(rgb[3 * i + source]) - p.mean[c]) * p.scale[c];
        ASSERT_NEAR(out[c * pixels + i], expected, 1e-4) << c << " " << i;
      }
    }
  }
}

// EfficientNet-Lite's (v-127)/128 is exact in f32 for every pixel value.
TEST(Normalize, EfficientNetLiteIsExact) {
  Preprocessing p;
  p.width = 256;
  p.height = 1;
  p.mean = {127, 127, 127};
  p.scale = {1 / 128.f, 1 / 128.f, 1 / 128.f};
  Bytes rgb(768);
  for (size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<uint8_t>(i / 3);
  std::vector<float> out(768);
  Normalize(p, rgb, out);
  for (int v = 0; v < 256; ++v) EXPECT_EQ(out[static_cast<size_t>(v)], static_cast<float>(v - 127) / 128.f);
}

TEST(Preprocessing, RoundTrips) {
  Preprocessing p;
  p.width = 299;
  p.height = 260;
  p.resize = Preprocessing::Resize::kShortSide;
  p.crop_padding = 0;
  p.short_side = 320;
  p.filter = Preprocessing::Filter::kBilinear;
  p.channels = Preprocessing::Channels::kBgr;
  p.mean = {0.5f, -0.0f, 3e38f};
  ByteWriter out;
  EncodePreprocessing(p, out);
  ByteReader in(out.bytes(), "preprocessing");
  const Preprocessing again = DecodePreprocessing(in);
  EXPECT_TRUE(in.Finish().ok());
  EXPECT_EQ(again, p);
}

}  // namespace
}  // namespace infenclave
