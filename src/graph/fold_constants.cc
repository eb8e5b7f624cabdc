// FoldConstants and RemoveIdentities.
#include <algorithm>

#include "graph/pass_util.h"
#include "graph/passes.h"

namespace infenclave {
namespace {

bool IsFoldable(const Graph& graph, const Node& node) {
  const Operator* op = OperatorOf(node);
  if (op == nullptr || op->evaluate == nullptr || node.outputs.size() != 1) return false;
  if (node.activation.kind != FusedActivation::Kind::kNone) return false;
  return op->shape_only || std::all_of(node.inputs.begin(), node.inputs.end(),
                                       [&](ValueId id) { return id == kNoValue || graph.IsConstant(id); });
}

// A Reshape's target, often folded from Shape arithmetic, holds the batch size. With -1 in dimension 0 instead it works
// for any batch.
void FreeBatch(Graph& graph, Node& node, FreshNames& names) {
  if (!Is(node, "Reshape") || graph.IsConstant(node.inputs[0])) return;
  const Value& out = graph.value(node.outputs[0]);
  Shape target = out.shape;
  if (target.empty() || std::find(target.begin(), target.end(), 0) != target.end()) return;
  target[0] = -1;
  // A target that depends on the image stays as it is, for whoever compiles to refuse.
  StatusOr<std::vector<int64_t>> given = NodeView{graph, node}.Ints(1);
  if (!given.ok() || *given == target) return;
  std::string name = names.Make(out.name + ".shape");
  node.inputs[1] = graph.AddConstant(name, Tensor::FromI64({static_cast<int64_t>(target.size())}, target));
  node.attributes.clear();
}

bool IsIdentity(const NodeView& v) {
  const Operator* op = OperatorOf(v.node);
  if (op == nullptr || v.node.activation.kind != FusedActivation::Kind::kNone || !v.Has(0)) return false;
  for (size_t i = 0; i < v.node.outputs.size(); ++i) {
    if ((i == 0) != (v.node.outputs[i] != kNoValue)) return false;
  }
  if (v.out().dtype != v.in(0).dtype || v.out().shape != v.shape(0)) return false;
  if (op->view || op->name == "Cast" || op->name == "Expand") return true;
  if (op->max_inputs == kManyInputs) return v.node.inputs.size() == 1;
  auto all = [](const std::vector<int64_t>& list, int64_t value) {
    return std::all_of(list.begin(), list.end(), [&](int64_t x) { return x == value; });
  };
  if (op->name == "Slice") {
    StatusOr<SliceBounds> bounds = SliceBoundsOf(v);
    return bounds.ok() && all(bounds->step, 1);
  }
  if (op->name == "Pad") {
    StatusOr<PadAmounts> pads = PadAmountsOf(v);
    return pads.ok() && all(pads->begin, 0) && all(pads->end, 0);
  }
  if (op->name == "Transpose") {
    StatusOr<std::vector<int64_t>> perm = IntsAttribute(v.node, "perm", {});
    return perm.ok() && std::is_sorted(perm->begin(), perm->end()) && perm->size() == v.shape(0).size();
  }
  return false;
}

}  // namespace

Status FoldingBudget::Take(const Value& result) {
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t elements, NumElements(result.shape));
  const size_t bytes = static_cast<size_t>(elements) * SizeOf(result.dtype);
  if (bytes > left_) {
    return ResourceExhausted("its result, ", NameOf(result.dtype), ToString(result.shape),
                             ", is constant, and constants made of others may take ", total_ >> 20,
                             " MiB in all: 1 GiB, and twice what the model's own take");
  }
  left_ -= bytes;
  return OkStatus();
}

StatusOr<Graph> FoldConstants(Graph graph) {
  FoldingBudget budget = FoldingBudget::For(graph);
  return FoldConstants(std::move(graph), budget);
}

StatusOr<Graph> FoldConstants(Graph graph, FoldingBudget& budget) {
  Flow flow(graph);
  FreshNames names(graph);
  std::vector<bool> erased(graph.nodes.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    INFENCLAVE_RETURN_IF_ERROR(InferOutputs(graph, n, flow));
    Node& node = graph.nodes[n];
    FreeBatch(graph, node, names);
    if (!IsFoldable(graph, node)) continue;
    const Value& out = graph.value(node.outputs[0]);
    FoldingBudget after = budget;
    const Status fits = after.Take(out);
    if (!fits.ok()) return Annotate(fits, Concat(node.op, " '", node.name, "'"));
    StatusOr<Tensor> result = OperatorOf(node)->evaluate({graph, node});
    if (result.status().code() == StatusCode::kUnimplemented) continue;
    if (!result.ok()) return Annotate(result.status(), Concat(node.op, " '", node.name, "'"));
    INFENCLAVE_CHECK(result->dtype() == out.dtype && result->shape() == out.shape);
    budget = after;
    graph.SetConstant(node.outputs[0], *std::move(result));
    erased[n] = true;
  }
  EraseNodes(graph, erased);
  return graph;
}

StatusOr<Graph> RemoveIdentities(Graph graph) {
  Flow flow(graph);
  std::vector<bool> erased(graph.nodes.size());
  std::vector<ValueId> instead(graph.values.size(), kNoValue);
  auto resolve = [&](ValueId id) {
    while (id != kNoValue && instead[static_cast<size_t>(id)] != kNoValue) id = instead[static_cast<size_t>(id)];
    return id;
  };
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    Node& node = graph.nodes[n];
    for (ValueId& id : node.inputs) id = resolve(id);
    if (!IsIdentity({graph, node})) continue;
    ValueId in = node.inputs[0], out = node.outputs[0];
    if (!flow.is_output[static_cast<size_t>(out)]) {
      instead[static_cast<size_t>(out)] = in;
      erased[n] = true;
      continue;
    }
    // The graph's outputs keep their names: the producer makes the output itself, if nothing else asks for its own.
    int producer = flow.producer(in);
    if (producer < 0 || flow.is_output[static_cast<size_t>(in)]) continue;
    std::vector<ValueId>& made = graph.nodes[static_cast<size_t>(producer)].outputs;
    std::replace(made.begin(), made.end(), in, out);
    flow.producers[static_cast<size_t>(out)] = producer;
    instead[static_cast<size_t>(in)] = out;
    erased[n] = true;
  }
  for (Node& node : graph.nodes) {
    for (ValueId& id : node.inputs) id = resolve(id);
  }
  EraseNodes(graph, erased);
  return graph;
}

}  // namespace infenclave
