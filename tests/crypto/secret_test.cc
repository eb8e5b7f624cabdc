#include "crypto/secret.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <thread>

namespace infenclave {
namespace {

struct Block {
  uint8_t* data;
  size_t size;
};

bool IsZero(ByteSpan bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

// Whatever was written before, what comes out is zero, aligned and nobody else's.
void Churn(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Block> live;
  for (int i = 0; i < 3000; ++i) {
    if (live.size() > 40 || (random() % 3 == 0 && !live.empty())) {
      const size_t k = random() % live.size();
      const uint8_t mark = live[k].data[0];
      EXPECT_TRUE(std::all_of(live[k].data, live[k].data + live[k].size, [mark](uint8_t b) { return b == mark; }));
      SecretMemory()->deallocate(live[k].data, live[k].size);
      live.erase(live.begin() + static_cast<ptrdiff_t>(k));
    } else {
      const size_t size = 1 + random() % (size_t{1} << (random() % 19));
      auto* data = static_cast<uint8_t*>(SecretMemory()->allocate(size));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
      EXPECT_TRUE(IsZero({data, size})) << size;
      std::memset(data, static_cast<int>(1 + random() % 255), size);
      live.push_back({data, size});
    }
  }
  for (const Block& b : live) SecretMemory()->deallocate(b.data, b.size);
}

TEST(SecretMemory, HandsOutZeroAlignedMemoryUnderChurn) { Churn(1); }

TEST(SecretMemory, IsThreadSafe) {
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) threads.emplace_back(Churn, t);
  for (auto& t : threads) t.join();
}

TEST(SecretMemory, WipesWhatIsGivenBack) {
  // A freed small block stays mapped, so it can be looked at (AddressSanitizer would object).
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "SKIPPED: reads freed memory on purpose";
#endif
  auto* data = static_cast<volatile uint8_t*>(SecretMemory()->allocate(4096));
  for (int i = 0; i < 4096; ++i) data[i] = 0xa5;
  SecretMemory()->deallocate(const_cast<uint8_t*>(data), 4096);
  for (int i = 0; i < 4096; ++i) ASSERT_EQ(data[i], 0) << i;
}

TEST(SecretMemory, AlignmentUpToAPage) {
  for (size_t alignment : {1, 64, 128, 1024, 4096}) {
    for (size_t size : {1, 100, 5000, 100000}) {
      void* p = SecretMemory()->allocate(size, alignment);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % alignment, 0u);
      SecretMemory()->deallocate(p, size, alignment);
    }
  }
  EXPECT_THROW((void)SecretMemory()->allocate(64, 8192), std::bad_alloc);
  EXPECT_THROW((void)SecretMemory()->allocate(SIZE_MAX / 2 + 1), std::bad_alloc);
}

// Limits bind processes without CAP_IPC_LOCK, so this drops root. A block over the limit goes on in unlocked memory,
// and the kind says so while it is there and only then; the keys stay where they were.
void CheckWeakestKind() {
  const rlimit small{1 << 20, 1 << 20}, none{0, 0};
  INFENCLAVE_CHECK(setrlimit(RLIMIT_MEMLOCK, &small) == 0);
  if (geteuid() == 0) INFENCLAVE_CHECK(setuid(65534) == 0);
  const std::string_view before = SecretMemoryKind();
  INFENCLAVE_CHECK(before != "unlocked");
  const SecretBytes key = SecretBytes::CopyOf(AsBytes("key"));
  const size_t size = 48 << 20;
  auto* weights = static_cast<uint8_t*>(SecretMemory()->allocate(size));
  std::memset(weights, 1, size);
  INFENCLAVE_CHECK(SecretMemoryKind() == "unlocked");
  SecretMemory()->deallocate(weights, size);
  INFENCLAVE_CHECK(SecretMemoryKind() == before);
  // Idle blocks are given up before a new block goes without a lock: together these are over the limit.
  for (size_t each = 100 << 10; each < 600 << 10; each += 50 << 10) {
    SecretMemory()->deallocate(SecretMemory()->allocate(each), each);
    INFENCLAVE_CHECK(SecretMemoryKind() == before);
  }
  INFENCLAVE_CHECK(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
  const SecretBytes unlocked(5 << 20);
  INFENCLAVE_CHECK(SecretMemoryKind() == "unlocked");
  std::fprintf(stderr, "ok, was %s\n", std::string(before).c_str());
  _exit(0);
}

TEST(SecretMemoryDeathTest, SaysTheWeakestKindInUse) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "SKIPPED: the sanitizers make mlock do nothing";
#endif
  testing::GTEST_FLAG(death_test_style) = "threadsafe";  // secret memory does not survive fork()
  EXPECT_EXIT(CheckWeakestKind(), testing::ExitedWithCode(0), "ok, was (memfd_secret|locked)");
}

TEST(SecretBytes, MovesAndTruncates) {
  SecretBytes a = SecretBytes::CopyOf(AsBytes("a key of some length"));
  SecretBytes b = std::move(a);
  EXPECT_EQ(AsText(b.span()), "a key of some length");
  EXPECT_TRUE(a.empty());  // NOLINT(bugprone-use-after-move): the moved-from state is part of the contract
  const uint8_t* data = b.data();
  b.Truncate(5);
  EXPECT_EQ(AsText(b.span()), "a key");
  EXPECT_TRUE(IsZero({data + 5, 15}));
  SecretBytes c;
  c = b.Clone();
  EXPECT_TRUE(ConstantTimeEqual(b.span(), c.span()));
  EXPECT_NE(b.data(), c.data());
  EXPECT_TRUE(IsZero(SecretBytes(100).span()));
  EXPECT_TRUE(SecretBytes::CopyOf({}).empty());
}

TEST(ConstantTimeEqual, ComparesContentsAndLengths) {
  EXPECT_TRUE(ConstantTimeEqual({}, {}));
  EXPECT_TRUE(ConstantTimeEqual(AsBytes("abc"), AsBytes("abc")));
  EXPECT_FALSE(ConstantTimeEqual(AsBytes("abc"), AsBytes("abd")));
  EXPECT_FALSE(ConstantTimeEqual(AsBytes("abc"), AsBytes("ab")));
}

}  // namespace
}  // namespace infenclave
