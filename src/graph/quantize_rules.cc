// QuantizeLinear and DequantizeLinear: what the network computes has one scale and zero point per tensor, u8 or i8;
// weights are i8 without zero point, with one scale per tensor or per channel; biases are i32.
#include <algorithm>
#include <cmath>

#include "graph/rules.h"

namespace infenclave {
namespace {

// The range of the stored integers.
struct Limits {
  float low, high;
};
Limits LimitsOf(DType dtype) { return dtype == DType::kU8 ? Limits{0, 255} : Limits{-128, 127}; }

Status CheckScales(const NodeView& v, const Tensor* scales) {
  if (scales == nullptr || scales->dtype() != DType::kF32) {
    return Unimplemented("scale '", v.in(1).name, "' is not a constant f32");
  }
  if (scales->shape().size() > 1 || scales->empty()) {
    return Unimplemented("scale '", v.in(1).name, "' is ", ToString(scales->shape()),
                         ": one per tensor or one per channel is supported");
  }
  for (float scale : scales->as<float>()) {
    if (!(scale > 0) || !std::isfinite(scale)) {
      return InvalidArgument("scale '", v.in(1).name, "' holds ", scale, ", expected finite numbers above 0");
    }
  }
  return OkStatus();
}

// The zero points, all of them equal; their type is that of the integers.
Status ReadZero(const NodeView& v, QuantizationParameters& out) {
  if (!v.Has(2)) return OkStatus();
  const Tensor* zeros = v.Constant(2);
  if (zeros == nullptr) return Unimplemented("zero point '", v.in(2).name, "' is not a constant");
  if (zeros->dtype() != out.dtype) {
    return Unimplemented("zero point '", v.in(2).name, "' is ", NameOf(zeros->dtype()), ", expected ",
                         NameOf(out.dtype));
  }
  if (zeros->shape() != v.shape(1)) {
    return InvalidArgument("zero point '", v.in(2).name, "' is ", ToString(zeros->shape()), ", the scale ",
                           ToString(v.shape(1)));
  }
  const Tensor values = ToF32(zeros->view());
  for (float zero : values.as<float>()) {
    if (zero != values.as<float>()[0]) {
      return Unimplemented("zero points '", v.in(2).name, "' differ: weights must be symmetric");
    }
  }
  out.zero = static_cast<int32_t>(values.as<float>()[0]);
  return OkStatus();
}

// Which of a constant's scales belongs to element i of it.
struct ScaleIndex {
  size_t inner, count;
  size_t operator()(size_t i) const { return i / inner % count; }
};
ScaleIndex IndexOf(const Shape& shape, const QuantizationParameters& q) {
  size_t inner = 1;
  for (size_t d = q.axis + 1; d < shape.size(); ++d) inner *= static_cast<size_t>(shape[d]);
  return {std::max<size_t>(inner, 1), q.scales.size()};
}

}  // namespace

StatusOr<QuantizationParameters> QuantizationOf(const NodeView& v) {
  const bool quantize = v.node.op == "QuantizeLinear";
  QuantizationParameters out;
  out.dtype = quantize ? (v.Has(2) ? v.in(2).dtype : DType::kU8) : v.in(0).dtype;
  const bool bias = !quantize && out.dtype == DType::kI32;
  const std::string integers = Concat("'", (quantize ? v.out() : v.in(0)).name, "'");
  if (out.dtype != DType::kU8 && out.dtype != DType::kI8 && !bias) {
    return Unimplemented(integers, ": integers of type ", NameOf(out.dtype), " are not supported, u8 and i8 are");
  }
  INFENCLAVE_RETURN_IF_ERROR(CheckScales(v, v.Constant(1)));
  std::span<const float> scales = v.Constant(1)->as<float>();
  out.scales.assign(scales.begin(), scales.end());
  INFENCLAVE_RETURN_IF_ERROR(ReadZero(v, out));
  const bool constant = v.Constant(0) != nullptr;
  if (!constant && (out.scales.size() != 1 || bias)) {
    return Unimplemented(integers, " has ", out.scales.size(), " scales of ", NameOf(out.dtype),
                         " for what the network computes: one per tensor of u8 or i8 is supported");
  }
  if (constant && !quantize && (out.zero != 0 || out.dtype == DType::kU8)) {
    return Unimplemented("constant ", integers, " is ", NameOf(out.dtype), " with zero point ", out.zero,
                         ": weights must be symmetric, i8 with zero point 0");
  }
  if (out.scales.size() == 1) return out;
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t attribute, IntAttribute(v.node, "axis", 1));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, NormalizeAxis(attribute, v.shape(0).size()));
  out.axis = static_cast<size_t>(axis);
  if (v.shape(0)[out.axis] != static_cast<int64_t>(out.scales.size())) {
    return InvalidArgument(integers, " has ", out.scales.size(), " scales for dimension ", axis, " of ",
                           ToString(v.shape(0)));
  }
  return out;
}

StatusOr<Tensor> Dequantize(const NodeView& v, std::pmr::memory_resource* memory) {
  INFENCLAVE_ASSIGN_OR_RETURN(QuantizationParameters q, QuantizationOf(v));
  Tensor out = ToF32(v.Constant(0)->view(), memory);
  const ScaleIndex scale = IndexOf(out.shape(), q);
  std::span<float> values = out.as<float>();
  for (size_t i = 0; i < values.size(); ++i) values[i] *= q.scales[scale(i)];
  return out;
}

namespace rules {

Types InferQuantize(const NodeView& v) {
  if (v.in(0).dtype != DType::kF32) return InvalidArgument("input 0 is ", NameOf(v.in(0).dtype), ", expected f32");
  INFENCLAVE_ASSIGN_OR_RETURN(QuantizationParameters q, QuantizationOf(v));
  return std::vector<TensorType>{{q.dtype, v.shape(0)}};
}

Types InferDequantize(const NodeView& v) {
  INFENCLAVE_RETURN_IF_ERROR(QuantizationOf(v).status());
  return std::vector<TensorType>{{DType::kF32, v.shape(0)}};
}

StatusOr<Tensor> EvaluateQuantize(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(QuantizationParameters q, QuantizationOf(v));
  Tensor out(q.dtype, v.shape(0));
  const ScaleIndex scale = IndexOf(out.shape(), q);
  const Limits limits = LimitsOf(q.dtype);
  std::span<const float> values = v.Constant(0)->as<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    // Not a number becomes the lowest one.
    const float rounded = std::nearbyint(values[i] / q.scales[scale(i)]) + static_cast<float>(q.zero);
    const float stored = rounded > limits.low ? std::min(rounded, limits.high) : limits.low;
    if (q.dtype == DType::kU8) {
      out.as<uint8_t>()[i] = static_cast<uint8_t>(stored);
    } else {
      out.as<int8_t>()[i] = static_cast<int8_t>(stored);
    }
  }
  return out;
}

}  // namespace rules
}  // namespace infenclave
