#include <algorithm>
#include <cmath>

#include "graph/pass_util.h"
#include "graph/passes.h"

namespace infenclave {
namespace {

using Kind = FusedActivation::Kind;

class ActivationFuser {
 public:
  explicit ActivationFuser(Graph& graph) : graph_(graph), flow_(graph), erased_(graph.nodes.size()) {}

  void Run() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (!FuseOne(n)) FuseSwish(n);
    }
    EraseNodes(graph_, erased_);
  }

 private:
  // The node that makes `value` if it can still take an activation.
  Node* Host(ValueId value) {
    int producer = flow_.producer(value);
    if (producer < 0) return nullptr;
    Node& node = graph_.nodes[static_cast<size_t>(producer)];
    const Operator* op = OperatorOf(node);
    return op != nullptr && op->fuses && node.activation.kind == Kind::kNone ? &node : nullptr;
  }

  void Fuse(Node& host, FusedActivation activation, size_t activation_node) {
    ValueId out = graph_.nodes[activation_node].outputs[0];
    flow_.producers[static_cast<size_t>(out)] = flow_.producer(host.outputs[0]);
    host.activation = activation;
    host.outputs[0] = out;
    erased_[activation_node] = true;
  }

  bool FuseOne(size_t n) {
    const Node& node = graph_.nodes[n];
    const Operator* op = OperatorOf(node);
    if (op == nullptr || op->activation == Kind::kNone || node.activation.kind != Kind::kNone) return false;
    if (!flow_.HasOneReader(node.inputs[0])) return false;
    Node* host = Host(node.inputs[0]);
    StatusOr<ScalarParameters> parameters = ScalarParametersOf({graph_, node});
    if (host == nullptr || !parameters.ok()) return false;
    FusedActivation activation{op->activation, parameters->alpha, parameters->beta};
    if (activation.kind == Kind::kClip && activation.alpha == 0 && std::isinf(activation.beta)) {
      activation = {Kind::kRelu};
    }
    Fuse(*host, activation, n);
    return true;
  }

  // Mul(x, Sigmoid(x)), and nothing else reads either.
  void FuseSwish(size_t n) {
    const Node& mul = graph_.nodes[n];
    if (!Is(mul, "Mul") || mul.activation.kind != Kind::kNone) return;
    for (size_t side : {0, 1}) {
      ValueId x = mul.inputs[side], s = mul.inputs[1 - side];
      int sigmoid = flow_.producer(s);
      if (sigmoid < 0 || !flow_.HasOneReader(s) || flow_.is_output[static_cast<size_t>(x)]) continue;
      const Node& node = graph_.nodes[static_cast<size_t>(sigmoid)];
      if (!Is(node, "Sigmoid") || node.inputs[0] != x) continue;
      Node* host = Host(x);
      if (host == nullptr || flow_.readers(x).size() != 2) continue;
      erased_[static_cast<size_t>(sigmoid)] = true;
      Fuse(*host, {Kind::kSwish}, n);
      return;
    }
  }

  Graph& graph_;
  Flow flow_;
  std::vector<bool> erased_;
};

}  // namespace

StatusOr<Graph> FuseActivations(Graph graph) {
  ActivationFuser(graph).Run();
  return graph;
}

}  // namespace infenclave
