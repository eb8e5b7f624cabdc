#include "host/request_queue.h"

#include <algorithm>

namespace infenclave {
namespace {

Status Closed() { return Unavailable("the server is shutting down: try another one"); }

// Finished here if nobody waits for it any more.
bool FinishIfDead(InferCall* call) {
  if (call->cancelled()) {
    call->Finish(Cancelled("the caller gave up"));
    return true;
  }
  if (call->deadline() <= std::chrono::system_clock::now()) {
    call->Finish(DeadlineExceeded("the deadline passed while the request waited for a worker"));
    return true;
  }
  return false;
}

}  // namespace

Status RequestQueue::Push(InferCall* call) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Closed();
    if (calls_.size() >= options_.max_calls) {
      return ResourceExhausted("all workers are busy and ", options_.max_calls, " requests wait: try again later");
    }
    calls_.push_back(call);
  }
  wake_.notify_one();
  return OkStatus();
}

Status RequestQueue::PushControl(Control control) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Closed();
    if (controls_.size() >= options_.max_controls) {
      return ResourceExhausted(options_.max_controls, " requests for evidence wait: try again later");
    }
    controls_.push_back(std::move(control));
  }
  wake_.notify_one();
  return OkStatus();
}

std::optional<RequestQueue::Work> RequestQueue::Take() {
  while (true) {
    Work work;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closed_ || ControlIsDue() || !calls_.empty(); });
      if (ControlIsDue()) {
        work.control = TakeControl();
        return work;
      }
      if (calls_.empty()) return std::nullopt;
      const size_t workers = static_cast<size_t>(options_.workers);
      const size_t share = std::clamp<size_t>((calls_.size() + workers - 1) / workers, 1, options_.max_batch);
      calls_turn_ = false;
      work.batch.assign(calls_.begin(), calls_.begin() + static_cast<ptrdiff_t>(share));
      calls_.erase(calls_.begin(), calls_.begin() + static_cast<ptrdiff_t>(share));
    }
    std::erase_if(work.batch, FinishIfDead);
    if (!work.batch.empty()) return work;
  }
}

bool RequestQueue::ControlIsDue() const {
  return !controls_.empty() && !control_runs_ && !(calls_turn_ && !calls_.empty());
}

RequestQueue::Control RequestQueue::TakeControl() {
  Control control = std::move(controls_.front());
  controls_.pop_front();
  control_runs_ = calls_turn_ = true;
  return [this, control = std::move(control)](int lane) {
    control(lane);
    {
      const std::lock_guard lock(mutex_);
      control_runs_ = false;
    }
    wake_.notify_one();
  };
}

size_t RequestQueue::waiting() {
  const std::lock_guard lock(mutex_);
  return calls_.size();
}

void RequestQueue::Close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  wake_.notify_all();
}

}  // namespace infenclave
