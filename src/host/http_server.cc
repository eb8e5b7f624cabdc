#include "host/http_server.h"

#include <httplib.h>

#include <algorithm>
#include <charconv>
#include <thread>

#include "oip/listen.h"

namespace infenclave {
namespace {

constexpr size_t kMaxPathBytes = 512, kMaxHeaders = 64;
constexpr auto kSocketTimeout = std::chrono::seconds(10);

HttpRequest ToRequest(const httplib::Request& from) {
  HttpRequest request{from.method, from.path, {}, {}};
  for (const auto& [name, value] : from.headers) {
    std::string lower = name;
    std::ranges::transform(lower, lower.begin(), [](char c) { return 'A' <= c && c <= 'Z' ? c - 'A' + 'a' : c; });
    request.headers[lower] = value;
  }
  return request;
}

void Write(HttpAnswer answer, httplib::Response& to) {
  to.status = answer.status;
  for (const auto& [name, value] : answer.headers) to.set_header(name, value);
  to.set_content(std::move(answer.body), answer.content_type);
}

// What is wrong with a request before its body is read; OK if nothing.
Status CheckHead(const httplib::Request& request, size_t max_body_bytes) {
  if (request.path.size() > kMaxPathBytes || request.headers.size() > kMaxHeaders) {
    return InvalidArgument("a path of more than ", kMaxPathBytes, " bytes, or more than ", kMaxHeaders, " headers");
  }
  if (request.method != "GET" && request.method != "POST") return Unimplemented("only GET and POST are known here");
  if (request.has_header("Transfer-Encoding") || request.has_header("Content-Encoding")) {
    return InvalidArgument("a body comes with its Content-Length, neither chunked nor compressed");
  }
  const std::string length = request.get_header_value("Content-Length");
  uint64_t bytes = 0;
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), bytes);
  if (!length.empty() && (error != std::errc() || end != length.data() + length.size())) {
    return InvalidArgument("Content-Length is no number");
  }
  if (bytes > max_body_bytes) {
    return OutOfRange("a body of ", bytes, " bytes: at most ", max_body_bytes, " are possible");
  }
  return OkStatus();
}

}  // namespace

struct HttpServer::Listener {
  httplib::Server server;
  std::thread thread;

  ~Listener() {
    if (!thread.joinable()) return;
    while (!server.is_running()) std::this_thread::yield();  // stop() is lost on a server that has not begun
    server.stop();
    thread.join();
  }
};

StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& listen, size_t max_body_bytes, int threads,
                                                        HttpHandler handler) {
  INFENCLAVE_ASSIGN_OR_RETURN(const ListenAddress address, CheckListen(listen, "--http"));
  std::unique_ptr<HttpServer> made(new HttpServer);
  made->listener_ = std::make_unique<Listener>();
  httplib::Server& server = made->listener_->server;
  server.new_task_queue = [threads] { return new httplib::ThreadPool(static_cast<size_t>(threads)); };
  server.set_keep_alive_max_count(1);
  server.set_read_timeout(kSocketTimeout);
  server.set_write_timeout(kSocketTimeout);
  server.set_payload_max_length(max_body_bytes);
  // The library's default shares the port with whoever else wants it.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  using Handled = httplib::Server::HandlerResponse;
  server.set_pre_routing_handler([=](const httplib::Request& request, httplib::Response& response) {
    const Status head = CheckHead(request, max_body_bytes);
    if (head.ok() && request.method == "POST") return Handled::Unhandled;
    Write(head.ok() ? handler(ToRequest(request)) : ToHttp(head), response);
    return Handled::Handled;
  });
  server.Post(".*",
              [=](const httplib::Request& request, httplib::Response& response, const httplib::ContentReader& read) {
                HttpRequest full = ToRequest(request);
                const bool complete = read([&](const char* data, size_t size) {
                  if (size > max_body_bytes - full.body.size()) return false;
                  full.body.append(data, size);
                  return true;
                });
                Write(complete ? handler(full) : ToHttp(InvalidArgument("the body is cut off, or too long")), response);
              });
  const std::string host = address.bare_host.empty() ? "0.0.0.0" : address.bare_host;
  int port = 0;
  std::from_chars(address.port.data(), address.port.data() + address.port.size(), port);
  const bool bound = port == 0 ? (port = server.bind_to_any_port(host)) > 0 : server.bind_to_port(host, port);
  if (!bound) return FailedPrecondition("cannot listen on ", listen, ": choose another address with --http HOST:PORT");
  made->address_ = Concat(address.host, ":", port);
  made->listener_->thread = std::thread([&server] { server.listen_after_bind(); });
  return made;
}

HttpServer::~HttpServer() = default;

}  // namespace infenclave
