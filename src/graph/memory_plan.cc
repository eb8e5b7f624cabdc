#include "graph/memory_plan.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace infenclave {

MemoryPlan PlanMemory(std::span<const PlannedBuffer> buffers) {
  auto aligned = [](size_t bytes) { return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; };
  std::vector<size_t> by_size(buffers.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](size_t a, size_t b) { return buffers[a].bytes > buffers[b].bytes; });

  MemoryPlan plan{std::vector<size_t>(buffers.size()), 0};
  std::vector<size_t> placed;  // in order of offset
  for (size_t i : by_size) {
    const PlannedBuffer& buffer = buffers[i];
    size_t bytes = aligned(buffer.bytes), best = SIZE_MAX, best_gap = SIZE_MAX, end = 0;
    for (size_t j : placed) {
      const PlannedBuffer& other = buffers[j];
      if (other.last < buffer.first || buffer.last < other.first) continue;
      if (plan.offsets[j] >= end + bytes && plan.offsets[j] - end < best_gap) {
        best = end;
        best_gap = plan.offsets[j] - end;
      }
      end = std::max(end, plan.offsets[j] + aligned(other.bytes));
    }
    plan.offsets[i] = best == SIZE_MAX ? end : best;
    plan.arena_bytes = std::max(plan.arena_bytes, plan.offsets[i] + bytes);
    auto later = [&](size_t offset, size_t j) { return offset < plan.offsets[j]; };
    placed.insert(std::upper_bound(placed.begin(), placed.end(), plan.offsets[i], later), i);
  }
  return plan;
}

}  // namespace infenclave
