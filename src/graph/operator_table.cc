// The rows of the operator table.
#include <algorithm>
#include <cmath>

#include "graph/rules.h"

namespace infenclave::rules {
namespace {

using Kind = FusedActivation::Kind;

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
float Sign(float x, float, float) { return static_cast<float>((x > 0) - (x < 0)); }
float Sin(float x, float, float) { return std::sin(x); }
float Cos(float x, float, float) { return std::cos(x); }
float Shrink(float x, float lambda, float bias) { return x < -lambda ? x + bias : x > lambda ? x - bias : 0.0f; }
// By erf, or with `tanh` by its approximation (Hendrycks & Gimpel 2016).
float Gelu(float x, float tanh, float) {
  if (tanh != 0) return 0.5f * x * (1 + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x)));
  return 0.5f * x * (1 + std::erf(x * 0.7071067812f));
}
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

Operator Binary(std::string_view name, std::string_view attributes = {},
                decltype(Operator::infer) infer = InferBroadcast) {
  return {.name = name,
          .min_inputs = 2,
          .max_inputs = 2,
          .attributes = attributes,
          .infer = infer,
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

}  // namespace

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

      {.name = "InstanceNormalization",
       .min_inputs = 3,
       .max_inputs = 3,
       .attributes = "epsilon",
       .infer = InferNormalization,
       .flops = [](const NodeView&) { return 7.0; },
       .channels = ChannelRule::kElementwise},
      {.name = "LayerNormalization",
       .min_inputs = 2,
       .max_inputs = 3,
       .attributes = "axis epsilon stash_type",
       .infer = InferLayerNormalization,
       .flops = [](const NodeView&) { return 7.0; }},
      {.name = "GroupNormalization",
       .min_inputs = 3,
       .max_inputs = 3,
       .attributes = "epsilon num_groups stash_type",
       .infer = InferGroupNormalization,
       .flops = [](const NodeView&) { return 7.0; }},
      {.name = "LRN", .attributes = "alpha beta bias size", .infer = InferLrn, .flops = LrnFlops},

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
      Elementwise("Mish", {Mish}, "", Kind::kMish),
      Elementwise("Erf", {Erf}),
      Elementwise("Exp", {Exp}),
      Elementwise("Log", {Log}),
      Elementwise("Sqrt", {Sqrt}),
      Elementwise("Reciprocal", {Reciprocal}),
      {.name = "Neg",
       .infer = InferSameAnyType,
       .evaluate = EvaluateSigned,
       .channels = ChannelRule::kElementwise,
       .any_type = true,
       .scalar = {Neg}},
      {.name = "Abs",
       .infer = InferSameAnyType,
       .evaluate = EvaluateSigned,
       .channels = ChannelRule::kElementwise,
       .any_type = true,
       .scalar = {Abs}},
      Elementwise("Floor", {Floor}),
      Elementwise("Ceil", {Ceil}),
      Elementwise("Round", {Round}),
      Elementwise("Sign", {Sign}),
      Elementwise("Sin", {Sin}),
      Elementwise("Cos", {Cos}),
      Elementwise("Shrink", {Shrink, "lambd", 0.5f, "bias", 0.0f}, "bias lambd"),
      Elementwise("Gelu", {Gelu}, "approximate", Kind::kGelu),
      {.name = "Not",
       .infer = InferSameAnyType,
       .evaluate = EvaluateNot,
       .channels = ChannelRule::kElementwise,
       .any_type = true},
      {.name = "PRelu", .min_inputs = 2, .max_inputs = 2, .infer = InferPRelu, .channels = ChannelRule::kElementwise},

      // Functions of several variables, broadcast.
      Binary("Add"),
      Binary("Sub"),
      Binary("Mul"),
      Binary("Div"),
      Binary("Pow", {}, InferPow),
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

      {.name = "Tile", .min_inputs = 2, .max_inputs = 2, .infer = InferTile, .flops = NoFlops, .any_type = true},
      {.name = "DepthToSpace", .attributes = "blocksize mode", .infer = InferBlocks, .flops = NoFlops},
      {.name = "SpaceToDepth", .attributes = "blocksize", .infer = InferBlocks, .flops = NoFlops},
      {.name = "Resize",
       .min_inputs = 1,
       .max_inputs = 4,
       .attributes = "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value "
                     "keep_aspect_ratio_policy mode nearest_mode",
       .infer = InferResize,
       .flops = ResizeFlops,
       .channels = ChannelRule::kPerChannel,
       .any_type = true},

      // Integers. A DequantizeLinear of a constant is not folded: the weights stay a quarter of their size.
      {.name = "QuantizeLinear",
       .min_inputs = 2,
       .max_inputs = 3,
       .attributes = "axis",
       .infer = InferQuantize,
       .flops = NoFlops,
       .evaluate = EvaluateQuantize,
       .channels = ChannelRule::kElementwise,
       .any_type = true},
      {.name = "DequantizeLinear",
       .min_inputs = 2,
       .max_inputs = 3,
       .attributes = "axis",
       .infer = InferDequantize,
       .flops = NoFlops,
       .channels = ChannelRule::kElementwise,
       .any_type = true},

      // Constants, shapes, types.
      {.name = "Range",
       .min_inputs = 3,
       .max_inputs = 3,
       .infer = InferRange,
       .flops = NoFlops,
       .evaluate = EvaluateRange,
       .any_type = true},
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

}  // namespace infenclave::rules
