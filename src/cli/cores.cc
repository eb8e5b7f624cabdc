#include "cli/cores.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string_view>

#include "base/core_binding.h"

namespace infenclave {
namespace {

// Of a file's first line: 0 for "max" or -1, which are no quota, and for what is no number.
double NumberIn(std::istream& in) {
  double value = 0;
  return in >> value && value > 0 ? value : 0;
}

// A group's own quota, in processors; 0 if it has none.
double OwnQuota(const std::string& folder, bool unified) {
  double quota = 0, period = 0;
  if (unified) {
    std::ifstream file(folder + "/cpu.max");
    quota = NumberIn(file);
    period = quota > 0 ? NumberIn(file) : 0;
  } else {
    std::ifstream quota_file(folder + "/cpu.cfs_quota_us"), period_file(folder + "/cpu.cfs_period_us");
    quota = NumberIn(quota_file);
    period = NumberIn(period_file);
  }
  return quota > 0 && period > 0 ? quota / period : 0;
}

// Whether "cpu,cpuacct" lists "cpu".
bool Lists(std::string_view controllers, std::string_view wanted) {
  while (!controllers.empty()) {
    const std::string_view name = controllers.substr(0, controllers.find(','));
    if (name == wanted) return true;
    controllers.remove_prefix(std::min(controllers.size(), name.size() + 1));
  }
  return false;
}

}  // namespace

int QuotaOf(const std::string& groups, const std::string& mount) {
  double smallest = 0;
  std::istringstream lines(groups);
  for (std::string line; std::getline(lines, line);) {  // "4:cpu,cpuacct:/path", or "0::/path" for version 2
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool unified = controllers.empty();
    if (!unified && !Lists(controllers, "cpu")) continue;
    const std::string root = unified ? mount : mount + "/" + controllers;
    for (std::string path = line.substr(second + 1);; path.resize(path.rfind('/'))) {
      const double own = OwnQuota(root + path, unified);
      if (own > 0) smallest = smallest > 0 ? std::min(smallest, own) : own;
      if (path.find('/') == std::string::npos) break;
    }
  }
  return static_cast<int>(std::ceil(std::min(smallest, 1e6)));
}

int AvailableCores() {
  const int allowed = AllowedCores();
  std::ifstream file("/proc/self/cgroup");
  std::ostringstream groups;
  groups << file.rdbuf();
  const int quota = QuotaOf(groups.str(), "/sys/fs/cgroup");
  return quota > 0 ? std::min(allowed, quota) : allowed;
}

}  // namespace infenclave
