#include "graph/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/rules.h"

namespace infenclave {
namespace {

using Kind = FusedActivation::Kind;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

const std::vector<Operator>& Table() {
  static const std::vector<Operator>* const table = new std::vector<Operator>(rules::MakeTable());
  return *table;
}

bool Lists(std::string_view words, std::string_view word) {
  for (size_t at = 0; at < words.size();) {
    size_t end = std::min(words.find(' ', at), words.size());
    if (words.substr(at, end - at) == word) return true;
    at = end + 1;
  }
  return false;
}

Status CheckForm(const NodeView& v, const Operator& op) {
  int inputs = static_cast<int>(v.node.inputs.size());
  if (inputs < op.min_inputs || inputs > op.max_inputs) {
    return InvalidArgument("has ", inputs, " inputs, expected ", op.min_inputs, " to ", op.max_inputs);
  }
  for (int i = 0; i < inputs; ++i) {
    size_t at = static_cast<size_t>(i);
    bool optional = i >= op.min_inputs && op.max_inputs != kManyInputs;
    if (!v.Has(at) && !optional) return InvalidArgument("input ", i, " is missing");
    if (v.Has(at) && !op.any_type && v.in(at).dtype != DType::kF32) {
      return InvalidArgument("input ", i, " is ", NameOf(v.in(at).dtype), ", expected f32");
    }
  }
  for (const auto& [name, value] : v.node.attributes) {
    if (!Lists(op.attributes, name)) return Unimplemented("attribute '", name, "' is not supported");
  }
  return OkStatus();
}

StatusOr<std::vector<TensorType>> InferChecked(const NodeView& v, const Operator& op) {
  INFENCLAVE_RETURN_IF_ERROR(CheckForm(v, op));
  if (op.scalar.f != nullptr) INFENCLAVE_RETURN_IF_ERROR(ScalarParametersOf(v).status());
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<TensorType> types, op.infer(v));
  for (const TensorType& type : types) {
    INFENCLAVE_RETURN_IF_ERROR(CheckShape(type.shape));
  }
  return types;
}

// A Clip bound: absent is infinite.
StatusOr<float> Bound(const NodeView& v, size_t i, float otherwise) {
  if (!v.Has(i)) return otherwise;
  const Tensor* bound = v.Constant(i);
  if (bound == nullptr || bound->dtype() != DType::kF32 || bound->elements() != 1) {
    return InvalidArgument("bound '", v.in(i).name, "' is not a constant f32 scalar");
  }
  return bound->as<float>()[0];
}

}  // namespace

const Tensor* NodeView::Constant(size_t i) const {
  if (!Has(i)) return nullptr;
  auto it = graph.constants.find(node.inputs[i]);
  return it == graph.constants.end() ? nullptr : it->second.get();
}

StatusOr<std::vector<int64_t>> NodeView::Ints(size_t i, int64_t limit) const {
  if (!Has(i)) return InvalidArgument("input ", i, " is missing");
  const Tensor* list = Constant(i);
  if (list == nullptr) return Unimplemented("input ", i, ", '", in(i).name, "', depends on the image");
  if (list->shape().size() > 1) return InvalidArgument("'", in(i).name, "' is ", ToString(list->shape()), ", no list");
  if (list->elements() > limit) {
    return InvalidArgument("'", in(i).name, "' has ", list->elements(), " entries, expected at most ", limit);
  }
  if (list->dtype() == DType::kI64) {
    auto values = list->as<int64_t>();
    return std::vector<int64_t>(values.begin(), values.end());
  }
  if (list->dtype() == DType::kI32) {
    auto values = list->as<int32_t>();
    return std::vector<int64_t>(values.begin(), values.end());
  }
  return InvalidArgument("'", in(i).name, "' is ", NameOf(list->dtype()), ", expected i64");
}

const Operator* FindOperator(std::string_view domain, std::string_view op) {
  if (!domain.empty()) return nullptr;
  const std::vector<Operator>& table = Table();
  auto it = std::lower_bound(table.begin(), table.end(), op,
                             [](const Operator& row, std::string_view name) { return row.name < name; });
  return it != table.end() && it->name == op ? &*it : nullptr;
}

std::vector<std::string_view> OperatorNames() {
  std::vector<std::string_view> names;
  for (const Operator& op : Table()) names.push_back(op.name);
  return names;
}

StatusOr<std::vector<TensorType>> InferNode(const NodeView& view) {
  const Operator* op = OperatorOf(view.node);
  INFENCLAVE_CHECK(op != nullptr);
  StatusOr<std::vector<TensorType>> types = InferChecked(view, *op);
  if (!types.ok()) return Annotate(types.status(), Concat(view.node.op, " '", view.node.name, "'"));
  return types;
}

double FlopsOf(const NodeView& view) {
  const Operator* op = OperatorOf(view.node);
  if (op == nullptr || view.node.outputs[0] == kNoValue) return 0;
  double elements = static_cast<double>(*NumElements(view.out().shape));
  double each = op->flops == nullptr ? 1 : op->flops(view);
  if (view.node.activation.kind != Kind::kNone) each += 1;
  return elements * each;
}

StatusOr<ScalarParameters> ScalarParametersOf(const NodeView& view) {
  const ScalarFunction& scalar = OperatorOf(view.node)->scalar;
  ScalarParameters out{scalar.alpha, scalar.beta};
  if (view.node.op == "Clip") {
    INFENCLAVE_ASSIGN_OR_RETURN(out.alpha, Bound(view, 1, -kInfinity));
    INFENCLAVE_ASSIGN_OR_RETURN(out.beta, Bound(view, 2, kInfinity));
    out.alpha = std::min(out.alpha, out.beta);  // ONNX: where the bounds cross, the upper one holds
    return out;
  }
  if (view.node.op == "Gelu") {
    StatusOr<std::string> approximate = StringAttribute(view.node, "approximate", "none");
    if (!approximate.ok()) return approximate.status();
    if (*approximate != "none" && *approximate != "tanh") {
      return InvalidArgument("approximate is '", *approximate, "', expected none or tanh");
    }
    out.alpha = *approximate == "tanh" ? 1 : 0;
    return out;
  }
  if (!scalar.alpha_name.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(out.alpha, FloatAttribute(view.node, scalar.alpha_name, scalar.alpha));
  }
  if (!scalar.beta_name.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(out.beta, FloatAttribute(view.node, scalar.beta_name, scalar.beta));
  }
  return out;
}

}  // namespace infenclave
