#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace infenclave {

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) Reset(other.Release());
  return *this;
}

int UniqueFd::Release() { return std::exchange(fd_, -1); }

void UniqueFd::Reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Status ErrnoStatus(std::string_view what) {
  int error = errno;
  StatusCode code = StatusCode::kInternal;
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      code = StatusCode::kNotFound;
      break;
    case EEXIST:
      code = StatusCode::kAlreadyExists;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
    case EADDRINUSE:
      code = StatusCode::kFailedPrecondition;
      break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      code = StatusCode::kResourceExhausted;
      break;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
      code = StatusCode::kUnavailable;
      break;
    default:
      break;
  }
  return MakeStatus(code, Concat(what, ": ", std::strerror(error)));
}

StatusOr<Bytes> ReadFile(const std::string& path, size_t limit) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid()) return ErrnoStatus(path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoStatus(path);
  if (!S_ISREG(info.st_mode)) return InvalidArgument(path, ": not a regular file");
  if (static_cast<uint64_t>(info.st_size) > limit) {
    return InvalidArgument(path, ": ", info.st_size, " bytes exceed the limit of ", limit);
  }
  // The file may grow while it is read, so the limit is held on what is read, not on what was promised.
  Bytes out(static_cast<size_t>(info.st_size) + 1);
  size_t used = 0;
  while (true) {
    ssize_t n = ::read(fd.get(), out.data() + used, out.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(path);
    if (n == 0) break;
    used += static_cast<size_t>(n);
    if (used > limit) return InvalidArgument(path, ": more than ", limit, " bytes");
    if (used == out.size()) out.resize(out.size() * 2);
  }
  out.resize(used);
  return out;
}

Status WriteFileAtomic(const std::string& path, ByteSpan bytes, mode_t mode) {
  std::string temporary = path + ".XXXXXX";
  UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(path);
  auto fail = [&] {
    Status status = ErrnoStatus(path);
    ::unlink(temporary.c_str());
    return status;
  };
  for (size_t done = 0; done < bytes.size();) {
    ssize_t n = ::write(fd.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail();
    done += static_cast<size_t>(n);
  }
  if (::fchmod(fd.get(), mode) != 0 || ::fsync(fd.get()) != 0) return fail();
  if (::close(fd.Release()) != 0) return fail();
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail();
  return OkStatus();
}

}  // namespace infenclave
