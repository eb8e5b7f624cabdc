// What the enclave computes beside the FrontNet: the tail, and the audits' own copy of the BackNet.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/enclave/harness.h"

namespace infenclave {
namespace {

// A provisioned enclave, and requests whose BackNet output the test may choose.
class Inside {
 public:
  explicit Inside(const std::function<void(Manifest&)>& adjust) : bundle_(adjust), enclave_(bundle_) {
    INFENCLAVE_CHECK(enclave_.host.Provision() == OkStatus());
  }

  StatusOr<Answer> Classify(uint32_t seed, const std::function<void(std::vector<float>&)>& alter = nullptr) {
    const SealedRequest request = enclave_.host.Seal(RandomPicture(seed));
    INFENCLAVE_ASSIGN_OR_RETURN(BeginResult begun, enclave_.host.Begin({request.sealed}));
    std::vector<float> output = bundle_.BackNetScores(begun.reply.ir);
    if (alter) alter(output);
    INFENCLAVE_ASSIGN_OR_RETURN(FinishReply finished, enclave_.host.Finish({begun.reply.items.at(0).id}, output));
    INFENCLAVE_RETURN_IF_ERROR(finished.items.at(0).status);
    return OpenAnswer(request.context, finished.items[0].answer);
  }
  std::string Expected(uint32_t seed) const { return bundle_.Expected(RandomPicture(seed))[0].label; }
  TestBundle& bundle() { return bundle_; }

 private:
  TestBundle bundle_;
  LocalEnclave enclave_;
};

std::function<void(Manifest&)> Audits(uint32_t per_million, float tolerance = 1e-3f,
                                      IrPrecision ir = IrPrecision::kF32) {
  return [=](Manifest& m) {
    m.audit_per_million = per_million;
    m.audit_tolerance = tolerance;
    m.ir_precision = ir;
    m.ir_step = ir == IrPrecision::kInt8 ? 0.05f : 0.5f;
  };
}

// The true answer becomes the least probable.
void Lie(std::vector<float>& output) {
  for (float& v : output) v = -v;
}

// ---- audits ---------------------------------------------------------------------------------------------------------
TEST(Audits, AnHonestBackNetPassesInEveryPrecision) {
  for (const IrPrecision ir : {IrPrecision::kF32, IrPrecision::kBf16, IrPrecision::kInt8, IrPrecision::kInt4}) {
    Inside inside(Audits(1'000'000, 1e-3f, ir));
    for (uint32_t seed = 0; seed < 50; ++seed) {
      StatusOr<Answer> answer = inside.Classify(seed);
      ASSERT_TRUE(answer.ok()) << answer.status();
      EXPECT_TRUE(answer->audited && answer->audit_passed) << seed;
    }
  }
}

TEST(Audits, ALieIsToldAndAnsweredWithTheTruth) {
  Inside inside(Audits(1'000'000));
  for (uint32_t seed = 0; seed < 50; ++seed) {
    StatusOr<Answer> answer = inside.Classify(seed, Lie);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_TRUE(answer->audited && !answer->audit_passed) << seed;
    ASSERT_FALSE(answer->classes.empty());
    EXPECT_EQ(answer->classes[0].label, inside.Expected(seed));
  }
}

TEST(Audits, OneScoreIsEnoughAndTheToleranceIsAShareOfTheRange) {
  constexpr float kTolerance = 0.01f;
  Inside inside(Audits(1'000'000, kTolerance));
  for (const auto& [share, passes] : {std::pair{0.9f, true}, {1.1f, false}}) {
    StatusOr<Answer> answer = inside.Classify(3, [share = share](std::vector<float>& output) {
      const auto [low, high] = std::minmax_element(output.begin(), output.end());
      output[4] += share * kTolerance * (*high - *low);
    });
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->audit_passed, passes) << share;
  }
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    StatusOr<Answer> answer = inside.Classify(3, [bad](std::vector<float>& output) { output[9] = bad; });
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->code, StatusCode::kOk);
    EXPECT_TRUE(answer->audited && !answer->audit_passed);
  }
}

// docs/threat-model.md: a host that lies on a share q of the requests goes unseen over n of them with probability
// (1 - pq)^n. Each lie is seen if it is audited, and nothing else is; how many are audited is binomial.
TEST(Audits, TheRateIsTheManifestsAndThereIsNoFalseAlarm) {
  constexpr int kRequests = 600;
  Inside inside(Audits(250'000));
  int audited = 0, lies_audited = 0, seen = 0, false_alarms = 0;
  for (int i = 0; i < kRequests; ++i) {
    const bool lie = i % 3 == 0;
    StatusOr<Answer> answer = inside.Classify(7, lie ? Lie : std::function<void(std::vector<float>&)>());
    ASSERT_TRUE(answer.ok()) << answer.status();
    audited += answer->audited;
    lies_audited += answer->audited && lie;
    seen += answer->audited && !answer->audit_passed && lie;
    false_alarms += answer->audited && !answer->audit_passed && !lie;
  }
  EXPECT_EQ(seen, lies_audited);
  EXPECT_EQ(false_alarms, 0);
  // Six standard deviations either way: wrong once in 10^9 runs.
  EXPECT_NEAR(audited, kRequests * 0.25, 6 * std::sqrt(kRequests * 0.25 * 0.75));
  EXPECT_GT(lies_audited, 0);
}

TEST(Audits, WithoutThemALieGoesUnseen) {
  Inside inside(Audits(0));
  StatusOr<Answer> answer = inside.Classify(1, Lie);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_FALSE(answer->audited || answer->audit_passed);
  EXPECT_NE(answer->classes[0].label, inside.Expected(1));
}

// ---- the tail -------------------------------------------------------------------------------------------------------
// The BackNet of this bundle only copies; the linear layer is inside.
void WithTail(Manifest& m) {
  m.tail_layers = 1;
  m.backnet_output_shape = m.ir_shape;
}

TEST(Tail, AnswersAsTheWholeNetworkDoes) {
  Inside inside(WithTail);
  for (uint32_t seed = 0; seed < 20; ++seed) {
    StatusOr<Answer> answer = inside.Classify(seed);
    ASSERT_TRUE(answer.ok()) << answer.status();
    const std::vector<AnswerClass> expected = inside.bundle().Expected(RandomPicture(seed));
    ASSERT_EQ(answer->classes.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(answer->classes[i].label, expected[i].label);
      EXPECT_NEAR(answer->classes[i].probability, expected[i].probability, 1e-5);
    }
  }
}

TEST(Tail, IsAuditedAtItsInput) {
  Inside inside([](Manifest& m) {
    WithTail(m);
    Audits(1'000'000)(m);
  });
  EXPECT_TRUE(inside.Classify(1)->audit_passed);
  StatusOr<Answer> answer = inside.Classify(1, [](std::vector<float>& output) { output.back() += 1; });
  EXPECT_TRUE(answer->audited && !answer->audit_passed);
  EXPECT_EQ(answer->classes[0].label, inside.Expected(1));
}

TEST(Tail, AnInputThatIsNotFiniteGetsASealedError) {
  Inside inside(WithTail);
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    StatusOr<Answer> answer = inside.Classify(1, [bad](std::vector<float>& output) { output[100] = bad; });
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->code, StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(inside.Classify(1, [](std::vector<float>& output) { output.resize(TinyModel::kClasses); }).ok());
}

// ---- both are the owner's files
// ---------------------------------------------------------------------------------------
TEST(Inside, PartsThatTheOwnerDidNotSignAreRefused) {
  TestBundle bundle([](Manifest& m) {
    WithTail(m);
    Audits(1)(m);
  });
  for (auto [part, name] : {std::pair{&EnclaveBundle::tail_sealed, "tail.sealed"},
                            std::pair{&EnclaveBundle::audit_sealed, "audit.sealed"}}) {
    for (const Bytes& wrong : {Bytes(), bundle.parts.frontnet_sealed}) {
      EnclaveBundle parts = bundle.Parts();
      parts.*part = wrong;
      EXPECT_EQ(EnclaveCore::Create(std::move(parts), MakeSimulatedEvidenceMaker({}), {}).status(),
                PermissionDenied(name, " is not the file that the manifest signs"));
    }
  }
}

}  // namespace
}  // namespace infenclave
