// FoldBatchNorm and FoldPad: what stands before or behind a convolution and can be part of it.
#include <cmath>
#include <limits>
#include <optional>

#include "graph/pass_util.h"
#include "graph/passes.h"

namespace infenclave {
namespace {

// y = scale[c] x + shift[c], in double until the weights are stored again.
struct Affine {
  std::vector<double> scale, shift;
};

// One number per channel (dimension 1) of a value of that shape, if the constant broadcasts so.
std::optional<std::vector<double>> PerChannel(const Tensor* constant, const Shape& shape) {
  if (constant == nullptr || constant->dtype() != DType::kF32 || shape.size() < 2) return std::nullopt;
  const Shape& own = constant->shape();
  if (own.size() > shape.size()) return std::nullopt;
  for (size_t i = 0; i < own.size(); ++i) {
    size_t axis = shape.size() - own.size() + i;
    if (own[i] != 1 && (axis != 1 || own[i] != shape[1])) return std::nullopt;
  }
  std::span<const float> values = constant->as<float>();
  std::vector<double> out(static_cast<size_t>(shape[1]));
  for (size_t c = 0; c < out.size(); ++c) out[c] = static_cast<double>(values[values.size() == 1 ? 0 : c]);
  return out;
}

std::optional<Affine> BatchNormAffine(const NodeView& v) {
  const Tensor *gamma = v.Constant(1), *beta = v.Constant(2), *mean = v.Constant(3), *variance = v.Constant(4);
  StatusOr<float> epsilon = FloatAttribute(v.node, "epsilon", 1e-5f);
  if (!gamma || !beta || !mean || !variance || !epsilon.ok()) return std::nullopt;
  Affine out;
  for (size_t c = 0; c < gamma->as<float>().size(); ++c) {
    double deviation = std::sqrt(static_cast<double>(variance->as<float>()[c]) + static_cast<double>(*epsilon));
    out.scale.push_back(static_cast<double>(gamma->as<float>()[c]) / deviation);
    out.shift.push_back(static_cast<double>(beta->as<float>()[c]) -
                        static_cast<double>(mean->as<float>()[c]) * out.scale.back());
  }
  return out;
}

// The affine function that a node applies to its input `data`, if that is what it does.
std::optional<Affine> AffineOf(const NodeView& v, size_t* data) {
  const std::string& op = v.node.op;
  if (IsOpaque(v.node) || v.node.activation.kind != FusedActivation::Kind::kNone) return std::nullopt;
  *data = 0;
  if (op == "BatchNormalization") return BatchNormAffine(v);
  if (op != "Mul" && op != "Add" && op != "Sub" && op != "Div") return std::nullopt;
  *data = v.Constant(0) != nullptr ? 1 : 0;
  if (op == "Div" && *data != 0) return std::nullopt;
  if (v.out().shape != v.shape(*data)) return std::nullopt;
  std::optional<std::vector<double>> k = PerChannel(v.Constant(1 - *data), v.out().shape);
  if (!k) return std::nullopt;
  Affine out{std::vector<double>(k->size(), 1), std::vector<double>(k->size(), 0)};
  for (size_t c = 0; c < k->size(); ++c) {
    if (op == "Mul") out.scale[c] = (*k)[c];
    if (op == "Div") out.scale[c] = 1 / (*k)[c];
    if (op == "Add") out.shift[c] = (*k)[c];
    if (op == "Sub") out.scale[c] = *data == 0 ? 1 : -1, out.shift[c] = *data == 0 ? -(*k)[c] : (*k)[c];
  }
  return out;
}

Tensor ToTensor(const std::vector<double>& values, Shape shape) {
  Tensor out(DType::kF32, std::move(shape));
  for (size_t i = 0; i < values.size(); ++i) out.as<float>()[i] = static_cast<float>(values[i]);
  return out;
}

class AffineFolder {
 public:
  explicit AffineFolder(Graph& graph) : graph_(graph), flow_(graph), names_(graph), erased_(graph.nodes.size()) {}

  void Run() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      size_t data = 0;
      std::optional<Affine> affine = AffineOf({graph_, graph_.nodes[n]}, &data);
      if (!affine) continue;
      if (FoldInto(graph_.nodes[n].inputs[data], *affine, graph_.nodes[n].outputs[0])) {
        erased_[n] = true;
      } else if (graph_.nodes[n].op == "BatchNormalization") {
        Standalone(n, *affine);
      }
    }
    EraseNodes(graph_, erased_);
    InsertAdds();
  }

 private:
  ValueId Constant(const std::string& base, Tensor tensor) {
    return graph_.AddConstant(names_.Make(base), std::move(tensor));
  }

  // Into the node that makes `value`, which then makes `out`.
  bool FoldInto(ValueId value, const Affine& affine, ValueId out) {
    int producer = flow_.producer(value);
    if (producer < 0 || !flow_.HasOneReader(value)) return false;
    Node& node = graph_.nodes[static_cast<size_t>(producer)];
    if (IsOpaque(node) || node.activation.kind != FusedActivation::Kind::kNone) return false;
    if (node.op == "Conv" ? !FoldIntoConv(node, affine) : !FoldIntoMatrix(node, affine)) return false;
    node.outputs[0] = out;
    flow_.producers[static_cast<size_t>(out)] = producer;
    return true;
  }

  bool FoldIntoConv(Node& node, const Affine& affine) {
    NodeView v{graph_, node};
    const Tensor *weights = v.Constant(1), *bias = v.Constant(2);
    if (weights == nullptr || weights->empty() || (v.Has(2) && bias == nullptr)) return false;
    Tensor scaled = weights->Clone();
    size_t channels = affine.scale.size(), row = scaled.as<float>().size() / channels;
    for (size_t i = 0; i < scaled.as<float>().size(); ++i) {
      float& w = scaled.as<float>()[i];
      w = static_cast<float>(static_cast<double>(w) * affine.scale[i / row]);
    }
    std::vector<double> shift = affine.shift;
    for (size_t c = 0; bias != nullptr && c < channels; ++c) {
      shift[c] += static_cast<double>(bias->as<float>()[c]) * affine.scale[c];
    }
    Replace(node, std::move(scaled), shift);
    return true;
  }

  // Gemm, and MatMul of two matrices, which becomes one.
  bool FoldIntoMatrix(Node& node, const Affine& affine) {
    if (node.op != "Gemm" && node.op != "MatMul") return false;
    NodeView v{graph_, node};
    const Tensor* weights = v.Constant(1);
    if (weights == nullptr || weights->shape().size() != 2 || weights->empty() || v.shape(0).size() != 2) return false;
    StatusOr<int64_t> trans_b = IntAttribute(node, "transB", 0);
    StatusOr<float> beta = FloatAttribute(node, "beta", 1);
    std::vector<double> shift = affine.shift;
    if (v.Has(2)) {
      std::optional<std::vector<double>> bias = PerChannel(v.Constant(2), v.out().shape);
      if (!bias) return false;
      for (size_t c = 0; c < shift.size(); ++c) shift[c] += (*bias)[c] * static_cast<double>(*beta) * affine.scale[c];
    }
    Tensor scaled = weights->Clone();
    size_t columns = static_cast<size_t>(scaled.shape()[1]);
    for (size_t i = 0; i < scaled.as<float>().size(); ++i) {
      float& w = scaled.as<float>()[i];
      w = static_cast<float>(static_cast<double>(w) * affine.scale[*trans_b ? i / columns : i % columns]);
    }
    node.op = "Gemm";
    node.attributes.erase("beta");
    Replace(node, std::move(scaled), shift);
    return true;
  }

  void Replace(Node& node, Tensor weights, const std::vector<double>& bias) {
    std::string weights_name = graph_.value(node.inputs[1]).name;
    bool biased = node.inputs.size() > 2 && node.inputs[2] != kNoValue;
    std::string bias_name = biased ? graph_.value(node.inputs[2]).name : weights_name + ".bias";
    node.inputs.resize(3);
    node.inputs[1] = Constant(weights_name, std::move(weights));
    node.inputs[2] = Constant(bias_name, ToTensor(bias, {static_cast<int64_t>(bias.size())}));
  }

  // A depthwise 1x1 convolution, which can take the activation behind it; for matrices a Mul and an Add.
  void Standalone(size_t n, const Affine& affine) {
    Node& node = graph_.nodes[n];
    const Shape shape = graph_.value(node.inputs[0]).shape;  // a copy: constants are added below
    std::string name = graph_.value(node.outputs[0]).name;
    Shape parameters = {shape[1]};
    if (shape.size() > 2) parameters.resize(shape.size(), 1);
    ValueId scale = Constant(name + ".scale", ToTensor(affine.scale, std::move(parameters)));
    ValueId shift = Constant(name + ".shift", ToTensor(affine.shift, {static_cast<int64_t>(affine.shift.size())}));
    node.attributes.clear();
    if (shape.size() > 2) {
      node.op = "Conv";
      node.attributes["group"] = graph_.value(scale).shape[0];
      node.inputs = {node.inputs[0], scale, shift};
      return;
    }
    Node add{.op = "Add", .name = node.name, .outputs = node.outputs};
    ValueId product = graph_.AddValue(names_.Make(name + ".scaled"), DType::kF32, graph_.value(node.inputs[0]).shape);
    node.op = "Mul";
    node.inputs = {node.inputs[0], scale};
    node.outputs = {product};
    add.inputs = {product, shift};
    adds_.push_back(std::move(add));
  }

  void InsertAdds() {
    if (adds_.empty()) return;
    std::vector<Node> nodes;
    size_t next = 0;
    for (Node& node : graph_.nodes) {
      nodes.push_back(std::move(node));
      if (next < adds_.size() && nodes.back().outputs[0] == adds_[next].inputs[0]) {
        nodes.push_back(std::move(adds_[next++]));
      }
    }
    graph_.nodes = std::move(nodes);
  }

  Graph& graph_;
  Flow flow_;
  FreshNames names_;
  std::vector<bool> erased_;
  std::vector<Node> adds_;
};

// A bound that no element of the value is below.
float LowerBound(const Graph& graph, const Flow& flow, ValueId id) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  if (flow.producer(id) < 0) return kNone;
  const Node& node = graph.nodes[static_cast<size_t>(flow.producer(id))];
  if (Is(node, "Relu") || Is(node, "Sigmoid") || Is(node, "HardSigmoid")) return 0;
  if (!Is(node, "Clip")) return kNone;
  StatusOr<ScalarParameters> bounds = ScalarParametersOf({graph, node});
  return bounds.ok() ? bounds->alpha : kNone;
}

// Adds a Pad's amounts to the window of the node that reads it; false where the result would differ.
bool MovePad(Graph& graph, const Flow& flow, const Node& pad, Node& reader) {
  NodeView v{graph, pad};
  StatusOr<PadAmounts> amounts = PadAmountsOf(v);
  StatusOr<Window> window = WindowOf({graph, reader});
  if (!amounts.ok() || !window.ok()) return false;
  bool conv = reader.op == "Conv", average = reader.op == "AveragePool", unpadded = true;
  std::vector<int64_t> pads;
  for (bool end : {false, true}) {
    const std::vector<int64_t>&added = end ? amounts->end : amounts->begin,
          &own = end ? window->pads_end : window->pads_begin;
    if (added[0] != 0 || added[1] != 0) return false;
    for (size_t i = 0; i < own.size(); ++i) {
      int64_t extent = (window->kernel[i] - 1) * window->dilations[i] + 1;
      pads.push_back(own[i] + added[i + 2]);
      unpadded &= own[i] == 0;
      if (added[i + 2] < 0 || pads.back() > (1 << 20) || (!conv && pads.back() >= extent)) return false;
    }
  }
  float value = v.Has(2) ? v.Constant(2)->as<float>()[0] : 0;
  if (!conv && *IntAttribute(reader, "ceil_mode", 0) != 0) return false;
  if (reader.op == "MaxPool" && !(value <= LowerBound(graph, flow, pad.inputs[0]))) return false;
  if ((conv || average) && value != 0) return false;
  if (average && !unpadded && *IntAttribute(reader, "count_include_pad", 0) == 0) return false;
  if (average) reader.attributes["count_include_pad"] = int64_t{1};
  reader.attributes["pads"] = std::move(pads);
  reader.attributes.erase("auto_pad");
  reader.inputs[0] = pad.inputs[0];
  return true;
}

}  // namespace

StatusOr<Graph> FoldBatchNorm(Graph graph) {
  AffineFolder(graph).Run();
  return graph;
}

StatusOr<Graph> FoldPad(Graph graph) {
  Flow flow(graph);
  std::vector<bool> erased(graph.nodes.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& pad = graph.nodes[n];
    if (!Is(pad, "Pad") || !flow.HasOneReader(pad.outputs[0])) continue;
    StatusOr<std::string> mode = StringAttribute(pad, "mode", "constant");
    Node& reader = graph.nodes[static_cast<size_t>(flow.readers(pad.outputs[0])[0])];
    bool window = Is(reader, "Conv") || Is(reader, "MaxPool") || Is(reader, "AveragePool");
    if (!mode.ok() || *mode != "constant" || !window) continue;
    if (reader.inputs[0] != pad.outputs[0] || graph.value(pad.inputs[0]).dtype != DType::kF32) continue;
    erased[n] = MovePad(graph, flow, pad, reader);
  }
  EraseNodes(graph, erased);
  return graph;
}

}  // namespace infenclave
