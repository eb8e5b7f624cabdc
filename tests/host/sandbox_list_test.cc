// The enclave's list of system calls is as short as it can be: each of its entries is taken away in turn, by a library
// between infenclave-enclave and libseccomp, and some run of it must then die.
#include <gtest/gtest.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <thread>

#include "host/enclave_link.h"
#include "tests/host/raw_enclave.h"

namespace infenclave {
namespace {

using Environment = std::vector<std::string>;

constexpr size_t kLargeBatch = 256;

const Environment kPreload = {"LD_PRELOAD=" INFENCLAVE_WITHOUT_CALL};

Environment With(Environment environment, const std::vector<std::string>& more) {
  environment.insert(environment.end(), more.begin(), more.end());
  return environment;
}

// A grant, where there is none yet, and a picture; false where the enclave does not answer any more.
bool Serves(const TestBundle& bundle, const TestHost& host, uint32_t seed) {
  const StatusOr<GetEvidenceReply> evidence = host.GetEvidence();
  if (!evidence.ok()) return false;
  const KeyConfig config = *DecodeKeyConfig(evidence->key_config);
  if (!evidence->provisioned && !host.Send(bundle.ProvisionCallFor(config, 7)).ok()) return false;
  const Bytes rgb = RandomPicture(seed), credential = EncodeCredential(bundle.MakeCredentialFor("alice"));
  const SealedRequest request =
      host.Seal(config, {.credential = credential, .height = TinyModel::kSide, .width = TinyModel::kSide, .rgb = rgb});
  const StatusOr<BeginResult> begun = host.Begin({request.sealed});
  if (!begun.ok() || !begun->reply.items.at(0).accepted()) return false;
  const StatusOr<FinishReply> finished = host.Finish({begun->reply.items[0].id}, bundle.BackNetScores(begun->reply.ir));
  return finished.ok() && finished->items.at(0).status.ok() &&
         OpenAnswer(request.context, finished->items[0].answer).ok();
}

// Whether it serves over shared memory: grants, rotations of its key, pictures on each lane; is stopped and goes
// on; and ends in order when its host goes.
bool ServesAHost(const Environment& environment) {
  const TestBundle bundle;
  RawEnclave enclave(bundle,
                     {"--lanes", "2", "--threads-per-lane", "2", "--requests-per-key", "5", "--overlap", "9",
                      "--max-batch", std::to_string(kLargeBatch)},
                     environment);
  if (!enclave.started()) return false;
  for (int lane = 0; lane < 2; ++lane) {
    const TestHost host(bundle, [&](ByteSpan call) { return enclave.Call(call, lane); });
    for (uint32_t seed = 0; seed < 10; ++seed) {
      if (!Serves(bundle, host, seed)) return false;
    }
    if (!host.Begin(std::vector<ByteSpan>(kLargeBatch)).ok()) return false;
    ::kill(enclave.process().pid(), SIGSTOP);
    ::waitpid(enclave.process().pid(), nullptr, WUNTRACED);
    ::kill(enclave.process().pid(), SIGCONT);
  }
  for (int lane = 0; lane < 2; ++lane) enclave.CloseDoorbell(lane);
  const int status = enclave.process().Wait();
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// The same for one that listens: two hosts, one after the other.
bool ServesWhoConnects(const Environment& environment) {
  const TestBundle bundle;
  const std::string folder = bundle.Write(), address = "unix:" + folder + "/socket";
  const EnclaveProcess process({"--bundle", folder, "--listen", address}, environment);
  bool served = true;
  for (int i = 0; i < 2 && served; ++i) {
    StatusOr<std::unique_ptr<EnclaveLink>> link = EnclaveLink::Attach(address);
    while (!link.ok() && process.running()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      link = EnclaveLink::Attach(address);
    }
    const TestHost host(bundle, [&](ByteSpan call) {
      const StatusOr<ByteSpan> reply = (*link)->Call(call, 0);
      return reply.ok() ? ToBytes(*reply) : EncodeErrorReply(reply.status());
    });
    served = link.ok() && Serves(bundle, host, 1);
  }
  std::filesystem::remove_all(folder);
  return served && process.running();
}

// Not shown by any scenario, for it takes a larger network than the tests' own.
const std::map<int, const char*> kArgued = {
    {SCMP_SYS(sched_yield), "threads of oneDNN's matrix product wait for each other with it"},
};

struct Scenario {
  const char* what;
  std::function<bool(const Environment&)> serves;
  Environment environment;
};

const std::vector<Scenario>& Scenarios() {
  static const std::vector<Scenario> scenarios = {
      {"shared memory", ServesAHost, {}},
      {"listening", ServesWhoConnects, {}},
      {"no memfd_secret, one heap for all threads",
       ServesAHost,
       {"INFENCLAVE_TEST_NO_SECRETMEM=1", "MALLOC_ARENA_MAX=1", "INFENCLAVE_TEST_FULL_HEAP=1"}},
      {"large blocks", ServesAHost, {"INFENCLAVE_TEST_LARGE_BLOCKS=1"}},
  };
  return scenarios;
}

std::vector<int> Listed() {
  const std::string path = testing::TempDir() + "/infenclave-allowed-calls";
  std::filesystem::remove(path);
  EXPECT_TRUE(ServesWhoConnects(With(kPreload, {"INFENCLAVE_TEST_LIST=" + path})));
  std::ifstream in(path);
  std::vector<int> out;
  for (int call; in >> call;) out.push_back(call);
  std::filesystem::remove(path);
  return out;
}

TEST(SandboxList, WithAllOfItEveryRunIsServed) {
  for (const Scenario& scenario : Scenarios())
    EXPECT_TRUE(scenario.serves(With(kPreload, scenario.environment))) << scenario.what;
}

TEST(SandboxList, WithoutAnyOneEntrySomeRunDies) {
  const std::vector<int> calls = Listed();
  EXPECT_GT(calls.size(), 10u);
  for (int call : calls) {
    if (kArgued.contains(call)) continue;
    const std::string without = Concat("INFENCLAVE_TEST_WITHOUT=", call);
    EXPECT_TRUE(std::any_of(Scenarios().begin(), Scenarios().end(),
                            [&](const Scenario& scenario) {
                              return !scenario.serves(With(With(kPreload, scenario.environment), {without}));
                            }))
        << seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call) << " is not needed";
  }
}

}  // namespace
}  // namespace infenclave
