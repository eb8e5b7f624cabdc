// Where an enclave listens and a host connects: unix:PATH, vsock:CID:PORT, tcp:HOST:PORT with a numeric HOST ([…]
// around IPv6). Names are not resolved here: a resolver is no code for an enclave.
#ifndef INFENCLAVE_ENCLAVE_SOCKET_ADDRESS_H_
#define INFENCLAVE_ENCLAVE_SOCKET_ADDRESS_H_

#include <sys/socket.h>

#include <string>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "base/status.h"

namespace infenclave {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};
StatusOr<SocketAddress> ParseSocketAddress(std::string_view text);
// HOST and PORT of what follows "tcp:", brackets removed.
StatusOr<std::pair<std::string, std::string>> SplitHostPort(std::string_view text);

// A listening socket that does not block, and its address with the port that the system chose where `text` says 0. A
// Unix socket is made with mode 0600.
struct Listener {
  UniqueFd socket;
  std::string name;
};
StatusOr<Listener> ListenOn(const std::string& text);

// Either side of a connection: no delay, and keep-alive, so that a peer whose machine is gone is noticed.
void TuneConnection(int socket);

}  // namespace infenclave

#endif  // INFENCLAVE_ENCLAVE_SOCKET_ADDRESS_H_
