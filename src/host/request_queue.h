// The bounded queue between gRPC's threads, which put calls in and never wait, and the workers, which take batches out.
//
// Calls leave in the order in which they came. Those whose deadline has passed or whose caller has gone are finished
// here, before they cost the enclave anything. A batch is a worker's fair share of what waits, so that a few requests
// spread over all workers and only a crowd is batched. Control jobs (evidence, provisioning) go before calls, but one
// at a time and in turn with them, so that nobody can stop the service by asking for evidence.
#ifndef INFENCLAVE_HOST_REQUEST_QUEUE_H_
#define INFENCLAVE_HOST_REQUEST_QUEUE_H_

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
  using Control = std::function<void(int lane)>;
  struct Work {
    Control control;                // if set, the batch is empty; must be run
    std::vector<InferCall*> batch;  // the worker finishes each
  };
  struct Options {
    size_t max_calls = 256;
    size_t max_controls = 64;
    int workers = 1;
    int max_batch = 1;
  };

  explicit RequestQueue(const Options& options) : options_(options) {}

  // RESOURCE_EXHAUSTED when full, UNAVAILABLE when closed; the call or job is then still the caller's.
  Status Push(InferCall* call);
  Status PushControl(Control control);
  // Blocks until there is work. Nothing when the queue is closed and empty.
  std::optional<Work> Take();
  size_t waiting();  // calls
  // Takes nothing more; what waits is still handed out.
  void Close();

 private:
  // Both with the mutex held.
  bool ControlIsDue() const;
  Control TakeControl();

  const Options options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<InferCall*> calls_;
  std::deque<Control> controls_;
  bool closed_ = false;
  bool control_runs_ = false, calls_turn_ = false;
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_REQUEST_QUEUE_H_
