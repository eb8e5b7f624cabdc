#include "graph/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace infenclave {
namespace {

void ExpectNoOverlap(const std::vector<PlannedBuffer>& buffers, const MemoryPlan& plan) {
  for (size_t i = 0; i < buffers.size(); ++i) {
    EXPECT_EQ(plan.offsets[i] % kArenaAlignment, 0u);
    EXPECT_LE(plan.offsets[i] + buffers[i].bytes, plan.arena_bytes);
    for (size_t j = 0; j < i; ++j) {
      bool together = buffers[i].first <= buffers[j].last && buffers[j].first <= buffers[i].last;
      bool apart = plan.offsets[i] + buffers[i].bytes <= plan.offsets[j] ||
                   plan.offsets[j] + buffers[j].bytes <= plan.offsets[i];
      EXPECT_TRUE(apart || !together) << i << " and " << j;
    }
  }
}

TEST(MemoryPlan, ChainNeedsItsTwoLargestNeighbours) {
  std::vector<PlannedBuffer> chain = {{64, 0, 1}, {640, 1, 2}, {1280, 2, 3}, {128, 3, 4}};
  MemoryPlan plan = PlanMemory(chain);
  ExpectNoOverlap(chain, plan);
  EXPECT_EQ(plan.arena_bytes, 640u + 1280u);
}

TEST(MemoryPlan, NothingNeedsNothing) { EXPECT_EQ(PlanMemory({}).arena_bytes, 0u); }

TEST(MemoryPlan, RandomLifetimesNeverOverlapAndStayNearTheLowerBound) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<PlannedBuffer> buffers(1 + random() % 60);
    for (PlannedBuffer& b : buffers) {
      b.bytes = random() % 5000;
      b.first = static_cast<int>(random() % 40);
      b.last = b.first + static_cast<int>(random() % 8);
    }
    MemoryPlan plan = PlanMemory(buffers);
    ExpectNoOverlap(buffers, plan);
    size_t bound = 0;
    for (int step = 0; step < 48; ++step) {
      size_t live = 0;
      for (const PlannedBuffer& b : buffers) {
        if (b.first <= step && step <= b.last) live += (b.bytes + 63) / 64 * 64;
      }
      bound = std::max(bound, live);
    }
    EXPECT_GE(plan.arena_bytes, bound);
    EXPECT_LE(plan.arena_bytes, bound + bound / 2);
  }
}

}  // namespace
}  // namespace infenclave
