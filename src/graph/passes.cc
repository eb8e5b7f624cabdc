#include "graph/passes.h"

#include <algorithm>

#include "graph/operators.h"
#include "graph/pass_util.h"

namespace infenclave {

void EraseNodes(Graph& graph, const std::vector<bool>& erased) {
  size_t kept = 0;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    if (erased[n]) continue;
    if (kept != n) graph.nodes[kept] = std::move(graph.nodes[n]);
    ++kept;
  }
  graph.nodes.resize(kept);
}

Status InferOutputs(Graph& graph, size_t n, const Flow& flow) {
  Node& node = graph.nodes[n];
  if (IsOpaque(node)) return OkStatus();
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<TensorType> types, InferNode({graph, node}));
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    ValueId id = node.outputs[i];
    if (id == kNoValue) continue;
    if (i < types.size()) {
      graph.value(id).dtype = types[i].dtype;
      graph.value(id).shape = std::move(types[i].shape);
    } else if (flow.readers(id).empty() && !flow.is_output[static_cast<size_t>(id)]) {
      node.outputs[i] = kNoValue;
    } else {
      return Unimplemented(node.op, " '", node.name, "': output ", i, ", '", graph.value(id).name,
                           "', is not supported");
    }
  }
  return OkStatus();
}

StatusOr<Graph> InferShapes(Graph graph) {
  Flow flow(graph);
  for (size_t n = 0; n < graph.nodes.size(); ++n) INFENCLAVE_RETURN_IF_ERROR(InferOutputs(graph, n, flow));
  return graph;
}

StatusOr<Graph> WithBatch(Graph graph, int64_t batch) {
  if (batch < 1) return InvalidArgument("batch is ", batch, ", expected at least 1");
  bool changes = false;
  for (ValueId id : graph.inputs) {
    Value& input = graph.value(id);
    if (input.shape.empty()) return InvalidArgument("input '", input.name, "' is a scalar and has no batch");
    changes |= input.shape[0] != batch;
    input.shape[0] = batch;
  }
  if (!changes) return graph;
  for (const Node& node : graph.nodes) {
    if (IsOpaque(node)) {
      return FailedPrecondition(node.op, " '", node.name, "' is not a known operator: its batch size cannot change");
    }
  }
  return InferShapes(std::move(graph));
}

namespace {

// Marks the values and nodes that some output needs.
struct Needed {
  std::vector<bool> values, nodes;
};

Needed NeededFor(const Graph& graph) {
  Needed needed{std::vector<bool>(graph.values.size()), std::vector<bool>(graph.nodes.size())};
  auto need = [&](ValueId id) {
    if (id != kNoValue) needed.values[static_cast<size_t>(id)] = true;
  };
  for (ValueId id : graph.outputs) need(id);
  for (size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    needed.nodes[n] = std::any_of(node.outputs.begin(), node.outputs.end(),
                                  [&](ValueId id) { return id != kNoValue && needed.values[static_cast<size_t>(id)]; });
    if (!needed.nodes[n]) continue;
    for (ValueId id : node.inputs) need(id);
  }
  // A needed node's other outputs stay (a Split's parts are counted), and so do the graph's inputs.
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!needed.nodes[n]) continue;
    for (ValueId id : graph.nodes[n].outputs) need(id);
  }
  for (ValueId id : graph.inputs) need(id);
  return needed;
}

}  // namespace

StatusOr<Graph> RemoveDead(Graph graph) {
  Needed needed = NeededFor(graph);
  std::vector<ValueId> renumbered(graph.values.size(), kNoValue);
  std::vector<Value> values;
  for (size_t i = 0; i < graph.values.size(); ++i) {
    if (!needed.values[i]) continue;
    renumbered[i] = static_cast<ValueId>(values.size());
    values.push_back(std::move(graph.values[i]));
  }
  graph.values = std::move(values);

  decltype(graph.constants) constants;
  for (auto& [id, tensor] : graph.constants) {
    ValueId to = renumbered[static_cast<size_t>(id)];
    if (to != kNoValue) constants.emplace(to, std::move(tensor));
  }
  graph.constants = std::move(constants);

  needed.nodes.flip();
  EraseNodes(graph, needed.nodes);
  auto renumber = [&](std::vector<ValueId>& ids) {
    for (ValueId& id : ids) id = id == kNoValue ? kNoValue : renumbered[static_cast<size_t>(id)];
  };
  for (Node& node : graph.nodes) {
    renumber(node.inputs);
    renumber(node.outputs);
  }
  renumber(graph.inputs);
  renumber(graph.outputs);
  return graph;
}

namespace {

// Enough for any pass to see what another has made room for; every round but the last removes something.
constexpr int kMaxRounds = 16;

std::vector<std::string_view> Operations(const Graph& graph) {
  std::vector<std::string_view> ops;
  for (const Node& node : graph.nodes) ops.push_back(OperatorOf(node) ? OperatorOf(node)->name : "");
  return ops;
}

}  // namespace

StatusOr<Graph> Simplify(Graph graph) {
  const FoldingBudget budget = FoldingBudget::For(graph);
  return Simplify(std::move(graph), budget);
}

StatusOr<Graph> Simplify(Graph graph, FoldingBudget budget) {
  for (int round = 0; round < kMaxRounds; ++round) {
    std::vector<std::string_view> before = Operations(graph);
    INFENCLAVE_ASSIGN_OR_RETURN(graph, FoldConstants(std::move(graph), budget));
    for (auto pass : {ExpandVariadic, RemoveIdentities, RecognizeOperators, FoldPad, FoldBatchNorm, RemoveDead}) {
      INFENCLAVE_ASSIGN_OR_RETURN(graph, pass(std::move(graph)));
    }
    if (Operations(graph) == before) break;
  }
  INFENCLAVE_ASSIGN_OR_RETURN(graph, FuseActivations(std::move(graph)));
  return RemoveDead(std::move(graph));
}

}  // namespace infenclave
