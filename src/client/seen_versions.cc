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

using Versions = std::map<std::string, uint64_t>;  // "ed25519:<owner> <model>" -> version

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
                                ": not 'ed25519:OWNER MODEL VERSION'; mend or remove the line");
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
  return FailedPrecondition("nowhere to remember bundle versions: set XDG_STATE_HOME or HOME to an absolute path");
}

Status SeenVersions::CheckAndRecord(const Ed25519PublicKey& owner, const std::string& model, uint64_t version) const {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), error);
  UniqueFd lock(open((path_ + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) return ErrnoStatus(Concat("cannot remember bundle versions in ", path_));
  if (flock(lock.get(), LOCK_EX) != 0) return ErrnoStatus(Concat("cannot lock ", path_));
  INFENCLAVE_ASSIGN_OR_RETURN(Versions versions, Read(path_));
  uint64_t& seen = versions[Concat("ed25519:", HexEncode(owner), " ", model)];
  if (version < seen) {
    return PermissionDenied("version ", seen, " of model '", model, "' was seen before, and the server offers version ",
                            version, ": an older bundle is served again. If that is wanted, remove its line from ",
                            path_);
  }
  if (version == seen) return OkStatus();
  seen = version;
  return Write(path_, versions);
}

}  // namespace infenclave
