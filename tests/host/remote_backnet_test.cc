// Several BackNets of other make, which fail in every way that is known: what is asked of whom, and what comes of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <future>
#include <numeric>

#include "host/backnet.h"
#include "tests/host/scripted_backnet.h"

namespace infenclave {
namespace {

using Mood = ScriptedBackNet::Mood;
using testing::ElementsAre;
using testing::HasSubstr;

const BackNetShape kShape{{2}, DType::kF32, {3}};

// Sum, difference and product of the two numbers.
std::vector<float> Compute(const TensorData& ir) {
  std::vector<float> scores;
  for (int64_t i = 0; i < ir.shape[0]; ++i) {
    float pair[2];
    std::memcpy(pair, ir.data.data() + i * static_cast<int64_t>(sizeof(pair)), sizeof(pair));
    scores.insert(scores.end(), {pair[0] + pair[1], pair[0] - pair[1], pair[0] * pair[1]});
  }
  return scores;
}

struct Running {
  std::vector<float> scores;
  std::promise<Status> done;
  BackNet::Started started;
  std::unique_ptr<BackNet> backnet;
  std::future<Status> result = done.get_future();
};

class RemoteBackNetTest : public testing::Test {
 protected:
  ScriptedBackNet& Add(Mood mood = Mood::kGood) {
    servers_.push_back(std::make_unique<ScriptedBackNet>(Compute, mood));
    return *servers_.back();
  }
  StatusOr<BackNetFactory> Connect() {
    std::vector<OipEndpoint> endpoints;
    for (const auto& server : servers_) endpoints.push_back({server->address(), "m", ""});
    return RemoteBackNet(endpoints, kShape);
  }
  void Start() {
    auto factory = Connect();
    ASSERT_TRUE(factory.ok()) << factory.status();
    factory_ = *std::move(factory);
  }
  std::unique_ptr<Running> Launch(int64_t batch, BackNet::Deadline deadline = BackNet::Deadline::max()) {
    auto out = std::make_unique<Running>();
    std::vector<float> ir(static_cast<size_t>(2 * batch));
    std::iota(ir.begin(), ir.end(), 1.0f);
    out->scores.resize(static_cast<size_t>(3 * batch));
    out->backnet = factory_().value();
    const ByteSpan bytes{reinterpret_cast<const uint8_t*>(ir.data()), ir.size() * sizeof(float)};
    out->started = out->backnet->Start({bytes, batch, out->scores, deadline},
                                       [out = out.get()](const Status& status) { out->done.set_value(status); });
    return out;
  }
  void ExpectAnswers(int64_t batch) {
    const auto running = Launch(batch);
    const Status status = running->result.get();
    ASSERT_TRUE(status.ok()) << status;
    for (int64_t i = 0; i < batch; ++i) {
      const float a = static_cast<float>(2 * i + 1), b = a + 1;
      EXPECT_THAT(std::vector<float>(running->scores.begin() + 3 * i, running->scores.begin() + 3 * i + 3),
                  ElementsAre(a + b, a - b, a * b));
    }
  }

  std::vector<std::unique_ptr<ScriptedBackNet>> servers_;
  BackNetFactory factory_;
};

TEST_F(RemoteBackNetTest, RawAndTypedAnswersAreTheSame) {
  ScriptedBackNet& server = Add();
  Start();
  ExpectAnswers(5);
  server.mood = Mood::kTyped;
  ExpectAnswers(5);
}

TEST_F(RemoteBackNetTest, WhatFailsIsAskedOfTheNext) {
  for (Mood mood :
       {Mood::kUnavailable, Mood::kNotFinite, Mood::kWrongShape, Mood::kWrongType, Mood::kShortData, Mood::kFails}) {
    servers_.clear();
    ScriptedBackNet& bad = Add();
    ScriptedBackNet& good = Add();
    Start();
    bad.mood = mood;
    for (int i = 0; i < 10; ++i) ExpectAnswers(2);
    EXPECT_EQ(good.asked, 10) << static_cast<int>(mood);
    EXPECT_EQ(bad.asked, 3) << "then it is left alone; " << static_cast<int>(mood);
  }
}

TEST_F(RemoteBackNetTest, WhenAllFailTheLastReasonIsSaid) {
  Add(), Add();
  Start();
  for (const auto& server : servers_) server->mood = Mood::kFails;
  const Status status = Launch(1)->result.get();
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_THAT(MessageOf(status), HasSubstr("something broke"));
  EXPECT_THAT(MessageOf(status), HasSubstr("BackNet grpc://127.0.0.1:"));
}

TEST_F(RemoteBackNetTest, AServerThatHangsIsPassedOver) {
  ScriptedBackNet& bad = Add();
  Add();
  Start();
  for (int i = 0; i < 4; ++i) ExpectAnswers(1);  // how long an answer takes
  bad.mood = Mood::kHangs;
  const auto before = std::chrono::steady_clock::now();
  for (int i = 0; i < 2; ++i) ExpectAnswers(1);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
}

TEST_F(RemoteBackNetTest, TheDeadlineIsKept) {
  Add(Mood::kGood);
  Start();
  servers_[0]->mood = Mood::kHangs;
  const auto soon = std::chrono::system_clock::now() + std::chrono::milliseconds(50);
  EXPECT_EQ(Launch(1, soon)->result.get().code(), StatusCode::kDeadlineExceeded);
}

TEST_F(RemoteBackNetTest, CancellationReachesTheServer) {
  ScriptedBackNet& server = Add();
  Start();
  server.mood = Mood::kHangs;
  const auto running = Launch(1);
  while (server.asked == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  running->started.cancel();
  EXPECT_EQ(running->result.get().code(), StatusCode::kCancelled);
  running->started.cancel();  // too late, and harmless
  while (server.cancelled == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST_F(RemoteBackNetTest, ABatchThatIsTooLargeIsSentInPieces) {
  ScriptedBackNet& server = Add();
  Start();
  server.max_batch = 3;
  ExpectAnswers(8);
  server.largest = 0;
  ExpectAnswers(8);
  EXPECT_EQ(server.largest, 2) << "it is remembered";
}

TEST_F(RemoteBackNetTest, AMessageThatIsTooLargeIsSentInPieces) {
  ScriptedBackNet& server = Add();
  Start();
  server.max_bytes = 4 * 2 * sizeof(float);
  ExpectAnswers(8);
  ExpectAnswers(7);
}

TEST_F(RemoteBackNetTest, ServersNameTheirOwnTensors) {
  ScriptedBackNet& server = Add();
  auto& input = *server.metadata.add_inputs();
  input.set_name("x");
  input.set_datatype("FP32");
  input.add_shape(1);
  input.add_shape(2);
  Start();
  ExpectAnswers(4);
  EXPECT_EQ(server.largest, 1) << "its batch dimension is 1";
}

TEST_F(RemoteBackNetTest, AModelOfAnotherKindIsSaidAtOnce) {
  Add();
  ScriptedBackNet& server = Add();
  auto& output = *server.metadata.add_outputs();
  output.set_name("y");
  output.set_datatype("INT64");
  const Status status = Connect().status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(MessageOf(status), HasSubstr("its output 'y' is INT64, expected FP32"));
}

TEST_F(RemoteBackNetTest, OneThatWasNotThereAtTheStartIsUsedWhenItComes) {
  Add();
  ScriptedBackNet& late = Add(Mood::kUnavailable);
  Start();
  ExpectAnswers(1);
  late.mood = Mood::kGood;
  for (int i = 0; i < 4; ++i) ExpectAnswers(1);
  EXPECT_GT(late.asked, 0);
}

TEST_F(RemoteBackNetTest, ManyBatchesAreInFlightAtOnce) {
  Add(), Add();
  Start();
  for (const auto& server : servers_) server->mood = Mood::kHangs;
  std::vector<std::unique_ptr<Running>> running;
  for (int i = 0; i < 8; ++i) running.push_back(Launch(1));
  while (servers_[0]->asked + servers_[1]->asked < 8) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(servers_[0]->asked, 4);
  for (const auto& one : running) one->started.cancel();
  for (const auto& one : running) EXPECT_FALSE(one->result.get().ok());
}

TEST_F(RemoteBackNetTest, OneTargetMayNameSeveralServers) {
  Add(), Add();
  auto factory =
      RemoteBackNet({{Concat("ipv4:", servers_[0]->address(), ",", servers_[1]->address()), "m", ""}}, kShape);
  ASSERT_TRUE(factory.ok()) << factory.status();
  factory_ = *std::move(factory);
  // gRPC asks the one it has reached until it has reached both.
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (servers_[0]->asked * servers_[1]->asked == 0 && std::chrono::steady_clock::now() < patience) ExpectAnswers(1);
  EXPECT_GT(servers_[0]->asked, 0);
  EXPECT_GT(servers_[1]->asked, 0);
  servers_.erase(servers_.begin());  // gone: gRPC asks the other
  for (int i = 0; i < 10; ++i) ExpectAnswers(1);
}

}  // namespace
}  // namespace infenclave
