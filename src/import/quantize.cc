#include "import/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "graph/operators.h"
#include "graph/pass_util.h"
#include "graph/passes.h"

namespace infenclave {
namespace {

// A zero point costs nothing where the range is lopsided, and a little speed where it is not.
constexpr float kAboutSymmetric = 0.7f;
// Of the values at each end. By measurement: on EfficientNet-Lite0 and 2, MobileNetV2 and SqueezeNet it kept more of
// the f32 top-1 answers than no clipping, a tenth of it, or the least mean squared error.
constexpr double kClippedShare = 1e-4;
// Biases stay well within 32 bits, and so do the sums that they are added to.
constexpr double kMaxBias = 1 << 30;

bool IsSpatialMean(const NodeView& v) {
  StatusOr<std::vector<int64_t>> axes = ReducedAxes(v);
  const size_t rank = v.shape(0).size();
  return axes.ok() && rank >= 3 && axes->size() == rank - 2 && (*axes)[0] == 2;
}

// What is quantised, and which of the quantised values share a scale.
class Plan {
 public:
  explicit Plan(const Graph& graph)
      : graph_(graph),
        quantized_nodes_(graph.nodes.size()),
        integer_(graph.values.size()),
        group_(graph.values.size()) {
    std::iota(group_.begin(), group_.end(), 0);
    // Readers come before what they read, so that a pool knows whether its result will be integers.
    for (size_t n = graph.nodes.size(); n-- > 0;) {
      const Node& node = graph.nodes[n];
      if (IsOpaque(node)) continue;
      const NodeView view{graph, node};
      if (!IsLinear(view) && !(Carries(view) && integer_[Index(node.outputs[0])])) continue;
      quantized_nodes_[n] = true;
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (!IsActivation(node, i)) continue;
        integer_[Index(node.inputs[i])] = true;
        if (KeepsScale(node)) Join(node.inputs[i], node.outputs[0]);
      }
    }
  }

  bool IsQuantized(size_t node) const { return quantized_nodes_[node]; }
  bool IsInteger(ValueId id) const { return integer_[Index(id)]; }
  ValueId GroupOf(ValueId id) const {
    while (group_[Index(id)] != id) id = group_[Index(id)];
    return id;
  }
  bool IsWeighted(const Node& node) const { return node.op == "Conv" || node.op == "Gemm" || node.op == "MatMul"; }

 private:
  static size_t Index(ValueId id) { return static_cast<size_t>(id); }

  bool IsActivation(const Node& node, size_t i) const {
    return node.inputs[i] != kNoValue && !graph_.IsConstant(node.inputs[i]);
  }

  bool IsLinear(const NodeView& v) const {
    if (v.node.op == "Add") {
      return v.Constant(0) == nullptr && v.Constant(1) == nullptr && v.shape(0) == v.shape(1) &&
             v.node.inputs[0] != v.node.inputs[1] && v.shape(0).size() >= 2;
    }
    if (!IsWeighted(v.node) || v.Constant(0) != nullptr || v.Constant(1) == nullptr || v.Constant(1)->empty()) {
      return false;
    }
    if (v.node.op == "MatMul") return v.shape(1).size() == 2;
    if (v.Has(2) && (v.Constant(2) == nullptr || v.shape(2) != Shape{v.out().shape[1]})) return false;
    if (v.node.op == "Conv") return true;
    StatusOr<int64_t> trans_a = IntAttribute(v.node, "transA", 0);
    StatusOr<float> alpha = FloatAttribute(v.node, "alpha", 1), beta = FloatAttribute(v.node, "beta", 1);
    return trans_a.ok() && *trans_a == 0 && alpha.ok() && *alpha == 1 && beta.ok() && *beta == 1;
  }

  // Moves or averages values: worth doing in integers if the result is wanted in integers.
  bool Carries(const NodeView& v) const {
    for (size_t i = 0; i < v.node.inputs.size(); ++i) {
      if (IsActivation(v.node, i) && v.in(i).dtype != DType::kF32) return false;
    }
    const Operator* op = OperatorOf(v.node);
    if (v.Constant(0) != nullptr || v.node.outputs.size() != 1 ||
        v.node.activation.kind != FusedActivation::Kind::kNone) {
      return false;
    }
    if (v.node.op == "Concat") {
      return std::none_of(v.node.inputs.begin(), v.node.inputs.end(),
                          [&](ValueId id) { return graph_.IsConstant(id); });
    }
    return op->view || v.node.op == "MaxPool" || v.node.op == "AveragePool" || v.node.op == "GlobalAveragePool" ||
           (v.node.op == "ReduceMean" && IsSpatialMean(v));
  }

  static bool KeepsScale(const Node& node) {
    return node.op != "Conv" && node.op != "Gemm" && node.op != "MatMul" && node.op != "Add" &&
           node.op != "GlobalAveragePool" && node.op != "ReduceMean";
  }

  void Join(ValueId a, ValueId b) { group_[Index(GroupOf(a))] = GroupOf(b); }

  const Graph& graph_;
  std::vector<bool> quantized_nodes_, integer_;
  std::vector<ValueId> group_;
};

// Integers that stand for scale (integer - zero).
struct Parameters {
  DType dtype = DType::kU8;
  float scale = 1;
  int32_t zero = 0;
};

Parameters ParametersFor(Range range) {
  const float low = std::min(range.low, 0.0f), high = std::max(range.high, 0.0f);
  // No range at all: any scale will do, if only its products with others stay normal numbers.
  auto usable = [](float scale) { return std::max(scale, 1e-12f); };
  if (low == 0) return {DType::kU8, usable(high / 255), 0};
  const float wide = std::max(-low, high), narrow = std::min(-low, high);
  if (narrow >= kAboutSymmetric * wide) return {DType::kI8, usable(wide / 127), 0};
  const float scale = usable((high - low) / 255);
  return {DType::kU8, scale, std::clamp(static_cast<int32_t>(std::lround(-low / scale)), 0, 255)};
}

class Quantizer {
 public:
  Quantizer(Graph graph, const std::map<ValueId, Range>& ranges)
      : graph_(std::move(graph)), plan_(graph_), names_(graph_) {
    for (size_t id = 0; id < graph_.values.size(); ++id) {
      const ValueId value = static_cast<ValueId>(id);
      auto range = ranges.find(value);
      if (!plan_.IsInteger(value) || range == ranges.end()) continue;
      auto [group, is_new] = ranges_.emplace(plan_.GroupOf(value), range->second);
      if (is_new) continue;
      group->second.low = std::min(group->second.low, range->second.low);
      group->second.high = std::max(group->second.high, range->second.high);
    }
  }

  StatusOr<Graph> Run() {
    const std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (ValueId id : graph_.inputs) INFENCLAVE_RETURN_IF_ERROR(QuantizeValue(id));
    for (size_t n = 0; n < nodes.size(); ++n) {
      Node node = nodes[n];
      const ValueId activation = node.inputs.empty() ? kNoValue : node.inputs[0];
      for (ValueId& id : node.inputs) {
        if (auto it = instead_.find(id); it != instead_.end()) id = it->second;
      }
      if (plan_.IsQuantized(n) && plan_.IsWeighted(node)) QuantizeWeights(node, activation);
      const std::vector<ValueId> outputs = node.outputs;
      graph_.nodes.push_back(std::move(node));
      for (ValueId id : outputs) INFENCLAVE_RETURN_IF_ERROR(QuantizeValue(id));
    }
    INFENCLAVE_ASSIGN_OR_RETURN(Graph inferred, InferShapes(std::move(graph_)));
    return RemoveDead(std::move(inferred));
  }

 private:
  StatusOr<Parameters> ParametersOf(ValueId id) const {
    auto range = ranges_.find(plan_.GroupOf(id));
    if (range == ranges_.end()) return InvalidArgument("no range was observed for '", graph_.value(id).name, "'");
    return ParametersFor(range->second);
  }

  ValueId Constant(const std::string& name, Tensor tensor) {
    return graph_.AddConstant(names_.Make(name), std::move(tensor));
  }

  // Everybody reads the value as it is after quantisation.
  Status QuantizeValue(ValueId id) {
    if (id == kNoValue || !plan_.IsInteger(id)) return OkStatus();
    INFENCLAVE_ASSIGN_OR_RETURN(const Parameters p, ParametersOf(id));
    const std::string name = graph_.value(id).name;
    Tensor zero(p.dtype, {});
    zero.raw()[0] = static_cast<uint8_t>(p.zero);
    const ValueId scale_id = Constant(name + "/scale", Tensor::FromF32({}, std::array<float, 1>{p.scale}));
    const ValueId zero_id = Constant(name + "/zero", std::move(zero));
    const ValueId integers = graph_.AddValue(names_.Make(name + "/quantized"), p.dtype, {});
    const ValueId real = graph_.AddValue(names_.Make(name + "/dequantized"), DType::kF32, {});
    graph_.nodes.push_back({.op = "QuantizeLinear",
                            .name = graph_.value(integers).name,
                            .inputs = {id, scale_id, zero_id},
                            .outputs = {integers}});
    graph_.nodes.push_back({.op = "DequantizeLinear",
                            .name = graph_.value(real).name,
                            .inputs = {integers, scale_id, zero_id},
                            .outputs = {real}});
    instead_[id] = real;
    return OkStatus();
  }

  // `activation`: input 0 before it was quantised.
  void QuantizeWeights(Node& node, ValueId activation) {
    const Tensor& weights = graph_.constant(node.inputs[1]);
    size_t axis = node.op == "Conv" ? 0 : 1;
    if (node.op == "Gemm" && *IntAttribute(node, "transB", 0) != 0) axis = 0;
    const size_t channels = static_cast<size_t>(weights.shape()[axis]);
    const size_t row = weights.as<float>().size() / channels;
    auto channel = [&](size_t i) { return axis == 0 ? i / row : i % channels; };
    const bool biased = node.inputs.size() > 2 && node.inputs[2] != kNoValue;
    const Tensor* bias = biased ? &graph_.constant(node.inputs[2]) : nullptr;
    const double input_scale = static_cast<double>(ParametersOf(activation)->scale);

    std::vector<float> scales(channels, 0);
    for (size_t i = 0; i < weights.as<float>().size(); ++i) {
      scales[channel(i)] = std::max(scales[channel(i)], std::abs(weights.as<float>()[i]) / 127);
    }
    for (size_t c = 0; c < channels; ++c) {
      const double b = bias == nullptr ? 0 : std::abs(static_cast<double>(bias->as<float>()[c]));
      scales[c] = std::max({scales[c], static_cast<float>(b / input_scale / kMaxBias), 1e-12f});
    }
    Tensor integers(DType::kI8, weights.shape());
    for (size_t i = 0; i < weights.as<float>().size(); ++i) {
      const float q = std::nearbyint(weights.as<float>()[i] / scales[channel(i)]);
      integers.as<int8_t>()[i] = static_cast<int8_t>(std::clamp(q, -127.0f, 127.0f));
    }
    Tensor sums;
    std::vector<float> bias_scales;
    if (bias != nullptr) {
      sums = Tensor(DType::kI32, bias->shape());
      for (size_t c = 0; c < channels; ++c) {
        bias_scales.push_back(static_cast<float>(input_scale * static_cast<double>(scales[c])));
        sums.as<int32_t>()[c] = static_cast<int32_t>(
            std::lround(static_cast<double>(bias->as<float>()[c]) / static_cast<double>(bias_scales[c])));
      }
    }
    const std::string weights_name = graph_.value(node.inputs[1]).name;
    const std::string bias_name = biased ? graph_.value(node.inputs[2]).name : "";
    // All of them 0, so a Conv goes without; for other layers ONNX Runtime computes in integers only if they are there.
    const bool zeros = node.op != "Conv";
    node.inputs[1] = Dequantized(weights_name, std::move(integers), scales, static_cast<int64_t>(axis), zeros);
    if (biased) node.inputs[2] = Dequantized(bias_name, std::move(sums), bias_scales, 0, zeros);
  }

  ValueId Dequantized(const std::string& name, Tensor integers, const std::vector<float>& scales, int64_t axis,
                      bool zeros) {
    const Shape per_channel = {static_cast<int64_t>(scales.size())};
    const ValueId out = graph_.AddValue(names_.Make(name + "/dequantized"), DType::kF32, {});
    Node node{.op = "DequantizeLinear", .name = graph_.value(out).name, .outputs = {out}};
    const DType dtype = integers.dtype();
    node.inputs = {Constant(name + "/quantized", std::move(integers)),
                   Constant(name + "/scale", Tensor::FromF32(per_channel, scales))};
    if (zeros) node.inputs.push_back(Constant(name + "/zero", Tensor(dtype, per_channel)));
    node.attributes["axis"] = axis;
    graph_.nodes.push_back(std::move(node));
    return out;
  }

  Graph graph_;
  Plan plan_;
  FreshNames names_;
  std::map<ValueId, Range> ranges_;  // by group
  std::map<ValueId, ValueId> instead_;
};

Status CheckQuantizable(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    if (Is(node, "QuantizeLinear") || Is(node, "DequantizeLinear")) {
      return InvalidArgument(node.op, " '", node.name, "': the network is quantised already");
    }
  }
  return OkStatus();
}

}  // namespace

void RangeObserver::ObserveExtremes(std::span<const float> values) {
  for (float v : values) {
    if (!std::isfinite(v)) continue;
    extremes_.low = std::min(extremes_.low, v);
    extremes_.high = std::max(extremes_.high, v);
  }
}

void RangeObserver::ObserveHistogram(std::span<const float> values) {
  bins_.resize(kBins);
  const float width = (extremes_.high - extremes_.low) / kBins;
  if (!(width > 0)) return;
  for (float v : values) {
    if (!std::isfinite(v)) continue;
    const float bin = std::clamp((v - extremes_.low) / width, 0.0f, static_cast<float>(kBins - 1));
    ++bins_[static_cast<size_t>(bin)];
  }
}

Range RangeObserver::Choose() const {
  if (bins_.empty()) return extremes_;
  const int64_t total = std::accumulate(bins_.begin(), bins_.end(), int64_t{0});
  const int64_t clipped = static_cast<int64_t>(kClippedShare * static_cast<double>(total));
  const float width = (extremes_.high - extremes_.low) / kBins;
  // The first bin from an end that the share does not cover is kept.
  auto kept = [&](auto begin, auto end) {
    int64_t seen = 0;
    return std::find_if(begin, end, [&](int64_t count) { return (seen += count) > clipped; }) - begin;
  };
  return {std::min(0.0f, extremes_.low + width * static_cast<float>(kept(bins_.begin(), bins_.end()))),
          std::max(0.0f, extremes_.high - width * static_cast<float>(kept(bins_.rbegin(), bins_.rend())))};
}

StatusOr<std::vector<ValueId>> QuantizedValues(const Graph& graph) {
  INFENCLAVE_RETURN_IF_ERROR(CheckQuantizable(graph));
  const Plan plan(graph);
  std::vector<ValueId> out;
  for (size_t id = 0; id < graph.values.size(); ++id) {
    if (plan.IsInteger(static_cast<ValueId>(id))) out.push_back(static_cast<ValueId>(id));
  }
  if (out.empty()) return InvalidArgument("the network has no Conv, Gemm or MatMul with constant weights to quantise");
  return out;
}

StatusOr<Graph> Quantize(Graph graph, const std::map<ValueId, Range>& ranges) {
  INFENCLAVE_RETURN_IF_ERROR(QuantizedValues(graph).status());
  return Quantizer(std::move(graph), ranges).Run();
}

}  // namespace infenclave
