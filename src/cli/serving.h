// What the commands that serve and the commands that ask have in common.
#ifndef INFENCLAVE_CLI_SERVING_H_
#define INFENCLAVE_CLI_SERVING_H_

#include <chrono>
#include <optional>
#include <string>

#include "base/status.h"

namespace infenclave {

// Said wherever the simulated TEE shows.
inline constexpr char kSimulatedWarning[] =
    "SIMULATED TEE: it protects against other processes of this machine, not against whoever runs it";

// Blocks SIGINT and SIGTERM, and SIGHUP if asked for, for this thread and all that it starts from now on, so that only
// this object gets them. A second signal to stop, after the first was taken, ends the process at once.
class StopSignal {
 public:
  explicit StopSignal(bool with_hangup = false);
  // The signal that has come, or nothing after `wait`.
  std::optional<int> Next(std::chrono::milliseconds wait);
  bool Wait(std::chrono::milliseconds wait) { return Next(wait).has_value(); }

 private:
  const bool with_hangup_;
};

// As many descriptors as may be had without asking: each connection takes one, and where none is left, gRPC closes the
// port that it listens on, for good.
void RaiseDescriptorLimit();

// The ready line, at once: `text`, or with --json {"ready":true,"address":ADDRESS}, and "http":HTTP where it is not
// empty.
void PrintReady(bool json, const std::string& address, const std::string& http, const std::string& text);

// A program that was built or installed beside this one.
StatusOr<std::string> SiblingExecutable(const std::string& name);

}  // namespace infenclave

#endif  // INFENCLAVE_CLI_SERVING_H_
