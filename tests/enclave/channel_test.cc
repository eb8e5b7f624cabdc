#include "enclave/channel.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "enclave/socket_address.h"
#include "tests/enclave/harness.h"

namespace infenclave {
namespace {

struct StreamPair {
  UniqueFd a, b;
  StreamPair() {
    int pair[2];
    INFENCLAVE_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    a.Reset(pair[0]);
    b.Reset(pair[1]);
  }
};

// ---- hello --------------------------------------------------------------------------------------------------------
TEST(Hello, CarriesSizesOrTheReasonWhyThereIsNoEnclave) {
  StatusOr<Hello> hello = DecodeHello(
      EncodeHello({.start_line = "tee=simulated", .lanes = 3, .max_call_bytes = 1000, .max_reply_bytes = 2000}));
  ASSERT_TRUE(hello.ok()) << hello.status();
  EXPECT_EQ(hello->start_line, "tee=simulated");
  EXPECT_EQ(hello->lanes, 3);
  EXPECT_EQ(hello->max_call_bytes, 1000u);
  EXPECT_EQ(hello->max_reply_bytes, 2000u);

  hello = DecodeHello(EncodeHello({.status = PermissionDenied("for hardware only")}));
  ASSERT_TRUE(hello.ok()) << hello.status();
  EXPECT_EQ(hello->status, PermissionDenied("for hardware only"));
}

TEST(Hello, EveryTruncationAndEveryImpossibleNumberIsRefused) {
  const Hello good{.start_line = "x", .lanes = 1, .max_call_bytes = 1, .max_reply_bytes = 1};
  Bytes bytes = EncodeHello(good);
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(DecodeHello(ByteSpan(bytes).first(n)).ok()) << n;
  bytes.push_back(0);
  EXPECT_FALSE(DecodeHello(bytes).ok());
  Bytes code = EncodeHello(good);
  code[0] = 99;
  EXPECT_FALSE(DecodeHello(code).ok());
  for (Hello bad : {Hello{.lanes = 0}, Hello{.lanes = kMaxLanes + 1}, Hello{.lanes = 1, .max_call_bytes = UINT64_MAX},
                    Hello{.lanes = 1, .max_reply_bytes = kMaxMessageBytes + 1}}) {
    EXPECT_FALSE(DecodeHello(EncodeHello(bad)).ok()) << bad.lanes;
  }
}

// ---- stream -------------------------------------------------------------------------------------------------------
TEST(Frame, CarriesAnyLengthUpToTheLimit) {
  StreamPair s;
  for (size_t length : {size_t{0}, size_t{1}, size_t{65536}, size_t{3'000'000}}) {
    Bytes sent(length), got;
    for (size_t i = 0; i < length; ++i) sent[i] = static_cast<uint8_t>(i * 7 >> 3);
    std::thread writer([&] { EXPECT_TRUE(WriteFrame(s.a.get(), sent).ok()); });
    EXPECT_TRUE(ReadFrame(s.b.get(), 3'000'000, got).ok());
    writer.join();
    EXPECT_EQ(got, sent);
  }
}

TEST(Frame, CarriesDescriptors) {
  StreamPair s;
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  ASSERT_TRUE(WriteFrame(s.a.get(), AsBytes("two"), pipe_ends).ok());
  ::close(pipe_ends[0]);
  Bytes got;
  std::vector<UniqueFd> descriptors;
  ASSERT_TRUE(ReadFrame(s.b.get(), 10, got, &descriptors).ok());
  ASSERT_EQ(descriptors.size(), 2u);
  EXPECT_EQ(::write(pipe_ends[1], "x", 1), 1);
  char c = 0;
  EXPECT_EQ(::read(descriptors[0].get(), &c, 1), 1);
  EXPECT_EQ(c, 'x');
  ::close(pipe_ends[1]);
}

TEST(Frame, OverTheLimitIsRefusedBeforeAnythingIsAllocated) {
  StreamPair s;
  const uint8_t header[] = {0xff, 0xff, 0xff, 0xff};
  ASSERT_EQ(::send(s.a.get(), header, 4, 0), 4);
  Bytes got;
  Status status = ReadFrame(s.b.get(), 100, got);
  EXPECT_EQ(status, InvalidArgument("channel: a frame of 4294967295 bytes exceeds the limit of 100"));
  EXPECT_EQ(got.capacity(), 0u);
}

TEST(Frame, AClosedPeerIsUnavailableWhereverItStopsAndRaisesNoSignal) {
  for (std::string_view sent :
       {std::string_view(""), std::string_view("\0\0", 2), std::string_view("\0\0\0\5abc", 7)}) {
    StreamPair s;
    ASSERT_EQ(::send(s.a.get(), sent.data(), sent.size(), 0), static_cast<ssize_t>(sent.size()));
    s.a.Reset();
    Bytes got;
    EXPECT_EQ(ReadFrame(s.b.get(), 100, got).code(), StatusCode::kUnavailable);
    EXPECT_EQ(WriteFrame(s.b.get(), AsBytes("more")).code(), StatusCode::kUnavailable);
  }
}

// ---- shared memory ------------------------------------------------------------------------------------------------
TEST(SharedSlots, BothSidesSeeTheSameAreasAndNoneOverlaps) {
  StatusOr<SharedSlots> ours = SharedSlots::Create(3, 5000, 100);
  ASSERT_TRUE(ours.ok()) << ours.status();
  StatusOr<SharedSlots> theirs = SharedSlots::Map(UniqueFd(::dup(ours->descriptor())), 3, 5000, 100);
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  for (int lane = 0; lane < 3; ++lane) {
    std::memset(ours->call(lane).data(), 2 * lane + 1, 5000);
    std::memset(ours->reply(lane).data(), 2 * lane + 2, 100);
  }
  for (int lane = 0; lane < 3; ++lane) {
    for (uint8_t byte : theirs->call(lane)) ASSERT_EQ(byte, 2 * lane + 1);
    for (uint8_t byte : theirs->reply(lane)) ASSERT_EQ(byte, 2 * lane + 2);
  }
}

TEST(SharedSlots, CannotBeShrunkUnderTheOtherSide) {
  StatusOr<SharedSlots> slots = SharedSlots::Create(1, 4096, 4096);
  ASSERT_TRUE(slots.ok());
  EXPECT_NE(::ftruncate(slots->descriptor(), 0), 0);
  EXPECT_NE(::ftruncate(slots->descriptor(), 1 << 20), 0);
}

TEST(SharedSlots, AnotherSizeOrUnsealedMemoryIsNotMapped) {
  StatusOr<SharedSlots> slots = SharedSlots::Create(1, 4096, 4096);
  ASSERT_TRUE(slots.ok());
  EXPECT_EQ(SharedSlots::Map(UniqueFd(::dup(slots->descriptor())), 2, 4096, 4096).status().code(),
            StatusCode::kInvalidArgument);
  UniqueFd unsealed(::memfd_create("unsealed", MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(unsealed.get(), 8192), 0);
  EXPECT_EQ(SharedSlots::Map(std::move(unsealed), 1, 4096, 4096).status().code(), StatusCode::kInvalidArgument);
}

struct SlotPair {
  StatusOr<SharedSlots> slots = SharedSlots::Create(1, 100, 100);
  UniqueFd host;
  std::unique_ptr<LanePort> port;
  SlotPair() {
    UniqueFd ours;
    INFENCLAVE_CHECK(slots.ok() && MakeDoorbell(ours, host).ok());
    port = MakeSlotPort(std::move(ours), slots->call(0), slots->reply(0));
  }
};

TEST(SlotPort, TheCallIsCopiedOnceSoThatTheHostCannotChangeItLater) {
  SlotPair p;
  std::memcpy(p.slots->call(0).data(), "before", 6);
  ASSERT_TRUE(RingDoorbell(p.host.get(), 6).ok());
  StatusOr<ByteSpan> call = p.port->Receive();
  ASSERT_TRUE(call.ok()) << call.status();
  std::memcpy(p.slots->call(0).data(), "AFTER!", 6);
  EXPECT_EQ(AsText(*call), "before");
  ASSERT_TRUE(p.port->Send(AsBytes("reply")).ok());
  EXPECT_EQ(*AwaitDoorbell(p.host.get(), 100), 5u);
  EXPECT_EQ(AsText(p.slots->reply(0).first(5)), "reply");
}

// Not even the enclave itself looks at shared memory between the copy of a call and the writing of its reply: it is out
// of reach meanwhile.
TEST(SlotPort, SharedMemoryIsNotTouchedWhileACallIsCarriedOut) {
  const TestBundle bundle;
  LocalEnclave enclave(bundle);
  StatusOr<SharedSlots> slots = SharedSlots::Create(1, enclave.core->max_call_bytes(), enclave.core->max_reply_bytes());
  ASSERT_TRUE(slots.ok()) << slots.status();
  const MutableByteSpan call_area = slots->call(0), reply_area = slots->reply(0);
  UniqueFd ours, theirs;
  ASSERT_TRUE(MakeDoorbell(ours, theirs).ok());
  auto port = MakeSlotPort(std::move(ours), call_area, reply_area);
  const auto allow = [](MutableByteSpan area, int protection) {
    ASSERT_EQ(::mprotect(area.data(), area.size(), protection), 0);
  };
  TestHost host(bundle, [&](ByteSpan bytes) {
    allow(call_area, PROT_READ | PROT_WRITE);
    std::memcpy(call_area.data(), bytes.data(), bytes.size());
    INFENCLAVE_CHECK(RingDoorbell(theirs.get(), bytes.size()).ok());
    StatusOr<ByteSpan> call = port->Receive();
    allow(call_area, PROT_NONE);
    allow(reply_area, PROT_NONE);
    const Bytes reply = enclave.core->Handle(*call, 0);
    allow(reply_area, PROT_READ | PROT_WRITE);
    INFENCLAVE_CHECK(port->Send(reply).ok());
    return ToBytes(reply_area.first(*AwaitDoorbell(theirs.get(), reply_area.size())));
  });
  ASSERT_EQ(host.Provision(), OkStatus());
  for (uint32_t seed = 0; seed < 3; ++seed) EXPECT_TRUE(host.Classify(RandomPicture(seed)).ok());
}

TEST(SlotPort, ALengthOverTheAreaOrAStrangeDoorbellEndsTheLane) {
  SlotPair p;
  ASSERT_TRUE(RingDoorbell(p.host.get(), 101).ok());
  EXPECT_EQ(p.port->Receive().status(), InvalidArgument("channel: a message of 101 bytes exceeds the limit of 100"));
  ASSERT_TRUE(RingDoorbell(p.host.get(), UINT64_MAX).ok());
  EXPECT_FALSE(p.port->Receive().ok());
  for (size_t n : {1, 7, 9, 64}) {
    Bytes odd(n);
    ASSERT_EQ(::send(p.host.get(), odd.data(), n, 0), static_cast<ssize_t>(n));
    EXPECT_EQ(p.port->Receive().status(), InvalidArgument("channel: a doorbell of ", n, " bytes"));
  }
  p.host.Reset();
  EXPECT_EQ(p.port->Receive().status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(p.port->Send(AsBytes("x")).code(), StatusCode::kUnavailable);
}

// ---- addresses ----------------------------------------------------------------------------------------------------
TEST(SocketAddress, KnowsThreeFamiliesAndRefusesTheRest) {
  for (std::string text : {"unix:/tmp/x", "vsock:3:5000", "tcp:127.0.0.1:80", "tcp:[::1]:0"}) {
    EXPECT_TRUE(ParseSocketAddress(text).ok()) << text;
  }
  for (std::string text : {"", "unix:", "http://x", "vsock:3", "vsock:x:1", "vsock:1:4294967296", "tcp:127.0.0.1",
                           "tcp:127.0.0.1:", "tcp::80", "tcp:127.0.0.1:65536", "tcp:localhost:80", "tcp:1.2.3.4:8x"}) {
    EXPECT_EQ(ParseSocketAddress(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(ParseSocketAddress("unix:/" + std::string(200, 'x')).ok());
}

TEST(SocketAddress, AListenerOnPortZeroSaysWhichPortItGot) {
  StatusOr<Listener> listener = ListenOn("tcp:127.0.0.1:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_TRUE(listener->name.starts_with("tcp:127.0.0.1:"));
  EXPECT_NE(listener->name, "tcp:127.0.0.1:0");
  EXPECT_EQ(ListenOn(listener->name).status().code(), StatusCode::kFailedPrecondition);  // in use
}

}  // namespace
}  // namespace infenclave
