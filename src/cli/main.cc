#include <iostream>
#include <vector>

#include "cli/flags.h"

int main(int argc, char** argv) {
  const std::vector<infenclave::Command> commands = {
#include "cli/commands.inc"
  };
  return infenclave::RunCommandLine(commands, {argv + 1, argv + argc}, std::cout, std::cerr);
}
