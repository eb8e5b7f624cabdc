// Addresses to listen on, with errors of one line that say why not.
#ifndef INFENCLAVE_OIP_LISTEN_H_
#define INFENCLAVE_OIP_LISTEN_H_

#include <string>
#include <string_view>

#include "base/status.h"

namespace infenclave {

struct ListenAddress {
  std::string host;  // as written, "[::1]" included; empty: every address of this machine
  std::string bare_host;
  std::string port;  // "0": any free one
};
// HOST:PORT or [IPV6]:PORT, given by `flag`. Binds to it and lets go: FAILED_PRECONDITION for a port that is taken,
// INVALID_ARGUMENT for an address that is none of this machine's.
StatusOr<ListenAddress> CheckListen(const std::string& listen, std::string_view flag);

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_LISTEN_H_
