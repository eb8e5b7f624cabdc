// The real enclave process behind its real channel: spawned over shared memory, attached over sockets, killed, refused.
#include "host/enclave_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "base/core_binding.h"
#include "base/file.h"
#include "enclave/channel.h"
#include "enclave/socket_address.h"
#include "tests/enclave/harness.h"

extern char** environ;

namespace infenclave {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const std::string kEnclave = INFENCLAVE_BINARY_DIR "/infenclave-enclave";

struct Folder {
  std::string path;
  explicit Folder(const TestBundle& bundle) : path(bundle.Write()) {}
  ~Folder() { std::filesystem::remove_all(path); }
};

TestHost HostOn(const TestBundle& bundle, EnclaveLink& link, int lane = 0) {
  return TestHost(bundle, [&link, lane](ByteSpan call) {
    StatusOr<ByteSpan> reply = link.Call(call, lane);
    return reply.ok() ? ToBytes(*reply) : EncodeErrorReply(reply.status());
  });
}

void ExpectServes(const TestBundle& bundle, EnclaveLink& link, int lane, uint32_t seed) {
  const Bytes rgb = RandomPicture(seed);
  StatusOr<Answer> answer = HostOn(bundle, link, lane).Classify(rgb);
  ASSERT_TRUE(answer.ok()) << answer.status();
  const std::vector<AnswerClass> expected = bundle.Expected(rgb);
  ASSERT_EQ(answer->classes.size(), expected.size()) << answer->message;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(answer->classes[i].label, expected[i].label);
    EXPECT_NEAR(answer->classes[i].probability, expected[i].probability, 1e-5);
  }
}

// The processes whose parent is this test.
std::vector<pid_t> Children() {
  std::vector<pid_t> out;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream in(thread.path() / "children");
    for (pid_t pid; in >> pid;) out.push_back(pid);
  }
  return out;
}

// An enclave that listens, started as an operator would.
class ListeningEnclave {
 public:
  ListeningEnclave(const std::string& bundle, const std::string& address, int lanes) {
    int out[2];
    INFENCLAVE_CHECK(::pipe(out) == 0);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    ::posix_spawn_file_actions_addclose(&actions, out[0]);
    std::vector<std::string> strings = {kEnclave,  "--bundle",           bundle, "--listen", address,
                                        "--lanes", std::to_string(lanes)};
    std::vector<char*> arguments;
    for (std::string& s : strings) arguments.push_back(s.data());
    arguments.push_back(nullptr);
    INFENCLAVE_CHECK(::posix_spawn(&pid_, kEnclave.c_str(), &actions, nullptr, arguments.data(), environ) == 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    UniqueFd ready(out[0]);
    for (char c = 0; ::read(ready.get(), &c, 1) == 1 && c != '\n';) line_ += c;
  }
  ~ListeningEnclave() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  void Kill() const { ::kill(pid_, SIGKILL); }
  std::string address() const { return line_.substr(line_.find(' ') + 1); }

 private:
  pid_t pid_ = -1;
  std::string line_;
};

TEST(EnclaveLink, SpawnsProvisionsAndClassifiesOnEveryLane) {
  TestBundle bundle;
  Folder folder(bundle);
  auto link = EnclaveLink::Spawn({kEnclave, folder.path, {.lanes = 3}});
  ASSERT_TRUE(link.ok()) << link.status();
  EXPECT_THAT((*link)->start_line(), StartsWith("tee=simulated secret-memory="));
  EXPECT_THAT((*link)->start_line(), HasSubstr(" sandbox=seccomp"));
  EXPECT_THAT((*link)->start_line(), HasSubstr("no protection from the owner of this machine"));
  EXPECT_EQ((*link)->lanes(), 3);
  EXPECT_TRUE((*link)->alive());
  ASSERT_EQ(HostOn(bundle, **link, 1).Provision(), OkStatus());
  std::vector<std::thread> threads;
  for (int lane = 0; lane < 3; ++lane) {
    threads.emplace_back([&, lane] {
      for (uint32_t i = 0; i < 20; ++i) ExpectServes(bundle, **link, lane, 100 * static_cast<uint32_t>(lane) + i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(HostOn(bundle, **link, 2).Provision(), OkStatus());  // a second grant, after code generation has closed
  ExpectServes(bundle, **link, 0, 7);
}

TEST(EnclaveLink, ALaneMayHaveSeveralThreads) {
  TestBundle bundle;
  Folder folder(bundle);
  auto link = EnclaveLink::Spawn({kEnclave, folder.path, {.lanes = 2, .threads_per_lane = 2}});
  ASSERT_TRUE(link.ok()) << link.status();
  ASSERT_EQ(HostOn(bundle, **link).Provision(), OkStatus());
  ExpectServes(bundle, **link, 0, 1);
  ExpectServes(bundle, **link, 1, 2);
}

TEST(EnclaveLink, TheMeasurementIsTheExecutablesHash) {
  TestBundle bundle;
  Folder folder(bundle);
  auto link = EnclaveLink::Spawn({kEnclave, folder.path, {}});
  ASSERT_TRUE(link.ok()) << link.status();
  StatusOr<GetEvidenceReply> reply = HostOn(bundle, **link).GetEvidence(RandomArray<32>());
  ASSERT_TRUE(reply.ok()) << reply.status();
  SimulatedEvidence evidence = *DecodeSimulatedEvidence(DecodeEvidenceEnvelope(reply->evidence)->evidence);
  EXPECT_EQ(evidence.measurement, Sha256(*ReadFile(kEnclave, size_t{1} << 30)));
}

TEST(EnclaveLink, FailsWithTheEnclavesOwnReason) {
  TestBundle hardware([](Manifest& m) { m.tee_class = TeeClass::kHardware; });
  Folder hardware_folder(hardware);
  EXPECT_EQ(EnclaveLink::Spawn({kEnclave, hardware_folder.path, {}}).status(),
            PermissionDenied("enclave: the bundle is for hardware TEEs only, and this enclave is simulated"));

  TestBundle bundle;
  bundle.parts.frontnet_sealed[50] ^= 1;
  Folder altered(bundle);
  EXPECT_EQ(EnclaveLink::Spawn({kEnclave, altered.path, {}}).status().code(), StatusCode::kPermissionDenied);
  EXPECT_EQ(EnclaveLink::Spawn({kEnclave, "/nonexistent", {}}).status().code(), StatusCode::kNotFound);
}

TEST(EnclaveLink, AnExecutableThatIsNoneFailsAtOnce) {
  EXPECT_EQ(EnclaveLink::Spawn({"/nonexistent/enclave", "x", {}}).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(EnclaveLink::Spawn({"/bin/false", "x", {}}).status(),
            Unavailable("the enclave process did not start: it ended with exit status 1"));
}

// The processors that each thread of a process may use, as the kernel lists them: "0-1".
std::vector<std::string> AllowedCoresOfThreads(pid_t pid) {
  std::vector<std::string> out;
  for (const auto& thread : std::filesystem::directory_iterator(Concat("/proc/", pid, "/task"))) {
    std::ifstream in(thread.path() / "status");
    for (std::string word; in >> word;) {
      if (word == "Cpus_allowed_list:") in >> out.emplace_back();
    }
  }
  return out;
}

TEST(EnclaveLink, LanesAreBoundToACoreEachWhereThatIsAsked) {
  const int lanes = AllowedCores();
  if (lanes == 1) GTEST_SKIP() << "one core is all that anything can have";
  for (const bool bound : {false, true}) {
    TestBundle bundle;
    Folder folder(bundle);
    auto link = EnclaveLink::Spawn({kEnclave, folder.path, {.lanes = lanes, .bind_lanes = bound}});
    ASSERT_TRUE(link.ok()) << link.status();
    std::vector<std::string> cores = AllowedCoresOfThreads(Children().at(0));
    std::erase_if(cores, [](const std::string& list) { return list.find_first_of(",-") != std::string::npos; });
    EXPECT_EQ(std::set(cores.begin(), cores.end()).size(), bound ? static_cast<size_t>(lanes) : 0u);
    ASSERT_EQ(HostOn(bundle, **link).Provision(), OkStatus());
    for (int lane = 0; lane < lanes; ++lane) ExpectServes(bundle, **link, lane, 7);
  }
}

TEST(EnclaveLink, WhenTheEnclaveDiesEveryLaneIsUnavailableAtOnceAndForever) {
  TestBundle bundle;
  Folder folder(bundle);
  auto link = EnclaveLink::Spawn({kEnclave, folder.path, {.lanes = 2}});
  ASSERT_TRUE(link.ok()) << link.status();
  ASSERT_EQ(HostOn(bundle, **link).Provision(), OkStatus());
  const std::vector<pid_t> children = Children();
  ASSERT_EQ(children.size(), 1u);
  // Both lanes are in use while it happens.
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int lane = 0; lane < 2; ++lane) {
    threads.emplace_back([&, lane] {
      const Bytes call = EncodeCall(GetEvidenceCall{Nonce{}});
      while ((*link)->Call(call, lane).ok()) {
      }
      ++failed;
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(::kill(children[0], SIGKILL), 0);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 2);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  EXPECT_FALSE((*link)->alive());
  Status status = (*link)->Call(EncodeCall(GetEvidenceCall{}), 1).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(MessageOf(status), HasSubstr("was ended by signal 9"));
  EXPECT_THAT(MessageOf(status), HasSubstr("provision it again"));
}

TEST(EnclaveLink, GivesTheEnclaveNoneOfItsOwnEnvironment) {
  TestBundle bundle;
  Folder folder(bundle);
  ::setenv("OPENSSL_CONF", "/nowhere", 1);
  ::setenv("DNNL_MAX_CPU_ISA", "AVX512_CORE", 0);
  auto link = EnclaveLink::Spawn({kEnclave, folder.path, {}});
  ::unsetenv("OPENSSL_CONF");
  ASSERT_TRUE(link.ok()) << link.status();
  const StatusOr<Bytes> environment = ReadFile(Concat("/proc/", Children().at(0), "/environ"), 1 << 20);
  if (environment.status().code() == StatusCode::kPermissionDenied) GTEST_SKIP() << "NOT ROOT: not tested";
  ASSERT_TRUE(environment.ok()) << environment.status();
  EXPECT_THAT(std::string(AsText(*environment)), HasSubstr("OMP_WAIT_POLICY=passive"));
  EXPECT_THAT(std::string(AsText(*environment)), HasSubstr("DNNL_MAX_CPU_ISA="));
  EXPECT_THAT(std::string(AsText(*environment)), Not(HasSubstr("OPENSSL_CONF")));
}

TEST(EnclaveLink, LeavesNoProcessBehind) {
  TestBundle bundle;
  Folder folder(bundle);
  for (int i = 0; i < 2; ++i) {
    auto link = EnclaveLink::Spawn({kEnclave, folder.path, {}});
    ASSERT_TRUE(link.ok()) << link.status();
    EXPECT_EQ(Children().size(), 1u);
    link->reset();
    EXPECT_TRUE(Children().empty());
  }
}

TEST(EnclaveLink, ACallThatIsTooLongDoesNotReachTheEnclave) {
  TestBundle bundle;
  Folder folder(bundle);
  auto link = EnclaveLink::Spawn({kEnclave, folder.path, {}});
  ASSERT_TRUE(link.ok()) << link.status();
  EXPECT_EQ((*link)->Call(Bytes((*link)->max_call_bytes() + 1), 0).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE((*link)->alive());
  StatusOr<ByteSpan> reply = (*link)->Call(Bytes((*link)->max_call_bytes()), 0);  // zeros: no call, but an answer
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(DecodeProvisionReply(*reply).code(), StatusCode::kInvalidArgument);
}

TEST(EnclaveLink, AttachesOverUnixAndTcpAndAgainAfterAHostIsGone) {
  TestBundle bundle;
  Folder folder(bundle);
  for (const std::string& address : {"unix:" + folder.path + "/socket", std::string("tcp:127.0.0.1:0")}) {
    ListeningEnclave enclave(folder.path, address, 2);
    for (int attached = 0; attached < 3; ++attached) {
      auto link = EnclaveLink::Attach(enclave.address());
      ASSERT_TRUE(link.ok()) << link.status();
      EXPECT_EQ((*link)->lanes(), 2);
      EXPECT_TRUE((*link)->alive());
      if (attached == 0) {
        ASSERT_EQ(HostOn(bundle, **link, 1).Provision(), OkStatus());
      }
      ExpectServes(bundle, **link, 0, 1);
      ExpectServes(bundle, **link, 1, 2);
    }
    auto link = EnclaveLink::Attach(enclave.address());
    ASSERT_TRUE(link.ok()) << link.status();
    enclave.Kill();
    Status status = (*link)->Call(EncodeCall(GetEvidenceCall{}), 0).status();
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
    EXPECT_THAT(MessageOf(status), HasSubstr("is lost"));
    EXPECT_EQ((*link)->Call(EncodeCall(GetEvidenceCall{}), 1).status().code(), StatusCode::kUnavailable);
    EXPECT_FALSE((*link)->alive());
  }
}

TEST(EnclaveLink, ACallCutOffInTheMiddleEndsThatConnectionOnly) {
  TestBundle bundle;
  Folder folder(bundle);
  ListeningEnclave enclave(folder.path, "unix:" + folder.path + "/socket", 1);
  StatusOr<SocketAddress> address = ParseSocketAddress(enclave.address());
  ASSERT_TRUE(address.ok()) << address.status();
  for (std::string_view sent : {std::string_view("\0\0", 2), std::string_view("\0\0\1\0abc", 7),
                                std::string_view("\xff\xff\xff\xff", 4), std::string_view("\0\0\0\0", 4)}) {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address->storage), address->length), 0);
    ASSERT_EQ(::send(socket.get(), sent.data(), sent.size(), MSG_NOSIGNAL), static_cast<ssize_t>(sent.size()));
  }
  auto link = EnclaveLink::Attach(enclave.address());
  ASSERT_TRUE(link.ok()) << link.status();
  EXPECT_TRUE(HostOn(bundle, **link).GetEvidence().ok());
}

TEST(EnclaveLink, NobodyToAttachToIsSaidPlainly) {
  Status status = EnclaveLink::Attach("unix:/nonexistent/socket").status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(MessageOf(status), HasSubstr("cannot reach the enclave at unix:/nonexistent/socket"));
  EXPECT_EQ(EnclaveLink::Attach("nonsense").status().code(), StatusCode::kInvalidArgument);
}

// From the hello on, until the host leaves, the enclave opens no file and makes no socket: strace sees every call.
TEST(EnclaveLink, OpensNoFileAndNoSocketAfterItsStart) {
  if (::access("/usr/bin/strace", X_OK) != 0) GTEST_SKIP() << "STRACE IS NOT INSTALLED: not tested";
  TestBundle bundle;
  Folder folder(bundle);
  const std::string wrapper = folder.path + "/traced", trace = folder.path + "/trace";
  const std::string script = Concat("#!/bin/sh\nexec /usr/bin/strace -f -qq -o ", trace, " ", kEnclave, " \"$@\"\n");
  ASSERT_TRUE(WriteFileAtomic(wrapper, AsBytes(script), 0755).ok());
  {
    auto link = EnclaveLink::Spawn({wrapper, folder.path, {}});
    ASSERT_TRUE(link.ok()) << link.status();
    ASSERT_EQ(HostOn(bundle, **link).Provision(), OkStatus());
    ExpectServes(bundle, **link, 0, 1);
  }
  std::ifstream in(trace);
  bool started = false, opened_before = false;
  int calls = 0;
  for (std::string line; std::getline(in, line);) {
    const bool hello = line.find("SCM_RIGHTS") != line.npos;
    const bool forbidden = line.find(" open") != line.npos || line.find(" socket(") != line.npos ||
                           line.find(" connect(") != line.npos || line.find(" execve(") != line.npos;
    if (!started) opened_before |= forbidden;
    if (started) ++calls;
    EXPECT_FALSE(started && forbidden) << line;
    started |= hello;
  }
  EXPECT_TRUE(started && opened_before) << "the trace shows no start";
  EXPECT_GT(calls, 10);
}

}  // namespace
}  // namespace infenclave
