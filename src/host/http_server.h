// A small HTTP/1.1 server for the REST half of the protocol and for metrics, on cpp-httplib.
//
// Hostile input is bounded: paths of 512 bytes, bodies of the size that the server is made with, no compressed and no
// chunked bodies, one request per connection, so that neither an idle caller keeps one of the threads nor what is left
// of a refused body is taken for the next request.
#ifndef INFENCLAVE_HOST_HTTP_SERVER_H_
#define INFENCLAVE_HOST_HTTP_SERVER_H_

#include <memory>
#include <string>

#include "base/status.h"
#include "oip/rest.h"

namespace infenclave {

class HttpServer {
 public:
  // `listen` is HOST:PORT, given by --http. The handler is called on one of `threads` threads.
  static StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& listen, size_t max_body_bytes, int threads,
                                                     HttpHandler handler);
  // Takes no new requests, and waits for those in flight.
  ~HttpServer();
  const std::string& address() const { return address_; }  // with the port that was picked

 private:
  struct Listener;  // cpp-httplib is heavy to compile
  HttpServer() = default;
  std::string address_;
  std::unique_ptr<Listener> listener_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_HTTP_SERVER_H_
