#include "oip/listen.h"

#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>

#include "base/file.h"

namespace infenclave {

StatusOr<ListenAddress> CheckListen(const std::string& listen, std::string_view flag) {
  const size_t colon = listen.rfind(':');
  if (colon == std::string::npos || colon + 1 == listen.size()) {
    return InvalidArgument(flag, " '", listen, "' is not HOST:PORT", flag == "--listen" ? " or unix:PATH" : "");
  }
  ListenAddress address{listen.substr(0, colon), listen.substr(0, colon), listen.substr(colon + 1)};
  std::string& host = address.bare_host;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const char* const node = host.empty() ? nullptr : host.c_str();
  if (const int error = getaddrinfo(node, address.port.c_str(), &hints, &found); error != 0) {
    return InvalidArgument("cannot listen on ", listen, ": ", gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
  UniqueFd fd(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(Concat("cannot listen on ", listen));
  const int yes = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  if (bind(fd.get(), found->ai_addr, found->ai_addrlen) == 0) return address;
  if (errno == EADDRINUSE) {
    return FailedPrecondition(
        "port ", address.port, " is in use on ", address.host.empty() ? "this machine" : address.host,
        ": stop what listens there, or choose another with ", flag, " HOST:PORT (port 0 picks one)");
  }
  return ErrnoStatus(Concat("cannot listen on ", listen));
}

}  // namespace infenclave
