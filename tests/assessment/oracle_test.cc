#include "assessment/oracle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/assessment/toy.h"

namespace infenclave {
namespace {

TEST(KlRows, IsTheDivergenceWithClampedProbabilities) {
  KlRows rows(4);
  rows.Add(std::vector<float>{0.5f, 0.5f, 0, 0});
  rows.Add(std::vector<float>{0.25f, 0.25f, 0.25f, 0.25f});
  rows.Add(std::vector<float>{1, 0, 0, 0});
  float out[3];
  rows.Against(std::vector<float>{0.5f, 0.5f, 0, 0}, out);
  EXPECT_NEAR(out[0], 0, 1e-9);
  EXPECT_NEAR(out[1], 0.5 * std::log(0.25 / 0.5) + 0.5 * std::log(0.25 / 1e-12), 1e-5);
  EXPECT_NEAR(out[2], std::log(2), 1e-6);
  EXPECT_NEAR(rows.Bound(0), std::log(2), 1e-9);
  EXPECT_NEAR(rows.Bound(1), 0, 1e-12);
  EXPECT_NEAR(rows.Bound(2), std::log(4), 1e-9);
}

TEST(KlRows, EqualAnswersGiveEqualBitsWhateverTheCompany) {
  Random random(3);
  std::vector<std::vector<float>> answers(5, std::vector<float>(1003));
  for (auto& answer : answers) {
    for (float& v : answer) v = static_cast<float>(random.Uniform() / 500);
  }
  KlRows alone(1003), all(1003);
  alone.Add(answers[3]);
  for (const auto& answer : answers) all.Add(answer);
  float one, five[5];
  alone.Against(answers[0], std::span(&one, 1));
  all.Against(answers[0], five);
  EXPECT_EQ(one, five[3]);
}

TEST(EndsInSoftmax, LooksThroughReshapes) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 4});
  x = b.Op("Softmax", {x}, "p");
  Graph plain = b.Build({x});
  EXPECT_TRUE(EndsInSoftmax(plain));
  GraphBuilder c;
  ValueId y = c.Input("x", {1, 4});
  y = c.Op("Flatten", {c.Op("Softmax", {y}, "p")}, "q");
  EXPECT_TRUE(EndsInSoftmax(c.Build({y})));
  GraphBuilder d;
  ValueId z = d.Input("x", {1, 4});
  z = d.Op("Relu", {d.Op("Softmax", {z}, "p")}, "q");
  EXPECT_FALSE(EndsInSoftmax(d.Build({z})));
}

// The answer to one picture does not depend on its place in the batch or on what the other slots hold.
TEST(Oracle, AnswersEachSlotByItself) {
  const Graph graph = ToyOracle();
  auto oracle = Oracle::Create(graph, ToyPreprocessing(kToySide), 4);
  ASSERT_TRUE(oracle.ok()) << oracle.status();
  EXPECT_EQ(oracle->classes(), 10);
  const std::vector<float> picture = {0, 255, 30, 90};
  for (int k = 0; k < 4; ++k) oracle->SetMap(k, picture, 2, 2);
  ASSERT_TRUE(oracle->Evaluate(4).ok());
  const std::vector<float> first(oracle->Probabilities(0).begin(), oracle->Probabilities(0).end());
  float sum = 0;
  for (float p : first) sum += p;
  EXPECT_NEAR(sum, 1, 1e-6);
  for (int k = 1; k < 4; ++k) {
    EXPECT_THAT(oracle->Probabilities(k), ::testing::Pointwise(::testing::FloatNear(1e-7f), first)) << k;
  }
  oracle->SetMap(0, std::vector<float>{9}, 1, 1);
  ASSERT_TRUE(oracle->Evaluate(2).ok());
  EXPECT_THAT(oracle->Probabilities(1), ::testing::Pointwise(::testing::FloatNear(1e-7f), first));
}

}  // namespace
}  // namespace infenclave
