#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <system_error>
#include <vector>

#include "cli/flags.h"

namespace {

// At the end of every layer an engine's threads wait for each other. By default libgomp spins there for a millisecond,
// which on a busy machine keeps the thread waited for from running and makes a network a hundred times slower; sleeping
// at once costs a third on an idle one. Briefly spinning is best at both, but libgomp reads its environment before
// main, so the program starts once more with it set. A setting of the user's own holds.
void SpinBriefly(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  ::setenv("GOMP_SPINCOUNT", "1000", 1);
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) ::execv(self.c_str(), argv);  // where it fails, everything still works
}

}  // namespace

int main(int argc, char** argv) {
  SpinBriefly(argv);
  const std::vector<infenclave::Command> commands = {
#include "cli/commands.inc"
  };
  return infenclave::RunCommandLine(commands, {argv + 1, argv + argc}, std::cout, std::cerr);
}
