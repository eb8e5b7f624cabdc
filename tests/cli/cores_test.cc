#include "cli/cores.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace infenclave {
namespace {

class Quota : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(mount_); }
  void Write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(mount_ + "/" + file).parent_path());
    std::ofstream(mount_ + "/" + file) << text << "\n";
  }
  const std::string mount_ = testing::TempDir() + "/cgroup_" + std::to_string(getpid());
};

TEST_F(Quota, IsTheSmallestOnTheWayToTheRoot) {
  Write("a/b/cpu.max", "max 100000");
  EXPECT_EQ(QuotaOf("0::/a/b\n", mount_), 0);
  Write("a/cpu.max", "250000 100000");
  EXPECT_EQ(QuotaOf("0::/a/b\n", mount_), 3);
  EXPECT_EQ(QuotaOf("0::/a\n", mount_), 3);
  EXPECT_EQ(QuotaOf("0::/\n", mount_), 0);
  Write("a/b/cpu.max", "50000 100000");
  EXPECT_EQ(QuotaOf("0::/a/b\n", mount_), 1);
  Write("cpu.max", "200000 100000");  // a container sees its own group as the root
  EXPECT_EQ(QuotaOf("0::/\n", mount_), 2);
}

TEST_F(Quota, OfVersionOneIsInItsOwnHierarchy) {
  Write("cpu,cpuacct/docker/x/cpu.cfs_quota_us", "400000");
  Write("cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000");
  EXPECT_EQ(QuotaOf("7:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:cpuset:/docker/x\n", mount_), 4);
  Write("cpu,cpuacct/docker/x/cpu.cfs_quota_us", "-1");
  EXPECT_EQ(QuotaOf("4:cpu,cpuacct:/docker/x\n", mount_), 0);
}

TEST_F(Quota, NonsenseIsNone) {
  Write("cpu.max", "many");
  for (const char* groups : {"", "0", "0:", "::", "0::/", "0::nowhere", "9:cpu:/x\n\n"}) {
    EXPECT_EQ(QuotaOf(groups, mount_), 0) << groups;
  }
}

TEST(AvailableCores, FollowsTheAffinityMask) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  EXPECT_GE(AvailableCores(), 1);
  EXPECT_LE(AvailableCores(), CPU_COUNT(&before));
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(AvailableCores(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
}

}  // namespace
}  // namespace infenclave
