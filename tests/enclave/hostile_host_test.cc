// A hostile host (hostile_host.h) walks an enclave through every order of a few calls, and through long random ones,
// with bounds so small that each is reached all the time. Every call must come to what the rules say, no reply may show
// a secret, and after all of it the enclave must serve an honest request.
#include "tests/enclave/hostile_host.h"

#include <gtest/gtest.h>

#include <random>

namespace infenclave {
namespace {

constexpr EnclaveOptions kTight = {.max_batch = 3, .max_pending = 2, .max_age = 3, .requests_per_key = 4, .overlap = 2};

struct Walk {
  LocalEnclave enclave;
  std::mt19937 random;
  HostileHost host;

  Walk(const TestBundle& bundle, const EnclaveOptions& options, uint32_t seed)
      : enclave(bundle, options),
        random(seed),
        host(
            bundle, options,
            [this](ByteSpan call) {
              Bytes reply = enclave.core->Handle(call, 0);
              INFENCLAVE_CHECK(reply.size() <= enclave.core->max_reply_bytes());
              return reply;
            },
            [this](size_t n) { return random() % n; }) {}
};

void ExpectServes(const TestBundle& bundle, TestHost& host) {
  ASSERT_EQ(host.Provision(), OkStatus());
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(host.Begin({ByteSpan()})->reply.items[0].status.ok());  // what waits is old
  const Bytes rgb = RandomPicture(1000);
  StatusOr<Answer> answer = host.Classify(rgb);
  ASSERT_TRUE(answer.ok() && !answer->classes.empty()) << answer.status();
  EXPECT_EQ(answer->classes[0].label, bundle.Expected(rgb)[0].label);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kDeep = 2;  // a sanitizer takes its time
#else
constexpr int kDeep = 3;
#endif

// Every sequence of `length` moves after those of `start`.
void WalkEveryOrder(const std::vector<Move>& start, int length) {
  const TestBundle bundle;
  int sequences = 1;
  for (int i = 0; i < length; ++i) sequences *= kMoves;
  for (int sequence = 0; sequence < sequences; ++sequence) {
    std::vector<Move> moves = start;
    for (int rest = sequence, i = 0; i < length; ++i, rest /= kMoves) moves.push_back(static_cast<Move>(rest % kMoves));
    Walk walk(bundle, kTight, static_cast<uint32_t>(sequence));
    for (Move move : moves) walk.host.Make(move);
    ASSERT_EQ(walk.host.broken_rule(), "") << testing::PrintToString(moves);
    ExpectServes(bundle, walk.enclave.host);
    if (testing::Test::HasFailure()) FAIL() << testing::PrintToString(moves);
  }
}

TEST(HostileHost, EveryOrderOfCallsFromTheStart) { WalkEveryOrder({}, 2); }

TEST(HostileHost, EveryOrderOfCallsToAnEnclaveAtWork) {
  WalkEveryOrder({Move::kGrant, Move::kBegin, Move::kBegin}, kDeep);
}

void WalkAtRandom(const TestBundle& bundle, const EnclaveOptions& options, uint32_t seed, int steps) {
  Walk walk(bundle, options, seed);
  for (int step = 0; step < steps; ++step) {
    ASSERT_TRUE(walk.host.Make(static_cast<Move>(walk.random() % kMoves)))
        << "seed " << seed << ", step " << step << ": " << walk.host.broken_rule();
  }
  EXPECT_GT(walk.host.answered(), 20u);
  ExpectServes(bundle, walk.enclave.host);
}

TEST(HostileHost, LongWalks) {
  const TestBundle bundle;
  for (uint32_t seed = 0; seed < 4; ++seed) WalkAtRandom(bundle, kTight, seed, 1500);
  WalkAtRandom(bundle, {.max_batch = 2, .max_pending = 64, .max_age = 30, .requests_per_key = 2, .overlap = 0}, 4,
               1500);
}

TEST(HostileHost, LongWalksWithAuditsOfEveryRequest) {
  const TestBundle bundle([](Manifest& m) {
    m.audit_per_million = 1'000'000;
    m.audit_tolerance = 1e-3F;
  });
  for (uint32_t seed = 0; seed < 2; ++seed) WalkAtRandom(bundle, kTight, seed, 1500);
}

// A referee that sees nothing would be content with everything: it must find an enclave that breaks a rule.
TEST(HostileHost, TheRefereeSeesARuleThatIsBroken) {
  const TestBundle bundle;
  const auto last = [](size_t n) { return n - 1; };
  EnclaveOptions looser = kTight;
  ++looser.max_pending;
  LocalEnclave roomy(bundle, looser);
  HostileHost host(
      bundle, kTight, [&](ByteSpan call) { return roomy.core->Handle(call, 0); }, last);
  for (Move move : {Move::kGrant, Move::kBegin, Move::kBegin}) ASSERT_TRUE(host.Make(move)) << host.broken_rule();
  EXPECT_FALSE(host.Make(Move::kBegin));
  EXPECT_EQ(host.broken_rule(), "a request got OK, expected code 8");

  LocalEnclave talkative(bundle);
  const auto tell = [&](ByteSpan call) {
    Bytes reply = talkative.core->Handle(call, 0);
    const ByteSpan key = bundle.frontnet_key.span();
    reply.insert(reply.end(), key.begin(), key.end());
    return reply;
  };
  bool telling = false;
  HostileHost listener(
      bundle, {}, [&](ByteSpan call) { return telling ? tell(call) : talkative.core->Handle(call, 0); }, last);
  telling = true;
  EXPECT_FALSE(listener.Make(Move::kBegin));
  EXPECT_EQ(listener.broken_rule(), "a reply shows a secret");
}

}  // namespace
}  // namespace infenclave
