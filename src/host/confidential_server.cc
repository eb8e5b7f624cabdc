#include "host/confidential_server.h"

#include "host/http_front.h"
#include "protocol/sealed.h"

namespace infenclave {
namespace {

// Names, shapes and parameters around the tensors.
constexpr size_t kSlackBytes = 64 << 10;
// Each waits with its caller.
constexpr int kHttpThreads = 32;

}  // namespace

StatusOr<std::unique_ptr<ConfidentialServer>> ConfidentialServer::Start(std::unique_ptr<EnclaveLink> link,
                                                                        ByteSpan manifest,
                                                                        const BackNetFactory& backnet,
                                                                        const Options& options) {
  std::unique_ptr<ConfidentialServer> server(new ConfidentialServer);
  server->link_ = std::move(link);
  INFENCLAVE_ASSIGN_OR_RETURN(server->model_,
                              ConfidentialModel::Start(server->link_.get(), manifest, backnet, options.model));
  const ConfidentialModel& model = *server->model_;
  const bool simulated = model.tee() == TeeKind::kSimulated;
  server->oip_ =
      std::make_unique<OipService>(simulated ? "infenclave (SIMULATED TEE)" : "infenclave", server->model_.get());
  server->enclave_ = std::make_unique<EnclaveService>(server->model_.get());
  // No larger message than this bundle's requests and answers need.
  const Preprocessing& picture = model.manifest().preprocessing;
  const size_t largest = std::max(size_t{3} * picture.width * picture.height + kMaxCredentialBytes,
                                  kMaxEvidenceBytes + kMaxCollateralBytes + kMaxManifestBytes);
  INFENCLAVE_ASSIGN_OR_RETURN(server->server_,
                              GrpcServer::Start(options.listen, {server->oip_.get(), server->enclave_.get()},
                                                largest + kSlackBytes, [&model] { return model.ready(); }));
  if (!options.http.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(server->http_,
                                HttpServer::Start(options.http, MaxHttpBody(largest + kSlackBytes), kHttpThreads,
                                                  HttpFront(&server->oip_->description(), server->model_.get())));
  }
  return server;
}

}  // namespace infenclave
