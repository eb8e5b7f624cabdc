#include "oip/grpc_server.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <climits>
#include <condition_variable>
#include <mutex>

#include "oip/listen.h"
#include "oip/status.h"

namespace infenclave {
namespace {

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
    // gRPC says only that binding failed; this knows why it would.
    INFENCLAVE_ASSIGN_OR_RETURN(const ListenAddress address, CheckListen(listen, "--listen"));
    host = address.host;
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
