#include "engine/int8.h"

#include <algorithm>
#include <limits>

#include "engine/onednn.h"
#include "engine/team.h"

namespace infenclave::engine {
namespace {

using Kind = FusedActivation::Kind;
constexpr auto kF32 = memory::data_type::f32;

memory::data_type TypeOf(DType dtype) { return dtype == DType::kU8 ? memory::data_type::u8 : memory::data_type::s8; }

bool Is(const Node& node, std::string_view op) { return node.op == op && !IsOpaque(node); }

// What a node's result becomes: integers for the QuantizeLinear that alone reads it, else f32.
struct Sink {
  int node = -1;
  memory::data_type type = kF32;
  float scale = 0;
  int32_t zero = 0;
  bool integers() const { return scale != 0; }
};

Sink SinkOf(const Compiler& c, ValueId value) {
  const int reader = c.OnlyReader(value);
  if (reader < 0) return {};
  const Node& node = c.graph().nodes[static_cast<size_t>(reader)];
  if (!Is(node, "QuantizeLinear")) return {};
  StatusOr<QuantizationParameters> q = QuantizationOf(c.view(node));
  return q.ok() ? Sink{reader, TypeOf(q->dtype), q->scales[0], q->zero} : Sink{};
}

Status DefineSink(Compiler& c, const Node& node, const Sink& sink, Place place) {
  place.scale = 0;  // a QuantizeLinear's result is plain integers
  if (sink.node < 0) return c.Define(node, std::move(place));
  c.TakeOver(sink.node);
  return c.Define(c.graph().nodes[static_cast<size_t>(sink.node)], std::move(place));
}

// Weights in i8, without zero point, with one scale or one per output channel.
struct Weights {
  ValueId id;
  const Tensor* tensor;
  std::vector<float> scales;
};
std::optional<Weights> WeightsOf(const Compiler& c, ValueId value, size_t channel_axis) {
  if (value == kNoValue || c.Producer(value) < 0) return std::nullopt;
  const Node& node = c.graph().nodes[static_cast<size_t>(c.Producer(value))];
  if (!Is(node, "DequantizeLinear")) return std::nullopt;
  const NodeView view = c.view(node);
  if (view.Constant(0) == nullptr || view.Constant(0)->dtype() != DType::kI8) return std::nullopt;
  StatusOr<QuantizationParameters> q = QuantizationOf(view);
  if (!q.ok() || (q->scales.size() > 1 && q->axis != channel_axis)) return std::nullopt;
  return Weights{node.inputs[0], view.Constant(0), std::move(q->scales)};
}

// What is done to the sum of products: times `factor` and the weights' scale, then `ops`, then the zero point.
struct Tail {
  float factor = 1;
  dnnl::post_ops ops;
};

// Functions that commute with a scale above 0 are applied to what is scaled already. What saturation does anyway is
// left to it.
Tail TailOf(FusedActivation activation, const Sink& sink, const Place* addend) {
  Tail tail;
  const bool scales = activation.kind == Kind::kNone || activation.kind == Kind::kRelu ||
                      activation.kind == Kind::kLeakyRelu || activation.kind == Kind::kClip;
  const float to_integers = sink.integers() ? 1 / sink.scale : 1;
  if (scales) tail.factor = to_integers;
  if (addend != nullptr) {
    tail.ops.append_sum(addend->scale * tail.factor, addend->zero, addend->desc.data_type());
  }
  const bool from_zero = sink.type == memory::data_type::u8 && sink.zero == 0;
  if (activation.kind == Kind::kRelu && from_zero) return tail;
  if (activation.kind == Kind::kClip) {
    activation.alpha *= tail.factor;
    activation.beta *= tail.factor;
    if (from_zero && activation.alpha == 0 && activation.beta >= 255) return tail;
  }
  AppendActivation(activation, tail.ops, scales ? 1 : to_integers);
  return tail;
}

dnnl::primitive_attr AttributesOf(const Tail& tail, const Sink& sink, float src_scale, const Weights& weights,
                                  float alpha = 1) {
  dnnl::primitive_attr attributes = Attributes(tail.ops);
  std::vector<float> scales = weights.scales;
  for (float& scale : scales) scale *= src_scale * tail.factor * alpha;
  attributes.set_output_scales(scales.size() > 1 ? 1 << 1 : 0, scales);
  if (sink.zero != 0) attributes.set_zero_points(DNNL_ARG_DST, 0, {sink.zero});
  return attributes;
}

// The bias in units of the sum of products, less what the source's zero point adds to that; nothing if neither is
// there. `sums`: of the weights, per channel.
StatusOr<std::optional<Place>> BiasOf(Compiler& c, const Node& node, const Weights& weights, float src_scale,
                                      float beta, int32_t zero, const std::vector<int64_t>& sums) {
  const bool biased = node.inputs.size() > 2 && node.inputs[2] != kNoValue;
  if (!biased && zero == 0) return std::nullopt;
  Tensor& out = c.NewTensor({static_cast<int64_t>(sums.size())});
  const Tensor* bias = nullptr;
  if (biased) {
    INFENCLAVE_ASSIGN_OR_RETURN(bias, c.ConstantOf(node.inputs[2]));
  }
  for (size_t i = 0; i < sums.size(); ++i) {
    double value = -static_cast<double>(zero) * static_cast<double>(sums[i]);
    if (bias != nullptr) {
      const double unit =
          static_cast<double>(src_scale) * static_cast<double>(weights.scales[i % weights.scales.size()]);
      value += static_cast<double>(beta) * static_cast<double>(bias->as<float>()[i]) / unit;
    }
    out.as<float>()[i] = static_cast<float>(value);
  }
  const memory::desc desc = PlainDesc(out.shape(), kF32);
  return c.AddWeight(node.outputs[0], out, desc, desc);
}

// Sums per channel, the first dimension or the last.
std::vector<int64_t> SumsOf(const Tensor& weights, size_t channels, bool channels_first) {
  std::vector<int64_t> sums(channels, 0);
  std::span<const int8_t> values = weights.as<int8_t>();
  const size_t row = values.size() / std::max<size_t>(channels, 1);
  for (size_t i = 0; i < values.size(); ++i) sums[channels_first ? i / row : i % channels] += values[i];
  return sums;
}

bool IsConstantVector(StatusOr<const Tensor*> tensor, int64_t size) {
  return tensor.ok() && *tensor != nullptr && (*tensor)->dtype() == DType::kF32 && (*tensor)->elements() == size &&
         !(*tensor)->shape().empty() && (*tensor)->shape().back() == size;
}

// Integers that reach to one side of zero only: quantising is what makes the result a Relu's.
bool CutsOff(const NodeView& view) {
  StatusOr<QuantizationParameters> q = QuantizationOf(view);
  return !q.ok() || (q->dtype == DType::kU8 ? q->zero == 0 || q->zero == 255 : q->zero == -128 || q->zero == 127);
}

// conv + other, which lies in integers and is overwritten.
struct Int8Residual {
  std::vector<int> between;  // a QuantizeLinear and a DequantizeLinear, perhaps
  int add;
  Place other;
};

std::optional<Int8Residual> FindInt8Residual(Compiler& c, const Node& node, int index) {
  if (node.activation.kind != Kind::kNone) return std::nullopt;
  const std::vector<Node>& nodes = c.graph().nodes;
  Int8Residual out{};
  ValueId value = node.outputs[0];
  int reader = c.OnlyReader(value);
  for (std::string_view op : {"QuantizeLinear", "DequantizeLinear"}) {
    if (reader < 0 || !Is(nodes[static_cast<size_t>(reader)], op)) break;
    if (CutsOff(c.view(nodes[static_cast<size_t>(reader)]))) return std::nullopt;
    out.between.push_back(reader);
    value = nodes[static_cast<size_t>(reader)].outputs[0];
    reader = c.OnlyReader(value);
  }
  if (out.between.size() == 1 || reader < 0 || !Is(nodes[static_cast<size_t>(reader)], "Add")) return std::nullopt;
  const Node& add = nodes[static_cast<size_t>(reader)];
  if (add.inputs[0] == add.inputs[1] || !SinkOf(c, add.outputs[0]).integers()) return std::nullopt;
  const ValueId other = add.inputs[0] == value ? add.inputs[1] : add.inputs[0];
  const Place* place = c.Quantized(other);
  if (place == nullptr || c.graph().value(other).shape != c.graph().value(value).shape) return std::nullopt;
  if (c.Reads(node, *place) || !c.MayOverwrite(*place, index, reader)) return std::nullopt;
  out.add = reader;
  out.other = *place;
  return out;
}

using ConvPd = dnnl::convolution_forward::primitive_desc;

struct Int8Conv {
  const ConvShape& shape;
  const Place& src;
  const Weights& weights;
  bool fold_zero;  // the source's zero point goes into the bias: no padding brings zeros of another kind
  bool biased;
};

std::optional<ConvPd> ChooseInt8(const Int8Conv& conv, const Tail& tail, const Sink& sink) {
  const ConvShape& s = conv.shape;
  const memory::desc src = ChannelsLastDesc(s.src, conv.src.desc.data_type());
  const memory::desc dst = ChannelsLastDesc(s.dst, sink.type);
  const memory::desc weights(s.weights, memory::data_type::s8, memory::format_tag::any);
  const memory::desc bias = conv.biased ? PlainDesc({s.dst[1]}, kF32) : memory::desc();
  dnnl::primitive_attr attributes = AttributesOf(tail, sink, conv.src.scale, conv.weights);
  if (conv.src.zero != 0 && !conv.fold_zero) attributes.set_zero_points(DNNL_ARG_SRC, 0, {conv.src.zero});
  try {
    ConvPd pd({dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, src, weights, bias, dst,
               s.strides, s.dilations, s.pads_begin, s.pads_end},
              attributes, CpuEngine(), /*allow_empty=*/true);
    if (!pd || std::string_view(pd.impl_info_str()).starts_with("ref")) return std::nullopt;
    return pd;
  } catch (const dnnl::error& e) {
    if (e.status != dnnl_unimplemented) throw;
    return std::nullopt;
  }
}

Status EmitInt8(Compiler& c, const Node& node, const Int8Conv& conv, const ConvPd& pd, const Place& dst) {
  const Place src = c.QuantizedAs(node.inputs[0], pd.src_desc());
  const Place weights = c.AddWeight(conv.weights.id, *conv.weights.tensor, pd.weights_desc(),
                                    PlainDesc(conv.shape.weights, memory::data_type::s8));
  std::vector<Argument> arguments = {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, dst}};
  const std::vector<int64_t> sums = SumsOf(*conv.weights.tensor, static_cast<size_t>(conv.shape.dst[1]), true);
  INFENCLAVE_ASSIGN_OR_RETURN(std::optional<Place> bias, BiasOf(c, node, conv.weights, conv.src.scale, 1,
                                                                conv.fold_zero ? conv.src.zero : 0, sums));
  if (bias) arguments.push_back({DNNL_ARG_BIAS, *bias});
  c.Emit(node, pd, std::move(arguments));
  return OkStatus();
}

bool AllZero(const memory::dims& dims) {
  return std::all_of(dims.begin(), dims.end(), [](memory::dim d) { return d == 0; });
}

}  // namespace

StatusOr<bool> TryInt8Conv(Compiler& c, const Node& node, int index, const ConvShape& s) {
  const std::optional<Weights> weights = WeightsOf(c, node.inputs[1], 0);
  const Place* quantized = c.Quantized(node.inputs[0]);
  if (!weights || quantized == nullptr) return false;
  const bool has_bias = !s.bias.empty();
  if (has_bias && !IsConstantVector(c.ConstantOf(node.inputs[2]), s.dst[1])) return false;
  const Place src = *quantized;
  const bool fold_zero = AllZero(s.pads_begin) && AllZero(s.pads_end);
  const Int8Conv conv{s, src, *weights, fold_zero, has_bias || (fold_zero && src.zero != 0)};
  if (std::optional<Int8Residual> residual = FindInt8Residual(c, node, index)) {
    const Node& add = c.graph().nodes[static_cast<size_t>(residual->add)];
    const Sink sink = SinkOf(c, add.outputs[0]);
    std::optional<ConvPd> pd = ChooseInt8(conv, TailOf(add.activation, sink, &residual->other), sink);
    if (pd && residual->other.desc == ChannelsLastDesc(s.dst, residual->other.desc.data_type())) {
      Place dst = residual->other;
      dst.desc = pd->dst_desc();
      INFENCLAVE_RETURN_IF_ERROR(EmitInt8(c, node, conv, *pd, dst));
      for (int done : residual->between) c.TakeOver(done);
      c.TakeOver(residual->add);
      INFENCLAVE_RETURN_IF_ERROR(DefineSink(c, add, sink, dst));
      return true;
    }
  }
  const Sink sink = SinkOf(c, node.outputs[0]);
  std::optional<ConvPd> pd = ChooseInt8(conv, TailOf(node.activation, sink, nullptr), sink);
  if (!pd) return false;
  const Place dst = c.NewPlace(pd->dst_desc());
  INFENCLAVE_RETURN_IF_ERROR(EmitInt8(c, node, conv, *pd, dst));
  INFENCLAVE_RETURN_IF_ERROR(DefineSink(c, node, sink, dst));
  return true;
}

StatusOr<bool> TryInt8Dense(Compiler& c, const Node& node) {
  const NodeView view = c.view(node);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t trans_a, IntAttribute(node, "transA", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t trans_b, IntAttribute(node, "transB", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(float alpha, FloatAttribute(node, "alpha", 1));
  INFENCLAVE_ASSIGN_OR_RETURN(float beta, FloatAttribute(node, "beta", 1));
  const std::optional<Weights> weights = WeightsOf(c, node.inputs[1], trans_b != 0 ? 0 : 1);
  const Place* quantized = c.Quantized(node.inputs[0]);
  if (!weights || quantized == nullptr || trans_a != 0 || !(alpha > 0) || weights->tensor->shape().size() != 2) {
    return false;
  }
  const int64_t n = weights->tensor->shape()[trans_b != 0 ? 0 : 1], k = weights->tensor->shape()[trans_b != 0 ? 1 : 0];
  if (view.Has(2) && !IsConstantVector(c.ConstantOf(node.inputs[2]), n)) return false;
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t elements, NumElements(view.shape(0)));
  if (k == 0 || n == 0 || elements == 0) return false;
  Place src = c.QuantizedAs(node.inputs[0], PlainDesc(view.shape(0), quantized->desc.data_type()));
  src.desc = PlainDesc({elements / k, k}, src.desc.data_type());
  Sink sink = SinkOf(c, node.outputs[0]);
  if (sink.zero != 0) sink = {};  // oneDNN's inner product has no zero points
  const memory::desc dst_desc = PlainDesc({elements / k, n}, sink.type);
  const bool biased = view.Has(2) || src.zero != 0;
  dnnl::inner_product_forward::primitive_desc pd(
      {dnnl::prop_kind::forward_inference, src.desc,
       memory::desc({n, k}, memory::data_type::s8, memory::format_tag::any),
       biased ? PlainDesc({n}, kF32) : memory::desc(), dst_desc},
      AttributesOf(TailOf(node.activation, sink, nullptr), sink, src.scale, *weights, alpha), CpuEngine(),
      /*allow_empty=*/true);
  if (!pd || std::string_view(pd.impl_info_str()).starts_with("ref")) return false;
  const memory::desc source = trans_b != 0 ? PlainDesc({n, k}, memory::data_type::s8)
                                           : memory::desc({n, k}, memory::data_type::s8, memory::dims{1, n});
  Place packed = c.AddWeight(weights->id, *weights->tensor, pd.weights_desc(), source);
  Place dst = c.NewPlace(dst_desc);
  std::vector<Argument> arguments = {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, dst}};
  const std::vector<int64_t> sums = SumsOf(*weights->tensor, static_cast<size_t>(n), trans_b != 0);
  // The scale of the sum counts alpha, which the bias has not.
  INFENCLAVE_ASSIGN_OR_RETURN(std::optional<Place> bias,
                              BiasOf(c, node, *weights, src.scale, beta / alpha, src.zero, sums));
  if (bias) arguments.push_back({DNNL_ARG_BIAS, *bias});
  c.Emit(node, pd, std::move(arguments));
  dst.desc = PlainDesc(view.out().shape, sink.type);
  INFENCLAVE_RETURN_IF_ERROR(DefineSink(c, node, sink, dst));
  return true;
}

namespace {

// The sum of operands in units of the result, moved by `shift`, then clipped as the activation says. oneDNN 2.6's
// binary primitive gets a second linear function wrong, so that both zero points go into one. None for other
// activations.
std::optional<dnnl::post_ops> AddOps(const FusedActivation& activation, float shift, const Sink& sink) {
  const float unit = sink.integers() ? 1 / sink.scale : 1, zero = static_cast<float>(sink.zero);
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();
  if (activation.kind == Kind::kRelu) {
    low = 0;
  } else if (activation.kind == Kind::kClip) {
    low = activation.alpha, high = activation.beta;
  } else if (activation.kind != Kind::kNone) {
    return std::nullopt;
  }
  dnnl::post_ops ops;
  if (shift * unit + zero != 0) {
    ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_linear, 1.0f, shift * unit + zero);
  }
  if (activation.kind != Kind::kNone) {
    ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_clip, low * unit + zero, high * unit + zero);
  }
  return ops;
}

memory::desc WithType(memory::desc desc, memory::data_type type) {
  desc.data.data_type = memory::convert_to_c(type);
  return desc;
}

}  // namespace

StatusOr<bool> TryInt8Add(Compiler& c, const Node& node, int index) {
  if (node.op != "Add" || node.inputs.size() != 2 || node.inputs[0] == node.inputs[1]) return false;
  const Place* first = c.Quantized(node.inputs[0]);
  const Place* second = c.Quantized(node.inputs[1]);
  const Shape& shape = c.view(node).out().shape;
  if (first == nullptr || second == nullptr || DimsOf(first->desc) != shape || DimsOf(second->desc) != shape) {
    return false;
  }
  const Sink sink = SinkOf(c, node.outputs[0]);
  const Place a = *first;
  const Place b = c.QuantizedAs(node.inputs[1], WithType(a.desc, second->desc.data_type()));
  const float shift = -(static_cast<float>(a.zero) * a.scale + static_cast<float>(b.zero) * b.scale);
  const std::optional<dnnl::post_ops> ops = AddOps(node.activation, shift, sink);
  if (!ops) return false;
  const float unit = sink.integers() ? 1 / sink.scale : 1;
  dnnl::primitive_attr attributes = Attributes(*ops);
  attributes.set_scales(DNNL_ARG_SRC_0, 0, {a.scale * unit});
  attributes.set_scales(DNNL_ARG_SRC_1, 0, {b.scale * unit});
  const memory::desc dst_desc = WithType(a.desc, sink.type);
  dnnl::binary::primitive_desc pd({dnnl::algorithm::binary_add, a.desc, b.desc, dst_desc}, attributes, CpuEngine(),
                                  /*allow_empty=*/true);
  if (!pd || std::string_view(pd.impl_info_str()).starts_with("ref")) return false;
  Place dst = sink.type == a.desc.data_type() ? c.SameOrNew(node, index, a) : c.NewPlace(dst_desc);
  c.Emit(node, pd, {{DNNL_ARG_SRC_0, a}, {DNNL_ARG_SRC_1, b}, {DNNL_ARG_DST, dst}});
  INFENCLAVE_RETURN_IF_ERROR(DefineSink(c, node, sink, dst));
  return true;
}

namespace {

// Means of channels-last bytes over `spatial` places, for each image and channel.
template <typename T>
void GlobalAverage(const T* src, float* dst, int64_t n, int64_t spatial, int64_t channels, float scale, float zero) {
  std::vector<int32_t> sums(static_cast<size_t>(channels));
  for (int64_t i = 0; i < n; ++i, dst += channels) {
    std::fill(sums.begin(), sums.end(), 0);
    for (int64_t s = 0; s < spatial; ++s, src += channels) {
      for (int64_t ch = 0; ch < channels; ++ch) sums[static_cast<size_t>(ch)] += src[ch];
    }
    for (int64_t ch = 0; ch < channels; ++ch) {
      const float mean = static_cast<float>(sums[static_cast<size_t>(ch)]) / static_cast<float>(spatial);
      dst[ch] = scale * (mean - zero);
    }
  }
}

}  // namespace

StatusOr<bool> TryInt8GlobalAverage(Compiler& c, const Node& node) {
  const Place* quantized = c.Quantized(node.inputs[0]);
  const Shape& shape = c.graph().value(node.inputs[0]).shape;
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t elements, NumElements(shape));
  if (quantized == nullptr || elements == 0 || elements / shape[0] / shape[1] > (1 << 23)) return false;
  const Place src = c.QuantizedAs(node.inputs[0], ChannelsLastDesc(shape, quantized->desc.data_type()));
  const Place dst = c.NewPlace(PlainDesc(c.view(node).out().shape, kF32));
  const bool is_unsigned = src.desc.data_type() == memory::data_type::u8;
  auto kernel = [=, n = shape[0], channels = shape[1], scale = src.scale,
                 zero = static_cast<float>(src.zero)](const std::vector<void*>& args) {
    const int64_t spatial = elements / n / channels;
    float* out = static_cast<float*>(args[1]);
    if (is_unsigned) {
      GlobalAverage(static_cast<const uint8_t*>(args[0]), out, n, spatial, channels, scale, zero);
    } else {
      GlobalAverage(static_cast<const int8_t*>(args[0]), out, n, spatial, channels, scale, zero);
    }
  };
  c.EmitKernel(node, "int8 mean", kernel, {{0, src}, {0, dst}});
  INFENCLAVE_RETURN_IF_ERROR(c.Define(node, dst, /*activate=*/true));
  return true;
}

bool PoolsIntegers(Compiler& c, const Node& node) {
  const Place* src = c.Quantized(node.inputs[0]);
  if (src == nullptr) return false;
  if (node.op == "MaxPool" || node.op == "GlobalMaxPool") return true;
  const Sink sink = SinkOf(c, node.outputs[0]);
  return node.op == "AveragePool" && sink.scale == src->scale && sink.zero == src->zero && src->zero == 0 &&
         sink.type == src->desc.data_type();
}

Status CompileQuantize(Compiler& c, const Node& node, int) {
  INFENCLAVE_ASSIGN_OR_RETURN(QuantizationParameters q, QuantizationOf(c.view(node)));
  INFENCLAVE_ASSIGN_OR_RETURN(Place from, c.InAny(node.inputs[0]));
  const memory::data_type type = TypeOf(q.dtype);
  Place to;
  if (from.quantized() && from.scale == q.scales[0] && from.zero == q.zero && from.desc.data_type() == type) {
    to = from;
  } else {
    to = c.NewPlace(ChannelsLastDesc(DimsOf(from.desc), type));
    to.scale = q.scales[0];
    to.zero = q.zero;
    c.EmitReorder(node, from, to);
  }
  to.scale = 0;
  return c.Define(node, to);
}

// A constant's is made when somebody asks for it.
Status CompileDequantize(Compiler& c, const Node& node, int) {
  if (c.graph().IsConstant(node.inputs[0])) return OkStatus();
  INFENCLAVE_ASSIGN_OR_RETURN(QuantizationParameters q, QuantizationOf(c.view(node)));
  INFENCLAVE_ASSIGN_OR_RETURN(Place place, c.InAny(node.inputs[0]));
  place.scale = q.scales[0];
  place.zero = q.zero;
  return c.Define(node, place);
}

}  // namespace infenclave::engine
