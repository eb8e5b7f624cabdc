#include "host/request_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "base/core_binding.h"
#include "tests/host/fake_call.h"

namespace infenclave {
namespace {

using testing::ElementsAre;

TEST(RequestQueue, RefusesWhatIsOverItsBound) {
  RequestQueue queue({.max_calls = 2, .max_controls = 1});
  std::array<FakeCall, 3> calls;
  EXPECT_TRUE(queue.Push(&calls[0]).ok());
  EXPECT_TRUE(queue.Push(&calls[1]).ok());
  EXPECT_EQ(queue.Push(&calls[2]).code(), StatusCode::kResourceExhausted);
  EXPECT_FALSE(calls[2].done());
  EXPECT_TRUE(queue.PushControl([](int) {}).ok());
  EXPECT_EQ(queue.PushControl([](int) {}).code(), StatusCode::kResourceExhausted);
  queue.Take()->job(0);
  (void)queue.Take();
  EXPECT_TRUE(queue.Push(&calls[2]).ok()) << "a place is free again";
}

TEST(RequestQueue, KeepsTheOrder) {
  RequestQueue queue({.max_batch = 2});
  std::array<FakeCall, 3> calls;
  for (FakeCall& call : calls) ASSERT_TRUE(queue.Push(&call).ok());
  EXPECT_THAT(queue.Take()->batch, ElementsAre(&calls[0], &calls[1]));
  EXPECT_THAT(queue.Take()->batch, ElementsAre(&calls[2]));
}

TEST(RequestQueue, AFewRequestsSpreadOverTheWorkers) {
  RequestQueue queue({.workers = 4, .max_batch = 8});
  std::array<FakeCall, 6> calls;
  for (FakeCall& call : calls) ASSERT_TRUE(queue.Push(&call).ok());
  std::vector<size_t> sizes;
  for (int i = 0; i < 4; ++i) sizes.push_back(queue.Take()->batch.size());
  EXPECT_THAT(sizes, ElementsAre(2, 1, 1, 1));
}

TEST(RequestQueue, ABatchThatGainsNothingIsNotMade) {
  RequestQueue queue({.workers = 2, .max_batch = 8, .least_batch = 3});
  std::array<FakeCall, 7> calls;
  for (FakeCall& call : calls) ASSERT_TRUE(queue.Push(&call).ok());
  std::vector<size_t> sizes;
  for (int i = 0; i < 4; ++i) sizes.push_back(queue.Take()->batch.size());
  EXPECT_THAT(sizes, ElementsAre(4, 1, 1, 1)) << "the shares are 4 of 7, then 2 of 3, 1 of 2 and 1 of 1";
}

TEST(RequestQueue, ACrowdIsBatchedUpToTheBound) {
  RequestQueue queue({.workers = 2, .max_batch = 4});
  std::array<FakeCall, 20> calls;
  for (FakeCall& call : calls) ASSERT_TRUE(queue.Push(&call).ok());
  EXPECT_EQ(queue.Take()->batch.size(), 4u);
}

TEST(RequestQueue, FinishesWhatNobodyWaitsForAnyMore) {
  RequestQueue queue({.max_batch = 4});
  std::array<FakeCall, 3> calls;
  calls[0].deadline_ = std::chrono::system_clock::now() - std::chrono::milliseconds(1);
  calls[1].cancelled_ = true;
  for (FakeCall& call : calls) ASSERT_TRUE(queue.Push(&call).ok());
  EXPECT_THAT(queue.Take()->batch, ElementsAre(&calls[2]));
  EXPECT_EQ(calls[0].Result().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(calls[1].Result().code(), StatusCode::kCancelled);
  EXPECT_FALSE(calls[2].done());
}

TEST(RequestQueue, ABatchOfTheDeadIsNoWork) {
  RequestQueue queue({});
  FakeCall dead;
  dead.cancelled_ = true;
  ASSERT_TRUE(queue.Push(&dead).ok());
  queue.Close();
  EXPECT_FALSE(queue.Take().has_value());
  EXPECT_EQ(dead.Result().code(), StatusCode::kCancelled);
}

TEST(RequestQueue, ControlsGoFirst) {
  RequestQueue queue({});
  FakeCall call;
  ASSERT_TRUE(queue.Push(&call).ok());
  int lane = -1;
  ASSERT_TRUE(queue.PushControl([&lane](int l) { lane = l; }).ok());
  auto work = queue.Take();
  ASSERT_TRUE(work->job);
  EXPECT_TRUE(work->batch.empty());
  work->job(3);
  EXPECT_EQ(lane, 3);
  EXPECT_THAT(queue.Take()->batch, ElementsAre(&call));
}

TEST(RequestQueue, ControlsAndCallsTakeTurns) {
  RequestQueue queue({});
  std::array<FakeCall, 2> calls;
  for (FakeCall& call : calls) ASSERT_TRUE(queue.Push(&call).ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(queue.PushControl([](int) {}).ok());
  std::string order;
  for (int i = 0; i < 5; ++i) {
    const auto work = queue.Take();
    if (work->job) work->job(0);
    order += work->job ? 'c' : 'r';
  }
  EXPECT_EQ(order, "crcrc");
}

TEST(RequestQueue, OneControlRunsAtATime) {
  RequestQueue queue({.workers = 2});
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(queue.PushControl([](int) {}).ok());
  const auto first = queue.Take();
  FakeCall call;
  ASSERT_TRUE(queue.Push(&call).ok());
  EXPECT_THAT(queue.Take()->batch, ElementsAre(&call)) << "the second control waits for the first";
  first->job(0);
  EXPECT_TRUE(queue.Take()->job);
}

TEST(RequestQueue, ClosedItHandsOutWhatWaitsAndThenEnds) {
  RequestQueue queue({});
  FakeCall waiting, late;
  ASSERT_TRUE(queue.Push(&waiting).ok());
  queue.Close();
  EXPECT_EQ(queue.Push(&late).code(), StatusCode::kUnavailable);
  EXPECT_EQ(queue.PushControl([](int) {}).code(), StatusCode::kUnavailable);
  EXPECT_THAT(queue.Take()->batch, ElementsAre(&waiting));
  queue.BatchDone();
  EXPECT_FALSE(queue.Take().has_value());
}

using std::chrono::milliseconds;

TEST(RequestQueue, AnIdleServerNeverWaitsForCompany) {
  RequestQueue queue({.max_batch = 8, .max_delay = std::chrono::hours(1)});
  std::array<FakeCall, 2> calls;
  for (FakeCall& call : calls) {
    ASSERT_TRUE(queue.Push(&call).ok());
    EXPECT_THAT(queue.Take()->batch, ElementsAre(&call));
    queue.BatchDone();
  }
}

TEST(RequestQueue, ABusyServerWaitsUntilTheBatchIsFull) {
  RequestQueue queue({.workers = 2, .max_batch = 2, .max_delay = std::chrono::hours(1)});
  std::array<FakeCall, 3> calls;
  ASSERT_TRUE(queue.Push(&calls[0]).ok());
  EXPECT_THAT(queue.Take()->batch, ElementsAre(&calls[0]));
  ASSERT_TRUE(queue.Push(&calls[1]).ok());
  std::thread later([&] {
    std::this_thread::sleep_for(milliseconds(20));
    ASSERT_TRUE(queue.Push(&calls[2]).ok());
  });
  EXPECT_THAT(queue.Take()->batch, ElementsAre(&calls[1], &calls[2]));
  later.join();
}

TEST(RequestQueue, ABusyServerWaitsNoLongerThanTheDelay) {
  RequestQueue queue({.workers = 2, .max_batch = 2, .max_delay = milliseconds(30)});
  std::array<FakeCall, 2> calls;
  ASSERT_TRUE(queue.Push(&calls[0]).ok());
  (void)queue.Take();
  const auto pushed = std::chrono::steady_clock::now();
  ASSERT_TRUE(queue.Push(&calls[1]).ok());
  EXPECT_THAT(queue.Take()->batch, ElementsAre(&calls[1]));
  EXPECT_GE(std::chrono::steady_clock::now() - pushed, milliseconds(30));
}

TEST(RequestQueue, TheWaitEndsWhenTheServerFallsIdle) {
  RequestQueue queue({.workers = 2, .max_batch = 2, .max_delay = std::chrono::hours(1)});
  std::array<FakeCall, 2> calls;
  ASSERT_TRUE(queue.Push(&calls[0]).ok());
  (void)queue.Take();
  ASSERT_TRUE(queue.Push(&calls[1]).ok());
  std::thread later([&] {
    std::this_thread::sleep_for(milliseconds(20));
    queue.BatchDone();
  });
  EXPECT_THAT(queue.Take()->batch, ElementsAre(&calls[1]));
  later.join();
}

TEST(RequestQueue, WhatIsInFlightIsBounded) {
  RequestQueue queue({.max_in_flight = 2});
  std::array<FakeCall, 3> calls;
  for (FakeCall& call : calls) ASSERT_TRUE(queue.Push(&call).ok());
  (void)queue.Take();
  (void)queue.Take();
  bool ended = false;
  queue.PushEnd([&](int) { ended = true; });
  auto work = queue.Take();
  ASSERT_TRUE(work->job) << "two are in flight: only an end is due";
  work->job(0);
  EXPECT_TRUE(ended);
  EXPECT_THAT(queue.Take()->batch, ElementsAre(&calls[2]));
}

TEST(RequestQueue, ClosedItWaitsForWhatIsInFlight) {
  RequestQueue queue({});
  FakeCall call;
  ASSERT_TRUE(queue.Push(&call).ok());
  (void)queue.Take();
  queue.Close();
  std::thread later([&] {
    std::this_thread::sleep_for(milliseconds(20));
    queue.PushEnd([&](int) { call.Finish(OkStatus()); });
  });
  queue.Take()->job(0);
  EXPECT_TRUE(call.done());
  EXPECT_FALSE(queue.Take().has_value());
  later.join();
}

TEST(RequestQueue, CloseWakesAWaitingWorker) {
  RequestQueue queue({});
  std::thread worker([&] { EXPECT_FALSE(queue.Take().has_value()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  queue.Close();
  worker.join();
}

TEST(RequestQueue, WakesTheWorkerWhoseCoreIsAwake) {
  if (AllowedCores() < 2) GTEST_SKIP() << "needs two cores";
  for (const int core : {0, 1, 1, 0}) {
    RequestQueue queue({.workers = 2});
    std::atomic<int> taken_by = -1;
    std::vector<std::thread> workers;
    for (int i = 0; i < 2; ++i) {
      workers.emplace_back([&, i] {
        const CoreBinding binding(i);
        if (!queue.Take()) return;
        taken_by = i;
        queue.BatchDone();
      });
    }
    while (queue.idle() < 2) std::this_thread::yield();
    FakeCall call;
    {
      const CoreBinding binding(core);
      ASSERT_TRUE(queue.Push(&call).ok());
    }
    while (taken_by < 0) std::this_thread::yield();
    queue.Close();
    for (std::thread& worker : workers) worker.join();
    EXPECT_EQ(taken_by, core);
  }
}

}  // namespace
}  // namespace infenclave
