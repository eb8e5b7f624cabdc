// One GET over HTTP/1.1, with or without TLS: what fetching collateral needs, bounded in bytes and in time whatever the
// server answers. (cpp-httplib, which the host uses, reads headers without a bound.)
#ifndef INFENCLAVE_ATTESTATION_COLLATERAL_HTTP_H_
#define INFENCLAVE_ATTESTATION_COLLATERAL_HTTP_H_

#include <chrono>
#include <map>
#include <string>
#include <string_view>

#include "base/status.h"

namespace infenclave {

struct HttpReply {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of equal ones the last
  std::string body;
};

struct Url {
  bool tls = false;
  std::string host, port, path;  // the path with its query, from '/'
};
// "http://HOST[:PORT][/PATH]" or https. INVALID_ARGUMENT for anything else, and for characters that end a request line.
StatusOr<Url> ParseUrl(std::string_view url);

// A whole answer, as it came until the server closed the connection. INVALID_ARGUMENT for what is none, and for one
// that is cut off.
StatusOr<HttpReply> ParseHttpReply(std::string_view bytes);

inline constexpr size_t kMaxHttpReplyBytes = 4 << 20;

// OK with whatever status the server answers. UNAVAILABLE where it cannot be reached, DEADLINE_EXCEEDED,
// RESOURCE_EXHAUSTED for a larger answer. Redirections are not followed. TLS checks the server's certificate against
// the system's authorities (or the file in SSL_CERT_FILE); signatures in the content are what really counts.
StatusOr<HttpReply> HttpGet(const std::string& url, std::chrono::milliseconds timeout);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_COLLATERAL_HTTP_H_
