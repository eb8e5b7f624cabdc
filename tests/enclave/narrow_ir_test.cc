// What leaves the enclave in fewer bits. Expected values by hand.
#include "enclave/narrow_ir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace infenclave {
namespace {

using ::testing::ElementsAre;

Manifest WithIr(Shape shape, IrPrecision precision, float step) {
  Manifest manifest;
  manifest.ir_shape = std::move(shape);
  manifest.ir_precision = precision;
  manifest.ir_step = step;
  return manifest;
}

Bytes Narrowed(const Manifest& manifest, std::vector<float> values) {
  Bytes out(IrWireOf(manifest).bytes());
  NarrowIr(manifest, values, out);
  return out;
}

TEST(NarrowIr, CodesAreTheNearestMultiplesOfTheStepAndTiesGoToTheEvenOne) {
  const Manifest manifest = WithIr({10, 1, 1}, IrPrecision::kInt8, 0.5f);
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Narrowed(manifest, {0, 0.5f, 0.74f, 0.75f, 1.25f, 127.4f, 1000, kInfinity, -3, kNan}),
              ElementsAre(0, 1, 1, 2, 2, 255, 255, 255, 0, 0));
}

TEST(NarrowIr, TwoChannelsShareAByteWhereCodesHaveFourBits) {
  const Manifest even = WithIr({4, 1, 2}, IrPrecision::kInt4, 1);
  const std::vector<float> values = {1, 2, 3, 4, 5, 6, 14.6f, 99};
  EXPECT_EQ(IrWireOf(even).shape, (Shape{2, 1, 2}));
  const Bytes packed = Narrowed(even, values);
  EXPECT_THAT(packed, ElementsAre(0x51, 0x62, 0xf3, 0xf4));
  EXPECT_THAT(WidenIr(even, packed), ElementsAre(1, 2, 3, 4, 5, 6, 15, 15));

  const Manifest odd = WithIr({3, 1, 1}, IrPrecision::kInt4, 0.25f);  // the second byte is half empty
  EXPECT_THAT(Narrowed(odd, {0.25f, 0.5f, 0.75f}), ElementsAre(0x31, 0x02));
  EXPECT_THAT(WidenIr(odd, Bytes{0x31, 0xf2}), ElementsAre(0.25f, 0.5f, 0.75f));
}

TEST(NarrowIr, FloatsGoAndComeBack) {
  const std::vector<float> values = {1.5f, -2, 0, 3.25f};  // exact in bf16, too
  for (const IrPrecision precision : {IrPrecision::kF32, IrPrecision::kBf16}) {
    const Manifest manifest = WithIr({2, 1, 2}, precision, 0);
    const Bytes sent = Narrowed(manifest, values);
    EXPECT_EQ(sent.size(), values.size() * (precision == IrPrecision::kF32 ? 4 : 2));
    EXPECT_EQ(WidenIr(manifest, sent), values);
  }
}

}  // namespace
}  // namespace infenclave
