// An InferCall without gRPC: a test makes one, hands it to the host's code, and looks at how it was finished.
#ifndef INFENCLAVE_TESTS_HOST_FAKE_CALL_H_
#define INFENCLAVE_TESTS_HOST_FAKE_CALL_H_

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "oip/service.h"

namespace infenclave {

class FakeCall final : public InferCall {
 public:
  const inference::ModelInferRequest& request() const override { return request_; }
  inference::ModelInferResponse& response() override { return response_; }
  std::chrono::system_clock::time_point deadline() const override { return deadline_; }
  bool cancelled() const override { return cancelled_; }
  void WhenCancelled(std::function<void()> f) override {
    {
      const std::lock_guard lock(mutex_);
      if (!cancelled_) return void(when_cancelled_ = std::move(f));
    }
    f();
  }
  void AddTrailer(const std::string& key, const std::string& value) override { trailers_[key] = value; }
  // A copied Status shares its counter, and Debian's library counts it where ThreadSanitizer does not see that the last
  // owner is the last. So results are copied whole.
  void Finish(const Status& status) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(result_.has_value()) << "finished twice: " << *result_ << ", then " << status;
    result_ = Status(status.code(), status.message());
    finished_.notify_all();
  }

  void Cancel() {
    std::function<void()> f;
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      f = std::move(when_cancelled_);
    }
    if (f) f();
  }

  // Waits.
  Status Result() {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return result_.has_value(); });
    return Status(result_->code(), result_->message());
  }
  bool done() {
    const std::lock_guard lock(mutex_);
    return result_.has_value();
  }

  inference::ModelInferRequest request_;
  inference::ModelInferResponse response_;
  std::chrono::system_clock::time_point deadline_ = std::chrono::system_clock::time_point::max();
  std::atomic<bool> cancelled_ = false;
  std::map<std::string, std::string> trailers_;

 private:
  std::mutex mutex_;
  std::condition_variable finished_;
  std::optional<Status> result_;
  std::function<void()> when_cancelled_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_HOST_FAKE_CALL_H_
