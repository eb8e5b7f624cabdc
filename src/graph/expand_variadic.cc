#include <utility>

#include "graph/pass_util.h"
#include "graph/passes.h"

namespace infenclave {
namespace {

bool IsVariadic(const Node& node) {
  if (IsOpaque(node)) return false;
  if (node.op == "Sum" || node.op == "Mean") return true;
  return (node.op == "Min" || node.op == "Max") && node.inputs.size() != 2;
}

// The node's chain, its last member writing the node's output.
void Expand(Graph& graph, const Node& node, FreshNames& names, std::vector<Node>& out) {
  const std::string base = graph.value(node.outputs[0]).name;
  const bool mean = node.op == "Mean" && node.inputs.size() > 1;
  auto emit = [&](std::string op, std::vector<ValueId> inputs, bool last) {
    Node step;
    step.op = std::move(op);
    step.name = node.name;
    step.inputs = std::move(inputs);
    step.outputs = {last ? node.outputs[0] : graph.AddValue(names.Make(base + ".part"), DType::kF32, {})};
    out.push_back(std::move(step));
    return out.back().outputs[0];
  };
  if (node.inputs.size() == 1) {
    emit("Identity", {node.inputs[0]}, true);
    return;
  }
  const std::string op = node.op == "Sum" || node.op == "Mean" ? "Add" : node.op;
  ValueId so_far = node.inputs[0];
  for (size_t i = 1; i < node.inputs.size(); ++i) {
    so_far = emit(op, {so_far, node.inputs[i]}, i + 1 == node.inputs.size() && !mean);
  }
  if (mean) {
    const float share[] = {1.0f / static_cast<float>(node.inputs.size())};
    emit("Mul", {so_far, graph.AddConstant(names.Make(base + ".share"), Tensor::FromF32({}, share))}, true);
  }
}

}  // namespace

StatusOr<Graph> ExpandVariadic(Graph graph) {
  FreshNames names(graph);
  std::vector<Node> nodes;
  nodes.reserve(graph.nodes.size());
  bool changed = false;
  for (Node& node : graph.nodes) {
    if (!IsVariadic(node)) {
      nodes.push_back(std::move(node));
      continue;
    }
    Expand(graph, node, names, nodes);
    changed = true;
  }
  graph.nodes = std::move(nodes);
  return changed ? InferShapes(std::move(graph)) : StatusOr<Graph>(std::move(graph));
}

}  // namespace infenclave
