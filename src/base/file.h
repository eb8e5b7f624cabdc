// Files: read whole with a limit, written whole or not at all.
#ifndef INFENCLAVE_BASE_FILE_H_
#define INFENCLAVE_BASE_FILE_H_

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"

namespace infenclave {

// An owned file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release();
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

// A status for the current errno: NOT_FOUND, PERMISSION_DENIED is kept for refusals and so EACCES is
// FAILED_PRECONDITION, RESOURCE_EXHAUSTED for a full disk or too many descriptors, else INTERNAL. "what: strerror".
Status ErrnoStatus(std::string_view what);

// The whole file; more than `limit` bytes, a directory or a device are an error.
StatusOr<Bytes> ReadFile(const std::string& path, size_t limit);

// Writes to a temporary file beside `path`, syncs, then renames over it: a crash or a full disk leaves either the old
// file or the new one, never a part. `mode` holds whatever the umask.
Status WriteFileAtomic(const std::string& path, ByteSpan bytes, mode_t mode = 0644);

}  // namespace infenclave

#endif  // INFENCLAVE_BASE_FILE_H_
