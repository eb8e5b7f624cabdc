// RecognizeOperators: one form for computations that exporters write in several.
#include <cmath>
#include <optional>

#include "graph/pass_util.h"
#include "graph/passes.h"

namespace infenclave {
namespace {

constexpr float kSixth = 1.0f / 6;

class Recognizer {
 public:
  explicit Recognizer(Graph& graph) : graph_(graph), flow_(graph), names_(graph) {}

  // Nodes that are no longer read are left to RemoveDead.
  void Run() {
    for (Node& node : graph_.nodes) {
      if (node.activation.kind != FusedActivation::Kind::kNone || IsOpaque(node)) continue;
      if (node.op == "Pow") Power(node);
      if (node.op == "Div" || node.op == "Mul") {
        DividedBySix(node);
        if (node.op == "Mul") TimesHardSigmoid(node);
      }
    }
  }

 private:
  // The node that makes the value for one reader alone, if it is that operator.
  const Node* Private(ValueId value, std::string_view op) const {
    if (flow_.producer(value) < 0 || !flow_.HasOneReader(value)) return nullptr;
    const Node& node = graph_.nodes[static_cast<size_t>(flow_.producer(value))];
    return Is(node, op) && node.activation.kind == FusedActivation::Kind::kNone ? &node : nullptr;
  }

  std::optional<float> Scalar(ValueId value) const {
    auto it = graph_.constants.find(value);
    if (it == graph_.constants.end() || it->second.elements() != 1) return std::nullopt;
    Tensor one = ToF32(it->second.view());
    return one.as<float>()[0];
  }

  // The other operand where one is the scalar k.
  ValueId Beside(const Node& node, float k) const {
    for (size_t side : {1, 0}) {
      std::optional<float> scalar = Scalar(node.inputs[side]);
      if (scalar && std::abs(*scalar - k) <= 1e-6f * std::abs(k)) return node.inputs[1 - side];
    }
    return kNoValue;
  }

  // x, if the value is min(max(x + 3, 0), 6).
  ValueId ClippedShift(ValueId value) const {
    const Node* clip = Private(value, "Clip");
    if (clip == nullptr) return kNoValue;
    StatusOr<ScalarParameters> bounds = ScalarParametersOf({graph_, *clip});
    if (!bounds.ok() || bounds->alpha != 0 || bounds->beta != 6) return kNoValue;
    const Node* add = Private(clip->inputs[0], "Add");
    return add == nullptr ? kNoValue : Beside(*add, 3);
  }

  void Become(Node& node, std::string_view op, ValueId x,
              std::map<std::string, Attribute, std::less<>> attributes = {}) {
    if (graph_.value(x).shape != graph_.value(node.outputs[0]).shape) return;
    node.op = op;
    node.inputs = {x};
    node.attributes = std::move(attributes);
  }

  // clip(x + 3, 0, 6) / 6 is HardSigmoid, x clip(x + 3, 0, 6) / 6 is HardSwish.
  void DividedBySix(Node& node) {
    ValueId value = node.op == "Mul"                 ? Beside(node, kSixth)
                    : Scalar(node.inputs[1]) == 6.0f ? node.inputs[0]
                                                     : kNoValue;
    if (value == kNoValue) return;
    if (ValueId x = ClippedShift(value); x != kNoValue) {
      return Become(node, "HardSigmoid", x, {{"alpha", kSixth}, {"beta", 0.5f}});
    }
    const Node* product = Private(value, "Mul");
    for (size_t side : {0, 1}) {
      if (product != nullptr && ClippedShift(product->inputs[1 - side]) == product->inputs[side]) {
        return Become(node, "HardSwish", product->inputs[side]);
      }
    }
  }

  void TimesHardSigmoid(Node& node) {
    for (size_t side : {0, 1}) {
      const Node* gate = Private(node.inputs[1 - side], "HardSigmoid");
      if (gate == nullptr || gate->inputs[0] != node.inputs[side]) continue;
      StatusOr<ScalarParameters> line = ScalarParametersOf({graph_, *gate});
      if (!line.ok() || std::abs(line->alpha - kSixth) > 1e-6f || line->beta != 0.5f) continue;
      return Become(node, "HardSwish", node.inputs[side]);
    }
  }

  // Squares and roots have operators of their own; other exponents become f32.
  void Power(Node& node) {
    std::optional<float> exponent = Scalar(node.inputs[1]);
    if (!exponent || graph_.value(node.inputs[0]).dtype != DType::kF32) return;
    if (graph_.value(node.inputs[0]).shape == graph_.value(node.outputs[0]).shape) {
      if (*exponent == 2) return Square(node);
      if (*exponent == 0.5f) return Become(node, "Sqrt", node.inputs[0]);
    }
    if (graph_.value(node.inputs[1]).dtype == DType::kF32) return;
    std::string name = names_.Make(graph_.value(node.inputs[1]).name);
    node.inputs[1] = graph_.AddConstant(name, ToF32(graph_.constants.at(node.inputs[1]).view()));
  }

  void Square(Node& node) {
    node.op = "Mul";
    node.inputs[1] = node.inputs[0];
  }

  Graph& graph_;
  Flow flow_;
  FreshNames names_;
};

}  // namespace

StatusOr<Graph> RecognizeOperators(Graph graph) {
  Recognizer(graph).Run();
  return graph;
}

}  // namespace infenclave
