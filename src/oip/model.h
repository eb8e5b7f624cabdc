// A model behind the Open Inference Protocol, whatever the transport: what it is, one request in flight, and what the
// protocol's other calls answer about it.
#ifndef INFENCLAVE_OIP_MODEL_H_
#define INFENCLAVE_OIP_MODEL_H_

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "oip/open_inference.pb.h"
#include "oip/statistics.h"

namespace infenclave {

// https://www.w3.org/TR/trace-context: version, trace id, parent id and flags, all in lower-case hexadecimal.
inline constexpr char kTraceparent[] = "traceparent";
bool IsTraceparent(std::string_view value);

// One ModelInfer in flight. It lives until Finish, which must be called exactly once and may destroy it.
class InferCall {
 public:
  virtual const inference::ModelInferRequest& request() const = 0;
  virtual inference::ModelInferResponse& response() = 0;
  // The caller's; the far future if it set none.
  virtual std::chrono::system_clock::time_point deadline() const = 0;
  virtual bool cancelled() const = 0;
  // Calls `f`, once at most and from whatever thread, when the caller gives up or its deadline passes; at once if that
  // has happened already. Only the last one that was given counts.
  virtual void WhenCancelled(std::function<void()> f) = 0;
  // Trailing metadata; a key that ends in "-bin" may have any bytes as its value.
  virtual void AddTrailer(const std::string& key, const std::string& value) = 0;
  virtual void Finish(const Status& status) = 0;
  // The caller's W3C trace context, as it came; empty without one that is well-formed.
  virtual std::string traceparent() const { return {}; }

  ServingStatistics::Clock::time_point received() const { return received_; }

 protected:
  virtual ~InferCall() = default;

 private:
  const ServingStatistics::Clock::time_point received_ = ServingStatistics::Clock::now();
};

struct TensorInfo {
  std::string name, datatype;  // the protocol's names: "BYTES", "FP32", "UINT8"
  std::vector<int64_t> shape;  // -1: any size
};
struct ModelInfo {
  std::string name, version, platform;
  std::vector<TensorInfo> inputs, outputs;
  std::vector<std::pair<std::string, std::string>> properties;
  int max_batch = 0;  // > 0: every tensor's first dimension is the batch
};

class OipModel {
 public:
  virtual ~OipModel() = default;
  virtual const ModelInfo& info() const = 0;  // does not change
  virtual bool ready() const = 0;
  // The request is for this model and version. Must not block.
  virtual void Infer(InferCall* call) = 0;

  // Transports count requests, the model its batches.
  ServingStatistics& statistics() { return statistics_; }
  const ServingStatistics& statistics() const { return statistics_; }
  void CountFinished(const InferCall& call, const Status& status);
  // Called for each finished request, on whatever thread finishes it. Set before the first.
  using Observer = std::function<void(const InferCall& call, const Status& status, ServingStatistics::Clock::duration)>;
  void Observe(Observer observer) { observer_ = std::move(observer); }

 private:
  ServingStatistics statistics_;
  Observer observer_;
};

// Answers every call of the protocol but ModelInfer. NOT_FOUND for a model or version that is not this one.
class OipDescription {
 public:
  // `server_name` goes into ServerMetadata, beside the project's version. The model must outlive this.
  OipDescription(std::string server_name, OipModel* model) : server_name_(std::move(server_name)), model_(model) {}

  OipModel& model() const { return *model_; }
  Status CheckModel(const std::string& name, const std::string& version) const;

  Status Answer(const inference::ServerLiveRequest&, inference::ServerLiveResponse* response) const;
  Status Answer(const inference::ServerReadyRequest&, inference::ServerReadyResponse* response) const;
  Status Answer(const inference::ModelReadyRequest& request, inference::ModelReadyResponse* response) const;
  Status Answer(const inference::ServerMetadataRequest&, inference::ServerMetadataResponse* response) const;
  Status Answer(const inference::ModelMetadataRequest& request, inference::ModelMetadataResponse* response) const;
  Status Answer(const inference::ModelConfigRequest& request, inference::ModelConfigResponse* response) const;
  // An empty name or version asks for all that there are.
  Status Answer(const inference::ModelStatisticsRequest& request, inference::ModelStatisticsResponse* response) const;
  Status Answer(const inference::RepositoryIndexRequest& request, inference::RepositoryIndexResponse* response) const;
  // UNIMPLEMENTED: what is served is decided by who starts the server.
  Status Answer(const inference::RepositoryModelLoadRequest&, inference::RepositoryModelLoadResponse*) const;
  Status Answer(const inference::RepositoryModelUnloadRequest&, inference::RepositoryModelUnloadResponse*) const;

 private:
  const std::string server_name_;
  OipModel* const model_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_MODEL_H_
