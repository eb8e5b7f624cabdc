// infenclave-attacks FOLDER [--threads N]: works on one job of `infenclave assess` (assessment/attack_job.h).
#include <charconv>
#include <cstdio>
#include <iostream>
#include <string_view>

#include "attacks/attack.h"

namespace {

int Usage() {
  std::cerr << "usage: infenclave-attacks FOLDER [--threads N]\n"
               "Works on one job that `infenclave assess` has written.\n";
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::string folder;
  int threads = 0;  // as many as there are cores
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--threads" && i + 1 < argc) {
      const std::string_view value = argv[++i];
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), threads);
      if (error != std::errc() || end != value.data() + value.size() || threads < 0 || threads > 256) return Usage();
    } else if (folder.empty() && !argument.empty() && argument[0] != '-') {
      folder = argument;
    } else {
      return Usage();
    }
  }
  if (folder.empty()) return Usage();
  if (threads > 0) at::set_num_threads(threads);
  const infenclave::Status status = infenclave::RunJob(folder, [](const infenclave::AttackProgress& progress) {
    std::cout << infenclave::AttackProgressToJson(progress) << std::endl;
  });
  if (status.ok()) return 0;
  std::cerr << "infenclave-attacks: " << infenclave::MessageOf(status) << "\n";
  return 1;
}
