#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace infenclave {
namespace {

TEST(Shape, ElementsAreCheckedForOverflowAndSign) {
  EXPECT_EQ(*NumElements({1, 3, 224, 224}), 150528);
  EXPECT_EQ(*NumElements({}), 1);
  EXPECT_EQ(*NumElements({int64_t{1} << 40, 0}), 0);
  EXPECT_FALSE(NumElements({-1}).ok());
  EXPECT_FALSE(NumElements({int64_t{1} << 32, int64_t{1} << 32}).ok());
}

TEST(Tensor, IsAlignedZeroedMovedAndCloned) {
  Tensor t(DType::kF32, {2, 3});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(t.data()) % 64, 0u);
  EXPECT_EQ(t.as<float>()[5], 0.0f);
  t.as<float>()[5] = 4.0f;
  Tensor copy = t.Clone(), moved = std::move(t);
  EXPECT_EQ(copy.as<float>()[5], 4.0f);
  EXPECT_EQ(moved.as<float>()[5], 4.0f);
  EXPECT_TRUE(t.empty());  // NOLINT(bugprone-use-after-move)
}

TEST(Half, EveryFiniteBitPatternSurvivesTheRoundTrip) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    float f = F16ToF32(static_cast<uint16_t>(h)), b = Bf16ToF32(static_cast<uint16_t>(h));
    if (!std::isnan(f)) {
      EXPECT_EQ(F32ToF16(f), h);
    }
    if (!std::isnan(b)) {
      EXPECT_EQ(F32ToBf16(b), h);
    }
  }
  EXPECT_TRUE(std::isnan(F16ToF32(F32ToF16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(Bf16ToF32(F32ToBf16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(Half, NarrowingRoundsToNearestEven) {
  EXPECT_EQ(F32ToF16(1.0f + 0x1p-11f), 0x3c00);  // a tie goes to the even neighbour
  EXPECT_EQ(F32ToF16(1.0f + 0x1p-11f + 0x1p-20f), 0x3c01);
  EXPECT_EQ(F32ToF16(65520.0f), 0x7c00);  // half way to 65536 overflows
  EXPECT_EQ(F32ToF16(65519.0f), 0x7bff);
  EXPECT_EQ(F32ToBf16(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(F32ToBf16(1.0f + 3 * 0x1p-8f), 0x3f82);
}

}  // namespace
}  // namespace infenclave
