// Whether time tells what is secret, by statistics (as dudect does: Reparaz, Balasch, Verbauwhede, 2017): one operation
// on two classes of secrets, in random turns, the slow tail cut off, and Welch's t of the two means. Whatever else the
// machine does hits both classes alike, so noise widens and does not shift; still a large t must repeat to count.
// Beside it an operation that does leak, measured the same way, must be found out.
//
// The Valgrind tests (oblivious_test.cc) prove more, for less: branches and addresses, but not how long an instruction
// takes.
#include <gtest/gtest.h>
#include <x86intrin.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "enclave/class_scores.h"
#include "engine/compiled_network.h"
#include "tests/enclave/harness.h"

namespace infenclave {
namespace {

constexpr double kThreshold = 10;  // 4.5 is where dudect begins to doubt; the leaky one is far beyond
constexpr int kAttempts = 5;

struct Operation {
  std::function<void(int secret)> prepare;  // of class 0 or 1, in the same place
  std::function<void()> run;
};

double T(const Operation& operation, int samples) {
  static std::mt19937 random(1);
  std::vector<double> times[2], all;
  for (int i = 0; i < samples; ++i) {
    const int secret = static_cast<int>(random() & 1);
    operation.prepare(secret);
    unsigned processor;
    const uint64_t before = __rdtscp(&processor);
    operation.run();
    times[secret].push_back(static_cast<double>(__rdtscp(&processor) - before));
    all.push_back(times[secret].back());
  }
  const auto cut = all.begin() + static_cast<ptrdiff_t>(all.size() * 3 / 4);
  std::nth_element(all.begin(), cut, all.end());
  double mean[2], error = 0;
  for (int secret : {0, 1}) {
    std::vector<double>& kept = times[secret];
    std::erase_if(kept, [&](double time) { return time > *cut; });
    const auto n = static_cast<double>(kept.size());
    double sum = 0, squares = 0;
    for (double time : kept) sum += time;
    mean[secret] = sum / n;
    for (double time : kept) squares += (time - mean[secret]) * (time - mean[secret]);
    error += squares / (n - 1) / n;
  }
  return std::abs(mean[0] - mean[1]) / std::sqrt(error);
}

// The smallest t of some attempts: a leak is in all of them.
double SmallestT(const Operation& operation, int samples) {
  double smallest = T(operation, samples);
  for (int i = 1; i < kAttempts && smallest > kThreshold; ++i) smallest = std::min(smallest, T(operation, samples));
  return smallest;
}

class Timing : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "UNDER A SANITIZER: not tested";
#endif
    WarmUpEngine(1);  // as on a lane: subnormals are zero
  }
};

constexpr uint32_t kClasses = 1000, kLabelBytes = 32;

struct Model {
  Manifest manifest;
  std::vector<uint32_t> order;
  ClassScores scores;
};

Model MakeModel() {
  Manifest manifest;
  manifest.classes = kClasses;
  manifest.answer_classes = 5;
  manifest.label_bytes = kLabelBytes;
  ClassMapping mapping;
  for (uint32_t c = 0; c < kClasses; ++c) {
    mapping.order.push_back(c);
    mapping.labels.push_back(Concat("label ", c, std::string(c % 20, 'x')));
  }
  std::shuffle(mapping.order.begin(), mapping.order.end(), std::mt19937(3));
  const std::vector<uint32_t> order = mapping.order;
  return {manifest, order, *ClassScores::Create(manifest, std::move(mapping))};
}

TEST_F(Timing, TheMethodFindsALeak) {
  std::vector<std::string> labels(kClasses, std::string(kLabelBytes, 'x'));
  uint32_t wanted = 0;
  volatile char sink = 0;
  const Operation search{[&](int secret) { wanted = secret == 0 ? 500 : 550; },
                         [&] {
                           for (uint32_t c = 0; c < kClasses; ++c) {
                             if (c != wanted) sink = labels[c][0];
                             if (c == wanted) break;
                           }
                         }};
  EXPECT_GT(SmallestT(search, 4000), kThreshold) << "a tenth of a search that ends where it finds";
}

TEST_F(Timing, TopKDoesNotTellWhichClassesNorWhereTheyStand) {
  const Model model = MakeModel();
  std::vector<float> sorted(kClasses), scores(kClasses);
  for (uint32_t i = 0; i < kClasses; ++i) sorted[i] = static_cast<float>(kClasses - i) / 50;
  std::mt19937 random(2);
  volatile float sink = 0;
  const Operation top{[&](int secret) {
                        scores = sorted;
                        if (secret == 1) std::shuffle(scores.begin(), scores.end(), random);
                      },
                      [&] { sink = model.scores.Top(scores).classes[0].probability; }};
  EXPECT_LT(SmallestT(top, 4000), kThreshold);
}

TEST_F(Timing, TheMappingDoesNotTellWhichLabelItChose) {
  const Model model = MakeModel();
  const auto place_of = [&](uint32_t c) {
    return static_cast<size_t>(std::find(model.order.begin(), model.order.end(), c) - model.order.begin());
  };
  const size_t first = place_of(0), last = place_of(kClasses - 1);
  std::vector<float> scores(kClasses);
  volatile char sink = 0;
  const Operation top{[&](int secret) {
                        std::fill(scores.begin(), scores.end(), 0.25F);
                        scores[secret == 0 ? first : last] = 3;
                      },
                      [&] { sink = model.scores.Top(scores).classes[0].label[0]; }};
  EXPECT_LT(SmallestT(top, 4000), kThreshold);
}

TEST_F(Timing, SoftmaxDoesNotTellHowSureItIs) {
  const Model model = MakeModel();
  std::vector<float> scores(kClasses);
  volatile float sink = 0;
  const Operation top{[&](int secret) {
                        for (uint32_t i = 0; i < kClasses; ++i) {
                          scores[i] = static_cast<float>(i * 7 % kClasses) * (secret == 0 ? 1e-3F : 1.0F);
                        }
                      },
                      [&] { sink = model.scores.Top(scores).classes[4].probability; }};
  EXPECT_LT(SmallestT(top, 4000), kThreshold);
}

TEST_F(Timing, SealingDoesNotTellTheAnswer) {
  const KeyConfig config = [] {
    KeyConfig out;
    out.public_key = X25519KeyPair::Generate().public_key;
    return out;
  }();
  const HpkeContext context = *HpkeContext::Encapsulate(config.public_key, {});
  const Model model = MakeModel();
  Answer answer;
  std::mt19937 random(4);
  volatile uint8_t sink = 0;
  const Operation seal{[&](int secret) {
                         answer.classes.clear();
                         for (int k = 0; k < 5; ++k) {
                           std::string label(kLabelBytes, secret == 0 ? '\0' : 'x');
                           if (secret == 1) label[5] = static_cast<char>(random());
                           answer.classes.push_back({label, secret == 0 ? 0.0F : 0.2F});
                         }
                       },
                       [&] { sink = AnswerSealer(context).Seal(model.manifest, answer)->back(); }};
  EXPECT_LT(SmallestT(seal, 10000), kThreshold);
}

TEST_F(Timing, OpeningDoesNotTellThePicture) {
  const X25519KeyPair key = X25519KeyPair::Generate();
  KeyConfig config;
  config.public_key = key.public_key;
  constexpr uint32_t kSide = 64;
  std::vector<Bytes> sealed[2];
  for (uint32_t i = 0; i < 64; ++i) {
    Bytes black(3 * kSide * kSide), noise(black.size());
    RandomBytes(noise);
    for (int secret : {0, 1}) {
      sealed[secret].push_back(
          SealRequest(config, {.height = kSide, .width = kSide, .rgb = secret == 0 ? black : noise})->sealed);
    }
  }
  Bytes request = sealed[0][0];
  size_t at = 0;
  volatile uint8_t sink = 0;
  const Operation open{[&](int secret) {
                         const Bytes& next = sealed[secret][++at % 64];
                         std::copy(next.begin(), next.end(), request.begin());
                       },
                       [&] { sink = OpenRequest(config, key, request)->plaintext.rgb[9]; }};
  EXPECT_LT(SmallestT(open, 4000), kThreshold);
}

}  // namespace
}  // namespace infenclave
