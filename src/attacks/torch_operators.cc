#include "attacks/torch_operators.h"

#include <cmath>
#include <map>
#include <utility>

namespace infenclave {
namespace {

using Function = TorchNetwork::Function;
using Inputs = std::span<const at::Tensor>;
using Kind = FusedActivation::Kind;

template <typename F>
Function One(F f) {
  return [f = std::move(f)](Inputs in) { return std::vector<at::Tensor>{f(in)}; };
}

// --- Functions of one variable.

at::Tensor HardSwish(const at::Tensor& x) { return x * (x / 6 + 0.5).clamp(0, 1); }
at::Tensor Elu(const at::Tensor& x, double alpha) { return at::where(x < 0, alpha * at::expm1(x.clamp_max(0)), x); }

using Scalar = at::Tensor (*)(const at::Tensor& x, double alpha, double beta);

// Those whose gradient is zero almost everywhere (Floor, Sign, …) are left out: nothing leads back through them.
const std::map<std::string_view, Scalar>& Scalars() {
  using T = const at::Tensor&;
  static const std::map<std::string_view, Scalar> scalars = {
      {"Relu", [](T x, double, double) { return at::relu(x); }},
      {"Clip", [](T x, double low, double high) { return x.clamp(low, high); }},
      {"LeakyRelu", [](T x, double alpha, double) { return at::leaky_relu(x, alpha); }},
      {"ThresholdedRelu", [](T x, double alpha, double) { return at::threshold(x, alpha, 0); }},
      {"Elu", [](T x, double alpha, double) { return Elu(x, alpha); }},
      {"Selu", [](T x, double alpha, double gamma) { return gamma * Elu(x, alpha); }},
      {"Celu", [](T x, double alpha, double) { return at::celu(x, alpha); }},
      {"Sigmoid", [](T x, double, double) { return at::sigmoid(x); }},
      {"HardSigmoid", [](T x, double alpha, double beta) { return (alpha * x + beta).clamp(0, 1); }},
      {"HardSwish", [](T x, double, double) { return HardSwish(x); }},
      {"Tanh", [](T x, double, double) { return at::tanh(x); }},
      {"Softplus", [](T x, double, double) { return at::softplus(x); }},
      {"Softsign", [](T x, double, double) { return x / (1 + x.abs()); }},
      {"Mish", [](T x, double, double) { return at::mish(x); }},
      {"Gelu", [](T x, double tanh, double) { return at::gelu(x, tanh != 0 ? "tanh" : "none"); }},
      {"Erf", [](T x, double, double) { return at::erf(x); }},
      {"Exp", [](T x, double, double) { return at::exp(x); }},
      {"Log", [](T x, double, double) { return at::log(x); }},
      {"Sqrt", [](T x, double, double) { return at::sqrt(x); }},
      {"Reciprocal", [](T x, double, double) { return at::reciprocal(x); }},
      {"Neg", [](T x, double, double) { return -x; }},
      {"Abs", [](T x, double, double) { return x.abs(); }},
      {"Sin", [](T x, double, double) { return at::sin(x); }},
      {"Cos", [](T x, double, double) { return at::cos(x); }},
  };
  return scalars;
}

// --- Windows.

// One more row or column than the network pads, where ceil_mode lets the last window reach further.
struct Padding {
  std::vector<int64_t> declared, reaching;  // as at::constant_pad_nd's: last dimension first, begin and end
};

Padding PaddingOf(const Window& w, const Shape& in) {
  Padding padding;
  for (size_t i = w.kernel.size(); i-- > 0;) {
    const int64_t extent = (w.kernel[i] - 1) * w.dilations[i] + 1, reach = (w.output[i] - 1) * w.strides[i] + extent;
    padding.declared.insert(padding.declared.end(), {w.pads_begin[i], w.pads_end[i]});
    padding.reaching.insert(padding.reaching.end(),
                            {0, std::max<int64_t>(0, reach - in[i + 2] - w.pads_begin[i] - w.pads_end[i])});
  }
  return padding;
}

at::Tensor PadBy(const at::Tensor& x, const std::vector<int64_t>& amounts, double value) {
  for (const int64_t amount : amounts) {
    if (amount != 0) return at::constant_pad_nd(x, amounts, value);
  }
  return x;
}

StatusOr<Function> Conv(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Window w, WindowOf(v));
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t groups, IntAttribute(v.node, "group", 1));
  std::vector<int64_t> pads = w.pads_begin;
  const Padding padding = PaddingOf(w, v.shape(0));
  const bool symmetric = w.pads_begin == w.pads_end;
  if (!symmetric) pads.assign(pads.size(), 0);
  return One([=](Inputs in) {
    const at::Tensor x = symmetric ? in[0] : PadBy(in[0], padding.declared, 0);
    const c10::optional<at::Tensor> bias =
        in.size() > 2 && in[2].defined() ? c10::optional<at::Tensor>(in[2]) : c10::nullopt;
    return at::convolution(x, in[1], bias, w.strides, pads, w.dilations, /*transposed=*/false,
                           std::vector<int64_t>(pads.size(), 0), groups);
  });
}

StatusOr<Function> MaxPool(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Window w, WindowOf(v));
  if (w.kernel.size() != 2) return Unimplemented(w.kernel.size(), "-dimensional pooling");
  const Padding padding = PaddingOf(w, v.shape(0));
  return One([=](Inputs in) {
    const double least = -std::numeric_limits<double>::infinity();
    const at::Tensor x = PadBy(PadBy(in[0], padding.declared, least), padding.reaching, least);
    return at::max_pool2d(x, w.kernel, w.strides, at::IntArrayRef{0, 0}, w.dilations);
  });
}

StatusOr<Function> AveragePool(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Window w, WindowOf(v));
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t count_padding, IntAttribute(v.node, "count_include_pad", 0));
  if (w.kernel.size() != 2 || w.dilations != std::vector<int64_t>{1, 1}) {
    return Unimplemented(w.kernel.size(), "-dimensional or dilated average pooling");
  }
  const Padding padding = PaddingOf(w, v.shape(0));
  const auto average = [=](const at::Tensor& x, double border) {
    return at::avg_pool2d(PadBy(PadBy(x, padding.declared, border), padding.reaching, 0), w.kernel, w.strides);
  };
  // What share of each window counts.
  const at::Tensor share = average(at::ones({1, 1, v.shape(0)[2], v.shape(0)[3]}), count_padding != 0 ? 1 : 0);
  return One([=](Inputs in) { return average(in[0], 0) / share; });
}

StatusOr<Function> LocalResponse(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t size, IntAttribute(v.node, "size", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(const float alpha, FloatAttribute(v.node, "alpha", 1e-4f));
  INFENCLAVE_ASSIGN_OR_RETURN(const float beta, FloatAttribute(v.node, "beta", 0.75f));
  INFENCLAVE_ASSIGN_OR_RETURN(const float bias, FloatAttribute(v.node, "bias", 1));
  return One([=](Inputs in) {
    const at::Tensor squares = in[0].pow(2).flatten(2).unsqueeze(1);  // [n,1,c,places]
    const at::Tensor mean =
        at::avg_pool2d(at::constant_pad_nd(squares, at::IntArrayRef{0, 0, (size - 1) / 2, size / 2}, 0),
                       at::IntArrayRef{size, 1}, at::IntArrayRef{1, 1});
    return in[0] / (bias + alpha * mean).pow(beta).view(in[0].sizes());
  });
}

// --- Matrices and normalisation.

StatusOr<Function> Gemm(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const float alpha, FloatAttribute(v.node, "alpha", 1));
  INFENCLAVE_ASSIGN_OR_RETURN(const float beta, FloatAttribute(v.node, "beta", 1));
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t trans_a, IntAttribute(v.node, "transA", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t trans_b, IntAttribute(v.node, "transB", 0));
  return One([=](Inputs in) {
    at::Tensor out = alpha * at::matmul(trans_a != 0 ? in[0].t() : in[0], trans_b != 0 ? in[1].t() : in[1]);
    if (in.size() > 2 && in[2].defined()) out = out + beta * in[2];
    return out;
  });
}

// Per channel: [C] against [N,C,...].
at::Tensor AlongChannels(const at::Tensor& parameter, const at::Tensor& x) {
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[1] = -1;
  return parameter.view(shape);
}

StatusOr<Function> BatchNormalization(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const float epsilon, FloatAttribute(v.node, "epsilon", 1e-5f));
  return One([=](Inputs in) {
    const at::Tensor scale = in[1] / at::sqrt(in[4] + epsilon);
    return (in[0] - AlongChannels(in[3], in[0])) * AlongChannels(scale, in[0]) + AlongChannels(in[2], in[0]);
  });
}

StatusOr<Function> GroupNormalization(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const float epsilon, FloatAttribute(v.node, "epsilon", 1e-5f));
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t groups, IntAttribute(v.node, "num_groups", v.shape(0)[1]));
  return One([=](Inputs in) { return at::group_norm(in[0], groups, in[1], in[2], epsilon); });
}

StatusOr<Function> LayerNormalization(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const float epsilon, FloatAttribute(v.node, "epsilon", 1e-5f));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(v.node, "axis", -1));
  INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, v.shape(0).size()));
  std::vector<int64_t> axes;
  for (int64_t i = axis; i < static_cast<int64_t>(v.shape(0).size()); ++i) axes.push_back(i);
  return One([=](Inputs in) {
    const at::Tensor centred = in[0] - in[0].mean(axes, true);
    at::Tensor out = centred / at::sqrt(centred.pow(2).mean(axes, true) + epsilon) * in[1];
    return in.size() > 2 && in[2].defined() ? out + in[2] : out;
  });
}

StatusOr<Function> SoftmaxOf(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t axis, IntAttribute(v.node, "axis", -1));
  const bool log = v.node.op == "LogSoftmax";
  return One([=](Inputs in) { return log ? at::log_softmax(in[0], axis) : at::softmax(in[0], axis); });
}

// --- Reductions.

StatusOr<Function> ReduceOf(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, ReducedAxes(v));
  using Reduction = at::Tensor (*)(const at::Tensor&, at::IntArrayRef);
  static const std::map<std::string_view, Reduction> reductions = {
      {"ReduceMean", [](const at::Tensor& x, at::IntArrayRef over) { return x.mean(over); }},
      {"ReduceSum", [](const at::Tensor& x, at::IntArrayRef over) { return x.sum(over); }},
      {"ReduceMax", [](const at::Tensor& x, at::IntArrayRef over) { return x.amax(over); }},
      {"ReduceMin", [](const at::Tensor& x, at::IntArrayRef over) { return x.amin(over); }},
      {"ReduceL1", [](const at::Tensor& x, at::IntArrayRef over) { return x.abs().sum(over); }},
      {"ReduceL2", [](const at::Tensor& x, at::IntArrayRef over) { return x.pow(2).sum(over).sqrt(); }},
      {"ReduceSumSquare", [](const at::Tensor& x, at::IntArrayRef over) { return x.pow(2).sum(over); }},
  };
  const auto found = reductions.find(v.node.op);
  if (found == reductions.end()) return Unimplemented("not mapped to libtorch");
  return One([=, reduce = found->second, shape = v.out().shape](Inputs in) {
    return axes.empty() ? in[0].view(shape) : reduce(in[0], axes).reshape(shape);
  });
}

StatusOr<Function> GlobalPool(const NodeView& v) {
  const bool max = v.node.op == "GlobalMaxPool";
  std::vector<int64_t> axes;
  for (int64_t i = 2; i < static_cast<int64_t>(v.shape(0).size()); ++i) axes.push_back(i);
  return One([=](Inputs in) { return max ? in[0].amax(axes, true) : in[0].mean(axes, true); });
}

// --- Functions of several variables.

StatusOr<Function> Several(const NodeView& v) {
  using Combine = at::Tensor (*)(const at::Tensor&, const at::Tensor&);
  using T = const at::Tensor&;
  static const std::map<std::string_view, Combine> combines = {
      {"Add", [](T a, T b) { return a + b; }},
      {"Sub", [](T a, T b) { return a - b; }},
      {"Mul", [](T a, T b) { return a * b; }},
      {"Div", [](T a, T b) { return a / b; }},
      {"Pow", [](T a, T b) { return at::pow(a, b); }},
      {"Min", [](T a, T b) { return at::minimum(a, b); }},
      {"Max", [](T a, T b) { return at::maximum(a, b); }},
      {"Sum", [](T a, T b) { return a + b; }},
      {"Mean", [](T a, T b) { return a + b; }},
      // The slope broadcasts as numpy's operands do.
      {"PRelu", [](T x, T slope) { return x.clamp_min(0) + slope * x.clamp_max(0); }},
  };
  for (size_t i = 0; i < v.node.inputs.size(); ++i) {
    if (v.in(i).dtype != DType::kF32) return Unimplemented("of ", NameOf(v.in(i).dtype));
  }
  return One([combine = combines.at(v.node.op), mean = v.node.op == "Mean"](Inputs in) {
    at::Tensor out = in[0];
    for (size_t i = 1; i < in.size(); ++i) out = combine(out, in[i]);
    return mean ? out / static_cast<double>(in.size()) : out;
  });
}

// --- Layout.

StatusOr<Function> View(const NodeView& v) {
  return One([shape = v.out().shape](Inputs in) { return in[0].reshape(shape); });
}

StatusOr<Function> Concatenate(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t axis, IntAttribute(v.node, "axis", 0));
  return One([=](Inputs in) { return at::cat(std::vector<at::Tensor>(in.begin(), in.end()), axis); });
}

StatusOr<Function> SplitOf(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(v.node, "axis", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, v.shape(0).size()));
  std::vector<int64_t> parts;
  for (const ValueId id : v.node.outputs) parts.push_back(v.graph.value(id).shape[static_cast<size_t>(axis)]);
  return Function([=](Inputs in) { return at::split_with_sizes(in[0], parts, axis); });
}

StatusOr<Function> TransposeOf(const NodeView& v) {
  std::vector<int64_t> otherwise;
  for (size_t i = v.shape(0).size(); i-- > 0;) otherwise.push_back(static_cast<int64_t>(i));
  INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<int64_t> perm, IntsAttribute(v.node, "perm", otherwise));
  return One([=](Inputs in) { return in[0].permute(perm); });
}

StatusOr<Function> PadOf(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const PadAmounts pads, PadAmountsOf(v));
  INFENCLAVE_ASSIGN_OR_RETURN(const std::string mode, StringAttribute(v.node, "mode", "constant"));
  if (mode != "constant") return Unimplemented("mode '", mode, "'");
  double value = 0;
  if (v.Has(2)) {
    const Tensor* constant = v.Constant(2);
    if (constant == nullptr || constant->dtype() != DType::kF32 || constant->elements() != 1) {
      return Unimplemented("by a value that is no f32 constant");
    }
    value = constant->as<float>()[0];
  }
  std::vector<int64_t> amounts;
  for (size_t i = pads.begin.size(); i-- > 0;) amounts.insert(amounts.end(), {pads.begin[i], pads.end[i]});
  return One([=](Inputs in) { return at::constant_pad_nd(in[0], amounts, value); });
}

StatusOr<Function> SliceOf(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const SliceBounds bounds, SliceBoundsOf(v));
  return One([=](Inputs in) {
    at::Tensor out = in[0];
    for (size_t d = 0; d < bounds.shape.size(); ++d) {
      const at::Tensor indices = at::arange(bounds.shape[d], at::kLong) * bounds.step[d] + bounds.start[d];
      if (bounds.shape[d] != out.size(static_cast<int64_t>(d)) || bounds.step[d] != 1) {
        out = out.index_select(static_cast<int64_t>(d), indices);
      }
    }
    return out;
  });
}

// Blocks move between places and channels; ONNX's blocks come before the channels, DepthToSpace's CRD mode after.
StatusOr<Function> Blocks(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t b, IntAttribute(v.node, "blocksize", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(const std::string mode, StringAttribute(v.node, "mode", "DCR"));
  const bool to_space = v.node.op == "DepthToSpace", crd = mode == "CRD";
  return One([=, shape = v.out().shape](Inputs in) {
    const int64_t n = in[0].size(0), c = in[0].size(1), h = in[0].size(2), w = in[0].size(3);
    if (!to_space) return in[0].view({n, c, h / b, b, w / b, b}).permute({0, 3, 5, 1, 2, 4}).reshape(shape);
    if (crd) return in[0].view({n, c / (b * b), b, b, h, w}).permute({0, 1, 4, 2, 5, 3}).reshape(shape);
    return in[0].view({n, b, b, c / (b * b), h, w}).permute({0, 3, 4, 1, 5, 2}).reshape(shape);
  });
}

using Maker = StatusOr<Function> (*)(const NodeView&);

const std::map<std::string_view, Maker>& Makers() {
  static const std::map<std::string_view, Maker> makers = {
      {"Conv", Conv},
      {"Gemm", Gemm},
      {"MatMul",
       [](const NodeView&) -> StatusOr<Function> { return One([](Inputs in) { return at::matmul(in[0], in[1]); }); }},
      {"MaxPool", MaxPool},
      {"AveragePool", AveragePool},
      {"GlobalAveragePool", GlobalPool},
      {"GlobalMaxPool", GlobalPool},
      {"LRN", LocalResponse},
      {"BatchNormalization", BatchNormalization},
      {"InstanceNormalization", GroupNormalization},
      {"GroupNormalization", GroupNormalization},
      {"LayerNormalization", LayerNormalization},
      {"Softmax", SoftmaxOf},
      {"LogSoftmax", SoftmaxOf},
      {"ReduceMean", ReduceOf},
      {"ReduceSum", ReduceOf},
      {"ReduceMax", ReduceOf},
      {"ReduceMin", ReduceOf},
      {"ReduceL1", ReduceOf},
      {"ReduceL2", ReduceOf},
      {"ReduceSumSquare", ReduceOf},
      {"Add", Several},
      {"Sub", Several},
      {"Mul", Several},
      {"Div", Several},
      {"Pow", Several},
      {"Min", Several},
      {"Max", Several},
      {"Sum", Several},
      {"Mean", Several},
      {"PRelu", Several},
      {"Identity", View},
      {"Dropout", View},
      {"Reshape", View},
      {"Flatten", View},
      {"Squeeze", View},
      {"Unsqueeze", View},
      {"Concat", Concatenate},
      {"Split", SplitOf},
      {"Transpose", TransposeOf},
      {"Pad", PadOf},
      {"Slice", SliceOf},
      {"DepthToSpace", Blocks},
      {"SpaceToDepth", Blocks},
  };
  return makers;
}

}  // namespace

StatusOr<Function> TorchOperator(const NodeView& view) {
  if (OperatorOf(view.node) == nullptr) return Unimplemented("not an operator that the engine knows");
  if (const auto scalar = Scalars().find(view.node.op); scalar != Scalars().end()) {
    INFENCLAVE_ASSIGN_OR_RETURN(const ScalarParameters parameters, ScalarParametersOf(view));
    return One([f = scalar->second, parameters](Inputs in) { return f(in[0], parameters.alpha, parameters.beta); });
  }
  const auto maker = Makers().find(view.node.op);
  if (maker == Makers().end()) return Unimplemented("not mapped to libtorch");
  return maker->second(view);
}

at::Tensor Activate(const FusedActivation& activation, const at::Tensor& x) {
  switch (activation.kind) {
    case Kind::kNone:
      return x;
    case Kind::kRelu:
      return at::relu(x);
    case Kind::kClip:
      return x.clamp(activation.alpha, activation.beta);
    case Kind::kSwish:
      return at::silu(x);
    case Kind::kSigmoid:
      return at::sigmoid(x);
    case Kind::kLeakyRelu:
      return at::leaky_relu(x, activation.alpha);
    case Kind::kHardSwish:
      return HardSwish(x);
    case Kind::kElu:
      return Elu(x, activation.alpha);
    case Kind::kTanh:
      return at::tanh(x);
    case Kind::kGelu:
      return at::gelu(x, activation.alpha != 0 ? "tanh" : "none");
    case Kind::kMish:
      return at::mish(x);
  }
  return x;
}

}  // namespace infenclave
