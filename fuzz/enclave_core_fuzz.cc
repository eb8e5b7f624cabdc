// The enclave under a hostile host: the input is a program of calls, honest, altered, repeated and out of order,
// against one enclave. After each, what must always hold is checked: an answer opens, and no request is answered twice.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdlib>
#include <deque>
#include <set>

#include "tests/enclave/harness.h"

namespace infenclave {
namespace {

class HostileHost {
 public:
  explicit HostileHost(FuzzedDataProvider& in)
      : in_(in),
        enclave_(Bundle(), {.lanes = 1,
                            .max_batch = 3,
                            .max_pending = 4,
                            .max_age = 5,
                            .requests_per_key = 4,
                            .overlap = in.ConsumeIntegralInRange<uint64_t>(0, 6)}) {}

  void Run() {
    for (int step = 0; step < 40 && in_.remaining_bytes() > 0; ++step) {
      switch (in_.ConsumeIntegralInRange(0, 5)) {
        case 0:
          Call(Altered(Bundle().ProvisionCallFor(SomeConfig(), in_.ConsumeIntegralInRange(1, 6))));
          break;
        case 1:
          Begin();
          break;
        case 2:
          Finish();
          break;
        case 3:
          configs_.push_back(enclave_.host.Config());
          break;
        case 4:  // a call seen before, as it was or altered
          if (!calls_.empty()) Call(Altered(calls_[in_.ConsumeIntegralInRange<size_t>(0, calls_.size() - 1)]));
          break;
        default:
          Call(in_.ConsumeBytes<uint8_t>(in_.ConsumeIntegralInRange<size_t>(0, 64)));
      }
    }
  }

 private:
  static const TestBundle& Bundle() {
    static const TestBundle* bundle = new TestBundle;
    return *bundle;
  }

  KeyConfig SomeConfig() {
    if (configs_.empty()) configs_.push_back(enclave_.host.Config());
    return configs_[in_.ConsumeIntegralInRange<size_t>(0, configs_.size() - 1)];
  }

  Bytes Altered(Bytes bytes) {
    const int changes = in_.ConsumeIntegralInRange(-8, 3);  // mostly none
    for (int i = 0; i < changes && !bytes.empty(); ++i) {
      bytes[in_.ConsumeIntegralInRange<size_t>(0, bytes.size() - 1)] ^= in_.ConsumeIntegral<uint8_t>();
    }
    if (changes == 3) bytes.resize(in_.ConsumeIntegralInRange<size_t>(0, bytes.size() + 3));
    return bytes;
  }

  void Call(Bytes call) {
    const Bytes reply = enclave_.core->Handle(call, 0);
    if (reply.empty() || reply.size() > enclave_.core->max_reply_bytes()) std::abort();
    StatusOr<BeginCall> begin = DecodeBeginCall(call);
    if (begin.ok()) CheckBegin(*begin, DecodeBeginReply(reply));
    StatusOr<FinishCall> finish = DecodeFinishCall(call);
    if (finish.ok()) CheckFinish(*finish, DecodeFinishReply(reply));
    calls_.push_back(std::move(call));
    if (calls_.size() > 8) calls_.pop_front();
  }

  void CheckBegin(const BeginCall& call, const StatusOr<BeginReply>& reply) {
    if (!reply.ok()) return;
    if (reply->items.size() != call.requests.size()) std::abort();
    size_t accepted = 0;
    for (const BeginReply::Item& item : reply->items) {
      if (!item.status.ok() || !item.sealed_refusal.empty()) continue;
      ++accepted;
      if (!seen_.insert(item.id).second) std::abort();
      ids_.push_back(item.id);
    }
    if (reply->ir.size() != accepted * TinyModel::kIrElements * sizeof(float)) std::abort();
  }

  void CheckFinish(const FinishCall& call, const StatusOr<FinishReply>& reply) {
    if (!reply.ok()) return;
    if (reply->items.size() != call.ids.size()) std::abort();
    for (size_t i = 0; i < call.ids.size(); ++i) {
      const FinishReply::Item& item = reply->items[i];
      if (!item.status.ok()) continue;
      if (item.answer.size() != SealedAnswerBytes(Bundle().manifest)) std::abort();
      if (!seen_.contains(call.ids[i]) || !answered_.insert(call.ids[i]).second) std::abort();
    }
  }

  void Begin() {
    const Bytes rgb = RandomPicture(1);
    std::vector<Bytes> sealed;
    BeginCall call;
    const int count = in_.ConsumeIntegralInRange(0, 4);
    for (int i = 0; i < count; ++i) {
      RequestPlaintext plaintext{.height = TinyModel::kSide, .width = TinyModel::kSide, .rgb = rgb};
      if (in_.ConsumeBool()) plaintext.credential = EncodeCredential(Bundle().MakeCredentialFor("alice"));
      if (in_.ConsumeIntegralInRange(0, 9) == 0) plaintext.credential = in_.ConsumeBytes<uint8_t>(20);
      sealed.push_back(Altered(enclave_.host.Seal(SomeConfig(), plaintext).sealed));
    }
    for (const Bytes& s : sealed) call.requests.push_back(s);
    Call(EncodeCall(call));
  }

  void Finish() {
    FinishCall call;
    const int count = in_.ConsumeIntegralInRange(0, 4);
    for (int i = 0; i < count; ++i) {
      const bool ours = !ids_.empty() && in_.ConsumeIntegralInRange(0, 4) > 0;
      call.ids.push_back(ours ? ids_[in_.ConsumeIntegralInRange<size_t>(0, ids_.size() - 1)]
                              : in_.ConsumeIntegral<RequestId>());
    }
    std::vector<float> scores(call.ids.size() * TinyModel::kClasses + (in_.ConsumeIntegralInRange(0, 9) == 0));
    for (float& s : scores) s = in_.ConsumeFloatingPoint<float>();
    call.output = {reinterpret_cast<const uint8_t*>(scores.data()), scores.size() * sizeof(float)};
    Call(EncodeCall(call));
  }

  FuzzedDataProvider& in_;
  LocalEnclave enclave_;
  std::vector<KeyConfig> configs_;
  std::deque<Bytes> calls_;
  std::vector<RequestId> ids_;
  std::set<RequestId> seen_, answered_;
};

}  // namespace
}  // namespace infenclave

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider in(data, size);
  infenclave::HostileHost(in).Run();
  return 0;
}
