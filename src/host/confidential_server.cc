#include "host/confidential_server.h"

#include "host/http_front.h"
#include "protocol/sealed.h"

namespace infenclave {
namespace {

// Names, shapes and parameters around the tensors.
constexpr size_t kSlackBytes = 64 << 10;

// No larger message than this bundle's requests and answers need.
size_t MaxMessageBytes(const Manifest& manifest) {
  const Preprocessing& picture = manifest.preprocessing;
  return kSlackBytes + std::max(size_t{3} * picture.width * picture.height + kMaxCredentialBytes,
                                kMaxEvidenceBytes + kMaxCollateralBytes + kMaxManifestBytes);
}
// Each waits with its caller.
constexpr int kHttpThreads = 32;

}  // namespace

StatusOr<std::unique_ptr<ConfidentialServer>> ConfidentialServer::Start(std::unique_ptr<EnclaveLink> link,
                                                                        ByteSpan manifest,
                                                                        const BackNetFactory& backnet,
                                                                        const Options& options) {
  std::unique_ptr<ConfidentialServer> server(new ConfidentialServer);
  server->model_ = std::make_unique<ServedModel>();
  server->model_options_ = options.model;
  ServedModel& model = *server->model_;
  model.Observe(options.observer);
  INFENCLAVE_ASSIGN_OR_RETURN(ServedModel::Generation first,
                              model.Make(std::move(link), manifest, backnet, options.model));
  server->max_message_bytes_ = MaxMessageBytes(first.model->manifest());
  model.Use(std::move(first));
  const bool simulated = model.tee() == TeeKind::kSimulated;
  server->oip_ = std::make_unique<OipService>(simulated ? "infenclave (SIMULATED TEE)" : "infenclave", &model);
  server->enclave_ = std::make_unique<EnclaveService>(&model);
  INFENCLAVE_ASSIGN_OR_RETURN(server->server_,
                              GrpcServer::Start(options.listen, {server->oip_.get(), server->enclave_.get()},
                                                server->max_message_bytes_, [&model] { return model.ready(); }));
  if (!options.http.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(server->http_,
                                HttpServer::Start(options.http, MaxHttpBody(server->max_message_bytes_), kHttpThreads,
                                                  HttpFront(&server->oip_->description(), &model)));
  }
  return server;
}

Status ConfidentialServer::Reload(std::unique_ptr<EnclaveLink> link, ByteSpan manifest, const BackNetFactory& backnet) {
  INFENCLAVE_ASSIGN_OR_RETURN(ServedModel::Generation next,
                              model_->Make(std::move(link), manifest, backnet, model_options_));
  if (MaxMessageBytes(next.model->manifest()) > max_message_bytes_) {
    return FailedPrecondition("the new bundle's pictures are larger than this server was started for: start another");
  }
  if (ClassOf(next.model->tee()) != ClassOf(model_->tee())) {
    return FailedPrecondition("the new bundle is for another class of TEE: start another server");
  }
  return model_->Offer(std::move(next));
}

}  // namespace infenclave
