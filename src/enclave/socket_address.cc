#include "enclave/socket_address.h"

#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstring>

namespace infenclave {
namespace {

StatusOr<uint32_t> ParseNumber(std::string_view text, uint32_t limit, std::string_view what) {
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > limit) {
    return InvalidArgument(what, " '", text, "' is no number from 0 to ", limit);
  }
  return value;
}

template <typename T>
SocketAddress Pack(const T& address, size_t length = sizeof(T)) {
  SocketAddress out;
  std::memcpy(&out.storage, &address, length);
  out.length = static_cast<socklen_t>(length);
  return out;
}

StatusOr<SocketAddress> ParseUnix(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path) || path.find('\0') != path.npos) {
    return InvalidArgument("unix:", path, ": the path must have 1 to ", sizeof(address.sun_path) - 1, " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return Pack(address);
}

StatusOr<SocketAddress> ParseVsock(std::string_view text) {
  size_t colon = text.find(':');
  if (colon == text.npos) return InvalidArgument("vsock:", text, ": expected vsock:CID:PORT");
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  INFENCLAVE_ASSIGN_OR_RETURN(address.svm_cid, ParseNumber(text.substr(0, colon), UINT32_MAX, "vsock CID"));
  INFENCLAVE_ASSIGN_OR_RETURN(address.svm_port, ParseNumber(text.substr(colon + 1), UINT32_MAX, "vsock port"));
  return Pack(address);
}

StatusOr<SocketAddress> ParseTcp(std::string_view text) {
  INFENCLAVE_ASSIGN_OR_RETURN(auto host_port, SplitHostPort(text));
  INFENCLAVE_ASSIGN_OR_RETURN(uint32_t port, ParseNumber(host_port.second, 65535, "tcp port"));
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(static_cast<uint16_t>(port));
  if (::inet_pton(AF_INET, host_port.first.c_str(), &v4.sin_addr) == 1) return Pack(v4);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = v4.sin_port;
  if (::inet_pton(AF_INET6, host_port.first.c_str(), &v6.sin6_addr) == 1) return Pack(v6);
  return InvalidArgument("tcp:", text, ": '", host_port.first, "' is no numeric address");
}

std::string NameOf(const SocketAddress& bound, const std::string& text) {
  char host[INET6_ADDRSTRLEN] = "";
  if (bound.storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(bound.storage);
    ::inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
    return Concat("tcp:", host, ":", ntohs(v4.sin_port));
  }
  if (bound.storage.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(bound.storage);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
    return Concat("tcp:[", host, "]:", ntohs(v6.sin6_port));
  }
  return text;
}

}  // namespace

StatusOr<std::pair<std::string, std::string>> SplitHostPort(std::string_view text) {
  size_t colon = text.rfind(':');
  if (colon == text.npos || colon == 0 || colon + 1 == text.size()) {
    return InvalidArgument("tcp:", text, ": expected tcp:HOST:PORT");
  }
  std::string_view host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return std::pair(std::string(host), std::string(text.substr(colon + 1)));
}

StatusOr<SocketAddress> ParseSocketAddress(std::string_view text) {
  if (text.starts_with("unix:")) return ParseUnix(text.substr(5));
  if (text.starts_with("vsock:")) return ParseVsock(text.substr(6));
  if (text.starts_with("tcp:")) return ParseTcp(text.substr(4));
  return InvalidArgument("'", text, "' is no address: expected unix:PATH, vsock:CID:PORT or tcp:HOST:PORT");
}

StatusOr<Listener> ListenOn(const std::string& text) {
  INFENCLAVE_ASSIGN_OR_RETURN(SocketAddress address, ParseSocketAddress(text));
  const int family = address.storage.ss_family;
  Listener out{UniqueFd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)), text};
  if (!out.socket.valid()) return ErrnoStatus(text);
  const int on = 1;
  if (family != AF_UNIX) ::setsockopt(out.socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const mode_t mask = ::umask(0177);
  const int bound = ::bind(out.socket.get(), reinterpret_cast<sockaddr*>(&address.storage), address.length);
  ::umask(mask);
  if (bound != 0 || ::listen(out.socket.get(), 16) != 0) return ErrnoStatus(text);
  address.length = sizeof(address.storage);
  if (::getsockname(out.socket.get(), reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) {
    return ErrnoStatus(text);
  }
  out.name = NameOf(address, text);
  return out;
}

void TuneConnection(int socket) {
  const int on = 1, idle_s = 30;
  const unsigned unanswered_ms = 60'000;
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
  ::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms, sizeof(unanswered_ms));
}

}  // namespace infenclave
