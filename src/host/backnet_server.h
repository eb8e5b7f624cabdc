// What `infenclave backnet` runs: a BackNet on its own, an Open Inference Protocol server like any other.
#ifndef INFENCLAVE_HOST_BACKNET_SERVER_H_
#define INFENCLAVE_HOST_BACKNET_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "host/http_server.h"
#include "host/worker_pool.h"
#include "oip/grpc_server.h"
#include "oip/service.h"
#include "protocol/manifest.h"

namespace infenclave {

// Input "ir" FP32 [n, ir…], or UINT8 where codes cross the cut, output "scores" FP32 [n, output…], n up to kMaxBatch.
class BackNetModel final : public OipModel {
 public:
  static StatusOr<std::unique_ptr<BackNetModel>> Start(const Manifest& manifest, const BackNetFactory& backnet,
                                                       int workers);
  const ModelInfo& info() const override { return info_; }
  bool ready() const override { return true; }
  void Infer(InferCall* call) override;
  size_t max_message_bytes() const;

 private:
  BackNetModel() = default;
  Status Check(const inference::ModelInferRequest& request) const;
  Status Serve(InferCall* call, BackNet& backnet);

  BackNetShape shape_;
  ModelInfo info_;
  std::unique_ptr<WorkerPool> pool_;
};

class BackNetServer {
 public:
  struct Options {
    int workers = 1;
    std::string listen;
    std::string http;             // HOST:PORT for REST and metrics; empty: none
    OipModel::Observer observer;  // of finished requests; may be empty
  };
  // `backnet` must take ServerShapeOf() what the enclave lets out.
  static StatusOr<std::unique_ptr<BackNetServer>> Start(const Manifest& manifest, const BackNetFactory& backnet,
                                                        const Options& options);
  const std::string& address() const { return server_->address(); }
  std::string http_address() const { return http_ == nullptr ? "" : http_->address(); }
  void Shutdown(std::chrono::milliseconds drain) { server_->Shutdown(drain); }

 private:
  BackNetServer() = default;
  std::unique_ptr<BackNetModel> model_;
  std::unique_ptr<OipService> service_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_BACKNET_SERVER_H_
