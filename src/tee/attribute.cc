#include "tee/attribute.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace infenclave {

StatusOr<UniqueFd> OpenFolder(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(path);
  return fd;
}

StatusOr<Bytes> ReadAttribute(int folder, const char* name, size_t limit) {
  UniqueFd fd(::openat(folder, name, O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(name);
  Bytes out(limit + 1);
  size_t used = 0;
  while (used < out.size()) {
    ssize_t n = ::read(fd.get(), out.data() + used, out.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(name);
    if (n == 0) break;
    used += static_cast<size_t>(n);
  }
  if (used > limit) return OutOfRange(name, ": more than ", limit, " bytes");
  out.resize(used);
  return out;
}

StatusOr<std::string> ReadTextAttribute(int folder, const char* name) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes bytes, ReadAttribute(folder, name, 256));
  std::string text(AsText(bytes));
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Status WriteAttribute(int folder, const char* name, ByteSpan bytes) {
  UniqueFd fd(::openat(folder, name, O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(name);
  // One write: a pseudo-file takes its value whole.
  ssize_t n;
  do {
    n = ::write(fd.get(), bytes.data(), bytes.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoStatus(name);
  if (static_cast<size_t>(n) != bytes.size()) return Internal(name, ": took ", n, " of ", bytes.size(), " bytes");
  // Binary attributes of configfs are handed to the driver when they are closed, so its error is close's.
  if (::close(fd.Release()) != 0) return ErrnoStatus(name);
  return OkStatus();
}

}  // namespace infenclave
