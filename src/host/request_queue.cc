#include "host/request_queue.h"

#include <sched.h>

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

RequestQueue::RequestQueue(const Options& options) : options_(options) {
  INFENCLAVE_CHECK(options.workers > 0 && options.max_batch > 0 && options.max_in_flight >= 0);
}

Status RequestQueue::Push(InferCall* call) {
  const auto now = options_.max_delay.count() > 0 ? Clock::now() : Clock::time_point();
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Closed();
    if (calls_.size() >= options_.max_calls) {
      return ResourceExhausted("all workers are busy and ", options_.max_calls, " requests wait: try again later");
    }
    calls_.push_back({call, now});
    WakeOne();
  }
  return OkStatus();
}

Status RequestQueue::PushControl(Job control) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Closed();
    if (controls_.size() >= options_.max_controls) {
      return ResourceExhausted(options_.max_controls, " requests for evidence wait: try again later");
    }
    controls_.push_back(std::move(control));
    WakeOne();
  }
  return OkStatus();
}

void RequestQueue::PushEnd(Job end) {
  const std::lock_guard lock(mutex_);
  ends_.push_back(std::move(end));
  WakeOne();
}

void RequestQueue::BatchDone() {
  const std::lock_guard lock(mutex_);
  --in_flight_;
  if (closed_ && in_flight_ == 0) WakeAll();
  if (!calls_.empty()) WakeOne();
}

std::optional<RequestQueue::Work> RequestQueue::Take() {
  while (true) {
    Work work;
    {
      std::unique_lock lock(mutex_);
      while (ends_.empty() && !ControlIsDue() && !BatchIsDue()) {
        if (closed_ && calls_.empty() && controls_.empty() && in_flight_ == 0) {
          WakeAll();
          return std::nullopt;
        }
        Wait(lock);
      }
      if (!ends_.empty()) {
        work.job = TakeEnd();
        return work;
      }
      if (ControlIsDue()) {
        work.job = TakeControl();
        return work;
      }
      work.batch = TakeBatch();
    }
    std::erase_if(work.batch, FinishIfDead);
    if (!work.batch.empty()) return work;
    BatchDone();
  }
}

bool RequestQueue::ControlIsDue() const {
  return !controls_.empty() && !control_runs_ && !(calls_turn_ && BatchIsDue());
}

bool RequestQueue::BatchIsDue() const {
  if (calls_.empty() || !MayTake()) return false;
  if (options_.max_delay.count() == 0 || closed_ || in_flight_ == 0) return true;
  return calls_.size() >= static_cast<size_t>(options_.max_batch) ||
         Clock::now() >= calls_.front().since + options_.max_delay;
}

void RequestQueue::Wait(std::unique_lock<std::mutex>& lock) {
  const bool delayed = options_.max_delay.count() > 0 && !calls_.empty() && MayTake();
  Sleeper self{.core = ::sched_getcpu()};
  sleepers_.push_back(&self);
  const auto woken = [&self] { return self.woken; };
  if (delayed) {
    self.wake.wait_until(lock, calls_.front().since + options_.max_delay, woken);
  } else {
    self.wake.wait(lock, woken);
  }
  if (!self.woken) std::erase(sleepers_, &self);
}

void RequestQueue::WakeOne() {
  if (sleepers_.empty()) return;
  const auto here = std::ranges::find(sleepers_, ::sched_getcpu(), &Sleeper::core);
  const auto chosen = here != sleepers_.end() ? here : sleepers_.begin();
  Sleeper* const sleeper = *chosen;
  sleepers_.erase(chosen);
  sleeper->woken = true;
  sleeper->wake.notify_one();  // with the mutex held: until it is let go, the sleeper lives
}

void RequestQueue::WakeAll() {
  while (!sleepers_.empty()) WakeOne();
}

std::vector<InferCall*> RequestQueue::TakeBatch() {
  const size_t workers = static_cast<size_t>(options_.workers);
  // Where requests wait for company, they are wanted in large batches; else all workers are wanted.
  const bool together = options_.max_delay.count() > 0;
  size_t share = together ? calls_.size() : (calls_.size() + workers - 1) / workers;
  if (!together && share < static_cast<size_t>(options_.least_batch)) share = 1;
  const auto end = calls_.begin() + static_cast<ptrdiff_t>(std::clamp<size_t>(share, 1, options_.max_batch));
  std::vector<InferCall*> batch;
  for (auto waiting = calls_.begin(); waiting != end; ++waiting) batch.push_back(waiting->call);
  calls_.erase(calls_.begin(), end);
  calls_turn_ = false;
  ++in_flight_;
  return batch;
}

RequestQueue::Job RequestQueue::TakeEnd() {
  Job end = std::move(ends_.front());
  ends_.pop_front();
  return [this, end = std::move(end)](int lane) {
    end(lane);
    BatchDone();
  };
}

RequestQueue::Job RequestQueue::TakeControl() {
  Job control = std::move(controls_.front());
  controls_.pop_front();
  control_runs_ = calls_turn_ = true;
  return [this, control = std::move(control)](int lane) {
    control(lane);
    const std::lock_guard lock(mutex_);
    control_runs_ = false;
    WakeOne();
  };
}

size_t RequestQueue::waiting() {
  const std::lock_guard lock(mutex_);
  return calls_.size();
}

size_t RequestQueue::idle() {
  const std::lock_guard lock(mutex_);
  return sleepers_.size();
}

void RequestQueue::Close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  WakeAll();
}

}  // namespace infenclave
