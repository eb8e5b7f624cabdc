// What `infenclave serve` runs: the Open Inference Protocol and the enclave's own service on one port for gRPC, and on
// another, if asked for, over HTTP.
#ifndef INFENCLAVE_HOST_CONFIDENTIAL_SERVER_H_
#define INFENCLAVE_HOST_CONFIDENTIAL_SERVER_H_

#include <chrono>
#include <memory>
#include <string>

#include "host/confidential_model.h"
#include "host/enclave_service.h"
#include "host/http_server.h"
#include "oip/grpc_server.h"

namespace infenclave {

class ConfidentialServer {
 public:
  struct Options {
    std::string listen = "127.0.0.1:8001";
    ConfidentialModel::Options model;
    std::string http;  // HOST:PORT for REST and metrics; empty: none
  };
  // Listens when it returns. `manifest` is the bundle's, encoded; the enclave behind `link` must hold the same.
  static StatusOr<std::unique_ptr<ConfidentialServer>> Start(std::unique_ptr<EnclaveLink> link, ByteSpan manifest,
                                                             const BackNetFactory& backnet, const Options& options);

  const std::string& address() const { return server_->address(); }
  std::string http_address() const { return http_ == nullptr ? "" : http_->address(); }
  const ConfidentialModel& model() const { return *model_; }
  const EnclaveLink& link() const { return *link_; }
  // Takes no new calls; those in flight are answered, or cancelled after `drain`.
  void Shutdown(std::chrono::milliseconds drain) { server_->Shutdown(drain); }

 private:
  ConfidentialServer() = default;
  // Destroyed from the last: the server stops before what it calls.
  std::unique_ptr<EnclaveLink> link_;
  std::unique_ptr<ConfidentialModel> model_;
  std::unique_ptr<OipService> oip_;
  std::unique_ptr<EnclaveService> enclave_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_CONFIDENTIAL_SERVER_H_
