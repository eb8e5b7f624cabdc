#ifndef INFENCLAVE_TESTS_ENGINE_COUNTING_MEMORY_H_
#define INFENCLAVE_TESTS_ENGINE_COUNTING_MEMORY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <new>

namespace infenclave::testing {

// Counts, and refuses beyond a limit as secret memory does.
class CountingMemory : public std::pmr::memory_resource {
 public:
  size_t live = 0, peak = 0, calls = 0, limit = SIZE_MAX;

 private:
  void* do_allocate(size_t bytes, size_t alignment) override {
    if (live + bytes > limit) throw std::bad_alloc();
    ++calls;
    live += bytes;
    peak = std::max(peak, live);
    return std::pmr::new_delete_resource()->allocate(bytes, alignment);
  }
  void do_deallocate(void* p, size_t bytes, size_t alignment) override {
    live -= bytes;
    std::pmr::new_delete_resource()->deallocate(p, bytes, alignment);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

}  // namespace infenclave::testing

#endif  // INFENCLAVE_TESTS_ENGINE_COUNTING_MEMORY_H_
