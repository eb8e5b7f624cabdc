#include "assessment/feature_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace infenclave {
namespace {

using ::testing::Each;
using ::testing::FloatNear;
using ::testing::Pointwise;

TEST(NormaliseMap, SpansZeroTo255) {
  const float map[] = {-3, 1, 5, -1};
  float out[4];
  ASSERT_EQ(NormaliseMap(map, out), MapKind::kPicture);
  EXPECT_THAT(out, Pointwise(FloatNear(1e-4f), {0.0f, 127.5f, 255.0f, 63.75f}));
}

TEST(NormaliseMap, ConstantBecomesMidGrey) {
  for (float value : {0.0f, -7.5f, 1e30f}) {
    const float map[] = {value, value, value};
    float out[3];
    ASSERT_EQ(NormaliseMap(map, out), MapKind::kConstant);
    EXPECT_THAT(out, Each(127.5f));
  }
}

TEST(NormaliseMap, TakesTheWholeRangeOfFloats) {
  constexpr float kMost = std::numeric_limits<float>::max(), kLeast = std::numeric_limits<float>::denorm_min();
  const float wide[] = {-kMost, 0, kMost}, narrow[] = {0, kLeast};
  float out[3];
  ASSERT_EQ(NormaliseMap(wide, out), MapKind::kPicture);
  EXPECT_THAT(out, Pointwise(FloatNear(1e-4f), {0.0f, 127.5f, 255.0f}));
  ASSERT_EQ(NormaliseMap(narrow, std::span(out, 2)), MapKind::kPicture);
  EXPECT_EQ(out[1], 255);
}

TEST(NormaliseMap, RefusesWhatIsNotFinite) {
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    for (int at = 0; at < 3; ++at) {
      float map[] = {1, 2, 3}, out[3];
      map[at] = bad;
      EXPECT_EQ(NormaliseMap(map, out), MapKind::kNotFinite);
    }
  }
}

// Reference: Pillow 13, Image.fromarray(a) in mode "F", resize(…, Image.BILINEAR).
TEST(MapResizer, AgreesWithPillow) {
  const std::vector<float> small = {0, 10, 200, 255, 30, 255, 0, 90, 128, 64, 32, 16};
  const std::vector<float> large = {0,   217, 178, 139, 100, 17, 234, 195, 156, 117, 68,  29,  246, 207, 168,
                                    153, 114, 75,  36,  253, 16, 233, 194, 155, 116, 169, 130, 91,  52,  13};
  const struct {
    int in_height, in_width, out_height, out_width;
    std::vector<float> in, want;
  } kCases[] = {
      {3, 4, 5, 7, small, {0.000000f,   3.571429f,   9.285714f,   105.000000f, 203.928574f, 235.357147f, 255.000000f,
                           12.000000f,  46.285713f,  101.142860f, 114.000000f, 124.928574f, 164.357147f, 189.000000f,
                           30.000000f,  110.357140f, 238.928574f, 127.500000f, 6.428571f,   57.857143f,  90.000000f,
                           88.800003f,  107.228569f, 136.714279f, 79.800003f,  21.085714f,  36.171429f,  45.599998f,
                           128.000000f, 105.142860f, 68.571426f,  48.000000f,  30.857143f,  21.714285f,  16.000000f}},
      {6, 5, 3, 2, large, {137.584412f, 154.337662f, 117.818184f, 156.181824f, 136.948059f, 105.493507f}},
      {3,
       4,
       2,
       9,
       small,
       {11.250000f, 26.354166f, 66.631943f, 103.159721f, 113.437500f, 123.715279f, 151.493057f, 181.770828f,
        193.125000f, 91.250000f, 98.645836f, 118.368057f, 129.201385f, 77.812500f, 26.423611f, 29.236111f, 39.791668f,
        43.750000f}}};
  for (const auto& c : kCases) {
    std::vector<float> out(c.want.size());
    MapResizer(c.in_height, c.in_width, c.out_height, c.out_width).Resize(c.in, out);
    EXPECT_THAT(out, Pointwise(FloatNear(2e-4f), c.want)) << c.out_height << "x" << c.out_width;
  }
}

TEST(MapResizer, SameSizeAndOnePixel) {
  const std::vector<float> in = {1, 2, 3, 4, 5, 6};
  std::vector<float> out(6);
  MapResizer(2, 3, 2, 3).Resize(in, out);
  EXPECT_EQ(out, in);
  std::vector<float> flat(35);
  MapResizer(1, 1, 5, 7).Resize(std::vector<float>{127.5f}, flat);
  EXPECT_THAT(flat, Each(127.5f));
}

}  // namespace
}  // namespace infenclave
