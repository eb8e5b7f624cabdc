// infenclave-enclave as `serve` spawns it, but with the host's ends of the channel laid open: what a host does with
// them that does not keep to the rules.
#ifndef INFENCLAVE_TESTS_HOST_RAW_ENCLAVE_H_
#define INFENCLAVE_TESTS_HOST_RAW_ENCLAVE_H_

#include <optional>
#include <string>
#include <vector>

#include "enclave/channel.h"
#include "tests/enclave/harness.h"

namespace infenclave {

// The process. `environment` (NAME=VALUE) comes on top of the test's own.
class EnclaveProcess {
 public:
  EnclaveProcess(const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
                 int channel = -1);
  EnclaveProcess(const EnclaveProcess&) = delete;
  EnclaveProcess& operator=(const EnclaveProcess&) = delete;
  // Kills it, if it still runs.
  ~EnclaveProcess();

  static constexpr int kChannel = 3;  // the number that `channel` has over there
  pid_t pid() const { return pid_; }
  bool running() const;
  // Until it ends: its wait status.
  int Wait();

 private:
  pid_t pid_ = -1;
};

class RawEnclave {
 public:
  RawEnclave(const TestBundle& bundle, std::vector<std::string> arguments,
             const std::vector<std::string>& environment = {});
  ~RawEnclave();

  // Whether its hello came.
  bool started() const { return slots_.has_value(); }
  EnclaveProcess& process() { return *process_; }
  MutableByteSpan call_area(int lane) const { return slots_->call(lane); }
  int doorbell(int lane) const { return doorbells_[static_cast<size_t>(lane)].get(); }
  void CloseDoorbell(int lane) { doorbells_[static_cast<size_t>(lane)].Reset(); }

  // An enclave that is gone answers with an error.
  Bytes Call(ByteSpan call, int lane) const;

 private:
  const std::string folder_;
  UniqueFd channel_;
  std::optional<EnclaveProcess> process_;
  uint64_t max_reply_ = 0;
  std::optional<SharedSlots> slots_;
  std::vector<UniqueFd> doorbells_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_HOST_RAW_ENCLAVE_H_
