#include "client/seen_versions.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>

#include "base/bytes.h"
#include "base/file.h"

namespace infenclave {
namespace {

constexpr size_t kMaxStateBytes = 1 << 20;

using Versions = std::map<std::string, uint64_t>;  // by the first two fields of a line

StatusOr<Versions> Read(const std::string& path) {
  StatusOr<Bytes> file = ReadFile(path, kMaxStateBytes);
  if (file.status().code() == StatusCode::kNotFound) return Versions{};
  if (!file.ok()) return file.status();
  Versions versions;
  std::istringstream lines{std::string(AsText(*file))};
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream fields(line);
    std::string owner, model, rest;
    uint64_t version = 0;
    if (!(fields >> owner >> model >> version) || fields >> rest) {
      return FailedPrecondition(path, ", line ", number,
                                ": not 'ed25519:OWNER MODEL VERSION' or the like; mend or remove the line");
    }
    versions[Concat(owner, " ", model)] = version;
  }
  return versions;
}

Status Write(const std::string& path, const Versions& versions) {
  std::string text;
  for (const auto& [key, version] : versions) text += Concat(key, " ", version, "\n");
  return WriteFileAtomic(path, AsBytes(text), 0600);
}

}  // namespace

StatusOr<std::string> DefaultSeenVersionsPath() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/') {
    return Concat(state, "/infenclave/versions");
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return Concat(home, "/.local/state/infenclave/versions");
  }
  return FailedPrecondition("nowhere to remember versions: set XDG_STATE_HOME or HOME to an absolute path");
}

namespace {

struct Seen {
  std::string key;       // the first two fields of its line
  std::string what;      // of which there are versions
  std::string if_older;  // what that would mean
  uint64_t version = 0;
};

std::vector<Seen> WhatWasSeen(const Policy& policy, const Appraisal& accepted) {
  const std::string owner = Concat("ed25519:", HexEncode(policy.owner));
  const Manifest& manifest = accepted.manifest;
  std::vector<Seen> out = {{Concat(owner, " ", manifest.model_name), Concat("model '", manifest.model_name, "'"),
                            "an older bundle is served again", manifest.model_version}};
  if (policy.measurements_version != 0) {
    out.push_back({Concat("measurements ", owner), "the owner's measurements", "the policy names an older list",
                   policy.measurements_version});
  }
  if (accepted.tcb_evaluation.has_value()) {
    const auto& [platform, number] = *accepted.tcb_evaluation;
    out.push_back({Concat("tcb-evaluation ", platform), Concat("Intel's TCB evaluation for ", platform),
                   "the collateral is from before Intel's last word", number});
  }
  return out;
}

}  // namespace

Status SeenVersions::CheckAndRecord(const Policy& policy, const Appraisal& accepted) const {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), error);
  UniqueFd lock(open((path_ + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) return ErrnoStatus(Concat("cannot remember versions in ", path_));
  if (flock(lock.get(), LOCK_EX) != 0) return ErrnoStatus(Concat("cannot lock ", path_));
  INFENCLAVE_ASSIGN_OR_RETURN(Versions versions, Read(path_));
  bool higher = false;
  for (const Seen& now : WhatWasSeen(policy, accepted)) {
    uint64_t& seen = versions[now.key];
    if (now.version < seen) {
      return PermissionDenied("version ", seen, " of ", now.what, " was seen before, and this is version ", now.version,
                              ": ", now.if_older, ". If that is wanted, remove its line from ", path_);
    }
    higher |= now.version > seen;
    seen = now.version;
  }
  return higher ? Write(path_, versions) : OkStatus();
}

}  // namespace infenclave
