#include "host/worker_pool.h"

#include <future>

namespace infenclave {

StatusOr<std::unique_ptr<WorkerPool>> WorkerPool::Start(const RequestQueue::Options& options,
                                                        const BackNetFactory& backnet, Serve serve) {
  std::unique_ptr<WorkerPool> pool(new WorkerPool(options, std::move(serve)));
  std::vector<std::future<Status>> started;
  for (int lane = 0; lane < options.workers; ++lane) {
    std::promise<Status> promise;
    started.push_back(promise.get_future());
    pool->threads_.emplace_back([pool = pool.get(), lane, backnet, promise = std::move(promise)]() mutable {
      StatusOr<std::unique_ptr<BackNet>> mine = backnet();
      promise.set_value(mine.status());
      if (mine.ok()) pool->Work(lane, **mine);
    });
  }
  Status status;
  for (std::future<Status>& one : started) {
    if (Status s = one.get(); !s.ok()) status = s;
  }
  if (!status.ok()) return status;  // the pool's destructor ends the others
  return pool;
}

void WorkerPool::Work(int lane, BackNet& backnet) {
  while (std::optional<RequestQueue::Work> work = queue_.Take()) {
    if (work->job) {
      work->job(lane);
    } else if (serve_(work->batch, lane, backnet)) {
      queue_.BatchDone();
    }
  }
}

WorkerPool::~WorkerPool() {
  queue_.Close();
  for (std::thread& thread : threads_) thread.join();
}

}  // namespace infenclave
