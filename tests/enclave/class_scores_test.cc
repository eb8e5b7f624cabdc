#include "enclave/class_scores.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace infenclave {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Model {
  Manifest manifest;
  std::vector<uint32_t> order;
  ClassScores scores;
};

std::string LabelOf(uint32_t c) { return Concat("class ", c, std::string(c % 9, 'x')); }

Model MakeModel(uint32_t classes, uint32_t answers, uint32_t seed) {
  Manifest manifest;
  manifest.classes = classes;
  manifest.answer_classes = answers;
  manifest.label_bytes = 24;
  ClassMapping mapping;
  mapping.order.resize(classes);
  std::iota(mapping.order.begin(), mapping.order.end(), 0);
  std::shuffle(mapping.order.begin(), mapping.order.end(), std::mt19937(seed));
  for (uint32_t c = 0; c < classes; ++c) mapping.labels.push_back(LabelOf(c));
  std::vector<uint32_t> order = mapping.order;
  StatusOr<ClassScores> scores = ClassScores::Create(manifest, std::move(mapping));
  INFENCLAVE_CHECK(scores.ok());
  return {manifest, order, *std::move(scores)};
}

std::string Unpadded(const std::string& label) { return label.substr(0, label.find('\0')); }

TEST(ObliviousExp, AgreesWithTheStandardLibrary) {
  for (float x = 0; x > -87; x -= 0.00137f) {
    const double expected = std::exp(static_cast<double>(x));
    ASSERT_NEAR(ObliviousExp(x) / expected, 1, 3e-7) << x;
  }
  EXPECT_EQ(ObliviousExp(0), 1);
  EXPECT_EQ(ObliviousExp(-0.0f), 1);
  for (float x : {-88.f, -1000.f, -3e38f, -kInf}) EXPECT_LT(ObliviousExp(x), 1e-37f) << x;
}

TEST(ClassScores, EqualSortingAndSoftmaxInDoublePrecision) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 4);
  for (uint32_t classes : {1u, 2u, 5u, 1000u}) {
    for (uint32_t trial = 0; trial < 20; ++trial) {
      Model m = MakeModel(classes, std::min(classes, 5u), trial);
      std::vector<float> by_class(classes), scores;
      for (float& s : by_class) s = normal(random);
      double sum = 0;
      for (float s : by_class) sum += std::exp(static_cast<double>(s));
      for (uint32_t c : m.order) scores.push_back(by_class[c]);
      std::vector<uint32_t> ranks(classes);
      std::iota(ranks.begin(), ranks.end(), 0);
      std::stable_sort(ranks.begin(), ranks.end(), [&](uint32_t a, uint32_t b) { return by_class[a] > by_class[b]; });

      Answer answer = m.scores.Top(scores);
      ASSERT_EQ(answer.code, StatusCode::kOk);
      ASSERT_EQ(answer.classes.size(), m.manifest.answer_classes);
      for (size_t k = 0; k < answer.classes.size(); ++k) {
        EXPECT_EQ(Unpadded(answer.classes[k].label), LabelOf(ranks[k]));
        EXPECT_EQ(answer.classes[k].label.size(), 24u);
        const double expected = std::exp(static_cast<double>(by_class[ranks[k]])) / sum;
        EXPECT_NEAR(answer.classes[k].probability, expected, 1e-6 * expected + 1e-9);
      }
    }
  }
}

TEST(ClassScores, EqualScoresComeInTheOrderOfClasses) {
  Model m = MakeModel(100, 5, 9);
  std::vector<float> scores(100, -2.5f);
  scores[17] = -0.0f;
  scores[18] = 0.0f;  // equal to its neighbour
  Answer answer = m.scores.Top(scores);
  EXPECT_EQ(Unpadded(answer.classes[0].label), LabelOf(std::min(m.order[17], m.order[18])));
  EXPECT_EQ(Unpadded(answer.classes[1].label), LabelOf(std::max(m.order[17], m.order[18])));
  std::vector<uint32_t> rest = m.order;
  rest.erase(rest.begin() + 17, rest.begin() + 19);
  std::sort(rest.begin(), rest.end());
  for (size_t k = 0; k < 3; ++k) EXPECT_EQ(Unpadded(answer.classes[k + 2].label), LabelOf(rest[k]));
}

TEST(ClassScores, ExtremeScoresGiveProbabilities) {
  Model m = MakeModel(3, 3, 1);
  constexpr float kMax = std::numeric_limits<float>::max();
  for (std::vector<float> scores : {std::vector{kMax, -kMax, 0.f}, {-kMax, -kMax, -kMax}, {1e-44f, -1e-44f, 0.f}}) {
    Answer answer = m.scores.Top(scores);
    ASSERT_EQ(answer.code, StatusCode::kOk);
    double sum = 0;
    for (const AnswerClass& c : answer.classes) {
      EXPECT_GE(c.probability, 0);
      EXPECT_LE(c.probability, 1);
      sum += c.probability;
    }
    EXPECT_NEAR(sum, 1, 1e-6);
  }
}

TEST(ClassScores, ScoresThatAreNotFiniteGiveAnErrorWhereverTheyAre) {
  Model m = MakeModel(50, 5, 1);
  for (float bad : {kInf, -kInf, std::numeric_limits<float>::quiet_NaN()}) {
    for (size_t at : {0, 25, 49}) {
      std::vector<float> scores(50, 1);
      scores[at] = bad;
      Answer answer = m.scores.Top(scores);
      EXPECT_EQ(answer.code, StatusCode::kInvalidArgument);
      EXPECT_TRUE(answer.classes.empty());
    }
  }
}

TEST(ClassScores, AMappingThatDoesNotFitTheManifestIsRefused) {
  Manifest manifest;
  manifest.classes = 2;
  manifest.answer_classes = 1;
  manifest.label_bytes = 4;
  EXPECT_TRUE(ClassScores::Create(manifest, {{1, 0}, {"a", "four"}}).ok());
  for (ClassMapping bad :
       {ClassMapping{{0}, {"a"}}, ClassMapping{{0, 1, 2}, {"a", "b", "c"}}, ClassMapping{{1, 0}, {"a", "fives"}}}) {
    EXPECT_EQ(ClassScores::Create(manifest, std::move(bad)).status().code(), StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace infenclave
