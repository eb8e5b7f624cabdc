// No branch and no address depends on pixels, on the class order or on labels: they are marked undefined, and
// Valgrind's memcheck reports whatever decides on them. Runs under Valgrind only (see CMakeLists.txt).
#include <gtest/gtest.h>
#include <valgrind/memcheck.h>

#include "enclave/class_scores.h"
#include "enclave/ir_noise.h"
#include "enclave/narrow_ir.h"

namespace infenclave {
namespace {

// The errors that memcheck has counted while `work` ran.
template <typename Work>
unsigned ErrorsIn(Work work) {
  const unsigned before = VALGRIND_COUNT_ERRORS;
  work();
  return VALGRIND_COUNT_ERRORS - before;
}

template <typename T>
void MakeSecret(std::vector<T>& values) {
  VALGRIND_MAKE_MEM_UNDEFINED(values.data(), values.size() * sizeof(T));
}

class Oblivious : public testing::Test {
 protected:
  void SetUp() override {
    if (!RUNNING_ON_VALGRIND) GTEST_SKIP() << "NOT UNDER VALGRIND: not tested";
  }
};

TEST_F(Oblivious, TheMethodSeesABranchAndAnAddressThatDependOnASecret) {
  std::vector<uint32_t> secret = {3};
  std::vector<int> table(8, 1);
  volatile int sink = 0;
  MakeSecret(secret);
  EXPECT_GT(ErrorsIn([&] {
              if (secret[0] > 2) sink = 1;
            }),
            0u);
  EXPECT_GT(ErrorsIn([&] { sink = table[secret[0] & 7]; }), 0u);
}

TEST_F(Oblivious, ClassOrderAndLabelsInTheAnswer) {
  Manifest manifest;
  manifest.classes = 100;
  manifest.answer_classes = 5;
  manifest.label_bytes = 32;
  ClassMapping mapping;
  std::vector<float> scores;
  for (uint32_t c = 0; c < manifest.classes; ++c) {
    mapping.order.push_back((c * 37 + 11) % manifest.classes);
    mapping.labels.push_back(Concat("a label that is long enough ", c));
    scores.push_back(static_cast<float>(c * 53 % 41) / 7);
    VALGRIND_MAKE_MEM_UNDEFINED(mapping.labels.back().data(), mapping.labels.back().size());
  }
  MakeSecret(mapping.order);
  StatusOr<ClassScores> classes = ClassScores::Create(manifest, std::move(mapping));
  ASSERT_TRUE(classes.ok());
  Answer answer;
  EXPECT_EQ(ErrorsIn([&] { answer = classes->Top(scores); }), 0u);
  // What comes out is as secret as what went in.
  EXPECT_NE(VALGRIND_CHECK_MEM_IS_DEFINED(answer.classes[0].label.data(), 1), 0u);
}

TEST_F(Oblivious, NoiseThatIsDrawnFromPixelsAndKey) {
  std::vector<uint8_t> key(32, 5), picture(300, 7);
  std::vector<float> ir(5001, 1.0f);
  MakeSecret(key);
  MakeSecret(picture);
  MakeSecret(ir);
  EXPECT_EQ(ErrorsIn([&] { IrNoise(key, BundleId{}, 0.5f).Add(picture, ir); }), 0u);
  EXPECT_NE(VALGRIND_CHECK_MEM_IS_DEFINED(ir.data(), sizeof(float)), 0u);
}

TEST_F(Oblivious, PixelsOnTheirWayIntoAndOutOfTheNetwork) {
  Preprocessing preprocessing;
  preprocessing.width = 31;
  preprocessing.height = 17;
  preprocessing.mean = {127, 120, 110};
  for (auto channels : {Preprocessing::Channels::kRgb, Preprocessing::Channels::kBgr}) {
    preprocessing.channels = channels;
    Bytes rgb(3 * 31 * 17, 77);
    std::vector<float> input(3 * 31 * 17);
    MakeSecret(rgb);
    EXPECT_EQ(ErrorsIn([&] { Normalize(preprocessing, rgb, input); }), 0u);
    for (const IrPrecision precision : {IrPrecision::kBf16, IrPrecision::kInt8, IrPrecision::kInt4}) {
      Manifest manifest;
      manifest.ir_shape = {3, 31, 17};
      manifest.ir_precision = precision;
      manifest.ir_step = 0.5f;
      Bytes narrow(IrWireOf(manifest).bytes());
      EXPECT_EQ(ErrorsIn([&] { NarrowIr(manifest, input, narrow); }), 0u) << NameOf(precision);
      EXPECT_NE(VALGRIND_CHECK_MEM_IS_DEFINED(narrow.data(), 1), 0u);
    }
  }
}

}  // namespace
}  // namespace infenclave
