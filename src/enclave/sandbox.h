// What the enclave process gives up before the first byte from outside reaches it.
//
// In this order: RestrictFiles() while the process has one thread, since Landlock binds the calling thread and those it
// starts; then the engine's threads start and warm up; then Enter() installs, on all threads, a seccomp list of the
// system calls that serving needs, and death for every other; then, once the networks are compiled,
// CloseCodeGeneration() takes away making memory executable. Nothing can be undone.
#ifndef INFENCLAVE_ENCLAVE_SANDBOX_H_
#define INFENCLAVE_ENCLAVE_SANDBOX_H_

#include <memory>
#include <string>

#include "base/status.h"

namespace infenclave {

struct SandboxOptions {
  bool accept_connections = false;  // from a socket that listens already
  // Where evidence is made by files (configfs), the one folder that stays within reach; empty for none.
  std::string evidence_folder;
};

class Sandbox {
 public:
  // Builds the filters; changes nothing yet.
  static StatusOr<Sandbox> Prepare(const SandboxOptions& options);
  Sandbox(Sandbox&&) noexcept;
  Sandbox& operator=(Sandbox&&) = delete;
  ~Sandbox();

  // No core dumps, not dumpable, no new privileges, and Landlock where the kernel has it.
  Status RestrictFiles();
  Status Enter();
  Status CloseCodeGeneration();

  // "seccomp", "seccomp+landlock7"
  std::string Describe() const;

 private:
  struct Filters;
  explicit Sandbox(std::unique_ptr<Filters> filters);
  std::unique_ptr<Filters> filters_;
  SandboxOptions options_;
  int landlock_abi_ = 0;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ENCLAVE_SANDBOX_H_
