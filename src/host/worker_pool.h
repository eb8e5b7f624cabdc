// Worker threads that drain a RequestQueue, each with a lane number and a BackNet of its own.
#ifndef INFENCLAVE_HOST_WORKER_POOL_H_
#define INFENCLAVE_HOST_WORKER_POOL_H_

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "host/backnet.h"
#include "host/request_queue.h"

namespace infenclave {

class WorkerPool {
 public:
  // Serves a batch: finishes every call in it, or returns false and leaves that to a job that it gives to PushEnd.
  using Serve = std::function<bool(std::vector<InferCall*>& batch, int lane, BackNet& backnet)>;
  // Makes each BackNet on its worker's thread; an error of any of them is returned.
  static StatusOr<std::unique_ptr<WorkerPool>> Start(const RequestQueue::Options& options,
                                                     const BackNetFactory& backnet, Serve serve);
  // Closes the queue; what waits is served before the workers end.
  ~WorkerPool();
  RequestQueue& queue() { return queue_; }

 private:
  WorkerPool(const RequestQueue::Options& options, Serve serve) : queue_(options), serve_(std::move(serve)) {}
  void Work(int lane, BackNet& backnet);

  RequestQueue queue_;
  const Serve serve_;
  std::vector<std::thread> threads_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_WORKER_POOL_H_
