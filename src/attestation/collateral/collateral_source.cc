#include "attestation/collateral/collateral_source.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <functional>

#include "attestation/collateral/services.h"
#include "base/file.h"

namespace infenclave {
namespace {

constexpr int64_t kRetrySeconds = 60;

struct Kept {
  Bytes bytes;
  int64_t since = 0;
};

// Files of one folder; a file's time says when it was asked for.
StatusOr<Kept> ReadKept(const std::string& path) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes bytes, ReadFile(path, kMaxCollateralBytes));
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(path);
  return Kept{std::move(bytes), info.st_mtime};
}

Status Keep(const std::string& path, ByteSpan bytes, int64_t at) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(path, bytes, 0600));
  const timespec times[2] = {{at, 0}, {at, 0}};
  return utimensat(AT_FDCWD, path.c_str(), times, 0) == 0 ? OkStatus() : ErrnoStatus(path);
}

}  // namespace

StatusOr<std::string> DefaultCacheFolder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') {
    return Concat(cache, "/infenclave");
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return Concat(home, "/.cache/infenclave");
  }
  return FailedPrecondition("nowhere to keep collateral: set XDG_CACHE_HOME or HOME to an absolute path");
}

StatusOr<Bytes> CollateralSource::For(TeeKind tee, ByteSpan evidence, int64_t at) {
  if (tee == TeeKind::kSimulated) return Bytes{};
  if (options_.where != kOnline && options_.where.find("://") == std::string::npos) {
    return ReadFile(options_.where, kMaxCollateralBytes);
  }
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<CollateralPart> parts, PartsFor(tee, evidence, options_.where));
  const std::lock_guard lock(mutex_);
  Bytes out;
  for (const CollateralPart& part : parts) {
    const std::string path = Concat(options_.cache, "/", part.name);
    StatusOr<Kept> kept = ReadKept(path);
    if (kept.ok() && !part.check(kept->bytes, at).ok()) kept = NotFound("expired");
    const bool fresh = kept.ok() && (part.forever || at - kept->since < options_.refresh_seconds);
    if (!fresh && (!kept.ok() || at >= not_before_)) {
      StatusOr<Bytes> fetched = part.fetch(options_.timeout);
      if (fetched.ok()) {
        if (const Status good = part.check(*fetched, at); !good.ok()) fetched = good;
      }
      if (fetched.ok()) {
        (void)Keep(path, *fetched, at);  // where that fails, on a full disk, say, it is asked for again
        kept = Kept{*std::move(fetched), at};
      } else if (!kept.ok()) {
        return Annotate(fetched.status(), "collateral");
      } else {
        not_before_ = at + kRetrySeconds;
      }
    }
    out.insert(out.end(), kept->bytes.begin(), kept->bytes.end());
  }
  return out;
}

}  // namespace infenclave
