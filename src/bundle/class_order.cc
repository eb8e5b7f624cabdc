#include "bundle/class_order.h"

#include <cstring>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "crypto/primitives.h"
#include "graph/operators.h"
#include "graph/passes.h"

namespace infenclave {
namespace {

std::string Where(const Node& node) { return Concat(node.op, " '", node.name, "'"); }

bool IsView(const Node& node) {
  const Operator* op = OperatorOf(node);
  return op != nullptr && op->view;
}

// Beside the batch, the one dimension that is not 1.
std::optional<size_t> OnlyWideAxis(const Shape& shape) {
  std::optional<size_t> axis;
  for (size_t i = 1; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    if (axis) return std::nullopt;
    axis = i;
  }
  return axis;
}

Tensor PermuteAlong(const Tensor& in, size_t axis, std::span<const uint32_t> order) {
  Tensor out(in.dtype(), in.shape());
  size_t inner = SizeOf(in.dtype()), outer = 1, n = order.size();
  for (size_t i = axis + 1; i < in.shape().size(); ++i) inner *= static_cast<size_t>(in.shape()[i]);
  for (size_t i = 0; i < axis; ++i) outer *= static_cast<size_t>(in.shape()[i]);
  for (size_t o = 0; o < outer; ++o) {
    for (size_t i = 0; i < n; ++i) {
      std::memcpy(out.raw().data() + (o * n + i) * inner, in.raw().data() + (o * n + order[i]) * inner, inner);
    }
  }
  return out;
}

// Walks from the scores back to the linear layers that make them.
class Permuter {
 public:
  Permuter(Graph graph, std::span<const uint32_t> order)
      : graph_(std::move(graph)), order_(order), producers_(Producers(graph_)), consumers_(Consumers(graph_)) {}

  StatusOr<Graph> Run() {
    ValueId output = graph_.outputs[0];
    std::optional<size_t> axis = OnlyWideAxis(graph_.value(output).shape);
    if (!axis) return InvalidArgument("the output's shape ", ToString(graph_.value(output).shape), " has no classes");
    INFENCLAVE_RETURN_IF_ERROR(Permute(output, *axis));
    INFENCLAVE_RETURN_IF_ERROR(CheckNoOtherReader());
    // They read constants only.
    graph_.nodes.insert(graph_.nodes.begin(), dequantized_.begin(), dequantized_.end());
    INFENCLAVE_ASSIGN_OR_RETURN(Graph graph, RemoveDead(std::move(graph_)));
    return graph;
  }

 private:
  int64_t classes() const { return static_cast<int64_t>(order_.size()); }

  // Makes the value come out permuted along `axis`.
  Status Permute(ValueId id, size_t axis) {
    Open open = {{id, axis}};
    while (!open.empty()) {
      auto [value, at] = open.back();
      open.pop_back();
      auto [seen, is_new] = permuted_.emplace(value, at);
      if (!is_new && seen->second == at) continue;
      if (!is_new) return InvalidArgument("'", graph_.value(value).name, "' is read along two dimensions as classes");
      int producer = producers_[static_cast<size_t>(value)];
      if (producer < 0) {
        return InvalidArgument(
            "no linear layer (Gemm, MatMul or Conv) lies between the cut and the scores, whose rows "
            "could hide the class order");
      }
      current_ = producer;
      INFENCLAVE_RETURN_IF_ERROR(PermuteNode(graph_.nodes[static_cast<size_t>(producer)], at, open));
    }
    return OkStatus();
  }

  using Open = std::vector<std::pair<ValueId, size_t>>;

  // The current node's input i has to come permuted, too.
  void Follow(size_t i, size_t axis, Open& open) {
    followed_.emplace(current_, i);
    open.emplace_back(graph_.nodes[static_cast<size_t>(current_)].inputs[i], axis);
  }

  Status PermuteNode(Node& node, size_t axis, Open& open) {
    const Operator* op = OperatorOf(node);
    if (op == nullptr && FindOperator(node.domain, node.op) != nullptr) {
      return Refuse(node, "has an input whose shape the file does not declare (run onnx.shape_inference on it)");
    }
    if (op == nullptr) return Refuse(node, "is an operator that is not known");
    if (node.outputs.size() != 1) return Refuse(node, "has several outputs");
    if (node.op == "Conv") return PermuteConv(node, axis, open);
    if (node.op == "Gemm") return PermuteGemm(node, axis);
    if (node.op == "BatchNormalization") return PermuteNormalization(node, axis, open);
    if (node.op == "MatMul") return PermuteMatMul(node, axis);
    if (node.op.starts_with("Reduce")) return PermuteReduce(node, axis, open);
    if (op->view || node.op == "Transpose") return PermuteView(node, open);
    switch (op->channels) {
      case ChannelRule::kElementwise:
        return PermuteElementwise(node, axis, open);
      case ChannelRule::kPerChannel:
        if (axis != 1) return Refuse(node, "does not have the classes as its channels");
        Follow(0, axis, open);
        return OkStatus();
      case ChannelRule::kSymmetric:
        Follow(0, axis, open);
        return OkStatus();
      case ChannelRule::kMixes:
        break;
    }
    return Refuse(node, "mixes or moves the classes");
  }

  static Status Refuse(const Node& node, std::string_view why) {
    return InvalidArgument(Where(node), " lies between the last linear layer and the scores and ", why);
  }

  // Input i, a constant whose dimension `axis` is the classes, is replaced by a permuted copy: others may read it too.
  Status PermuteConstant(Node& node, size_t i, size_t axis) {
    ValueId id = node.inputs[i];
    if (const Node* dequantize = DequantizedConstant(id)) return PermuteDequantized(node, i, axis, *dequantize);
    if (!graph_.IsConstant(id)) return InvalidArgument(Where(node), ": its weights are not constant");
    const Tensor& tensor = graph_.constant(id);
    if (axis >= tensor.shape().size() || tensor.shape()[axis] != classes()) {
      return InvalidArgument(Where(node), ": constant '", graph_.value(id).name, "' of shape ",
                             ToString(tensor.shape()), " has no dimension of ", classes(), " classes");
    }
    std::string name = Concat(graph_.value(node.outputs[0]).name.substr(0, 256), "/in class order ", i);
    node.inputs[i] = graph_.AddConstant(std::move(name), PermuteAlong(tensor, axis, order_));
    return OkStatus();
  }

  // Weights in integers: the DequantizeLinear that makes them of a constant.
  const Node* DequantizedConstant(ValueId id) const {
    if (static_cast<size_t>(id) >= producers_.size() || producers_[static_cast<size_t>(id)] < 0) return nullptr;
    const Node& node = graph_.nodes[static_cast<size_t>(producers_[static_cast<size_t>(id)])];
    return node.op == "DequantizeLinear" && !IsOpaque(node) && graph_.IsConstant(node.inputs[0]) ? &node : nullptr;
  }

  // Input i comes from a copy of `dequantize` whose integers, and scales where they are one per class, are permuted.
  Status PermuteDequantized(Node& node, size_t i, size_t axis, const Node& dequantize) {
    INFENCLAVE_ASSIGN_OR_RETURN(const QuantizationParameters q, QuantizationOf(NodeView{graph_, dequantize}));
    const Value& before = graph_.value(node.inputs[i]);
    std::string name = Concat(graph_.value(node.outputs[0]).name.substr(0, 256), "/in class order ", i);
    Node copy = dequantize;
    copy.outputs = {graph_.AddValue(std::move(name), before.dtype, Shape(before.shape))};
    copy.name = graph_.value(copy.outputs[0]).name;
    INFENCLAVE_RETURN_IF_ERROR(PermuteConstant(copy, 0, axis));
    if (q.scales.size() > 1 && q.axis == axis) {
      for (size_t k = 1; k < copy.inputs.size(); ++k) INFENCLAVE_RETURN_IF_ERROR(PermuteConstant(copy, k, 0));
    }
    node.inputs[i] = copy.outputs[0];
    dequantized_.push_back(std::move(copy));
    return OkStatus();
  }

  Status PermuteConv(Node& node, size_t axis, Open& open) {
    if (axis != 1) return Refuse(node, "does not have the classes as its channels");
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t group, IntAttribute(node, "group", 1));
    const Shape& weights = graph_.value(node.inputs[1]).shape;
    bool depthwise = group == classes() && weights[0] == classes();
    if (group != 1 && !depthwise) return Refuse(node, "has groups of classes");
    INFENCLAVE_RETURN_IF_ERROR(PermuteConstant(node, 1, 0));
    if (node.inputs.size() > 2 && node.inputs[2] != kNoValue) INFENCLAVE_RETURN_IF_ERROR(PermuteConstant(node, 2, 0));
    if (depthwise && group != 1) Follow(0, 1, open);
    return OkStatus();
  }

  Status PermuteGemm(Node& node, size_t axis) {
    if (axis != 1) return Refuse(node, "does not have the classes as its columns");
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t transposed, IntAttribute(node, "transB", 0));
    INFENCLAVE_RETURN_IF_ERROR(PermuteConstant(node, 1, transposed != 0 ? 0 : 1));
    return node.inputs.size() > 2 ? PermuteBroadcast(node, 2, axis, nullptr) : OkStatus();
  }

  Status PermuteMatMul(Node& node, size_t axis) {
    size_t rank = graph_.value(node.inputs[1]).shape.size();
    if (rank < 2 || axis + 1 != graph_.value(node.outputs[0]).shape.size()) {
      return Refuse(node, "does not have the classes as its columns");
    }
    return PermuteConstant(node, 1, rank - 1);
  }

  // Input i is broadcast to the output: constants are permuted where they have the classes, others are walked on.
  Status PermuteBroadcast(Node& node, size_t i, size_t axis, Open* open) {
    ValueId id = node.inputs[i];
    if (id == kNoValue) return OkStatus();
    size_t out_rank = graph_.value(node.outputs[0]).shape.size();
    const Shape& shape = graph_.value(id).shape;
    if (shape.size() + axis < out_rank) return OkStatus();
    size_t own = shape.size() + axis - out_rank;
    if (shape[own] == 1) return OkStatus();
    if (graph_.IsConstant(id) || DequantizedConstant(id) != nullptr) return PermuteConstant(node, i, own);
    if (open == nullptr) return InvalidArgument(Where(node), ": its bias is not constant");
    Follow(i, own, *open);
    return OkStatus();
  }

  Status PermuteElementwise(Node& node, size_t axis, Open& open) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      INFENCLAVE_RETURN_IF_ERROR(PermuteBroadcast(node, i, axis, &open));
    }
    return OkStatus();
  }

  // Elements keep their order or move between dimensions of 1, so the classes are the wide dimension on both sides.
  Status PermuteView(Node& node, Open& open) {
    const Shape& from = graph_.value(node.inputs[0]).shape;
    std::optional<size_t> axis = OnlyWideAxis(from);
    if (!axis || from[*axis] != classes()) return Refuse(node, "mixes the classes with other dimensions");
    Follow(0, *axis, open);
    return OkStatus();
  }

  Status PermuteNormalization(Node& node, size_t axis, Open& open) {
    if (axis != 1) return Refuse(node, "does not have the classes as its channels");
    for (size_t i = 1; i < node.inputs.size(); ++i) INFENCLAVE_RETURN_IF_ERROR(PermuteConstant(node, i, 0));
    Follow(0, axis, open);
    return OkStatus();
  }

  Status PermuteReduce(Node& node, size_t axis, Open& open) {
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> reduced, ReducedAxes(NodeView{graph_, node}));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t keep, IntAttribute(node, "keepdims", 1));
    std::set<int64_t> gone(reduced.begin(), reduced.end());
    size_t from = axis;
    if (keep == 0) {
      size_t left = axis;  // the output's dimension `axis` is the input's axis-th that stays
      for (from = 0; gone.contains(static_cast<int64_t>(from)) || left > 0; ++from) {
        if (!gone.contains(static_cast<int64_t>(from))) --left;
      }
    }
    if (gone.contains(static_cast<int64_t>(from))) return Refuse(node, "reduces the classes");
    Follow(0, from, open);
    return OkStatus();
  }

  // A permuted value that anything else reads would change what that computes.
  Status CheckNoOtherReader() const {
    for (const auto& [value, axis] : permuted_) {
      for (int reader : consumers_[static_cast<size_t>(value)]) {
        const Node& node = graph_.nodes[static_cast<size_t>(reader)];
        for (size_t i = 0; i < node.inputs.size(); ++i) {
          if (node.inputs[i] == value && !followed_.contains({reader, i})) {
            return InvalidArgument(Where(node), " reads scores on their way to the output");
          }
        }
      }
    }
    return OkStatus();
  }

  Graph graph_;
  std::span<const uint32_t> order_;
  std::vector<int> producers_;
  std::vector<std::vector<int>> consumers_;
  std::map<ValueId, size_t> permuted_;
  std::vector<Node> dequantized_;              // permuted weights in integers
  std::set<std::pair<int, size_t>> followed_;  // node and input, for inputs that come permuted
  int current_ = -1;
};

}  // namespace

std::vector<uint32_t> DrawClassOrder(uint32_t n) {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  for (uint32_t i = n; i > 1; --i) {
    // The largest multiple of i that 32 bits hold: what lies beyond it is drawn again.
    uint32_t limit = UINT32_MAX - UINT32_MAX % i;
    uint32_t draw;
    do {
      std::array<uint8_t, 4> bytes = RandomArray<4>();
      std::memcpy(&draw, bytes.data(), sizeof(draw));
    } while (draw >= limit);
    std::swap(order[i - 1], order[draw % i]);
  }
  return order;
}

StatusOr<uint32_t> CountClasses(const Graph& graph) {
  if (graph.outputs.size() != 1) {
    return InvalidArgument("the model has ", graph.outputs.size(), " outputs, a classifier has one");
  }
  const Value& output = graph.value(graph.outputs[0]);
  std::optional<size_t> axis = OnlyWideAxis(output.shape);
  if (!axis || output.shape[*axis] > (1 << 20)) {
    return InvalidArgument("output '", output.name, "' has the shape ", ToString(output.shape),
                           ", expected [1,classes] with two classes or more");
  }
  return static_cast<uint32_t>(output.shape[*axis]);
}

StatusOr<Graph> StripFinalSoftmax(Graph graph) {
  std::vector<int> producers = Producers(graph);
  ValueId* reader = &graph.outputs[0];
  while (true) {
    int producer = producers[static_cast<size_t>(*reader)];
    if (producer < 0) return graph;
    Node& node = graph.nodes[static_cast<size_t>(producer)];
    if (node.op == "Softmax" || node.op == "LogSoftmax") {
      const Shape& shape = graph.value(node.inputs[0]).shape;
      std::optional<size_t> classes = OnlyWideAxis(shape);
      INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(node, "axis", -1));
      INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, shape.size()));
      if (!classes || axis != static_cast<int64_t>(*classes)) return graph;
      *reader = node.inputs[0];
      return RemoveDead(std::move(graph));
    }
    if (!IsView(node)) return graph;
    reader = &node.inputs[0];
  }
}

StatusOr<Graph> PermuteClasses(Graph graph, std::span<const uint32_t> order) {
  INFENCLAVE_ASSIGN_OR_RETURN(uint32_t classes, CountClasses(graph));
  INFENCLAVE_CHECK(classes == order.size());
  return Permuter(std::move(graph), order).Run();
}

}  // namespace infenclave
