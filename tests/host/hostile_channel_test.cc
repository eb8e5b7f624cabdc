// The real enclave process, sandbox and all, at the end of a channel whose other end is held by a hostile host: it does
// not keep to the protocol, nor to the framing, and writes into shared memory whenever it likes.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <random>
#include <thread>

#include "enclave/channel.h"
#include "tests/enclave/hostile_host.h"

extern char** environ;

namespace infenclave {
namespace {

const std::string kEnclave = INFENCLAVE_BINARY_DIR "/infenclave-enclave";

// infenclave-enclave as `serve` spawns it, but with the host's ends of the channel laid open.
class LaidOpen {
 public:
  LaidOpen(const TestBundle& bundle, int lanes) : folder_(bundle.Write()) {
    int pair[2];
    INFENCLAVE_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    channel_.Reset(pair[0]);
    UniqueFd theirs(pair[1]);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), 100);
    std::vector<std::string> strings = {kEnclave,  "--bundle",           folder_, "--channel-fd", "100",
                                        "--lanes", std::to_string(lanes)};
    std::vector<char*> arguments;
    for (std::string& s : strings) arguments.push_back(s.data());
    arguments.push_back(nullptr);
    INFENCLAVE_CHECK(::posix_spawn(&pid_, kEnclave.c_str(), &actions, nullptr, arguments.data(), environ) == 0);
    ::posix_spawn_file_actions_destroy(&actions);
    theirs.Reset();
    Bytes payload;
    std::vector<UniqueFd> descriptors;
    INFENCLAVE_CHECK(ReadFrame(channel_.get(), kMaxHelloBytes, payload, &descriptors).ok());
    const Hello hello = *DecodeHello(payload);
    INFENCLAVE_CHECK(hello.status.ok());
    max_reply_ = hello.max_reply_bytes;
    slots_.emplace(*SharedSlots::Map(std::move(descriptors[0]), lanes, hello.max_call_bytes, hello.max_reply_bytes));
    doorbells_.assign(std::make_move_iterator(descriptors.begin() + 1), std::make_move_iterator(descriptors.end()));
  }
  ~LaidOpen() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove_all(folder_);
  }

  MutableByteSpan call_area(int lane) const { return slots_->call(lane); }
  int doorbell(int lane) const { return doorbells_[static_cast<size_t>(lane)].get(); }
  void CloseDoorbell(int lane) { doorbells_[static_cast<size_t>(lane)].Reset(); }

  Bytes Call(ByteSpan call, int lane) const {
    std::memcpy(call_area(lane).data(), call.data(), call.size());
    return Ring(call.size(), lane);
  }
  Bytes Ring(uint64_t length, int lane) const {
    INFENCLAVE_CHECK(RingDoorbell(doorbell(lane), length).ok());
    StatusOr<uint64_t> reply = AwaitDoorbell(doorbell(lane), max_reply_);
    if (!reply.ok()) return EncodeErrorReply(reply.status());
    return ToBytes(slots_->reply(lane).first(*reply));
  }
  // How it ended, once it has.
  int Wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

 private:
  const std::string folder_;
  UniqueFd channel_;
  pid_t pid_ = -1;
  uint64_t max_reply_ = 0;
  std::optional<SharedSlots> slots_;
  std::vector<UniqueFd> doorbells_;
};

TEST(HostileChannel, AWalkThroughTheProcess) {
  const TestBundle bundle;
  LaidOpen enclave(bundle, 1);
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
  LaidOpen enclave(bundle, 2);
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
    LaidOpen enclave(bundle, 2);
    const Bytes strange(bytes);
    ASSERT_EQ(::send(enclave.doorbell(0), strange.data(), bytes, 0), static_cast<ssize_t>(bytes));
    const int status = enclave.Wait();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  for (const uint64_t length : {uint64_t{1} << 20, uint64_t{1} << 40, UINT64_MAX}) {
    LaidOpen enclave(bundle, 1);
    if (length <= enclave.call_area(0).size()) continue;
    ASSERT_TRUE(RingDoorbell(enclave.doorbell(0), length).ok());
    const int status = enclave.Wait();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
}

TEST(HostileChannel, AHostThatGoesWhileACallIsCarriedOutEndsTheEnclaveInOrder) {
  const TestBundle bundle;
  for (int i = 0; i < 10; ++i) {
    LaidOpen enclave(bundle, 2);
    ASSERT_EQ(TestHost(bundle, [&](ByteSpan call) { return enclave.Call(call, 0); }).Provision(), OkStatus());
    const Bytes call = EncodeCall(GetEvidenceCall{Nonce{}});
    std::memcpy(enclave.call_area(0).data(), call.data(), call.size());
    ASSERT_TRUE(RingDoorbell(enclave.doorbell(0), call.size()).ok());
    std::this_thread::sleep_for(std::chrono::microseconds(20 * i));
    enclave.CloseDoorbell(0);
    const int status = enclave.Wait();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
}

// Doorbells rung again before the reply is there: calls wait their turn, and each is answered.
TEST(HostileChannel, DoorbellsOutOfTurn) {
  const TestBundle bundle;
  LaidOpen enclave(bundle, 1);
  const Bytes call = EncodeCall(GetEvidenceCall{Nonce{}});
  std::memcpy(enclave.call_area(0).data(), call.data(), call.size());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(RingDoorbell(enclave.doorbell(0), i % 2 == 0 ? call.size() : 0).ok());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(AwaitDoorbell(enclave.doorbell(0), UINT64_MAX).ok()) << i;
  EXPECT_TRUE(TestHost(bundle, [&](ByteSpan bytes) { return enclave.Call(bytes, 0); }).GetEvidence().ok());
}

}  // namespace
}  // namespace infenclave
