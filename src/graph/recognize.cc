// RecognizeOperators: one form for computations that exporters write in several.
#include <cmath>
#include <optional>

#include "graph/pass_util.h"
#include "graph/passes.h"

namespace infenclave {
namespace {

constexpr float kSixth = 1.0f / 6;
constexpr int kDepth = 4;  // of products in products

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
        SpeltOutGelu(node);
        if (node.op == "Mul") TimesHardSigmoid(node);
        if (node.op == "Mul") TimesTanhOfSoftplus(node);
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
    if (it == graph_.constants.end() || it->second->elements() != 1) return std::nullopt;
    Tensor one = ToF32(it->second->view());
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

  // x tanh(log(1 + exp(x)))
  void TimesTanhOfSoftplus(Node& node) {
    for (size_t side : {0, 1}) {
      const Node* tanh = Private(node.inputs[1 - side], "Tanh");
      const Node* softplus = tanh == nullptr ? nullptr : Private(tanh->inputs[0], "Softplus");
      if (softplus == nullptr || softplus->inputs[0] != node.inputs[side]) continue;
      return Become(node, "Mish", node.inputs[side]);
    }
  }

  // A product of values, and of numbers apart, whatever order it is computed in.
  struct Product {
    float coefficient = 1;
    std::vector<ValueId> factors;
    bool Is(float k, size_t n) const { return factors.size() == n && std::abs(coefficient - k) <= 1e-4f * k; }
  };

  void Multiply(const Node& node, int depth, Product& out) const {
    if (node.op == "Mul") {
      for (ValueId id : node.inputs) Multiply(id, depth, out);
    } else {
      Multiply(node.inputs[0], depth, out);
      out.coefficient /= *Scalar(node.inputs[1]);
    }
  }

  void Multiply(ValueId value, int depth, Product& out) const {
    if (std::optional<float> scalar = Scalar(value)) {
      out.coefficient *= *scalar;
      return;
    }
    const Node* node = Private(value, "Mul");
    if (node == nullptr) {
      node = Private(value, "Div");
      if (node != nullptr && !Scalar(node->inputs[1])) node = nullptr;
    }
    if (node == nullptr || depth == 0) {
      out.factors.push_back(value);
    } else {
      Multiply(*node, depth - 1, out);
    }
  }

  Product ProductOf(ValueId value) const {
    Product out;
    Multiply(value, kDepth, out);
    return out;
  }

  // Which power of x the factors are, 0 if anything else is among them.
  int PowerOf(ValueId x, const std::vector<ValueId>& factors) const {
    int power = 0;
    for (ValueId factor : factors) {
      const Node* pow = Private(factor, "Pow");
      const bool cube = pow != nullptr && pow->inputs[0] == x && Scalar(pow->inputs[1]) == 3.0f;
      if (factor != x && !cube) return 0;
      power += cube ? 3 : 1;
    }
    return power;
  }

  // sqrt(2 / pi) (x + 0.044715 x^3), or x drawn out of the sum.
  bool IsCubic(ValueId value, ValueId x) const {
    constexpr float kRoot = 0.79788456f, kCubic = 0.044715f;
    const Product product = ProductOf(value);
    auto is_power = [&](ValueId term, int power) {
      const Product p = ProductOf(term);
      return std::abs(p.coefficient - kCubic) <= 1e-4f * kCubic && PowerOf(x, p.factors) == power;
    };
    if (product.Is(kRoot, 1)) {
      const Node* add = Private(product.factors[0], "Add");
      if (add == nullptr) return false;
      return (add->inputs[0] == x && is_power(add->inputs[1], 3)) ||
             (add->inputs[1] == x && is_power(add->inputs[0], 3));
    }
    if (!product.Is(kRoot, 2)) return false;
    for (size_t side : {0, 1}) {
      const Node* add = product.factors[side] == x ? Private(product.factors[1 - side], "Add") : nullptr;
      if (add == nullptr) continue;
      const ValueId square = Beside(*add, 1);
      return square != kNoValue && is_power(square, 2);
    }
    return false;
  }

  // x (1 + erf(x / sqrt(2))) / 2, or with tanh (Hendrycks & Gimpel 2016).
  void SpeltOutGelu(Node& node) {
    if (node.op == "Div" && !Scalar(node.inputs[1])) return;
    Product product;
    Multiply(node, kDepth, product);
    if (!product.Is(0.5f, 2)) return;
    for (size_t side : {0, 1}) {
      const ValueId x = product.factors[side];
      const Node* add = Private(product.factors[1 - side], "Add");
      const ValueId gate = add == nullptr ? kNoValue : Beside(*add, 1);
      if (gate == kNoValue) continue;
      if (const Node* erf = Private(gate, "Erf")) {
        const Product inner = ProductOf(erf->inputs[0]);
        if (inner.Is(0.70710678f, 1) && inner.factors[0] == x) return Become(node, "Gelu", x);
      }
      if (const Node* tanh = Private(gate, "Tanh"); tanh != nullptr && IsCubic(tanh->inputs[0], x)) {
        return Become(node, "Gelu", x, {{"approximate", std::string("tanh")}});
      }
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
    node.inputs[1] = graph_.AddConstant(name, ToF32(graph_.constant(node.inputs[1]).view()));
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
