#include "graph/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/rules.h"

namespace infenclave {
namespace {

using Kind = FusedActivation::Kind;
using namespace rules;  // NOLINT: the table is about nothing else

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float Relu(float x, float, float) { return x > 0 ? x : 0.0f; }
float Clip(float x, float low, float high) { return std::min(std::max(x, low), high); }
float LeakyRelu(float x, float alpha, float) { return x < 0 ? alpha * x : x; }
float Elu(float x, float alpha, float) { return x < 0 ? alpha * std::expm1(x) : x; }
float Selu(float x, float alpha, float gamma) { return gamma * (x < 0 ? alpha * std::expm1(x) : x); }
float Celu(float x, float alpha, float) { return x < 0 ? alpha * std::expm1(x / alpha) : x; }
float Sigmoid(float x, float, float) { return 1 / (1 + std::exp(-x)); }
float HardSigmoid(float x, float alpha, float beta) { return std::clamp(alpha * x + beta, 0.0f, 1.0f); }
float HardSwish(float x, float, float) { return x * std::clamp(x / 6 + 0.5f, 0.0f, 1.0f); }
float Tanh(float x, float, float) { return std::tanh(x); }
float Softplus(float x, float, float) { return x > 20 ? x : std::log1p(std::exp(x)); }
float Softsign(float x, float, float) { return x / (1 + std::abs(x)); }
float Mish(float x, float, float) { return x * std::tanh(Softplus(x, 0, 0)); }
float Erf(float x, float, float) { return std::erf(x); }
float Exp(float x, float, float) { return std::exp(x); }
float Log(float x, float, float) { return std::log(x); }
float Sqrt(float x, float, float) { return std::sqrt(x); }
float Reciprocal(float x, float, float) { return 1 / x; }
float Neg(float x, float, float) { return -x; }
float Abs(float x, float, float) { return std::abs(x); }
float Floor(float x, float, float) { return std::floor(x); }
float Ceil(float x, float, float) { return std::ceil(x); }
float Round(float x, float, float) { return std::nearbyint(x); }
float ThresholdedRelu(float x, float alpha, float) { return x > alpha ? x : 0.0f; }

Operator Elementwise(std::string_view name, ScalarFunction scalar, std::string_view attributes = {},
                     Kind activation = Kind::kNone) {
  return {.name = name,
          .attributes = attributes,
          .infer = InferSame,
          .evaluate = EvaluateScalar,
          .channels = ChannelRule::kElementwise,
          .activation = activation,
          .scalar = scalar};
}

Operator Binary(std::string_view name, std::string_view attributes = {}) {
  return {.name = name,
          .min_inputs = 2,
          .max_inputs = 2,
          .attributes = attributes,
          .infer = InferBroadcast,
          .evaluate = EvaluateBinary,
          .channels = ChannelRule::kElementwise,
          .any_type = true,
          .fuses = true};
}

Operator Variadic(std::string_view name) {
  return {.name = name,
          .max_inputs = kManyInputs,
          .infer = InferBroadcast,
          .evaluate = EvaluateBinary,
          .channels = ChannelRule::kElementwise,
          .any_type = true};
}

Operator Comparison(std::string_view name) {
  return {.name = name,
          .min_inputs = 2,
          .max_inputs = 2,
          .infer = InferComparison,
          .evaluate = EvaluateComparison,
          .channels = ChannelRule::kElementwise,
          .any_type = true};
}

Operator Reduce(std::string_view name) {
  return {.name = name,
          .max_inputs = 2,
          .attributes = "axes keepdims noop_with_empty_axes",
          .infer = InferReduce,
          .flops = ReduceFlops,
          .evaluate = EvaluateReduce,
          .any_type = true};
}

Operator View(std::string_view name, int min_inputs, int max_inputs, std::string_view attributes,
              decltype(Operator::infer) infer) {
  return {.name = name,
          .min_inputs = min_inputs,
          .max_inputs = max_inputs,
          .attributes = attributes,
          .infer = infer,
          .flops = NoFlops,
          .evaluate = EvaluateCopy,
          .any_type = true,
          .view = true};
}

constexpr std::string_view kPoolAttributes =
    "auto_pad ceil_mode count_include_pad dilations kernel_shape pads storage_order strides";

std::vector<Operator> MakeTable() {
  std::vector<Operator> table = {
      // Convolution and matrices.
      {.name = "Conv",
       .min_inputs = 2,
       .max_inputs = 3,
       .attributes = "auto_pad dilations group kernel_shape pads strides",
       .infer = InferConv,
       .flops = ConvFlops,
       .fuses = true},
      {.name = "Gemm",
       .min_inputs = 2,
       .max_inputs = 3,
       .attributes = "alpha beta transA transB",
       .infer = InferGemm,
       .flops = GemmFlops,
       .fuses = true},
      {.name = "MatMul", .min_inputs = 2, .max_inputs = 2, .infer = InferMatMul, .flops = MatMulFlops, .fuses = true},

      // Normalisation.
      {.name = "BatchNormalization",
       .min_inputs = 5,
       .max_inputs = 5,
       .attributes = "epsilon momentum spatial training_mode",
       .infer = InferNormalization,
       .flops = [](const NodeView&) { return 2.0; },
       .channels = ChannelRule::kElementwise},
      {.name = "Softmax",
       .attributes = "axis",
       .infer = InferSoftmax,
       .flops = [](const NodeView&) { return 3.0; },
       .channels = ChannelRule::kSymmetric},
      {.name = "LogSoftmax",
       .attributes = "axis",
       .infer = InferSoftmax,
       .flops = [](const NodeView&) { return 3.0; },
       .channels = ChannelRule::kSymmetric},

      // Pooling and reduction.
      {.name = "MaxPool",
       .attributes = kPoolAttributes,
       .infer = InferPool,
       .flops = PoolFlops,
       .channels = ChannelRule::kPerChannel},
      {.name = "AveragePool",
       .attributes = kPoolAttributes,
       .infer = InferPool,
       .flops = PoolFlops,
       .channels = ChannelRule::kPerChannel},
      {.name = "GlobalAveragePool",
       .infer = InferGlobalPool,
       .flops = GlobalPoolFlops,
       .channels = ChannelRule::kPerChannel},
      {.name = "GlobalMaxPool",
       .infer = InferGlobalPool,
       .flops = GlobalPoolFlops,
       .channels = ChannelRule::kPerChannel},
      Reduce("ReduceMean"),
      Reduce("ReduceSum"),
      Reduce("ReduceMax"),
      Reduce("ReduceMin"),
      Reduce("ReduceProd"),
      Reduce("ReduceL1"),
      Reduce("ReduceL2"),
      Reduce("ReduceSumSquare"),

      // Activations and other functions of one variable.
      Elementwise("Relu", {Relu}, "", Kind::kRelu),
      {.name = "Clip",
       .max_inputs = 3,
       .infer = InferSame,
       .evaluate = EvaluateScalar,
       .channels = ChannelRule::kElementwise,
       .activation = Kind::kClip,
       .scalar = {Clip}},
      Elementwise("LeakyRelu", {LeakyRelu, "alpha", 0.01f}, "alpha", Kind::kLeakyRelu),
      Elementwise("Elu", {Elu, "alpha", 1.0f}, "alpha", Kind::kElu),
      Elementwise("Selu", {Selu, "alpha", 1.67326319217681884765625f, "gamma", 1.05070102214813232421875f},
                  "alpha gamma"),
      Elementwise("Celu", {Celu, "alpha", 1.0f}, "alpha"),
      Elementwise("Sigmoid", {Sigmoid}, "", Kind::kSigmoid),
      Elementwise("HardSigmoid", {HardSigmoid, "alpha", 0.2f, "beta", 0.5f}, "alpha beta"),
      Elementwise("HardSwish", {HardSwish}, "", Kind::kHardSwish),
      Elementwise("Tanh", {Tanh}, "", Kind::kTanh),
      Elementwise("ThresholdedRelu", {ThresholdedRelu, "alpha", 1.0f}, "alpha"),
      Elementwise("Softplus", {Softplus}),
      Elementwise("Softsign", {Softsign}),
      Elementwise("Mish", {Mish}),
      Elementwise("Erf", {Erf}),
      Elementwise("Exp", {Exp}),
      Elementwise("Log", {Log}),
      Elementwise("Sqrt", {Sqrt}),
      Elementwise("Reciprocal", {Reciprocal}),
      Elementwise("Neg", {Neg}),
      Elementwise("Abs", {Abs}),
      Elementwise("Floor", {Floor}),
      Elementwise("Ceil", {Ceil}),
      Elementwise("Round", {Round}),
      {.name = "PRelu", .min_inputs = 2, .max_inputs = 2, .infer = InferPRelu, .channels = ChannelRule::kElementwise},

      // Functions of several variables, broadcast.
      Binary("Add"),
      Binary("Sub"),
      Binary("Mul"),
      Binary("Div"),
      Binary("Pow"),
      Binary("Mod", "fmod"),
      Variadic("Min"),
      Variadic("Max"),
      Variadic("Sum"),
      Variadic("Mean"),
      Comparison("Equal"),
      Comparison("Less"),
      Comparison("Greater"),
      Comparison("LessOrEqual"),
      Comparison("GreaterOrEqual"),
      Comparison("And"),
      Comparison("Or"),
      Comparison("Xor"),
      {.name = "Where",
       .min_inputs = 3,
       .max_inputs = 3,
       .infer = InferWhere,
       .evaluate = EvaluateWhere,
       .channels = ChannelRule::kElementwise,
       .any_type = true},

      // Layout.
      View("Identity", 1, 1, "", InferSameAnyType),
      View("Reshape", 2, 2, "allowzero", InferReshape),
      View("Flatten", 1, 1, "axis", InferFlatten),
      View("Squeeze", 1, 2, "", InferSqueeze),
      View("Unsqueeze", 2, 2, "", InferUnsqueeze),
      {.name = "Dropout",
       .max_inputs = 3,
       .attributes = "seed",
       .infer = InferDropout,
       .flops = NoFlops,
       .channels = ChannelRule::kElementwise,
       .any_type = true,
       .view = true},
      {.name = "Concat",
       .max_inputs = kManyInputs,
       .attributes = "axis",
       .infer = InferConcat,
       .flops = NoFlops,
       .evaluate = EvaluateConcat,
       .any_type = true},
      {.name = "Split",
       .max_inputs = 2,
       .attributes = "axis num_outputs",
       .infer = InferSplit,
       .flops = NoFlops,
       .any_type = true},
      {.name = "Transpose",
       .attributes = "perm",
       .infer = InferTranspose,
       .flops = NoFlops,
       .evaluate = EvaluateTranspose,
       .any_type = true},
      {.name = "Pad",
       .min_inputs = 2,
       .max_inputs = 4,
       .attributes = "mode",
       .infer = InferPad,
       .flops = NoFlops,
       .any_type = true},
      {.name = "Slice",
       .min_inputs = 3,
       .max_inputs = 5,
       .infer = InferSlice,
       .flops = NoFlops,
       .evaluate = EvaluateSlice,
       .any_type = true},
      {.name = "Gather",
       .min_inputs = 2,
       .max_inputs = 2,
       .attributes = "axis",
       .infer = InferGather,
       .flops = NoFlops,
       .evaluate = EvaluateGather,
       .any_type = true},
      {.name = "Expand",
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = InferExpand,
       .flops = NoFlops,
       .evaluate = EvaluateExpand,
       .any_type = true},

      // Constants, shapes, types.
      {.name = "Constant",
       .min_inputs = 0,
       .max_inputs = 0,
       .attributes = "value_float value_floats value_int value_ints",
       .infer = InferConstant,
       .flops = NoFlops,
       .evaluate = EvaluateConstant},
      {.name = "ConstantOfShape",
       .attributes = "value",
       .infer = InferConstantOfShape,
       .flops = NoFlops,
       .evaluate = EvaluateConstantOfShape,
       .any_type = true},
      {.name = "Shape",
       .attributes = "start end",
       .infer = InferShape,
       .flops = NoFlops,
       .evaluate = EvaluateShape,
       .any_type = true,
       .shape_only = true},
      {.name = "Size",
       .infer = InferShape,
       .flops = NoFlops,
       .evaluate = EvaluateShape,
       .any_type = true,
       .shape_only = true},
      {.name = "Cast",
       .attributes = "saturate to",
       .infer = InferCast,
       .evaluate = EvaluateCast,
       .channels = ChannelRule::kElementwise,
       .any_type = true},
  };
  std::sort(table.begin(), table.end(), [](const Operator& a, const Operator& b) { return a.name < b.name; });
  return table;
}

const std::vector<Operator>& Table() {
  static const std::vector<Operator>* const table = new std::vector<Operator>(MakeTable());
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
  return it == graph.constants.end() ? nullptr : &it->second;
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
  if (!scalar.alpha_name.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(out.alpha, FloatAttribute(view.node, scalar.alpha_name, scalar.alpha));
  }
  if (!scalar.beta_name.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(out.beta, FloatAttribute(view.node, scalar.beta_name, scalar.beta));
  }
  return out;
}

}  // namespace infenclave
