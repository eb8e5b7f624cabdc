// Where each buffer lies in one arena, planned before anything runs.
#ifndef INFENCLAVE_GRAPH_MEMORY_PLAN_H_
#define INFENCLAVE_GRAPH_MEMORY_PLAN_H_

#include <cstddef>
#include <span>
#include <vector>

namespace infenclave {

inline constexpr size_t kArenaAlignment = 64;

// Live from step `first` to step `last`, both included.
struct PlannedBuffer {
  size_t bytes = 0;
  int first = 0, last = 0;
};

struct MemoryPlan {
  std::vector<size_t> offsets;  // one per buffer, multiples of kArenaAlignment
  size_t arena_bytes = 0;
};

// Buffers that live at the same time do not overlap. Greedy by size: the largest first, each into the smallest gap that
// holds it among those placed before that live at the same time, else at their end (Pisarchyk & Lee 2020, "Efficient
// Memory Management for Deep Neural Net Inference"). Within a few per cent of the lower bound on the networks we
// know; it never moves data.
MemoryPlan PlanMemory(std::span<const PlannedBuffer> buffers);

}  // namespace infenclave

#endif  // INFENCLAVE_GRAPH_MEMORY_PLAN_H_
