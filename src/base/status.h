// Errors are values: every fallible function returns absl::Status or absl::StatusOr<T>.
//
// A message says what was wrong, with which value, where, and what is expected, e.g.
//   return InvalidArgument("conv '", node.name, "': kernel ", k, " exceeds padded input ", h);
// The builders take anything that streams, std::string_view included (Debian's absl::string_view is not
// std::string_view and does not convert). Never put a secret into a message.
//
// INFENCLAVE_CHECK is for programming errors only; input from outside never reaches one.
#ifndef INFENCLAVE_BASE_STATUS_H_
#define INFENCLAVE_BASE_STATUS_H_

#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace infenclave {

using absl::Status;
using absl::StatusCode;
using absl::StatusOr;

inline Status OkStatus() { return absl::OkStatus(); }

// Concatenates whatever streams into a std::ostream.
template <typename... Args>
std::string Concat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

inline Status MakeStatus(StatusCode code, std::string_view message) {
  return Status(code, absl::string_view(message.data(), message.size()));
}

// One builder per code in use. The code decides the exit status and maps one to one to gRPC's (PERMISSION_DENIED is a
// refusal of evidence, signature or policy).
#define INFENCLAVE_STATUS_BUILDER(Name, code)             \
  template <typename... Args>                             \
  Status Name(const Args&... args) {                      \
    return MakeStatus(StatusCode::code, Concat(args...)); \
  }
INFENCLAVE_STATUS_BUILDER(InvalidArgument, kInvalidArgument)
INFENCLAVE_STATUS_BUILDER(NotFound, kNotFound)
INFENCLAVE_STATUS_BUILDER(AlreadyExists, kAlreadyExists)
INFENCLAVE_STATUS_BUILDER(PermissionDenied, kPermissionDenied)
INFENCLAVE_STATUS_BUILDER(FailedPrecondition, kFailedPrecondition)
INFENCLAVE_STATUS_BUILDER(ResourceExhausted, kResourceExhausted)
INFENCLAVE_STATUS_BUILDER(OutOfRange, kOutOfRange)
INFENCLAVE_STATUS_BUILDER(Unimplemented, kUnimplemented)
INFENCLAVE_STATUS_BUILDER(Internal, kInternal)
INFENCLAVE_STATUS_BUILDER(Unavailable, kUnavailable)
INFENCLAVE_STATUS_BUILDER(DeadlineExceeded, kDeadlineExceeded)
INFENCLAVE_STATUS_BUILDER(Cancelled, kCancelled)
INFENCLAVE_STATUS_BUILDER(DataLoss, kDataLoss)
INFENCLAVE_STATUS_BUILDER(Unauthenticated, kUnauthenticated)
#undef INFENCLAVE_STATUS_BUILDER

inline std::string MessageOf(const Status& status) { return std::string(status.message()); }

// The same status with "context: " before its message; OK stays OK.
Status Annotate(const Status& status, std::string_view context);

namespace internal {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);
}  // namespace internal

}  // namespace infenclave

#define INFENCLAVE_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::infenclave::internal::CheckFailed(__FILE__, __LINE__, #condition))

#define INFENCLAVE_RETURN_IF_ERROR(expr)                                                       \
  do {                                                                                         \
    if (auto infenclave_status_ = (expr); !infenclave_status_.ok()) return infenclave_status_; \
  } while (false)

#define INFENCLAVE_CONCAT_INNER_(a, b) a##b
#define INFENCLAVE_CONCAT_(a, b) INFENCLAVE_CONCAT_INNER_(a, b)
#define INFENCLAVE_ASSIGN_OR_RETURN(lhs, expr) \
  INFENCLAVE_ASSIGN_OR_RETURN_(INFENCLAVE_CONCAT_(infenclave_statusor_, __LINE__), lhs, expr)
#define INFENCLAVE_ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) return tmp.status();                \
  lhs = *std::move(tmp)

#endif  // INFENCLAVE_BASE_STATUS_H_
