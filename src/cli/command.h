// One subcommand of `infenclave`: its name, one line of help, one real example, its flags and what it does.
//
// Each command is one file, src/cli/<command>.cc, that defines `Command <Name>Command()`; main.cc lists them. CLI11 is
// heavy to compile, so only main.cc includes it; commands declare their flags through Flags.
//
// run() returns OK (exit 0), or a status: INVALID_USAGE is reported by the parser (exit 2), PERMISSION_DENIED exits 3,
// anything else 1. main prints "infenclave <command>: <message>" on standard error. With --json a command prints JSON
// and nothing else on standard output.
#ifndef INFENCLAVE_CLI_COMMAND_H_
#define INFENCLAVE_CLI_COMMAND_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"

namespace infenclave {

class Flags {
 public:
  virtual ~Flags() = default;
  // `name` is "MODEL" for a positional, "--batch" for an option. The targets must live as long as the command.
  virtual void Text(const std::string& name, std::string* target, const std::string& help, bool required = false) = 0;
  virtual void Texts(const std::string& name, std::vector<std::string>* target, const std::string& help,
                     bool required = false) = 0;  // repeated positionals, or an option's comma-separated list
  virtual void Int(const std::string& name, int64_t* target, const std::string& help, int64_t low, int64_t high) = 0;
  virtual void Real(const std::string& name, double* target, const std::string& help, double low, double high) = 0;
  virtual void Switch(const std::string& name, bool* target, const std::string& help) = 0;
  virtual void OneOf(const std::string& name, std::string* target, const std::vector<std::string>& choices,
                     const std::string& help, bool required = false) = 0;
};

struct Command {
  std::string name, summary, example;
  std::function<void(Flags&)> declare;
  std::function<Status()> run;
};

// A wrong combination of flags that the parser cannot see: exits 2 like the parser's own errors.
Status UsageError(const std::string& message);
bool IsUsageError(const Status& status);

Command InspectCommand();
Command RunCommand();
Command BenchCommand();
Command QuantizeCommand();
Command AssessCommand();
Command KeygenCommand();
Command InviteCommand();
Command PartitionCommand();
Command ServeCommand();
Command ProvisionCommand();
Command ReleasesCommand();
Command BacknetCommand();
Command ClassifyCommand();
Command AttestCommand();
Command VerifyCommand();
Command MeasurementsCommand();

}  // namespace infenclave

#endif  // INFENCLAVE_CLI_COMMAND_H_
