// Each case runs in a child that enters the sandbox and then does one thing: what is allowed ends with exit status 0,
// what is not, by SIGSYS. Threads that were there before are held to it, too.
#include "enclave/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/landlock.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <functional>
#include <thread>

#include "base/file.h"
#include "crypto/primitives.h"

// A sanitizer's runtime makes system calls of its own, which the sandbox does not allow.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SKIP_UNDER_SANITIZER() GTEST_SKIP() << "UNDER A SANITIZER: not tested"
#else
#define SKIP_UNDER_SANITIZER() static_cast<void>(0)
#endif

namespace infenclave {
namespace {

enum class Stage { kRestricted, kEntered, kCodeClosed };

// The wait status of a child that does `action` after `stage`, on a thread that was started before it entered.
int After(Stage stage, const std::function<bool()>& action, const SandboxOptions& options = {}) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    StatusOr<Sandbox> sandbox = Sandbox::Prepare(options);
    if (!sandbox.ok() || !sandbox->RestrictFiles().ok()) ::_exit(101);
    std::atomic<bool> started{false}, go{false};
    std::thread early([&] {
      started = true;  // starting a thread is itself forbidden inside
      while (!go) ::sched_yield();
      ::_exit(action() ? 0 : 1);
    });
    while (!started) ::sched_yield();
    if (stage != Stage::kRestricted && !sandbox->Enter().ok()) ::_exit(102);
    if (stage == Stage::kCodeClosed && !sandbox->CloseCodeGeneration().ok()) ::_exit(103);
    go = true;
    early.join();
  }
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return status;
}

bool Killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS; }
bool Done(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }

bool MakeExecutable() {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page != MAP_FAILED && ::mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0;
}

TEST(Sandbox, LetsTheEnclaveCompute) {
  SKIP_UNDER_SANITIZER();
  EXPECT_TRUE(Done(After(Stage::kCodeClosed, [] {
    Bytes large(8 << 20, 1);
    SecretBytes secret(1 << 20);
    RandomBytes(secret.mutable_span());
    return Sha256(large) != Sha256(secret.span());
  })));
}

TEST(Sandbox, KillsWhoOpensAFileMakesASocketOrStartsAProgram) {
  SKIP_UNDER_SANITIZER();
  EXPECT_TRUE(Killed(After(Stage::kEntered, [] { return ::open("/etc/passwd", O_RDONLY) >= 0; })));
  EXPECT_TRUE(Killed(After(Stage::kEntered, [] { return ::socket(AF_INET, SOCK_STREAM, 0) >= 0; })));
  EXPECT_TRUE(Killed(After(Stage::kEntered, [] { return ::execl("/bin/true", "true", nullptr) == 0; })));
  EXPECT_TRUE(Killed(After(Stage::kEntered, [] { return ::fork() >= 0; })));
  EXPECT_TRUE(Killed(After(Stage::kEntered, [] { return ::unlink("/tmp/none") == 0; })));
  EXPECT_TRUE(Killed(After(Stage::kEntered, [] { return ::prctl(PR_SET_DUMPABLE, 1) == 0; })));
}

TEST(Sandbox, CodeMayBeGeneratedUntilTheNetworksAreCompiledAndNotAfter) {
  SKIP_UNDER_SANITIZER();
  EXPECT_TRUE(Done(After(Stage::kEntered, MakeExecutable)));
  EXPECT_TRUE(Killed(After(Stage::kCodeClosed, MakeExecutable)));
  EXPECT_TRUE(Killed(After(Stage::kCodeClosed, [] {
    return ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
  })));
}

TEST(Sandbox, LeavesNoCoreAndCannotBeTraced) {
  EXPECT_TRUE(Done(After(Stage::kRestricted, [] {
    rlimit core{};
    return ::getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0 && ::prctl(PR_GET_DUMPABLE) == 0 &&
           ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
  })));
}

TEST(Sandbox, LandlockAloneKeepsFilesOutOfReachWhereTheKernelHasIt) {
  if (::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) < 0) {
    GTEST_SKIP() << "THIS KERNEL HAS NO LANDLOCK: not tested";
  }
  EXPECT_TRUE(Done(After(Stage::kRestricted, [] {
    return ::open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES && ::mkdir("/tmp/infenclave-none", 0700) < 0;
  })));
}

TEST(Sandbox, EvidenceByFilesReachesItsFolderAndNothingElse) {
  SKIP_UNDER_SANITIZER();
  if (::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) < 0) {
    GTEST_SKIP() << "THIS KERNEL HAS NO LANDLOCK: not tested";
  }
  const std::string folder = testing::TempDir() + "/infenclave-evidence";
  ASSERT_TRUE(::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST);
  ASSERT_TRUE(WriteFileAtomic(folder + "/outblob", AsBytes("report")).ok());
  const SandboxOptions options{.evidence_folder = folder};
  EXPECT_TRUE(Done(After(
      Stage::kCodeClosed,
      [&] {
        UniqueFd inside(::open((folder + "/outblob").c_str(), O_RDWR));
        char c = 0;
        return inside.valid() && ::read(inside.get(), &c, 1) == 1 && c == 'r';
      },
      options)));
  EXPECT_TRUE(Done(After(
      Stage::kCodeClosed, [] { return ::open("/etc/passwd", O_RDONLY) < 0; }, options)));
  EXPECT_TRUE(Killed(After(
      Stage::kCodeClosed, [] { return ::mkdir("/tmp/none", 0700) == 0; }, options)));
}

}  // namespace
}  // namespace infenclave
