// Oracles on threads of their own, one instance each, fed from one bounded queue.
#ifndef INFENCLAVE_ASSESSMENT_ORACLE_POOL_H_
#define INFENCLAVE_ASSESSMENT_ORACLE_POOL_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "assessment/oracle.h"

namespace infenclave {

class OraclePool {
 public:
  using Job = std::function<Status(Oracle&)>;

  // What `model` borrows must outlive the pool. Returns when every thread has compiled its oracle.
  static StatusOr<std::unique_ptr<OraclePool>> Start(const OracleModel& model, const Preprocessing& preprocessing,
                                                     int threads, int batch);
  ~OraclePool();  // drops what waits, finishes what runs

  int threads() const { return static_cast<int>(threads_.size()); }
  int classes() const { return classes_; }
  int batch() const { return batch_; }
  // The threads' own: an oracle made of the same graph elsewhere can share them too.
  const std::shared_ptr<PackedWeights>& weights() const { return weights_; }

  // Waits while the queue is full. After an error jobs are dropped, and the error is returned.
  Status Submit(Job job);
  // Waits until nothing is queued or running; the first error, if there was one.
  Status Drain();

 private:
  explicit OraclePool(int batch) : batch_(batch) {}
  void Work(const OracleModel& model, const Preprocessing& preprocessing);

  const int batch_;
  const std::shared_ptr<PackedWeights> weights_ = std::make_shared<PackedWeights>();
  int classes_ = 0;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> queue_;
  int running_ = 0, ready_ = 0;
  bool stop_ = false;
  Status error_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_ORACLE_POOL_H_
