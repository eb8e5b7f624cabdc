#include "base/core_binding.h"

#include <algorithm>
#include <thread>

namespace infenclave {

int AllowedCores() {
  cpu_set_t mask;  // which std::thread::hardware_concurrency() disregards with some versions of glibc
  if (::sched_getaffinity(0, sizeof(mask), &mask) == 0) return CPU_COUNT(&mask);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

CoreBinding::CoreBinding(int index) {
  if (::sched_getaffinity(0, sizeof(before_), &before_) != 0) return;
  int left = index % CPU_COUNT(&before_), core = 0;
  while (!CPU_ISSET(core, &before_) || left-- > 0) ++core;
  cpu_set_t wanted;
  CPU_ZERO(&wanted);
  CPU_SET(core, &wanted);
  bound_ = ::sched_setaffinity(0, sizeof(wanted), &wanted) == 0;
}

CoreBinding::~CoreBinding() {
  if (bound_) (void)::sched_setaffinity(0, sizeof(before_), &before_);
}

}  // namespace infenclave
