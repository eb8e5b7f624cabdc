// Constant evaluation: plain loops, for weights and shape arithmetic at import. Shapes were inferred and checked
// before.
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>

#include "graph/rules.h"

namespace infenclave::rules {
namespace {

std::vector<int64_t> RowMajorStrides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

// Calls visit(output index, offset) for every element of `shape` in row-major order; the offset moves by `strides`.
template <typename Visit>
void ForEach(const Shape& shape, int64_t offset, const std::vector<int64_t>& strides, Visit visit) {
  int64_t n = *NumElements(shape);
  std::vector<int64_t> index(shape.size(), 0);
  for (int64_t i = 0; i < n; ++i) {
    visit(i, offset);
    for (size_t d = shape.size(); d-- > 0;) {
      offset += strides[d];
      if (++index[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
}

// Strides over an input that is broadcast to `out`.
std::vector<int64_t> BroadcastStrides(const Shape& in, const Shape& out) {
  std::vector<int64_t> own = RowMajorStrides(in), strides(out.size(), 0);
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i] != 1) strides[out.size() - in.size() + i] = own[i];
  }
  return strides;
}

// Copies whole elements from input 0 in the order that start and strides (in elements) give.
Tensor Rearranged(const NodeView& v, int64_t start, const std::vector<int64_t>& strides) {
  const Tensor& in = *v.Constant(0);
  Tensor out(v.out().dtype, v.out().shape);
  size_t size = SizeOf(in.dtype());
  ForEach(out.shape(), start, strides, [&](int64_t i, int64_t from) {
    std::memcpy(out.raw().data() + static_cast<size_t>(i) * size, in.raw().data() + static_cast<size_t>(from) * size,
                size);
  });
  return out;
}

StatusOr<double> Apply(std::string_view op, double a, double b) {
  if (op == "Add" || op == "Sum" || op == "Mean") return a + b;
  if (op == "Sub") return a - b;
  if (op == "Mul") return a * b;
  if (op == "Div") return a / b;
  if (op == "Pow") return std::pow(a, b);
  if (op == "Min") return std::min(a, b);
  if (op == "Max") return std::max(a, b);
  if (op == "FMod") return std::fmod(a, b);
  return Unimplemented("constant ", op, " of f32");
}

StatusOr<float> Apply(std::string_view op, float a, float b) {
  StatusOr<double> wide = Apply(op, double{a}, double{b});
  if (!wide.ok()) return wide.status();
  return static_cast<float>(*wide);
}

// Wraps around on overflow, as ONNX's runtimes do.
StatusOr<int64_t> Apply(std::string_view op, int64_t a, int64_t b) {
  auto wrap = [](uint64_t r) { return static_cast<int64_t>(r); };
  uint64_t x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
  if (op == "Add" || op == "Sum") return wrap(x + y);
  if (op == "Sub") return wrap(x - y);
  if (op == "Mul") return wrap(x * y);
  if (op == "Min") return std::min(a, b);
  if (op == "Max") return std::max(a, b);
  if (op == "Pow") {
    uint64_t power = 1;
    if (b < 0) return int64_t{a == 1 || a == -1 ? (b % 2 == 0 ? 1 : a) : 0};
    for (; y != 0; y >>= 1, x *= x) power *= (y & 1) != 0 ? x : 1;
    return wrap(power);
  }
  if (op == "Div" || op == "Mod" || op == "FMod") {
    if (b == 0) return InvalidArgument("division by zero");
    if (b == -1) return op == "Div" ? wrap(0 - x) : int64_t{0};
    if (op == "Div") return a / b;
    int64_t r = a % b;
    if (op == "FMod") return r;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
  }
  return Unimplemented("constant ", op, " of i64");
}

StatusOr<int32_t> Apply(std::string_view op, int32_t a, int32_t b) {
  StatusOr<int64_t> wide = Apply(op, int64_t{a}, int64_t{b});
  if (!wide.ok()) return wide.status();
  return static_cast<int32_t>(*wide);
}

template <typename T>
StatusOr<Tensor> BinaryOf(const NodeView& v) {
  const Shape& shape = v.out().shape;
  Tensor out(v.out().dtype, shape);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t fmod, IntAttribute(v.node, "fmod", 0));
  std::string_view op = fmod != 0 ? "FMod" : std::string_view(v.node.op);
  std::span<T> to = out.as<T>();
  for (size_t input = 0; input < v.node.inputs.size(); ++input) {
    Tensor converted;  // Pow's exponent may be of another type
    bool mixed = v.in(input).dtype != v.out().dtype;
    if (mixed) converted = ToF32(v.Constant(input)->view());
    std::span<const T> from = mixed ? std::as_const(converted).as<T>() : v.Constant(input)->template as<T>();
    Status status;
    ForEach(shape, 0, BroadcastStrides(v.shape(input), shape), [&](int64_t i, int64_t offset) {
      T& element = to[static_cast<size_t>(i)];
      T operand = from[static_cast<size_t>(offset)];
      if (input == 0) {
        element = operand;
        return;
      }
      StatusOr<T> result = Apply(op, element, operand);
      if (result.ok()) element = *result;
      if (!result.ok()) status = result.status();
    });
    INFENCLAVE_RETURN_IF_ERROR(status);
  }
  if (v.node.op == "Mean") {
    for (T& element : to) element /= static_cast<T>(v.node.inputs.size());
  }
  return out;
}

template <typename T>
Tensor CompareOf(const NodeView& v) {
  const Shape& shape = v.out().shape;
  Tensor left(v.in(0).dtype, shape), out(DType::kBool, shape);
  auto each = [&](size_t input, auto use) {
    std::span<const T> from = v.Constant(input)->template as<T>();
    ForEach(shape, 0, BroadcastStrides(v.shape(input), shape),
            [&](int64_t i, int64_t offset) { use(static_cast<size_t>(i), from[static_cast<size_t>(offset)]); });
  };
  const std::string& op = v.node.op;
  each(0, [&](size_t i, T a) { left.as<T>()[i] = a; });
  each(1, [&](size_t i, T b) {
    T a = left.as<T>()[i];
    out.as<uint8_t>()[i] = op == "Equal"            ? a == b
                           : op == "Less"           ? a < b
                           : op == "Greater"        ? a > b
                           : op == "LessOrEqual"    ? a <= b
                           : op == "GreaterOrEqual" ? a >= b
                           : op == "And"            ? a && b
                           : op == "Or"             ? a || b
                                                    : (a != 0) != (b != 0);
  });
  return out;
}

// The function of two variables that folds a Reduce operator's elements.
std::string_view FoldOf(std::string_view op) {
  if (op == "ReduceProd") return "Mul";
  if (op == "ReduceMax") return "Max";
  if (op == "ReduceMin") return "Min";
  return "Add";
}

// Accumulates in Wide: double for f32, i64 for the integers.
template <typename T, typename Wide>
StatusOr<Tensor> ReduceOf(const NodeView& v, const std::vector<int64_t>& axes) {
  const Shape& in = v.shape(0);
  const std::string& op = v.node.op;
  bool squares = op == "ReduceL2" || op == "ReduceSumSquare";
  if (v.Constant(0)->empty()) return Unimplemented("constant ", op, " of nothing");
  std::vector<int64_t> strides(in.size(), 0);
  int64_t stride = 1, count = 1;
  for (size_t d = in.size(); d-- > 0;) {
    bool reduced = std::binary_search(axes.begin(), axes.end(), static_cast<int64_t>(d));
    strides[d] = reduced ? 0 : stride;
    (reduced ? count : stride) *= in[d];
  }
  std::vector<Wide> sums(static_cast<size_t>(stride));
  std::vector<bool> begun(sums.size());
  std::span<const T> from = v.Constant(0)->template as<T>();
  ForEach(in, 0, strides, [&](int64_t i, int64_t offset) {
    size_t to = static_cast<size_t>(offset);
    Wide x = static_cast<Wide>(from[static_cast<size_t>(i)]);
    if (op == "ReduceL1" && x < 0) x = -x;
    if (squares) x = x * x;
    StatusOr<Wide> folded = begun[to] ? Apply(FoldOf(op), sums[to], x) : x;
    begun[to] = true;
    if (folded.ok()) sums[to] = *folded;
  });
  Tensor out(v.out().dtype, v.out().shape);
  for (size_t i = 0; i < sums.size(); ++i) {
    if (op == "ReduceMean") sums[i] /= static_cast<Wide>(count);
    if (op == "ReduceL2") sums[i] = static_cast<Wide>(std::sqrt(static_cast<double>(sums[i])));
    out.as<T>()[i] = static_cast<T>(sums[i]);
  }
  return out;
}

template <typename From, typename To>
void Convert(const Tensor& in, Tensor& out) {
  std::span<const From> from = in.as<From>();
  std::span<To> to = out.as<To>();
  for (size_t i = 0; i < to.size(); ++i) {
    if constexpr (std::is_floating_point_v<From> && !std::is_floating_point_v<To>) {
      // Out of range is undefined in C++; saturate. NaN becomes 0.
      double x = std::isnan(from[i]) ? 0.0 : std::trunc(static_cast<double>(from[i]));
      constexpr double kLow = static_cast<double>(std::numeric_limits<To>::min());
      constexpr double kHigh = static_cast<double>(std::numeric_limits<To>::max());
      to[i] = x <= kLow    ? std::numeric_limits<To>::min()
              : x >= kHigh ? std::numeric_limits<To>::max()
                           : static_cast<To>(x);
    } else {
      to[i] = static_cast<To>(from[i]);
    }
  }
}

template <typename From>
StatusOr<Tensor> CastFrom(const NodeView& v) {
  const Tensor& in = *v.Constant(0);
  Tensor out(v.out().dtype, in.shape());
  switch (out.dtype()) {
    case DType::kF32:
      Convert<From, float>(in, out);
      return out;
    case DType::kI64:
      Convert<From, int64_t>(in, out);
      return out;
    case DType::kI32:
      Convert<From, int32_t>(in, out);
      return out;
    case DType::kU8:
      Convert<From, uint8_t>(in, out);
      return out;
    case DType::kI8:
      Convert<From, int8_t>(in, out);
      return out;
    case DType::kBool:
      for (size_t i = 0; i < out.raw().size(); ++i) out.raw()[i] = in.as<From>()[i] != From{0};
      return out;
    default:
      return Unimplemented("constant cast to ", NameOf(out.dtype()));
  }
}

}  // namespace

StatusOr<Tensor> EvaluateScalar(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(ScalarParameters parameters, ScalarParametersOf(v));
  Tensor out = v.Constant(0)->Clone();
  auto* f = OperatorOf(v.node)->scalar.f;
  for (float& x : out.as<float>()) x = f(x, parameters.alpha, parameters.beta);
  return out;
}

StatusOr<Tensor> EvaluateSigned(const NodeView& v) {
  if (v.out().dtype == DType::kF32) return EvaluateScalar(v);
  if (v.out().dtype != DType::kI64) return Unimplemented("constant ", v.node.op, " of ", NameOf(v.out().dtype));
  Tensor out = v.Constant(0)->Clone();
  for (int64_t& x : out.as<int64_t>()) {
    if (v.node.op == "Neg" || x < 0) x = static_cast<int64_t>(0 - static_cast<uint64_t>(x));
  }
  return out;
}

StatusOr<Tensor> EvaluateNot(const NodeView& v) {
  if (v.out().dtype != DType::kBool) return InvalidArgument("input is ", NameOf(v.out().dtype), ", expected bool");
  Tensor out = v.Constant(0)->Clone();
  for (uint8_t& x : out.as<uint8_t>()) x = x == 0;
  return out;
}

StatusOr<Tensor> EvaluateRange(const NodeView& v) {
  Tensor out(v.out().dtype, v.out().shape);
  if (out.dtype() == DType::kF32) {
    float start = v.Constant(0)->as<float>()[0], delta = v.Constant(2)->as<float>()[0];
    for (size_t i = 0; i < out.as<float>().size(); ++i) out.as<float>()[i] = start + static_cast<float>(i) * delta;
    return out;
  }
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> start, v.Ints(0));
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> delta, v.Ints(2));
  for (size_t i = 0; i < static_cast<size_t>(out.elements()); ++i) {
    uint64_t x = static_cast<uint64_t>(start[0]) + i * static_cast<uint64_t>(delta[0]);
    if (out.dtype() == DType::kI64) out.as<int64_t>()[i] = static_cast<int64_t>(x);
    if (out.dtype() == DType::kI32) out.as<int32_t>()[i] = static_cast<int32_t>(x);
  }
  return out;
}

StatusOr<Tensor> EvaluateBinary(const NodeView& v) {
  for (size_t i = 1; i < v.node.inputs.size(); ++i) {
    bool converts = v.out().dtype == DType::kF32 || v.in(i).dtype == v.out().dtype;
    if (!converts) return Unimplemented("constant ", v.node.op, " of two types");
  }
  switch (v.out().dtype) {
    case DType::kF32:
      return BinaryOf<float>(v);
    case DType::kI64:
      return BinaryOf<int64_t>(v);
    case DType::kI32:
      return BinaryOf<int32_t>(v);
    default:
      return Unimplemented("constant ", v.node.op, " of ", NameOf(v.out().dtype));
  }
}

StatusOr<Tensor> EvaluateComparison(const NodeView& v) {
  switch (v.in(0).dtype) {
    case DType::kF32:
      return CompareOf<float>(v);
    case DType::kI64:
      return CompareOf<int64_t>(v);
    case DType::kI32:
      return CompareOf<int32_t>(v);
    case DType::kBool:
      return CompareOf<uint8_t>(v);
    default:
      return Unimplemented("constant ", v.node.op, " of ", NameOf(v.in(0).dtype));
  }
}

StatusOr<Tensor> EvaluateWhere(const NodeView& v) {
  const Shape& shape = v.out().shape;
  Tensor out(v.out().dtype, shape), chosen(DType::kBool, shape);
  ForEach(shape, 0, BroadcastStrides(v.shape(0), shape), [&](int64_t i, int64_t from) {
    chosen.raw()[static_cast<size_t>(i)] = v.Constant(0)->raw()[static_cast<size_t>(from)];
  });
  size_t size = SizeOf(out.dtype());
  for (size_t input : {1, 2}) {
    ForEach(shape, 0, BroadcastStrides(v.shape(input), shape), [&](int64_t i, int64_t from) {
      if ((chosen.raw()[static_cast<size_t>(i)] != 0) != (input == 1)) return;
      std::memcpy(out.raw().data() + static_cast<size_t>(i) * size,
                  v.Constant(input)->raw().data() + static_cast<size_t>(from) * size, size);
    });
  }
  return out;
}

StatusOr<Tensor> EvaluateReduce(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> axes, ReducedAxes(v));
  if (v.out().dtype == DType::kF32) return ReduceOf<float, double>(v, axes);
  bool powers = v.node.op == "ReduceL1" || v.node.op == "ReduceL2" || v.node.op == "ReduceSumSquare";
  if (v.out().dtype == DType::kI64 && !powers) return ReduceOf<int64_t, int64_t>(v, axes);
  if (v.out().dtype == DType::kI32 && !powers) return ReduceOf<int32_t, int64_t>(v, axes);
  return Unimplemented("constant ", v.node.op, " of ", NameOf(v.out().dtype));
}

StatusOr<Tensor> EvaluateCopy(const NodeView& v) {
  Tensor out = v.Constant(0)->Clone();
  out.Reshape(v.out().shape);
  return out;
}

StatusOr<Tensor> EvaluateConcat(const NodeView& v) {
  Tensor out(v.out().dtype, v.out().shape);
  if (out.empty()) return out;
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(v.node, "axis", 1));
  INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, v.out().shape.size()));
  int64_t rows = 1;
  for (int64_t i = 0; i < axis; ++i) rows *= v.out().shape[static_cast<size_t>(i)];
  uint8_t* to = out.raw().data();
  for (int64_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < v.node.inputs.size(); ++i) {
      const Tensor& in = *v.Constant(i);
      size_t bytes = in.bytes() / static_cast<size_t>(rows);
      if (bytes > 0) std::memcpy(to, in.raw().data() + static_cast<size_t>(row) * bytes, bytes);
      to += bytes;
    }
  }
  return out;
}

StatusOr<Tensor> EvaluateTranspose(const NodeView& v) {
  size_t rank = v.shape(0).size();
  std::vector<int64_t> own = RowMajorStrides(v.shape(0)), reversed(rank), strides;
  for (size_t i = 0; i < rank; ++i) reversed[i] = static_cast<int64_t>(rank - 1 - i);
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> perm, IntsAttribute(v.node, "perm", reversed));
  for (int64_t p : perm) strides.push_back(own[static_cast<size_t>(p)]);
  return Rearranged(v, 0, strides);
}

StatusOr<Tensor> EvaluateSlice(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(SliceBounds bounds, SliceBoundsOf(v));
  std::vector<int64_t> strides = RowMajorStrides(v.shape(0));
  int64_t start = 0;
  for (size_t i = 0; i < strides.size(); ++i) {
    start += bounds.start[i] * strides[i];
    // A step beyond the dimension is taken at most once, and then undone: any value does.
    strides[i] = bounds.shape[i] <= 1 ? 0 : strides[i] * bounds.step[i];
  }
  return Rearranged(v, start, strides);
}

StatusOr<Tensor> EvaluateExpand(const NodeView& v) {
  return Rearranged(v, 0, BroadcastStrides(v.shape(0), v.out().shape));
}

StatusOr<Tensor> EvaluateGather(const NodeView& v) {
  Tensor flat = v.Constant(1)->Clone();
  flat.Reshape({flat.elements()});
  std::vector<int64_t> indices;
  if (flat.dtype() == DType::kI64) indices.assign(flat.as<int64_t>().begin(), flat.as<int64_t>().end());
  if (flat.dtype() == DType::kI32) indices.assign(flat.as<int32_t>().begin(), flat.as<int32_t>().end());
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(v.node, "axis", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, v.shape(0).size()));
  const Tensor& in = *v.Constant(0);
  Tensor out(v.out().dtype, v.out().shape);
  int64_t dim = in.shape()[static_cast<size_t>(axis)], rows = 1;
  for (int64_t i = 0; i < axis; ++i) rows *= in.shape()[static_cast<size_t>(i)];
  for (int64_t& index : indices) {
    if (index < -dim || index >= dim) return InvalidArgument("index ", index, " is out of range for ", dim);
    if (index < 0) index += dim;
  }
  if (out.empty()) return out;
  size_t bytes = in.bytes() / static_cast<size_t>(rows * dim);
  uint8_t* to = out.raw().data();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t index : indices) {
      std::memcpy(to, in.raw().data() + static_cast<size_t>(row * dim + index) * bytes, bytes);
      to += bytes;
    }
  }
  return out;
}

StatusOr<Tensor> EvaluateShape(const NodeView& v) {
  const Shape& in = v.shape(0);
  if (v.node.op == "Size") {
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t elements, NumElements(in));
    return Tensor::FromI64({}, std::vector<int64_t>{elements});
  }
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t start, IntAttribute(v.node, "start", 0));
  int64_t rank = static_cast<int64_t>(in.size());
  auto first = in.begin() + std::clamp<int64_t>(start < 0 ? start + rank : start, 0, rank);
  size_t count = static_cast<size_t>(v.out().shape[0]);
  return Tensor::FromI64(v.out().shape, std::vector<int64_t>(first, first + static_cast<ptrdiff_t>(count)));
}

StatusOr<Tensor> EvaluateCast(const NodeView& v) {
  switch (v.in(0).dtype) {
    case DType::kF32:
      return CastFrom<float>(v);
    case DType::kF64:
      return CastFrom<double>(v);
    case DType::kI64:
      return CastFrom<int64_t>(v);
    case DType::kI32:
      return CastFrom<int32_t>(v);
    case DType::kI8:
      return CastFrom<int8_t>(v);
    case DType::kU8:
    case DType::kBool:
      return CastFrom<uint8_t>(v);
    default:
      return Unimplemented("constant cast from ", NameOf(v.in(0).dtype));
  }
}

StatusOr<Tensor> EvaluateConstant(const NodeView& v) {
  const Attribute& value = v.node.attributes.begin()->second;
  const Shape& shape = v.out().shape;
  if (auto* i = std::get_if<int64_t>(&value)) return Tensor::FromI64(shape, {i, 1});
  if (auto* f = std::get_if<float>(&value)) return Tensor::FromF32(shape, {f, 1});
  if (auto* ints = std::get_if<std::vector<int64_t>>(&value)) return Tensor::FromI64(shape, *ints);
  return Tensor::FromF32(shape, std::get<std::vector<float>>(value));
}

StatusOr<Tensor> EvaluateConstantOfShape(const NodeView& v) {
  Tensor out(v.out().dtype, v.out().shape);
  auto value = v.node.attributes.find("value");
  if (value == v.node.attributes.end()) return out;
  if (out.dtype() == DType::kI64) {
    std::fill_n(out.as<int64_t>().begin(), out.elements(), std::get<int64_t>(value->second));
  } else {
    INFENCLAVE_ASSIGN_OR_RETURN(float fill, FloatAttribute(v.node, "value", 0));
    std::fill_n(out.as<float>().begin(), out.elements(), fill);
  }
  return out;
}

}  // namespace infenclave::rules
