// What `infenclave serve` runs: the Open Inference Protocol and the enclave's own service on one port for gRPC, and on
// another, if asked for, over HTTP.
#ifndef INFENCLAVE_HOST_CONFIDENTIAL_SERVER_H_
#define INFENCLAVE_HOST_CONFIDENTIAL_SERVER_H_

#include <chrono>
#include <memory>
#include <string>

#include "host/enclave_service.h"
#include "host/http_server.h"
#include "host/served_model.h"
#include "oip/grpc_server.h"

namespace infenclave {

class ConfidentialServer {
 public:
  struct Options {
    std::string listen = "127.0.0.1:8001";
    ConfidentialModel::Options model;
    std::string http;             // HOST:PORT for REST and metrics; empty: none
    OipModel::Observer observer;  // of finished requests; may be empty
  };
  // Listens when it returns. `manifest` is the bundle's, encoded; the enclave behind `link` must hold the same.
  static StatusOr<std::unique_ptr<ConfidentialServer>> Start(std::unique_ptr<EnclaveLink> link, ByteSpan manifest,
                                                             const BackNetFactory& backnet, const Options& options);

  const std::string& address() const { return server_->address(); }
  std::string http_address() const { return http_ == nullptr ? "" : http_->address(); }
  const ServedModel& model() const { return *model_; }
  // A new bundle, behind another enclave: in use once that has its keys, while requests go on being answered.
  // FAILED_PRECONDITION for a bundle that this server cannot take over.
  Status Reload(std::unique_ptr<EnclaveLink> link, ByteSpan manifest, const BackNetFactory& backnet);
  // To be called now and then, always from one thread: ends enclaves that are no longer in use.
  void Reap() { model_->Reap(); }
  // Takes no new calls; those in flight are answered, or cancelled after `drain`.
  void Shutdown(std::chrono::milliseconds drain) { server_->Shutdown(drain); }

 private:
  ConfidentialServer() = default;
  // Destroyed from the last: the server stops before what it calls.
  ConfidentialModel::Options model_options_;
  size_t max_message_bytes_ = 0;
  std::unique_ptr<ServedModel> model_;
  std::unique_ptr<OipService> oip_;
  std::unique_ptr<EnclaveService> enclave_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_CONFIDENTIAL_SERVER_H_
