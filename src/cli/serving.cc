#include "cli/serving.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

namespace infenclave {
namespace {

sigset_t Signals(bool with_hangup) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (with_hangup) sigaddset(&set, SIGHUP);
  return set;
}

}  // namespace

StopSignal::StopSignal(bool with_hangup) : with_hangup_(with_hangup) {
  const sigset_t set = Signals(with_hangup);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

std::optional<int> StopSignal::Next(std::chrono::milliseconds wait) {
  const sigset_t set = Signals(with_hangup_);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(wait);
  const timespec time{seconds.count(), std::chrono::nanoseconds(wait - seconds).count()};
  const int signal = sigtimedwait(&set, nullptr, &time);
  if (signal < 0) return std::nullopt;
  if (signal != SIGHUP) pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  return signal;
}

void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

void PrintReady(bool json, const std::string& address, const std::string& http, const std::string& text) {
  if (json) {
    nlohmann::ordered_json ready{{"ready", true}, {"address", address}};
    if (!http.empty()) ready["http"] = http;
    std::cout << ready.dump() << std::endl;
  } else {
    std::cout << text << (http.empty() ? "" : " (HTTP on " + http + ")") << std::endl;
  }
}

StatusOr<std::string> SiblingExecutable(const std::string& name) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return Internal("cannot find out where this program lies: ", error.message());
  const std::filesystem::path sibling = self.parent_path() / name;
  if (access(sibling.c_str(), X_OK) != 0) {
    return NotFound("there is no program ", sibling.string(), ": build or install it beside ",
                    self.filename().string());
  }
  return sibling.string();
}

}  // namespace infenclave
