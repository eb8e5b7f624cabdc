#include "enclave/sandbox.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/file.h"

namespace infenclave {
namespace {

// What Landlock can govern, by version of its interface; newer bits than the system's header knows are written out.
constexpr uint64_t kFileAccess = (uint64_t{1} << 13) - 1;
constexpr uint64_t kRefer = 1 << 13, kTruncate = 1 << 14, kIoctlDevice = 1 << 15;
constexpr uint64_t kBindTcp = 1 << 0, kConnectTcp = 1 << 1;
constexpr uint64_t kScopeAbstractUnixSocket = 1 << 0, kScopeSignal = 1 << 1;

struct RulesetAttributes {
  uint64_t files = 0, network = 0, scoped = 0;
};

// Everything that serving needs, and nothing else (tests/host/sandbox_list_test.cc takes each away in turn): the
// channel, waiting, memory (secret memory too), random bytes, and ending. There is no clock, no signal handler, and no
// abort(), which dies of the sandbox instead. The engine allocates, starts no thread, and makes code executable while
// it compiles; oneDNN's matrix product on several threads yields.
constexpr int kAllowed[] = {
    SCMP_SYS(recvfrom),  SCMP_SYS(recvmsg),        SCMP_SYS(sendto),    SCMP_SYS(sendmsg),
    SCMP_SYS(read),      SCMP_SYS(write),          SCMP_SYS(poll),      SCMP_SYS(close),
    SCMP_SYS(futex),     SCMP_SYS(sched_yield),    SCMP_SYS(mmap),      SCMP_SYS(munmap),
    SCMP_SYS(mprotect),  SCMP_SYS(madvise),        SCMP_SYS(brk),       SCMP_SYS(memfd_secret),
    SCMP_SYS(ftruncate), SCMP_SYS(mlock),          SCMP_SYS(getrandom), SCMP_SYS(restart_syscall),
    SCMP_SYS(getpid),    SCMP_SYS(rt_sigprocmask), SCMP_SYS(exit),      SCMP_SYS(exit_group),
    SCMP_SYS(seccomp)};
constexpr int kAllowedToAccept[] = {SCMP_SYS(accept4), SCMP_SYS(setsockopt)};
// Evidence by files: opening them, which Landlock keeps to one folder.
constexpr int kAllowedForEvidence[] = {SCMP_SYS(openat)};

Status SeccompStatus(int error, std::string_view what) {
  errno = -error;
  return ErrnoStatus(Concat("seccomp: ", what));
}

Status Allow(scmp_filter_ctx filter, std::span<const int> calls) {
  for (int call : calls) {
    if (int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0); error != 0) {
      return SeccompStatus(error, Concat("system call ", call));
    }
  }
  return OkStatus();
}

Status Install(scmp_filter_ctx filter, std::string_view what) {
  int error = seccomp_load(filter);
  return error == 0 ? OkStatus() : SeccompStatus(error, what);
}

int LandlockAbi() {
  long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi < 0 ? 0 : static_cast<int>(abi);
}

Status RestrictWithLandlock(int abi, const std::string& evidence_folder) {
  RulesetAttributes attributes;
  attributes.files = kFileAccess | (abi >= 2 ? kRefer : 0) | (abi >= 3 ? kTruncate : 0) | (abi >= 5 ? kIoctlDevice : 0);
  if (abi >= 4) attributes.network = kBindTcp | kConnectTcp;
  if (abi >= 6) attributes.scoped = kScopeAbstractUnixSocket | kScopeSignal;
  const size_t size = abi >= 6 ? sizeof(attributes) : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
  UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, size, 0)));
  if (!ruleset.valid()) return ErrnoStatus("landlock");
  if (!evidence_folder.empty()) {
    UniqueFd folder(::open(evidence_folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid()) return ErrnoStatus(evidence_folder);
    landlock_path_beneath_attr rule{};
    rule.allowed_access = attributes.files & ~uint64_t{LANDLOCK_ACCESS_FS_EXECUTE};
    rule.parent_fd = folder.get();
    if (::syscall(SYS_landlock_add_rule, ruleset.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
      return ErrnoStatus("landlock");
    }
  }
  return ::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) == 0 ? OkStatus() : ErrnoStatus("landlock");
}

}  // namespace

struct Sandbox::Filters {
  scmp_filter_ctx serving = nullptr;  // a list of what is allowed
  scmp_filter_ctx no_code = nullptr;  // on top of it: no new executable memory, no further filter
  ~Filters() {
    if (serving != nullptr) seccomp_release(serving);
    if (no_code != nullptr) seccomp_release(no_code);
  }
};

Sandbox::Sandbox(std::unique_ptr<Filters> filters) : filters_(std::move(filters)) {}
Sandbox::Sandbox(Sandbox&&) noexcept = default;
Sandbox::~Sandbox() = default;

StatusOr<Sandbox> Sandbox::Prepare(const SandboxOptions& options) {
  auto filters = std::make_unique<Filters>();
  filters->serving = seccomp_init(SCMP_ACT_KILL_PROCESS);
  filters->no_code = seccomp_init(SCMP_ACT_ALLOW);
  if (filters->serving == nullptr || filters->no_code == nullptr) return ResourceExhausted("seccomp: out of memory");
  for (scmp_filter_ctx filter : {filters->serving, filters->no_code}) {
    if (int error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1); error != 0) {
      return SeccompStatus(error, "filters for all threads");
    }
  }
  INFENCLAVE_RETURN_IF_ERROR(Allow(filters->serving, kAllowed));
  if (options.accept_connections) INFENCLAVE_RETURN_IF_ERROR(Allow(filters->serving, kAllowedToAccept));
  if (!options.evidence_folder.empty()) INFENCLAVE_RETURN_IF_ERROR(Allow(filters->serving, kAllowedForEvidence));
  for (int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    int refused = seccomp_rule_add(filters->no_code, SCMP_ACT_KILL_PROCESS, call, 1,
                                   SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
    if (refused != 0) return SeccompStatus(refused, "executable memory");
  }
  // No further filter after it; and it comes when prctl is forbidden already, so it must not ask for "no new
  // privileges".
  int error = seccomp_rule_add(filters->no_code, SCMP_ACT_KILL_PROCESS, SCMP_SYS(seccomp), 0);
  if (error == 0) error = seccomp_attr_set(filters->no_code, SCMP_FLTATR_CTL_NNP, 0);
  if (error != 0) return SeccompStatus(error, "further filters");
  Sandbox out(std::move(filters));
  out.options_ = options;
  return out;
}

Status Sandbox::RestrictFiles() {
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return ErrnoStatus("core dumps");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return ErrnoStatus("not dumpable");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return ErrnoStatus("no new privileges");
  landlock_abi_ = LandlockAbi();
  return landlock_abi_ == 0 ? OkStatus() : RestrictWithLandlock(landlock_abi_, options_.evidence_folder);
}

Status Sandbox::Enter() { return Install(filters_->serving, "the sandbox"); }

Status Sandbox::CloseCodeGeneration() { return Install(filters_->no_code, "the end of code generation"); }

std::string Sandbox::Describe() const {
  return landlock_abi_ == 0 ? "seccomp" : Concat("seccomp+landlock", landlock_abi_);
}

}  // namespace infenclave
