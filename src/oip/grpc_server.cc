#include "oip/grpc_server.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <condition_variable>
#include <mutex>

#include "base/file.h"
#include "oip/status.h"

namespace infenclave {
namespace {

// gRPC says only that binding failed. This binds and lets go, and so knows why it would fail.
Status TryBind(const std::string& host, const std::string& port, const std::string& listen) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return InvalidArgument("cannot listen on ", listen, ": ", gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
  UniqueFd fd(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(Concat("cannot listen on ", listen));
  const int yes = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  if (bind(fd.get(), found->ai_addr, found->ai_addrlen) == 0) return OkStatus();
  if (errno == EADDRINUSE) {
    return FailedPrecondition(
        "port ", port, " is in use on ", host.empty() ? "this machine" : host,
        ": stop what listens there, or choose another with --listen HOST:PORT (port 0 picks one)");
  }
  return ErrnoStatus(Concat("cannot listen on ", listen));
}

constexpr std::string_view kUnixPrefix = "unix:";
constexpr auto kBetweenHealthChecks = std::chrono::milliseconds(100);
constexpr char kInferenceService[] = "inference.GRPCInferenceService";

}  // namespace

StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const std::string& listen,
                                                        const std::vector<grpc::Service*>& services,
                                                        size_t max_message_bytes, std::function<bool()> ready) {
  QuietGrpc();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  std::string host;
  const bool is_unix = listen.starts_with(kUnixPrefix);
  if (!is_unix) {
    const size_t colon = listen.rfind(':');
    if (colon == std::string::npos || colon + 1 == listen.size()) {
      return InvalidArgument("--listen '", listen, "' is not HOST:PORT or unix:PATH");
    }
    host = listen.substr(0, colon);
    std::string bare = host;
    if (bare.size() > 2 && bare.front() == '[' && bare.back() == ']') bare = bare.substr(1, bare.size() - 2);
    INFENCLAVE_RETURN_IF_ERROR(TryBind(bare, listen.substr(colon + 1), listen));
  }
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  // Without this a second server would share the port, and each get some of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  const int limit = static_cast<int>(std::min<size_t>(max_message_bytes, INT_MAX));
  builder.SetMaxReceiveMessageSize(limit);
  builder.SetMaxSendMessageSize(limit);
  for (grpc::Service* service : services) builder.RegisterService(service);
  std::unique_ptr<GrpcServer> server(new GrpcServer);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || port == 0) {
    return FailedPrecondition("cannot listen on ", listen, ": choose another address with --listen HOST:PORT");
  }
  server->address_ = is_unix ? listen : Concat(host, ":", port);
  const bool serving = !ready || ready();
  server->SetHealth(serving);
  if (ready) {
    server->health_ = std::jthread([server = server.get(), ready = std::move(ready), serving](std::stop_token stop) {
      server->WatchHealth(ready, serving, stop);
    });
  }
  return server;
}

void GrpcServer::SetHealth(bool serving) {
  grpc::HealthCheckServiceInterface& health = *server_->GetHealthCheckService();
  health.SetServingStatus(serving);
  health.SetServingStatus("", serving);
  health.SetServingStatus(kInferenceService, serving);
}

// Readiness depends on another process, the enclave, so it is asked for rather than announced.
void GrpcServer::WatchHealth(const std::function<bool()>& ready, bool serving, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  while (!wake.wait_for(lock, stop, kBetweenHealthChecks, [&] { return stop.stop_requested(); })) {
    if (const bool now = ready(); now != serving) SetHealth(serving = now);
  }
}

GrpcServer::~GrpcServer() { Shutdown(std::chrono::milliseconds(0)); }

void GrpcServer::Shutdown(std::chrono::milliseconds drain) {
  if (server_ == nullptr) return;
  health_ = {};
  server_->GetHealthCheckService()->Shutdown();  // balancers look elsewhere while calls in flight are answered
  server_->Shutdown(std::chrono::system_clock::now() + drain);
  server_->Wait();
  server_.reset();
}

}  // namespace infenclave
