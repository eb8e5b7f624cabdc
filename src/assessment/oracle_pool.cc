#include "assessment/oracle_pool.h"

#include <utility>

namespace infenclave {

StatusOr<std::unique_ptr<OraclePool>> OraclePool::Start(const OracleModel& model, const Preprocessing& preprocessing,
                                                        int threads, int batch) {
  std::unique_ptr<OraclePool> pool(new OraclePool(batch));
  for (int i = 0; i < threads; ++i) {
    pool->threads_.emplace_back([p = pool.get(), &model, &preprocessing] { p->Work(model, preprocessing); });
  }
  std::unique_lock lock(pool->mutex_);
  pool->changed_.wait(lock, [&] { return pool->ready_ == threads; });
  if (!pool->error_.ok()) return pool->error_;
  return pool;
}

OraclePool::~OraclePool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    queue_.clear();
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Status OraclePool::Submit(Job job) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !error_.ok() || queue_.size() < 2 * threads_.size(); });
  if (!error_.ok()) return error_;
  queue_.push_back(std::move(job));
  lock.unlock();
  changed_.notify_all();
  return OkStatus();
}

Status OraclePool::Drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return queue_.empty() && running_ == 0; });
  return error_;
}

void OraclePool::Work(const OracleModel& model, const Preprocessing& preprocessing) {
  StatusOr<Oracle> oracle = Oracle::Create(model, preprocessing, batch_, weights_);
  std::unique_lock lock(mutex_);
  ++ready_;
  if (oracle.ok()) {
    classes_ = oracle->classes();
  } else if (error_.ok()) {
    error_ = oracle.status();
  }
  changed_.notify_all();
  if (!oracle.ok()) return;
  for (;;) {
    changed_.wait(lock, [&] { return stop_ || !queue_.empty(); });
    if (stop_) return;
    const Job job = std::move(queue_.front());
    queue_.pop_front();
    ++running_;
    lock.unlock();
    changed_.notify_all();
    Status status = job(*oracle);
    lock.lock();
    --running_;
    if (!status.ok() && error_.ok()) {
      error_ = std::move(status);
      queue_.clear();
    }
    changed_.notify_all();
  }
}

}  // namespace infenclave
