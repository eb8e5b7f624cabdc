// The bounded queue between gRPC's threads, which put calls in and never wait, and the workers, which take batches out.
//
// Calls leave in the order in which they came. Those whose deadline has passed or whose caller has gone are finished
// here, before they cost the enclave anything. A batch is a worker's fair share of what waits, so that a few requests
// spread over all workers and only a crowd is batched; all of a batch wait for its last, so where the share is below
// `least_batch`, with which batches begin to gain, requests go one by one. Where `max_delay` is given, a batch that is
// not full waits that long for more, but never while nothing else is in flight. A batch counts as in flight until its
// worker says that it is done, which may be long after the worker has turned to the next: at most `max_in_flight` are.
// Of the workers that wait, the one is woken that last ran on the core of who brings the call: that core is awake, has
// the request in its caches and is about to be idle, while waking another takes longer than all else that is done here.
//
// Jobs that end batches in flight go first. Control jobs (evidence, provisioning) go before calls, but one at a time
// and in turn with them, so that nobody can stop the service by asking for evidence.
#ifndef INFENCLAVE_HOST_REQUEST_QUEUE_H_
#define INFENCLAVE_HOST_REQUEST_QUEUE_H_

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "base/status.h"
#include "oip/service.h"

namespace infenclave {

class RequestQueue {
 public:
  // Runs on a worker, which passes its lane.
  using Job = std::function<void(int lane)>;
  struct Work {
    Job job;                        // if set, the batch is empty; must be run
    std::vector<InferCall*> batch;  // the worker finishes each, and then calls BatchDone or has called PushEnd
  };
  struct Options {
    size_t max_calls = 256;
    size_t max_controls = 64;
    int workers = 1;
    int max_batch = 1;
    int least_batch = 1;  // where max_delay is not given
    std::chrono::microseconds max_delay{0};
    int max_in_flight = 0;  // batches; 0: no bound, which is right where workers do nothing else meanwhile
  };

  explicit RequestQueue(const Options& options);

  // RESOURCE_EXHAUSTED when full, UNAVAILABLE when closed; the call or job is then still the caller's.
  Status Push(InferCall* call);
  Status PushControl(Job control);
  // Finishes the calls of a batch that was taken out, after which it is no longer in flight. Never refused.
  void PushEnd(Job end);
  void BatchDone();
  // Blocks until there is work. Nothing when the queue is closed and empty, and nothing in flight.
  std::optional<Work> Take();
  size_t waiting();  // calls
  size_t idle();     // workers that wait for one
  // Takes nothing more; what waits is still handed out.
  void Close();

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    InferCall* call;
    Clock::time_point since;  // only where max_delay is given
  };
  // All with the mutex held.
  bool MayTake() const { return options_.max_in_flight == 0 || in_flight_ < options_.max_in_flight; }
  bool ControlIsDue() const;
  bool BatchIsDue() const;
  Job TakeControl();
  Job TakeEnd();
  std::vector<InferCall*> TakeBatch();
  void Wait(std::unique_lock<std::mutex>& lock);
  void WakeOne();
  void WakeAll();

  // A worker that waits, and the core that it went to sleep on.
  struct Sleeper {
    int core;
    std::condition_variable wake;
    bool woken = false;
  };

  const Options options_;
  std::mutex mutex_;
  std::vector<Sleeper*> sleepers_;
  std::deque<Waiting> calls_;
  std::deque<Job> controls_, ends_;
  int in_flight_ = 0;
  bool closed_ = false;
  bool control_runs_ = false, calls_turn_ = false;
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_REQUEST_QUEUE_H_
