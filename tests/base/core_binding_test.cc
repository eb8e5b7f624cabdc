#include "base/core_binding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

namespace infenclave {
namespace {

cpu_set_t Mask() {
  cpu_set_t mask;
  EXPECT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
  return mask;
}

TEST(CoreBinding, HoldsWhileItLives) {
  const cpu_set_t before = Mask();
  EXPECT_EQ(AllowedCores(), CPU_COUNT(&before));
  {
    const CoreBinding binding(0);
    EXPECT_EQ(AllowedCores(), 1);
  }
  const cpu_set_t after = Mask();
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

TEST(CoreBinding, CountsOnlyTheCoresThatTheThreadMayUse) {
  const cpu_set_t allowed = Mask();
  const int cores = AllowedCores();
  cpu_set_t seen;
  CPU_ZERO(&seen);
  for (int index = 0; index < 2 * cores; ++index) {
    const CoreBinding binding(index);
    const cpu_set_t bound = Mask();
    ASSERT_EQ(CPU_COUNT(&bound), 1) << index;
    CPU_OR(&seen, &seen, &bound);
    EXPECT_EQ(CPU_COUNT(&seen), std::min(index + 1, cores)) << "another core for each";
  }
  EXPECT_TRUE(CPU_EQUAL(&seen, &allowed));
}

TEST(CoreBinding, NestedInAnotherItHasThatCoreAlone) {
  const CoreBinding outer(1);
  const cpu_set_t bound = Mask();
  const CoreBinding inner(5);
  const cpu_set_t within = Mask();
  EXPECT_TRUE(CPU_EQUAL(&bound, &within));
}

TEST(CoreBinding, KeptItOutlivesItsScope) {
  const int cores = AllowedCores();
  std::thread([] {
    { CoreBinding(0).Keep(); }
    EXPECT_EQ(AllowedCores(), 1);
  }).join();
  EXPECT_EQ(AllowedCores(), cores) << "this thread is as it was";
}

}  // namespace
}  // namespace infenclave
