// How requests are scheduled and isolated from one another, with an enclave that the test scripts. What a real enclave
// does with them is tested in tests/client and tests/e2e.
#include "host/confidential_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "base/core_binding.h"
#include "oip/confidential.h"
#include "oip/infer.h"
#include "protocol/sealed.h"
#include "tests/host/fake_call.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

Manifest SmallManifest() {
  Manifest manifest;
  manifest.model_name = "small";
  manifest.ir_shape = {2};
  manifest.classes = manifest.answer_classes = 3;
  manifest.backnet_output_shape = {3};
  manifest.preprocessing.width = manifest.preprocessing.height = 4;
  manifest.tee_class = TeeClass::kSimulated;
  return manifest;
}

// Speaks the calls' encoding. A sealed request's last byte tells what becomes of it; its IR is that byte twice.
enum Fate : uint8_t { kServed = 1, kUnknownKey = 2, kReplayed = 3, kSealedRefusal = 4, kLate = 5, kServedToo = 6 };

class ScriptedEnclave final : public EnclaveLink {
 public:
  StatusOr<ByteSpan> Call(ByteSpan call, int) override {
    const std::lock_guard lock(mutex_);
    if (!alive_) return Unavailable("gone");
    reply_ = Handle(call);
    return ByteSpan(reply_);
  }
  bool alive() const override { return alive_; }
  const std::string& start_line() const override { return line_; }
  int lanes() const override { return 1; }
  uint64_t max_call_bytes() const override { return 1 << 20; }

  std::atomic<bool> alive_ = true, provisioned_ = true;
  Manifest manifest_ = SmallManifest();
  size_t largest_batch_ = 0, given_up_ = 0;
  int cores_at_begin_ = 0, cores_at_finish_ = 0;  // that the worker who called might use

 private:
  Bytes Handle(ByteSpan call) {
    if (PeekCallType(call).value() == CallType::kBegin) cores_at_begin_ = AllowedCores();
    if (PeekCallType(call).value() == CallType::kFinish) cores_at_finish_ = AllowedCores();
    switch (PeekCallType(call).value()) {
      case CallType::kGetEvidence: {
        GetEvidenceReply reply;
        reply.evidence = EncodeEvidenceEnvelope({TeeKind::kSimulated, ToBytes(AsBytes("evidence")), {}});
        reply.key_config = ToBytes(AsBytes("key configuration"));
        reply.manifest = EncodeManifest(manifest_);
        reply.provisioned = provisioned_;
        return EncodeReply(reply);
      }
      case CallType::kProvision:
        provisioned_ = true;
        return EncodeProvisionReply();
      case CallType::kBegin:
        return Begin(DecodeBeginCall(call).value());
      case CallType::kFinish:
        return Finish(DecodeFinishCall(call).value());
    }
    return EncodeErrorReply(InvalidArgument("unknown call"));
  }

  Bytes Begin(const BeginCall& call) {
    if (!provisioned_) return EncodeErrorReply(Unavailable("no keys"));
    largest_batch_ = std::max(largest_batch_, call.requests.size());
    BeginReply reply;
    std::vector<float> ir;
    for (ByteSpan request : call.requests) {
      const auto fate = static_cast<Fate>(request.back());
      BeginReply::Item& item = reply.items.emplace_back();
      if (fate == kUnknownKey) item.status = FailedPrecondition("another key");
      if (fate == kReplayed) item.status = AlreadyExists("seen before");
      if (fate == kSealedRefusal) item.sealed_refusal = ToBytes(AsBytes("sealed no"));
      if (!item.status.ok() || fate == kSealedRefusal) continue;
      item.id = 100 + fate;
      ir.insert(ir.end(), 2, static_cast<float>(fate));
    }
    reply.ir = {reinterpret_cast<const uint8_t*>(ir.data()), ir.size() * sizeof(float)};
    return EncodeReply(reply);
  }

  // The answer repeats the id and the first score, so that a mix-up shows.
  Bytes Finish(const FinishCall& call) {
    FinishReply reply;
    if (call.output.empty()) {
      given_up_ += call.ids.size();
      reply.items.resize(call.ids.size(), {NotFound("given up"), {}});
      return EncodeReply(reply);
    }
    for (size_t i = 0; i < call.ids.size(); ++i) {
      float score = 0;
      std::memcpy(&score, call.output.data() + i * 3 * sizeof(float), sizeof(score));
      FinishReply::Item& item = reply.items.emplace_back();
      if (call.ids[i] == 100 + kLate) item.status = NotFound("too late");
      if (item.status.ok()) item.answer = ToBytes(AsBytes(Concat("answer ", call.ids[i], " ", score)));
    }
    return EncodeReply(reply);
  }

  std::mutex mutex_;
  Bytes reply_;
  std::string line_ = "scripted";
};

// Scores are ten times the IR. Holds all batches until the test opens the gate.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = true;
  int waiting = 0;
  int cores = 0;  // that the last worker might use
  Status status;

  void Set(bool to) {
    const std::lock_guard lock(mutex);
    open = to;
    changed.notify_all();
  }
  void AwaitArrival() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return waiting > 0; });
  }
};
class GatedBackNet final : public BackNet {
 public:
  explicit GatedBackNet(Gate* gate) : gate_(gate) {}
  Started Start(const Batch& batch, Done) override {
    std::unique_lock lock(gate_->mutex);
    ++gate_->waiting;
    gate_->cores = AllowedCores();
    gate_->changed.notify_all();
    gate_->changed.wait(lock, [this] { return gate_->open; });
    --gate_->waiting;
    for (int64_t i = 0; i < batch.size; ++i) {
      float value = 0;
      std::memcpy(&value, batch.ir.data() + i * 2 * sizeof(float), sizeof(value));
      std::fill_n(batch.output.begin() + i * 3, 3, 10 * value);
    }
    return {gate_->status, nullptr};
  }

 private:
  Gate* const gate_;
};

// A BackNet elsewhere: the test says when, and how, each batch ends.
struct Far {
  struct Batch {
    BackNet::Batch batch;
    std::vector<float> ir;
    BackNet::Done done;
    std::shared_ptr<std::atomic<int>> cancelled = std::make_shared<std::atomic<int>>(0);
    Status status;  // outlives the worker's copies; see FakeCall

    void End(const Status& with) {
      for (int64_t i = 0; i < batch.size; ++i) std::fill_n(batch.output.begin() + i * 3, 3, 10 * ir[2 * i]);
      status = with;
      done(status);
    }
  };
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Batch> batches;

  Batch& Await(size_t index) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return batches.size() > index; });
    return batches[index];
  }
};
class FarBackNet final : public BackNet {
 public:
  explicit FarBackNet(Far* far) : far_(far) {}
  Started Start(const Batch& batch, Done done) override {
    const std::lock_guard lock(far_->mutex);
    const auto* ir = reinterpret_cast<const float*>(batch.ir.data());
    far_->batches.reserve(64);
    far_->batches.push_back({.batch = batch, .ir = {ir, ir + 2 * batch.size}, .done = std::move(done)});
    far_->changed.notify_all();
    return {std::nullopt, [cancelled = far_->batches.back().cancelled] { ++*cancelled; }};
  }

 private:
  Far* const far_;
};

class ConfidentialModelTest : public testing::Test {
 protected:
  void StartFar(const ConfidentialModel::Options& options) {
    auto model = ConfidentialModel::Start(
        &enclave_, EncodeManifest(enclave_.manifest_),
        [this] { return StatusOr<std::unique_ptr<BackNet>>(std::make_unique<FarBackNet>(&far_)); }, options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }
  void Start(const ConfidentialModel::Options& options = {}) {
    auto model = ConfidentialModel::Start(
        &enclave_, EncodeManifest(enclave_.manifest_),
        [this] { return StatusOr<std::unique_ptr<BackNet>>(std::make_unique<GatedBackNet>(&gate_)); }, options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }
  // As SealRequest lays it out: version, key id, encapsulated key, ciphertext.
  static void Fill(FakeCall& call, Fate fate) {
    ByteWriter sealed;
    sealed.U16(kProtocolVersion);
    sealed.Raw(Bytes(8, 0xab));
    sealed.Raw(Bytes(kHpkeEncBytes, 0));
    sealed.Raw(Bytes(32, fate));
    call.request_.set_model_name("small");
    AddBytesInput(call.request_, kSealedInput, sealed.bytes());
  }
  static std::string AnswerOf(FakeCall& call) {
    return std::string(AsText(ReadBytesOutput(call.response_, kSealedOutput).value()));
  }

  ScriptedEnclave enclave_;
  Gate gate_;
  Far far_;
  std::unique_ptr<ConfidentialModel> model_;
};

TEST_F(ConfidentialModelTest, AnswersGoToWhoAsked) {
  Start();
  FakeCall first, second;
  Fill(first, kServed);
  Fill(second, kServedToo);
  model_->Infer(&first);
  model_->Infer(&second);
  EXPECT_TRUE(first.Result().ok());
  EXPECT_TRUE(second.Result().ok());
  EXPECT_EQ(AnswerOf(first), "answer 101 10");
  EXPECT_EQ(AnswerOf(second), "answer 106 60");
}

TEST_F(ConfidentialModelTest, AWorkerIsBoundToACoreUntilTheScoresAreInWhereThatIsAsked) {
  for (const bool bound : {false, true}) {
    Start({.bind_workers = bound});
    FakeCall call;
    Fill(call, kServed);
    model_->Infer(&call);
    EXPECT_TRUE(call.Result().ok());
    EXPECT_EQ(enclave_.cores_at_begin_, bound ? 1 : AllowedCores());
    EXPECT_EQ(gate_.cores, bound ? 1 : AllowedCores());
    EXPECT_EQ(enclave_.cores_at_finish_, AllowedCores());
  }
}

TEST_F(ConfidentialModelTest, EachRequestOfABatchHasItsOwnFate) {
  Start({.max_batch = 8});
  gate_.Set(false);
  FakeCall plug, served, unknown, replayed, refused, late, served_too;
  Fill(plug, kServed);
  model_->Infer(&plug);
  gate_.AwaitArrival();  // the only worker is busy: what follows becomes one batch
  const std::vector<std::pair<FakeCall*, Fate>> batch = {{&unknown, kUnknownKey}, {&served, kServed},
                                                         {&replayed, kReplayed},  {&refused, kSealedRefusal},
                                                         {&late, kLate},          {&served_too, kServedToo}};
  for (const auto& [call, fate] : batch) {
    Fill(*call, fate);
    model_->Infer(call);
  }
  gate_.Set(true);
  EXPECT_TRUE(served.Result().ok());
  EXPECT_EQ(AnswerOf(served), "answer 101 10");
  EXPECT_TRUE(served_too.Result().ok());
  EXPECT_EQ(AnswerOf(served_too), "answer 106 60");
  EXPECT_TRUE(refused.Result().ok());
  EXPECT_EQ(AnswerOf(refused), "sealed no");
  EXPECT_EQ(replayed.Result().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(late.Result().code(), StatusCode::kNotFound);
  EXPECT_EQ(unknown.Result().code(), StatusCode::kFailedPrecondition);
  v1::GetEvidenceResponse evidence;
  ASSERT_TRUE(evidence.ParseFromString(unknown.trailers_[kEvidenceTrailer]));
  EXPECT_EQ(evidence.key_config(), "key configuration");
  EXPECT_TRUE(replayed.trailers_.empty());
  EXPECT_EQ(enclave_.largest_batch_, 6u);
}

TEST_F(ConfidentialModelTest, AFullQueueIsResourceExhausted) {
  Start({.max_queue = 2});
  gate_.Set(false);
  FakeCall busy, queued[2], over;
  for (FakeCall* call : {&busy, &queued[0], &queued[1], &over}) Fill(*call, kServed);
  model_->Infer(&busy);
  gate_.AwaitArrival();
  model_->Infer(&queued[0]);
  model_->Infer(&queued[1]);
  model_->Infer(&over);
  EXPECT_EQ(over.Result().code(), StatusCode::kResourceExhausted);
  gate_.Set(true);
  EXPECT_TRUE(queued[1].Result().ok());
}

TEST_F(ConfidentialModelTest, WhatExpiredInTheQueueNeverReachesTheEnclave) {
  Start();
  gate_.Set(false);
  FakeCall busy, expiring;
  Fill(busy, kServed);
  Fill(expiring, kServed);
  expiring.deadline_ = std::chrono::system_clock::now() + std::chrono::milliseconds(10);
  model_->Infer(&busy);
  gate_.AwaitArrival();
  model_->Infer(&expiring);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  gate_.Set(true);
  EXPECT_EQ(expiring.Result().code(), StatusCode::kDeadlineExceeded);
}

TEST_F(ConfidentialModelTest, ABackNetThatFailsIsUnavailable) {
  Start();
  gate_.status = InvalidArgument("BackNet grpc://x:1/m: bad shape");
  FakeCall call;
  Fill(call, kServed);
  model_->Infer(&call);
  const Status status = call.Result();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << "the caller's request was not at fault";
  EXPECT_THAT(MessageOf(status), HasSubstr("bad shape"));
}

TEST_F(ConfidentialModelTest, OneWorkerKeepsManyBatchesInFlight) {
  StartFar({.max_in_flight = 2});
  FakeCall calls[3];
  for (FakeCall& call : calls) {
    Fill(call, &call == &calls[1] ? kServedToo : kServed);
    model_->Infer(&call);
  }
  far_.Await(0);
  far_.Await(1).End(OkStatus());  // in any order
  EXPECT_TRUE(calls[1].Result().ok());
  EXPECT_EQ(AnswerOf(calls[1]), "answer 106 60");
  EXPECT_FALSE(calls[0].done());
  far_.Await(2).End(OkStatus());  // had to wait for a place
  EXPECT_TRUE(calls[2].Result().ok());
  far_.Await(0).End(OkStatus());
  EXPECT_TRUE(calls[0].Result().ok());
  EXPECT_EQ(AnswerOf(calls[0]), "answer 101 10");
}

TEST_F(ConfidentialModelTest, AFlightThatFailsGivesItsPlacesInTheEnclaveBack) {
  StartFar({.max_in_flight = 1});
  FakeCall call;
  Fill(call, kServed);
  model_->Infer(&call);
  far_.Await(0).End(Internal("nonsense"));
  EXPECT_EQ(call.Result().code(), StatusCode::kUnavailable);
  EXPECT_EQ(enclave_.given_up_, 1u);
}

TEST_F(ConfidentialModelTest, ABatchIsCancelledWhenAllItsCallersAreGone) {
  StartFar({.max_batch = 2, .max_delay = std::chrono::hours(1), .max_in_flight = 2});
  FakeCall plug, one, other;
  for (FakeCall* call : {&plug, &one, &other}) Fill(*call, kServed);
  model_->Infer(&plug);
  far_.Await(0);
  model_->Infer(&one);
  model_->Infer(&other);
  Far::Batch& batch = far_.Await(1);
  EXPECT_EQ(batch.batch.size, 2);
  one.Cancel();
  EXPECT_EQ(*batch.cancelled, 0);
  other.Cancel();
  while (*batch.cancelled == 0) std::this_thread::yield();
  batch.End(Cancelled("all callers gave up"));
  EXPECT_EQ(one.Result().code(), StatusCode::kCancelled);
  EXPECT_EQ(other.Result().code(), StatusCode::kCancelled);
  far_.Await(0).End(OkStatus());
  EXPECT_TRUE(plug.Result().ok());
}

TEST_F(ConfidentialModelTest, WithoutKeysItSaysWhatToDo) {
  enclave_.provisioned_ = false;
  Start();
  EXPECT_FALSE(model_->ready());
  FakeCall call, after;
  Fill(call, kServed);
  model_->Infer(&call);
  const Status status = call.Result();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(MessageOf(status), HasSubstr("infenclave provision"));

  std::promise<Status> provisioned;
  model_->Provision(EncodeCall(ProvisionCall{}), [&](const Status& s) { provisioned.set_value(s); });
  EXPECT_TRUE(provisioned.get_future().get().ok());
  EXPECT_TRUE(model_->ready());
  Fill(after, kServed);
  model_->Infer(&after);
  EXPECT_TRUE(after.Result().ok());
}

TEST_F(ConfidentialModelTest, KeysThatAreGoneAreNoticed) {
  Start();
  EXPECT_TRUE(model_->ready());
  enclave_.provisioned_ = false;
  FakeCall call;
  Fill(call, kServed);
  model_->Infer(&call);
  EXPECT_THAT(MessageOf(call.Result()), HasSubstr("infenclave provision"));
  EXPECT_FALSE(model_->ready());
}

TEST_F(ConfidentialModelTest, ADeadEnclaveIsUnavailable) {
  Start();
  enclave_.alive_ = false;
  EXPECT_FALSE(model_->ready());
  FakeCall call;
  Fill(call, kServed);
  model_->Infer(&call);
  const Status status = call.Result();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(MessageOf(status), HasSubstr("the enclave has died"));
}

TEST_F(ConfidentialModelTest, AnEnclaveWithAnotherBundleIsRefused) {
  Manifest other = SmallManifest();
  other.model_version = 2;
  const auto model = ConfidentialModel::Start(
      &enclave_, EncodeManifest(other),
      [this] { return StatusOr<std::unique_ptr<BackNet>>(std::make_unique<GatedBackNet>(&gate_)); }, {});
  EXPECT_EQ(model.status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(ConfidentialModelTest, MalformedRequestsNeverReachTheQueue) {
  Start();
  const std::vector<std::pair<std::function<void(FakeCall&)>, std::string>> cases = {
      {[](FakeCall& c) { c.request_.clear_inputs(); }, "0 inputs"},
      {[](FakeCall& c) { c.request_.mutable_inputs(0)->set_name("image"); }, "expected 'sealed_request'"},
      {[](FakeCall& c) { c.request_.add_outputs()->set_name("label"); }, "no output 'label'"},
      {[](FakeCall& c) { (*c.request_.mutable_parameters())[kKeyIdParameter].set_string_param("00"); }, "key id"},
      {[](FakeCall& c) { c.request_.set_raw_input_contents(0, std::string(4, '\0')); }, ""},
      {[](FakeCall& c) {
         c.request_.Clear();
         AddBytesInput(c.request_, kSealedInput, Bytes(2000));
       },
       "sealed request of 2000 bytes"},
  };
  for (const auto& [spoil, message] : cases) {
    FakeCall call;
    Fill(call, kServed);
    spoil(call);
    model_->Infer(&call);
    const Status status = call.Result();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(MessageOf(status), HasSubstr(message));
  }
}

TEST_F(ConfidentialModelTest, TheKeyIdParameterMayRepeatTheHeader) {
  Start();
  FakeCall call;
  Fill(call, kServed);
  (*call.request_.mutable_parameters())[kKeyIdParameter].set_string_param("abababababababab");
  model_->Infer(&call);
  EXPECT_TRUE(call.Result().ok());
}

TEST_F(ConfidentialModelTest, SaysThatTheTeeIsSimulated) {
  Start();
  EXPECT_THAT(model_->info().platform, HasSubstr("SIMULATED"));
}

}  // namespace
}  // namespace infenclave
