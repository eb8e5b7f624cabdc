// What can be read of a running enclave by who may read every process: no key, pixel, label or weight, for they lie in
// memory that the kernel itself does not map. As root only, and where the kernel has memfd_secret.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "host/enclave_link.h"
#include "tests/enclave/harness.h"

namespace infenclave {
namespace {

pid_t OnlyChild() {
  std::vector<pid_t> out;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream in(thread.path() / "children");
    for (pid_t pid; in >> pid;) out.push_back(pid);
  }
  INFENCLAVE_CHECK(out.size() == 1);
  return out[0];
}

// Every byte of the process that its /proc/PID/mem gives, mapping by mapping.
std::vector<Bytes> Dump(pid_t pid) {
  const std::string folder = Concat("/proc/", pid);
  UniqueFd memory(::open((folder + "/mem").c_str(), O_RDONLY));
  std::vector<Bytes> out;
  std::ifstream maps(folder + "/maps");
  for (std::string line; std::getline(maps, line);) {
    uint64_t from = 0, to = 0;
    char readable = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %c", &from, &to, &readable) != 3 || readable != 'r') continue;
    Bytes bytes;
    Bytes page(4096);
    for (uint64_t at = from; at < to; at += page.size()) {  // a page at a time: some may be denied
      if (::pread(memory.get(), page.data(), page.size(), static_cast<off_t>(at)) == 4096) {
        bytes.insert(bytes.end(), page.begin(), page.end());
      }
    }
    out.push_back(std::move(bytes));
  }
  return out;
}

bool Holds(const std::vector<Bytes>& dump, ByteSpan wanted) {
  return std::any_of(dump.begin(), dump.end(), [&](const Bytes& bytes) {
    return ::memmem(bytes.data(), bytes.size(), wanted.data(), wanted.size()) != nullptr;
  });
}

template <typename T>
ByteSpan Raw(const std::vector<T>& values, size_t from, size_t count) {
  return {reinterpret_cast<const uint8_t*>(values.data() + from), count * sizeof(T)};
}

TEST(Memory, NoSecretOfARunningEnclaveCanBeRead) {
  if (::geteuid() != 0) GTEST_SKIP() << "NOT ROOT: not tested";
  TestBundle bundle;
  const std::string folder = bundle.Write();
  auto link = EnclaveLink::Spawn({std::string(INFENCLAVE_BINARY_DIR) + "/infenclave-enclave", folder, {}});
  ASSERT_TRUE(link.ok()) << link.status();
  if ((*link)->start_line().find("secret-memory=memfd_secret") == std::string::npos) {
    GTEST_SKIP() << "NO memfd_secret (" << (*link)->start_line() << "): not tested";
  }
  TestHost host(bundle, [&](ByteSpan call) {
    StatusOr<ByteSpan> reply = (*link)->Call(call, 0);
    return reply.ok() ? ToBytes(*reply) : EncodeErrorReply(reply.status());
  });
  ASSERT_EQ(host.Provision(), OkStatus());
  std::vector<Bytes> pictures;
  for (uint32_t seed = 0; seed < 20; ++seed) pictures.push_back(RandomPicture(seed));
  for (const Bytes& rgb : pictures) ASSERT_TRUE(host.Classify(rgb).ok());
  const SealedRequest waiting = host.Seal(RandomPicture(99));
  ASSERT_TRUE(host.BeginOne(waiting.sealed).accepted());  // pending while we look

  const std::vector<Bytes> dump = Dump(OnlyChild());
  std::filesystem::remove_all(folder);
  // The method sees what is there: the manifest is public.
  ASSERT_TRUE(Holds(dump, bundle.parts.manifest));
  EXPECT_FALSE(Holds(dump, bundle.frontnet_key.span().first(16))) << "FrontNet key";
  EXPECT_FALSE(Holds(dump, bundle.mapping_key.span().first(16))) << "mapping key";
  EXPECT_FALSE(Holds(dump, Raw(bundle.model.conv_weights, 27, 6))) << "FrontNet weights";
  for (const std::string& label : bundle.mapping.labels) EXPECT_FALSE(Holds(dump, AsBytes(label))) << label;
  pictures.push_back(RandomPicture(99));
  for (size_t i = 0; i < pictures.size(); ++i) {
    EXPECT_FALSE(Holds(dump, Raw(pictures[i], 48, 24))) << "pixels of picture " << i;
  }
}

}  // namespace
}  // namespace infenclave
