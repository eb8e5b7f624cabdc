// Threads that compute, each on a core of its own.
//
// A request passes from thread to thread and from process to process, each of which sleeps meanwhile. With as many at
// once as there are cores, the kernel now and then wakes two of them on the same core and leaves another idle; what
// computes on the lane of a core is therefore bound to that core, where the cores are this program's alone.
#ifndef INFENCLAVE_BASE_CORE_BINDING_H_
#define INFENCLAVE_BASE_CORE_BINDING_H_

#include <sched.h>

namespace infenclave {

// That the calling thread may use, by its affinity mask; at least 1.
int AllowedCores();

// Binds the calling thread, while this lives, to one of the cores that it may use: the `index`-th, counted round and
// round. A wish: where the kernel does not grant it, the thread runs where it did.
class CoreBinding {
 public:
  explicit CoreBinding(int index);
  ~CoreBinding();
  CoreBinding(const CoreBinding&) = delete;
  CoreBinding& operator=(const CoreBinding&) = delete;
  // The thread stays bound.
  void Keep() { bound_ = false; }

 private:
  cpu_set_t before_;
  bool bound_ = false;
};

}  // namespace infenclave

#endif  // INFENCLAVE_BASE_CORE_BINDING_H_
