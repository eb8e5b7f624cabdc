// The command line: parses the arguments of one of several commands, runs it, and turns its status into an exit status.
//
// CLI11 stays in flags.cc, for it is heavy to compile.
#ifndef INFENCLAVE_CLI_FLAGS_H_
#define INFENCLAVE_CLI_FLAGS_H_

#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "cli/command.h"

namespace infenclave {

inline constexpr int kExitDone = 0, kExitFailed = 1, kExitUsage = 2, kExitRefused = 3;

// `arguments` are those after the program's name. Help and version go to `out`, errors to `err` as
// "infenclave <command>: <message>". Commands write their own output themselves.
int RunCommandLine(std::span<const Command> commands, std::vector<std::string> arguments, std::ostream& out,
                   std::ostream& err);

}  // namespace infenclave

#endif  // INFENCLAVE_CLI_FLAGS_H_
