#include "assessment/oracle.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace infenclave {
namespace {

// Added in a fixed order, so that equal inputs give equal bits wherever they stand.
double Dot(const double* a, const double* b, int n) {
  double lanes[8] = {};
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int k = 0; k < 8; ++k) lanes[k] += a[i + k] * b[i + k];
  }
  double sum = 0;
  for (double lane : lanes) sum += lane;
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void SoftmaxInto(std::span<const float> logits, std::span<float> out) {
  const float most = *std::max_element(logits.begin(), logits.end());
  std::vector<double> powers(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) sum += powers[i] = std::exp(static_cast<double>(logits[i]) - most);
  for (size_t i = 0; i < logits.size(); ++i) out[i] = static_cast<float>(powers[i] / sum);
}

Status CheckInput(const Shape& in, const Preprocessing& p) {
  const Shape want = {1, 3, p.height, p.width};
  if (in == want) return OkStatus();
  return InvalidArgument("the oracle's input is ", ToString(in), ", its preprocessing makes ", ToString(want),
                         ": choose it with --oracle-preprocessing");
}

// A server does not say whether it answers with probabilities; scores that are none do not look like them.
bool AreProbabilities(std::span<const float> answer) {
  double sum = 0;
  for (float v : answer) {
    if (v < 0) return false;
    sum += v;
  }
  return std::abs(sum - 1) < 1e-3;
}

Status CheckInterface(const Graph& graph, const Preprocessing& p) {
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1) {
    return InvalidArgument("the oracle '", graph.name, "' has ", graph.inputs.size(), " inputs and ",
                           graph.outputs.size(), " outputs; a classifier has one of each");
  }
  return CheckInput(graph.value(graph.inputs[0]).shape, p);
}

}  // namespace

bool EndsInSoftmax(const Graph& graph) {
  if (graph.outputs.size() != 1) return false;
  const std::vector<int> producers = Producers(graph);
  ValueId value = graph.outputs[0];
  for (int node = producers[value]; node >= 0; node = producers[value]) {
    const std::string& op = graph.nodes[node].op;
    if (op == "Softmax") return true;
    if (op != "Reshape" && op != "Flatten" && op != "Squeeze" && op != "Unsqueeze" && op != "Identity") return false;
    value = graph.nodes[node].inputs[0];
  }
  return false;
}

StatusOr<Oracle> Oracle::Create(const OracleModel& model, const Preprocessing& preprocessing, int batch,
                                std::shared_ptr<PackedWeights> weights) {
  if (model.remote != nullptr) {
    const RemoteModel& remote = *model.remote;
    const Shape in = {1, 3, remote.height(), remote.width()};
    INFENCLAVE_RETURN_IF_ERROR(CheckInput(in, preprocessing));
    Oracle oracle(preprocessing, batch, remote.classes());
    oracle.remote_ = model.remote;
    oracle.input_ = Tensor(DType::kF32, {batch, 3, remote.height(), remote.width()});
    oracle.output_ = Tensor(DType::kF32, {batch, remote.classes()});
    return oracle;
  }
  const Graph& graph = *model.graph;
  INFENCLAVE_RETURN_IF_ERROR(CheckInterface(graph, preprocessing));
  EngineOptions options;
  options.batch = batch;
  options.weights = std::move(weights);
  auto network = CompiledNetwork::Compile(graph, options);
  if (!network.ok()) return Annotate(network.status(), "oracle");
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t outputs, NumElements(network->output_shapes()[0]));
  const int classes = static_cast<int>(outputs / batch);
  if (classes < 2) return InvalidArgument("the oracle's output has ", classes, " classes: at least 2 are needed");
  Oracle oracle(preprocessing, batch, classes);
  oracle.network_ = *std::move(network);
  oracle.softmax_ = EndsInSoftmax(graph);
  oracle.input_ = Tensor(DType::kF32, oracle.network_->input_shapes()[0]);
  oracle.output_ = Tensor(DType::kF32, oracle.network_->output_shapes()[0]);
  return oracle;
}

Oracle::Oracle(const Preprocessing& preprocessing, int batch, int classes)
    : preprocessing_(preprocessing),
      batch_(batch),
      classes_(classes),
      probabilities_(static_cast<size_t>(batch) * classes),
      grey_(static_cast<size_t>(preprocessing.height) * preprocessing.width) {}

std::span<float> Oracle::Slot(int k) {
  INFENCLAVE_CHECK(k >= 0 && k < batch_);
  const size_t size = size_t{3} * preprocessing_.width * preprocessing_.height;
  return input_.as<float>().subspan(k * size, size);
}

void Oracle::SetPhotograph(int k, const Image& photograph) {
  Normalize(preprocessing_, Prepare(photograph, preprocessing_).rgb, Slot(k));
}

void Oracle::SetPicture(int k, const Image& picture) {
  const Image stretched = Resize(picture, preprocessing_.width, preprocessing_.height, Preprocessing::Filter::kBicubic);
  Normalize(preprocessing_, stretched.rgb, Slot(k));
}

void Oracle::SetMap(int k, std::span<const float> map, int map_height, int map_width) {
  const auto [resizer, fresh] =
      resizers_.try_emplace({map_height, map_width}, map_height, map_width, height(), width());
  resizer->second.Resize(map, grey_);
  for (size_t c = 0; c < 3; ++c) {
    const float mean = preprocessing_.mean[c], scale = preprocessing_.scale[c];
    float* out = &Slot(k)[c * grey_.size()];
    for (size_t i = 0; i < grey_.size(); ++i) out[i] = (grey_[i] - mean) * scale;
  }
}

Status Oracle::Evaluate(int count) {
  if (remote_ != nullptr) {
    INFENCLAVE_RETURN_IF_ERROR(remote_->Infer(std::as_const(input_).as<float>(), count, output_.as<float>()));
  } else {
    const TensorView inputs[] = {input_.view()};
    const MutableTensorView outputs[] = {output_.mutable_view()};
    INFENCLAVE_RETURN_IF_ERROR(network_->Run(inputs, outputs));
  }
  for (int k = 0; k < count; ++k) {
    const auto answer = std::as_const(output_).as<float>().subspan(static_cast<size_t>(k) * classes_, classes_);
    if (!std::all_of(answer.begin(), answer.end(), [](float v) { return std::isfinite(v); })) {
      return InvalidArgument("the oracle answers with NaN or infinity: it cannot judge");
    }
    const std::span<float> out = std::span(probabilities_).subspan(static_cast<size_t>(k) * classes_, classes_);
    if (remote_ != nullptr ? AreProbabilities(answer) : softmax_) {
      std::copy(answer.begin(), answer.end(), out.begin());
    } else {
      SoftmaxInto(answer, out);
    }
  }
  return OkStatus();
}

std::span<const float> Oracle::Probabilities(int k) const {
  return std::span(probabilities_).subspan(static_cast<size_t>(k) * classes_, classes_);
}

void KlRows::Add(std::span<const float> probabilities) {
  INFENCLAVE_CHECK(static_cast<int>(probabilities.size()) == classes_);
  double sum = 0;
  for (float probability : probabilities) {
    const double p = std::max<double>(probability, kLeastProbability);
    p_.push_back(p);
    sum += p * std::log(p);
  }
  minus_entropy_.push_back(sum);
}

double KlRows::Bound(int x) const { return std::max(0.0, minus_entropy_[x] + std::log(classes_)); }

void KlRows::Against(std::span<const float> answer, std::span<float> out) const {
  INFENCLAVE_CHECK(static_cast<int>(answer.size()) == classes_ && static_cast<int>(out.size()) == size());
  std::vector<double> logs(classes_);
  for (int c = 0; c < classes_; ++c) logs[c] = std::log(std::max<double>(answer[c], kLeastProbability));
  for (int x = 0; x < size(); ++x) {
    const double kl = minus_entropy_[x] - Dot(&p_[static_cast<size_t>(x) * classes_], logs.data(), classes_);
    out[x] = static_cast<float>(std::max(0.0, kl));  // rounding may leave -1e-16
  }
}

}  // namespace infenclave
