// The lanes' threads in this process, without a sandbox, so that sanitizers see them: calls on all lanes at once, and
// grants that arrive on one lane and are compiled on each.
#include "enclave/service.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>

#include "tests/enclave/harness.h"

namespace infenclave {
namespace {

constexpr int kLanes = 3;

// Core, service and channel as infenclave-enclave puts them together; this object is the host.
class InProcess {
 public:
  explicit InProcess(const TestBundle& bundle, const EnclaveOptions& options)
      : bundle_(bundle),
        service_(options, nullptr),
        core_(*EnclaveCore::Create(bundle.Parts(), MakeSimulatedEvidenceMaker({}), options, &service_)),
        slots_(*SharedSlots::Create(kLanes, core_->max_call_bytes(), core_->max_reply_bytes())) {
    INFENCLAVE_CHECK(service_.Start(core_.get()).ok());
    std::vector<std::unique_ptr<LanePort>> ports;
    for (int lane = 0; lane < kLanes; ++lane) {
      UniqueFd ours;
      INFENCLAVE_CHECK(MakeDoorbell(ours, doorbells_[lane]).ok());
      ports.push_back(MakeSlotPort(std::move(ours), slots_.call(lane), slots_.reply(lane)));
    }
    serving_ = std::thread([this, p = std::move(ports)]() mutable { service_.Serve(std::move(p)); });
  }
  ~InProcess() {
    for (UniqueFd& doorbell : doorbells_) doorbell.Reset();
    serving_.join();
  }

  TestHost Host(int lane) {
    return TestHost(bundle_, [this, lane](ByteSpan call) {
      std::memcpy(slots_.call(lane).data(), call.data(), call.size());
      INFENCLAVE_CHECK(RingDoorbell(doorbells_[lane].get(), call.size()).ok());
      return ToBytes(slots_.reply(lane).first(*AwaitDoorbell(doorbells_[lane].get(), core_->max_reply_bytes())));
    });
  }

 private:
  const TestBundle& bundle_;
  Service service_;
  std::unique_ptr<EnclaveCore> core_;
  SharedSlots slots_;
  UniqueFd doorbells_[kLanes];
  std::thread serving_;
};

TEST(Service, LanesAnswerAtTheSameTimeThroughRotations) {
  TestBundle bundle;
  InProcess enclave(bundle, {.lanes = kLanes, .requests_per_key = 7, .overlap = 3});
  ASSERT_EQ(enclave.Host(1).Provision(), OkStatus());
  std::atomic<int> answered{0}, rotated{0};
  std::vector<std::thread> threads;
  for (int lane = 0; lane < kLanes; ++lane) {
    threads.emplace_back([&, lane] {
      TestHost host = enclave.Host(lane);
      for (uint32_t i = 0; i < 30; ++i) {
        const Bytes rgb = RandomPicture(i);
        StatusOr<Answer> answer = host.Classify(rgb);
        if (answer.ok() && answer->classes.at(0).label == bundle.Expected(rgb)[0].label) ++answered;
        if (answer.status().code() == StatusCode::kFailedPrecondition) ++rotated;  // sealed before, opened after
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered + rotated, 30 * kLanes);
  EXPECT_GT(answered, 20 * kLanes);
}

TEST(Service, OfGrantsThatArriveTogetherOneIsCompiledAndNoLaneHangs) {
  TestBundle bundle;
  InProcess enclave(bundle, {.lanes = kLanes});
  std::atomic<int> granted{0}, refused{0};
  std::vector<std::thread> threads;
  for (int lane = 0; lane < kLanes; ++lane) {
    threads.emplace_back([&, lane] {
      const Status status = enclave.Host(lane).Provision();
      if (status.ok()) ++granted;
      if (status.code() == StatusCode::kUnavailable) ++refused;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(granted, 1);
  EXPECT_EQ(granted + refused, kLanes);
  for (int lane = 0; lane < kLanes; ++lane) EXPECT_TRUE(enclave.Host(lane).Classify(RandomPicture(1)).ok()) << lane;
}

TEST(Service, AFailedCompilationIsReportedAndCanBeRepeated) {
  TestBundle bundle([](Manifest& m) { m.ir_shape = {4, 8, 9}; });
  InProcess enclave(bundle, {.lanes = kLanes});
  for (int lane = 0; lane < kLanes; ++lane) {
    EXPECT_EQ(enclave.Host(lane).Provision().code(), StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace infenclave
