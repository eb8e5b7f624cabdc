#include "tensor/tensor.h"

#include <gmock/gmock.h>
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

template <typename T>
void ExpectOneToThree(DType dtype, size_t size, const char* name) {
  EXPECT_EQ(SizeOf(dtype), size);
  EXPECT_EQ(NameOf(dtype), name);
  Tensor t(dtype, {3});
  for (int i = 0; i < 3; ++i) t.as<T>()[static_cast<size_t>(i)] = static_cast<T>(i + 1);
  EXPECT_THAT(ToF32(t.view()).as<float>(), testing::ElementsAre(1, 2, 3)) << name;
}

TEST(Tensor, OfAnyTypeBecomesF32) {
  ExpectOneToThree<float>(DType::kF32, 4, "f32");
  ExpectOneToThree<double>(DType::kF64, 8, "f64");
  ExpectOneToThree<int8_t>(DType::kI8, 1, "i8");
  ExpectOneToThree<uint8_t>(DType::kU8, 1, "u8");
  ExpectOneToThree<int32_t>(DType::kI32, 4, "i32");
  ExpectOneToThree<int64_t>(DType::kI64, 8, "i64");
  EXPECT_EQ(SizeOf(DType::kBool), 1u);
  EXPECT_EQ(NameOf(DType::kBool), "bool");
  for (const auto& [dtype, name, one, three] : {std::tuple{DType::kF16, "f16", uint16_t{0x3c00}, uint16_t{0x4200}},
                                                std::tuple{DType::kBf16, "bf16", uint16_t{0x3f80}, uint16_t{0x4040}}}) {
    EXPECT_EQ(SizeOf(dtype), 2u);
    EXPECT_EQ(NameOf(dtype), name);
    Tensor t(dtype, {2});
    t.as<uint16_t>()[0] = one;
    t.as<uint16_t>()[1] = three;
    EXPECT_THAT(ToF32(t.view()).as<float>(), testing::ElementsAre(1, 3)) << name;
  }
  Tensor scalar(DType::kF32, {});
  EXPECT_EQ(ToF32(scalar.view()).as<float>().size(), 1u);
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
