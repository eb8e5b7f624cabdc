#include "attestation/collateral/http.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>

namespace infenclave {
namespace {

struct Deleter {
  void operator()(BIO* p) const { BIO_free_all(p); }
  void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
};
using BioPtr = std::unique_ptr<BIO, Deleter>;
using ContextPtr = std::unique_ptr<SSL_CTX, Deleter>;

constexpr std::string_view kEol = "\r\n";

// Takes the text up to `end`, and `end`, off `in`; nullopt if that is not there.
std::optional<std::string_view> TakeUntil(std::string_view& in, std::string_view end) {
  const size_t at = in.find(end);
  if (at == in.npos) return std::nullopt;
  const std::string_view out = in.substr(0, at);
  in.remove_prefix(at + end.size());
  return out;
}

std::optional<size_t> ParseSize(std::string_view text, int base) {
  size_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n, base);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(n) : std::nullopt;
}

std::optional<std::string> DecodeChunks(std::string_view in) {
  std::string out;
  while (true) {
    const auto head = TakeUntil(in, kEol);
    const auto size = head.has_value() ? ParseSize(head->substr(0, head->find(';')), 16) : std::nullopt;
    if (!size.has_value() || *size > in.size()) return std::nullopt;
    if (*size == 0) return out;
    out += in.substr(0, *size);
    in.remove_prefix(*size);
    if (!in.starts_with(kEol)) return std::nullopt;
    in.remove_prefix(kEol.size());
  }
}

// ---- the connection -------------------------------------------------------------------------------------------------

// OpenSSL writes to sockets without MSG_NOSIGNAL, and a server that hangs up must not end the process.
class SigPipeBlocked {
 public:
  SigPipeBlocked() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~SigPipeBlocked() {
    const timespec now{};
    while (sigtimedwait(&pipe_, nullptr, &now) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t pipe_, before_;
};

std::string LastOpenSslError() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code != 0 ? ERR_reason_error_string(code) : nullptr;
  ERR_clear_error();
  return reason != nullptr ? reason : "no answer";
}

StatusOr<BioPtr> MakeConnection(const Url& url, const ContextPtr& context) {
  BioPtr bio;
  if (url.tls) {
    bio.reset(BIO_new_ssl_connect(context.get()));
    SSL* ssl = nullptr;
    if (bio == nullptr || BIO_get_ssl(bio.get(), &ssl) != 1 || SSL_set1_host(ssl, url.host.c_str()) != 1 ||
        SSL_set_tlsext_host_name(ssl, url.host.c_str()) != 1) {
      return Internal("cannot make a TLS connection: ", LastOpenSslError());
    }
  } else {
    bio.reset(BIO_new(BIO_s_connect()));
  }
  const bool v6 = url.host.find(':') != std::string::npos;
  BIO_set_conn_hostname(bio.get(), v6 ? Concat("[", url.host, "]").c_str() : url.host.c_str());
  BIO_set_conn_port(bio.get(), url.port.c_str());
  BIO_set_nbio(bio.get(), 1);
  return bio;
}

// Runs a non-blocking step of the connection until it gives a positive result or 0, or ends.
template <typename F>
StatusOr<int> Repeat(BIO* bio, std::chrono::steady_clock::time_point until, F step) {
  while (true) {
    const int n = step();
    if (n > 0) return n;
    if (!BIO_should_retry(bio)) {
      if (n == 0) return 0;
      return Unavailable(LastOpenSslError());
    }
    using std::chrono::milliseconds;
    const auto left = std::chrono::duration_cast<milliseconds>(until - std::chrono::steady_clock::now());
    if (left <= milliseconds(0)) return DeadlineExceeded("no whole answer in time");
    pollfd wait{static_cast<int>(BIO_get_fd(bio, nullptr)), 0, 0};
    wait.events = BIO_should_read(bio) ? POLLIN : POLLOUT;  // a connection is made when it can be written to
    poll(&wait, 1, static_cast<int>(left.count()));
  }
}

StatusOr<std::string> Exchange(BIO* bio, std::string_view request, std::chrono::steady_clock::time_point until) {
  INFENCLAVE_RETURN_IF_ERROR(Repeat(bio, until, [&] { return static_cast<int>(BIO_do_connect(bio)); }).status());
  while (!request.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(const int n, Repeat(bio, until, [&] {
                                  return BIO_write(bio, request.data(), static_cast<int>(request.size()));
                                }));
    if (n == 0) return Unavailable("the connection was closed");
    request.remove_prefix(static_cast<size_t>(n));
  }
  std::string reply;
  char buffer[16 << 10];
  while (true) {
    StatusOr<int> n = Repeat(bio, until, [&] { return BIO_read(bio, buffer, sizeof(buffer)); });
    // A server may end without TLS's farewell; whether the answer is whole, its own lengths say.
    if (n.status().code() == StatusCode::kUnavailable && !reply.empty()) n = 0;
    INFENCLAVE_RETURN_IF_ERROR(n.status());
    if (*n == 0) return reply;
    if (reply.size() + static_cast<size_t>(*n) > kMaxHttpReplyBytes) {
      return ResourceExhausted("an answer of more than ", kMaxHttpReplyBytes, " bytes");
    }
    reply.append(buffer, static_cast<size_t>(*n));
  }
}

}  // namespace

StatusOr<Url> ParseUrl(std::string_view text) {
  const auto bad = InvalidArgument("'", text, "' is no URL such as https://HOST:PORT/PATH");
  if (text.size() > 2048 || std::ranges::any_of(text, [](unsigned char c) { return c <= 0x20 || c >= 0x7f; })) {
    return bad;
  }
  Url out;
  std::string_view rest = text;
  const auto scheme = TakeUntil(rest, "://");
  if (scheme != "http" && scheme != "https") return bad;
  out.tls = scheme == "https";
  const size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view authority = rest.substr(0, slash);
  out.path = slash < rest.size() ? rest.substr(slash) : "/";
  out.port = out.tls ? "443" : "80";
  const size_t bracket = authority.find(']');  // of an IPv6 address
  const size_t colon = authority.find(':', bracket == authority.npos ? 0 : bracket);
  if (colon != authority.npos) {
    out.port = authority.substr(colon + 1);
    authority = authority.substr(0, colon);
    const auto number = ParseSize(out.port, 10);
    if (!number.has_value() || *number == 0 || *number > 65535) return bad;
  }
  if (authority.starts_with('[') && authority.ends_with(']')) authority = authority.substr(1, authority.size() - 2);
  out.host = authority;
  if (out.host.empty() || out.host.find('@') != out.host.npos) return bad;
  return out;
}

StatusOr<HttpReply> ParseHttpReply(std::string_view in) {
  HttpReply out;
  const auto status_line = TakeUntil(in, kEol);
  const auto status = status_line.has_value() && status_line->size() >= 12 && status_line->starts_with("HTTP/1.")
                          ? ParseSize(status_line->substr(9, 3), 10)
                          : std::nullopt;
  if (!status.has_value() || *status < 100) return InvalidArgument("not an answer in HTTP/1.1");
  out.status = static_cast<int>(*status);
  while (true) {
    const auto line = TakeUntil(in, kEol);
    if (!line.has_value()) return InvalidArgument("an answer whose headers are cut off");
    if (line->empty()) break;
    std::string_view value = *line;
    const auto name = TakeUntil(value, ":");
    if (!name.has_value()) return InvalidArgument("an answer with a header without a colon");
    value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
    value = value.substr(0, value.find_last_not_of(" \t") + 1);
    std::string key(*name);
    std::ranges::transform(key, key.begin(), [](unsigned char c) { return std::tolower(c); });
    out.headers[key] = value;
  }
  const auto coding = out.headers.find("transfer-encoding"), length = out.headers.find("content-length");
  if (coding != out.headers.end()) {
    auto body = coding->second == "chunked" ? DecodeChunks(in) : std::nullopt;
    if (!body.has_value()) return InvalidArgument("an answer whose chunks are cut off, or in another coding");
    out.body = *std::move(body);
  } else {
    const auto size = length != out.headers.end() ? ParseSize(length->second, 10) : std::optional(in.size());
    if (!size.has_value() || *size > in.size()) return InvalidArgument("an answer that is cut off");
    out.body = in.substr(0, *size);
  }
  return out;
}

StatusOr<HttpReply> HttpGet(const std::string& text, std::chrono::milliseconds timeout) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Url url, ParseUrl(text));
  const auto until = std::chrono::steady_clock::now() + timeout;
  const SigPipeBlocked blocked;  // outlives the connection
  ContextPtr context;
  if (url.tls) {
    // OpenSSL's configuration file may name code to load: it is not read.
    OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
    context.reset(SSL_CTX_new(TLS_client_method()));
    if (context == nullptr || SSL_CTX_set_default_verify_paths(context.get()) != 1) {
      return Internal("cannot use TLS: ", LastOpenSslError());
    }
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  }
  const bool v6 = url.host.find(':') != std::string::npos;
  const std::string request =
      Concat("GET ", url.path, " HTTP/1.1\r\nHost: ", v6 ? "[" : "", url.host, v6 ? "]" : "", ":", url.port,
             "\r\nUser-Agent: infenclave\r\nAccept: */*\r\nConnection: close\r\n\r\n");
  INFENCLAVE_ASSIGN_OR_RETURN(const BioPtr bio, MakeConnection(url, context));
  const StatusOr<std::string> bytes = Exchange(bio.get(), request, until);
  if (!bytes.ok()) return Annotate(bytes.status(), text);
  StatusOr<HttpReply> reply = ParseHttpReply(*bytes);
  if (!reply.ok()) return Annotate(reply.status(), text);
  return reply;
}

}  // namespace infenclave
