// The real enclave process, sandbox and all, at the end of a channel whose other end is held by a hostile host: it does
// not keep to the protocol, nor to the framing, and writes into shared memory whenever it likes.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "tests/enclave/hostile_host.h"
#include "tests/host/raw_enclave.h"

namespace infenclave {
namespace {

TEST(HostileChannel, AWalkThroughTheProcess) {
  const TestBundle bundle;
  RawEnclave enclave(bundle, {});
  std::mt19937 random(7);
  HostileHost host(
      bundle, EnclaveOptions{}, [&](ByteSpan call) { return enclave.Call(call, 0); },
      [&](size_t n) { return random() % n; });
  for (int step = 0; step < 1000; ++step) {
    ASSERT_TRUE(host.Make(static_cast<Move>(random() % kMoves))) << "step " << step << ": " << host.broken_rule();
  }
  EXPECT_GT(host.answered(), 10u);
}

// Whatever the enclave reads, it reads once: what it then accepts is a request as a user sealed it, and its answer is
// right.
TEST(HostileChannel, SharedMemoryThatChangesWhileItIsRead) {
  const TestBundle bundle;
  RawEnclave enclave(bundle, {"--lanes", "2"});
  const auto honest = [&](ByteSpan call) { return enclave.Call(call, 1); };
  ASSERT_EQ(TestHost(bundle, honest).Provision(), OkStatus());
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    std::mt19937 random(3);
    const MutableByteSpan area = enclave.call_area(0);
    while (!stop) {
      for (int i = 0; i < 64; ++i) {
        volatile uint8_t& byte = area[random() % 700];  // a call of one request has about 600 bytes
        const uint8_t was = byte;
        byte = static_cast<uint8_t>(random());
        byte = was;
      }
    }
  });
  const TestHost host(bundle, [&](ByteSpan call) { return enclave.Call(call, 0); });
  const KeyConfig config = TestHost(bundle, honest).Config();
  const Bytes credential = EncodeCredential(bundle.MakeCredentialFor("alice"));
  int answered = 0, refused = 0;
  for (uint32_t seed = 0; seed < 400; ++seed) {
    const Bytes rgb = RandomPicture(seed);
    const SealedRequest request = host.Seal(
        config, {.credential = credential, .height = TinyModel::kSide, .width = TinyModel::kSide, .rgb = rgb});
    StatusOr<BeginResult> begun = host.Begin({request.sealed});
    if (!begun.ok() || begun->reply.items.empty() || !begun->reply.items[0].accepted()) {
      ++refused;
      continue;
    }
    StatusOr<FinishReply> finished =
        TestHost(bundle, honest).Finish({begun->reply.items[0].id}, bundle.BackNetScores(begun->reply.ir));
    ASSERT_TRUE(finished.ok() && finished->items[0].status.ok());
    StatusOr<Answer> answer = OpenAnswer(request.context, finished->items[0].answer);
    ASSERT_TRUE(answer.ok()) << answer.status();
    ASSERT_EQ(answer->classes.at(0).label, bundle.Expected(rgb)[0].label);
    ++answered;
  }
  stop = true;
  writer.join();
  EXPECT_TRUE(TestHost(bundle, honest).Classify(RandomPicture(1)).ok()) << "the enclave is gone";
  EXPECT_EQ(answered + refused, 400);
  EXPECT_GT(answered, 0);
}

// A lane ends with its channel, and the process with the lane: not by a signal, and without another word.
TEST(HostileChannel, ADoorbellThatIsNoneEndsTheEnclaveInOrder) {
  const TestBundle bundle;
  for (const size_t bytes : {size_t{1}, size_t{7}, size_t{9}, size_t{4096}}) {
    RawEnclave enclave(bundle, {"--lanes", "2"});
    const Bytes strange(bytes);
    ASSERT_EQ(::send(enclave.doorbell(0), strange.data(), bytes, 0), static_cast<ssize_t>(bytes));
    const int status = enclave.process().Wait();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  for (const uint64_t length : {uint64_t{1} << 20, uint64_t{1} << 40, UINT64_MAX}) {
    RawEnclave enclave(bundle, {});
    if (length <= enclave.call_area(0).size()) continue;
    ASSERT_TRUE(RingDoorbell(enclave.doorbell(0), length).ok());
    const int status = enclave.process().Wait();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
}

TEST(HostileChannel, AHostThatGoesWhileACallIsCarriedOutEndsTheEnclaveInOrder) {
  const TestBundle bundle;
  for (int i = 0; i < 10; ++i) {
    RawEnclave enclave(bundle, {"--lanes", "2"});
    ASSERT_EQ(TestHost(bundle, [&](ByteSpan call) { return enclave.Call(call, 0); }).Provision(), OkStatus());
    const Bytes call = EncodeCall(GetEvidenceCall{Nonce{}});
    std::memcpy(enclave.call_area(0).data(), call.data(), call.size());
    ASSERT_TRUE(RingDoorbell(enclave.doorbell(0), call.size()).ok());
    std::this_thread::sleep_for(std::chrono::microseconds(20 * i));
    enclave.CloseDoorbell(0);
    const int status = enclave.process().Wait();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
}

// Doorbells rung again before the reply is there: calls wait their turn, and each is answered.
TEST(HostileChannel, DoorbellsOutOfTurn) {
  const TestBundle bundle;
  RawEnclave enclave(bundle, {});
  const Bytes call = EncodeCall(GetEvidenceCall{Nonce{}});
  std::memcpy(enclave.call_area(0).data(), call.data(), call.size());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(RingDoorbell(enclave.doorbell(0), i % 2 == 0 ? call.size() : 0).ok());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(AwaitDoorbell(enclave.doorbell(0), UINT64_MAX).ok()) << i;
  EXPECT_TRUE(TestHost(bundle, [&](ByteSpan bytes) { return enclave.Call(bytes, 0); }).GetEvidence().ok());
}

}  // namespace
}  // namespace infenclave
