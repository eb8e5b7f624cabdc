#include "oip/model.h"

namespace infenclave {
namespace {

void FillTensors(const std::vector<TensorInfo>& tensors,
                 google::protobuf::RepeatedPtrField<inference::ModelMetadataResponse::TensorMetadata>& out) {
  for (const TensorInfo& tensor : tensors) {
    auto& described = *out.Add();
    described.set_name(tensor.name);
    described.set_datatype(tensor.datatype);
    described.mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
  }
}

// Only what our models have.
inference::DataType ConfigType(const std::string& datatype) {
  if (datatype == "BYTES") return inference::TYPE_STRING;
  if (datatype == "UINT8") return inference::TYPE_UINT8;
  return datatype == "FP32" ? inference::TYPE_FP32 : inference::TYPE_INVALID;
}

template <typename Tensor>
void FillConfig(const std::vector<TensorInfo>& tensors, bool batched, google::protobuf::RepeatedPtrField<Tensor>& out) {
  for (const TensorInfo& tensor : tensors) {
    auto& described = *out.Add();
    described.set_name(tensor.name);
    described.set_data_type(ConfigType(tensor.datatype));
    described.mutable_dims()->Assign(tensor.shape.begin() + (batched ? 1 : 0), tensor.shape.end());
  }
}

void Fill(inference::StatisticDuration& out, uint64_t count, ServingStatistics::Clock::duration time) {
  out.set_count(count);
  out.set_ns(static_cast<uint64_t>(std::chrono::nanoseconds(time).count()));
}

void FillStatistics(const ServingStatistics::Totals& totals, inference::ModelStatistics& out) {
  ServingStatistics::StageTimes sums{};
  uint64_t executions = 0, requests = 0;
  for (const auto& [size, batches] : totals.by_batch_size) {
    executions += batches.count;
    requests += batches.count * static_cast<uint64_t>(size);
    for (size_t i = 0; i < kStages; ++i) sums[i] += batches.times[i];
    auto& same = *out.add_batch_stats();
    same.set_batch_size(static_cast<uint64_t>(size));
    Fill(*same.mutable_compute_input(), batches.count, batches.times[static_cast<size_t>(Stage::kBegin)]);
    Fill(*same.mutable_compute_infer(), batches.count, batches.times[static_cast<size_t>(Stage::kBackNet)]);
    Fill(*same.mutable_compute_output(), batches.count, batches.times[static_cast<size_t>(Stage::kFinish)]);
  }
  using std::chrono::milliseconds;
  const auto last = std::chrono::duration_cast<milliseconds>(totals.last.time_since_epoch());
  out.set_last_inference(static_cast<uint64_t>(last.count()));
  out.set_inference_count(requests);
  out.set_execution_count(executions);
  inference::InferStatistics& stats = *out.mutable_inference_stats();
  Fill(*stats.mutable_success(), totals.succeeded(), totals.succeeded_for);
  Fill(*stats.mutable_fail(), totals.failed(), totals.failed_for);
  Fill(*stats.mutable_queue(), requests, sums[static_cast<size_t>(Stage::kQueue)]);
  Fill(*stats.mutable_compute_input(), executions, sums[static_cast<size_t>(Stage::kBegin)]);
  Fill(*stats.mutable_compute_infer(), executions, sums[static_cast<size_t>(Stage::kBackNet)]);
  Fill(*stats.mutable_compute_output(), executions, sums[static_cast<size_t>(Stage::kFinish)]);
}

constexpr char kOneModel[] = "this server has one model, which it neither loads nor unloads";

}  // namespace

bool IsTraceparent(std::string_view value) {
  constexpr std::string_view kForm = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
  if (value.size() != kForm.size()) return false;
  for (size_t i = 0; i < kForm.size(); ++i) {
    const char c = value[i];
    if (kForm[i] == '-' ? c != '-' : !(('0' <= c && c <= '9') || ('a' <= c && c <= 'f'))) return false;
  }
  return true;
}

void OipModel::CountFinished(const InferCall& call, const Status& status) {
  const auto took = ServingStatistics::Clock::now() - call.received();
  statistics_.CountFinished(status.code(), took);
  if (observer_) observer_(call, status, took);
}

Status OipDescription::CheckModel(const std::string& name, const std::string& version) const {
  const ModelInfo& info = model_->info();
  if (name != info.name) return NotFound("no model '", name, "' here: this server has '", info.name, "'");
  if (!version.empty() && version != info.version) {
    return NotFound("no version '", version, "' of model '", name, "' here: this server has ", info.version);
  }
  return OkStatus();
}

Status OipDescription::Answer(const inference::ServerLiveRequest&, inference::ServerLiveResponse* response) const {
  response->set_live(true);
  return OkStatus();
}

Status OipDescription::Answer(const inference::ServerReadyRequest&, inference::ServerReadyResponse* response) const {
  response->set_ready(model_->ready());
  return OkStatus();
}

Status OipDescription::Answer(const inference::ModelReadyRequest& request,
                              inference::ModelReadyResponse* response) const {
  INFENCLAVE_RETURN_IF_ERROR(CheckModel(request.name(), request.version()));
  response->set_ready(model_->ready());
  return OkStatus();
}

Status OipDescription::Answer(const inference::ServerMetadataRequest&,
                              inference::ServerMetadataResponse* response) const {
  response->set_name(server_name_);
  response->set_version(INFENCLAVE_VERSION);
  for (const char* extension : {"binary_tensor_data", "model_configuration", "statistics"}) {
    response->add_extensions(extension);
  }
  return OkStatus();
}

Status OipDescription::Answer(const inference::ModelMetadataRequest& request,
                              inference::ModelMetadataResponse* response) const {
  INFENCLAVE_RETURN_IF_ERROR(CheckModel(request.name(), request.version()));
  const ModelInfo& info = model_->info();
  response->set_name(info.name);
  response->add_versions(info.version);
  response->set_platform(info.platform);
  FillTensors(info.inputs, *response->mutable_inputs());
  FillTensors(info.outputs, *response->mutable_outputs());
  for (const auto& [key, value] : info.properties) (*response->mutable_properties())[key] = value;
  return OkStatus();
}

Status OipDescription::Answer(const inference::ModelConfigRequest& request,
                              inference::ModelConfigResponse* response) const {
  INFENCLAVE_RETURN_IF_ERROR(CheckModel(request.name(), request.version()));
  const ModelInfo& info = model_->info();
  inference::ModelConfig& config = *response->mutable_config();
  config.set_name(info.name);
  config.set_platform(info.platform);
  config.set_backend(info.platform);
  config.set_max_batch_size(info.max_batch);
  FillConfig(info.inputs, info.max_batch > 0, *config.mutable_input());
  FillConfig(info.outputs, info.max_batch > 0, *config.mutable_output());
  return OkStatus();
}

Status OipDescription::Answer(const inference::ModelStatisticsRequest& request,
                              inference::ModelStatisticsResponse* response) const {
  const ModelInfo& info = model_->info();
  if (!request.name().empty()) INFENCLAVE_RETURN_IF_ERROR(CheckModel(request.name(), request.version()));
  inference::ModelStatistics& stats = *response->add_model_stats();
  stats.set_name(info.name);
  stats.set_version(info.version);
  FillStatistics(model_->statistics().Read(), stats);
  return OkStatus();
}

Status OipDescription::Answer(const inference::RepositoryIndexRequest& request,
                              inference::RepositoryIndexResponse* response) const {
  const bool ready = model_->ready();
  if (request.ready() && !ready) return OkStatus();
  auto& model = *response->add_models();
  model.set_name(model_->info().name);
  model.set_version(model_->info().version);
  model.set_state(ready ? "READY" : "UNAVAILABLE");
  if (!ready) model.set_reason("no keys yet");
  return OkStatus();
}

Status OipDescription::Answer(const inference::RepositoryModelLoadRequest&,
                              inference::RepositoryModelLoadResponse*) const {
  return Unimplemented(kOneModel);
}

Status OipDescription::Answer(const inference::RepositoryModelUnloadRequest&,
                              inference::RepositoryModelUnloadResponse*) const {
  return Unimplemented(kOneModel);
}

}  // namespace infenclave
