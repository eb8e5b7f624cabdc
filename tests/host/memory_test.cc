// What an enclave leaves to read. While it runs, to who may read every process: no key, pixel, label or weight, for
// they lie in memory that the kernel itself does not map (as root only, and where the kernel has memfd_secret); nothing
// in /proc; no open file. When it crashes: no core. At any time: no temporary file.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "host/enclave_link.h"
#include "tests/enclave/harness.h"
#include "tests/host/raw_enclave.h"

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

// ---- what else is left --------------------------------------------------------------------------------------------
struct TemporaryFolder {
  std::string path = testing::TempDir() + "/infenclave-traces-XXXXXX";
  TemporaryFolder() { INFENCLAVE_CHECK(::mkdtemp(path.data()) != nullptr); }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  bool empty() const { return std::filesystem::is_empty(path); }
};

void Serve(const TestBundle& bundle, const RawEnclave& enclave) {
  const TestHost host(bundle, [&](ByteSpan call) { return enclave.Call(call, 0); });
  ASSERT_EQ(host.Provision(), OkStatus());
  for (uint32_t seed = 0; seed < 3; ++seed) ASSERT_TRUE(host.Classify(RandomPicture(seed)).ok());
}

TEST(Traces, ACrashLeavesNoCore) {
  const TemporaryFolder folder;
  const std::filesystem::path before = std::filesystem::current_path();
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_CORE, &limit), 0);
  const rlimit unlimited{limit.rlim_max, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_CORE, &unlimited), 0);
  std::filesystem::current_path(folder.path);  // where cores go by default
  int status = 0;
  if (const pid_t other = ::fork(); other == 0) {
    ::raise(SIGSEGV);
  } else {
    ::waitpid(other, &status, 0);
  }
  const bool others_leave_cores = WCOREDUMP(status);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path)) std::filesystem::remove(entry);
  const TestBundle bundle;
  {
    RawEnclave enclave(bundle, {});
    Serve(bundle, enclave);
    ::kill(enclave.process().pid(), SIGSEGV);
    status = enclave.process().Wait();
  }
  std::filesystem::current_path(before);
  ::setrlimit(RLIMIT_CORE, &limit);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
  EXPECT_FALSE(WCOREDUMP(status));
  EXPECT_TRUE(folder.empty());
  if (!others_leave_cores) GTEST_SKIP() << "NO PROCESS LEAVES A CORE HERE: not tested";
}

TEST(Traces, NothingInProcNorInOpenOrTemporaryFiles) {
  if (::geteuid() != 0) GTEST_SKIP() << "NOT ROOT: not tested";
  const TestBundle bundle;
  const TemporaryFolder temporary;
  RawEnclave enclave(bundle, {}, {"TMPDIR=" + temporary.path});
  Serve(bundle, enclave);
  const std::string proc = Concat("/proc/", enclave.process().pid());
  for (const char* file : {"cmdline", "environ", "comm", "status", "stat", "maps", "smaps", "io", "mountinfo"}) {
    const StatusOr<Bytes> bytes = ReadFile(Concat(proc, "/", file), 16 << 20);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    for (const ByteSpan secret : {bundle.frontnet_key.span().first(16), bundle.mapping_key.span().first(16)}) {
      EXPECT_FALSE(Holds({*bytes}, secret)) << file;
      EXPECT_FALSE(Holds({*bytes}, AsBytes(HexEncode(secret)))) << file;
    }
    EXPECT_FALSE(Holds({*bytes}, AsBytes(bundle.mapping.labels[0]))) << file;
  }
  int descriptors = 0;
  for (const auto& entry : std::filesystem::directory_iterator(proc + "/fd")) {
    const std::string target = std::filesystem::read_symlink(entry).string();
    if (std::stoi(entry.path().filename()) > 2) {  // the standard streams are the test's own
      EXPECT_THAT(target,
                  testing::MatchesRegex("(socket:.*)|(anon_inode:\\[eventfd\\])|(/memfd:infenclave-channel.*)"));
    }
    ++descriptors;
  }
  EXPECT_GT(descriptors, 5);
  EXPECT_TRUE(temporary.empty());
}

}  // namespace
}  // namespace infenclave
