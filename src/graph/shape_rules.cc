// Shapes and FLOPs of elementwise, normalising, matrix and reducing operators.
#include <algorithm>

#include "graph/rules.h"

namespace infenclave {

StatusOr<Shape> BroadcastShapes(const Shape& a, const Shape& b) {
  Shape out(std::max(a.size(), b.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) {
      return InvalidArgument("shapes ", ToString(a), " and ", ToString(b), " do not broadcast");
    }
    out[out.size() - 1 - i] = x == 1 ? y : x;
  }
  return out;
}

StatusOr<int64_t> NormalizeAxis(int64_t axis, size_t rank) {
  int64_t n = static_cast<int64_t>(rank);
  if (axis < -n || axis >= n) return InvalidArgument("axis ", axis, " is out of range for rank ", rank);
  return axis < 0 ? axis + n : axis;
}

StatusOr<std::vector<int64_t>> ReducedAxes(const NodeView& v) {
  std::vector<int64_t> axes;
  if (v.Has(1)) {
    INFENCLAVE_ASSIGN_OR_RETURN(axes, v.Ints(1));
  } else {
    INFENCLAVE_ASSIGN_OR_RETURN(axes, IntsAttribute(v.node, "axes", {}));
  }
  size_t rank = v.shape(0).size();
  for (int64_t& axis : axes) {
    INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, rank));
  }
  std::sort(axes.begin(), axes.end());
  if (std::adjacent_find(axes.begin(), axes.end()) != axes.end()) return InvalidArgument("an axis is named twice");
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t noop, IntAttribute(v.node, "noop_with_empty_axes", 0));
  if (axes.empty() && noop == 0) {
    for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  }
  return axes;
}

namespace rules {
namespace {

StatusOr<TensorType> BroadcastOf(const NodeView& v) {
  TensorType out{v.in(0).dtype, v.shape(0)};
  for (size_t i = 1; i < v.node.inputs.size(); ++i) {
    if (v.in(i).dtype != out.dtype) {
      return InvalidArgument("inputs are ", NameOf(out.dtype), " and ", NameOf(v.in(i).dtype));
    }
    INFENCLAVE_ASSIGN_OR_RETURN(out.shape, BroadcastShapes(out.shape, v.shape(i)));
  }
  return out;
}

}  // namespace

Types InferSame(const NodeView& v) { return std::vector<TensorType>{{DType::kF32, v.shape(0)}}; }

Types InferSameAnyType(const NodeView& v) { return std::vector<TensorType>{{v.in(0).dtype, v.shape(0)}}; }

Types InferDropout(const NodeView& v) {
  if (v.Has(2) && v.Constant(2) == nullptr) return InvalidArgument("training_mode is not constant");
  if (v.Has(2) && v.Constant(2)->elements() == 1 && v.Constant(2)->raw()[0] != 0) {
    return InvalidArgument("training_mode is set, expected a network for inference");
  }
  return std::vector<TensorType>{{DType::kF32, v.shape(0)}};
}

Types InferBroadcast(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(TensorType out, BroadcastOf(v));
  return std::vector<TensorType>{std::move(out)};
}

Types InferComparison(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(TensorType out, BroadcastOf(v));
  return std::vector<TensorType>{{DType::kBool, std::move(out.shape)}};
}

Types InferWhere(const NodeView& v) {
  if (v.in(0).dtype != DType::kBool) return InvalidArgument("condition is ", NameOf(v.in(0).dtype), ", expected bool");
  if (v.in(1).dtype != v.in(2).dtype) {
    return InvalidArgument("inputs are ", NameOf(v.in(1).dtype), " and ", NameOf(v.in(2).dtype));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Shape shape, BroadcastShapes(v.shape(1), v.shape(2)));
  INFENCLAVE_ASSIGN_OR_RETURN(shape, BroadcastShapes(v.shape(0), shape));
  return std::vector<TensorType>{{v.in(1).dtype, std::move(shape)}};
}

Types InferPRelu(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(Shape shape, BroadcastShapes(v.shape(0), v.shape(1)));
  if (shape != v.shape(0)) {
    return InvalidArgument("slope ", ToString(v.shape(1)), " does not broadcast to the input ", ToString(v.shape(0)));
  }
  return InferSame(v);
}

Types InferNormalization(const NodeView& v) {
  const Shape& in = v.shape(0);
  if (in.size() < 2) return InvalidArgument("input ", ToString(in), " has no channels");
  for (size_t i = 1; i < v.node.inputs.size(); ++i) {
    if (v.shape(i) != Shape{in[1]}) {
      return InvalidArgument("input ", i, " is ", ToString(v.shape(i)), ", expected [", in[1], "]");
    }
  }
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t training, IntAttribute(v.node, "training_mode", 0));
  if (training != 0) return InvalidArgument("training_mode is set, expected a network for inference");
  return InferSame(v);
}

Types InferLayerNormalization(const NodeView& v) {
  const Shape& in = v.shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(v.node, "axis", -1));
  INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, in.size()));
  Shape normalized(in.begin() + axis, in.end());
  for (size_t i = 1; i < v.node.inputs.size(); ++i) {
    StatusOr<Shape> shape = v.Has(i) ? BroadcastShapes(v.shape(i), normalized) : normalized;
    if (!shape.ok() || *shape != normalized) {
      return InvalidArgument("input ", i, " is ", ToString(v.shape(i)), ", expected ", ToString(normalized));
    }
  }
  return InferSame(v);
}

Types InferGroupNormalization(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t groups, IntAttribute(v.node, "num_groups", 0));
  const Shape& in = v.shape(0);
  if (in.size() < 2 || groups < 1 || in[1] % groups != 0) {
    return InvalidArgument("channels of ", ToString(in), " do not divide into ", groups, " groups");
  }
  return InferNormalization(v);
}

Types InferLrn(const NodeView& v) {
  if (v.shape(0).size() < 2) return InvalidArgument("input ", ToString(v.shape(0)), " has no channels");
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t size, IntAttribute(v.node, "size", 0));
  if (size < 1) return InvalidArgument("size is ", size, ", expected at least 1");
  for (const char* name : {"alpha", "beta", "bias"}) {
    INFENCLAVE_RETURN_IF_ERROR(FloatAttribute(v.node, name, 0).status());
  }
  return InferSame(v);
}

Types InferSoftmax(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(v.node, "axis", -1));
  INFENCLAVE_RETURN_IF_ERROR(NormalizeAxis(axis, v.shape(0).size()).status());
  return InferSame(v);
}

Types InferPow(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(Shape shape, BroadcastShapes(v.shape(0), v.shape(1)));
  return std::vector<TensorType>{{v.in(0).dtype, std::move(shape)}};
}

Types InferGemm(const NodeView& v) {
  const Shape &a = v.shape(0), &b = v.shape(1);
  if (a.size() != 2 || b.size() != 2) {
    return InvalidArgument("inputs ", ToString(a), " and ", ToString(b), " are not matrices");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t trans_a, IntAttribute(v.node, "transA", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t trans_b, IntAttribute(v.node, "transB", 0));
  INFENCLAVE_RETURN_IF_ERROR(FloatAttribute(v.node, "alpha", 1).status());
  INFENCLAVE_RETURN_IF_ERROR(FloatAttribute(v.node, "beta", 1).status());
  int64_t m = a[trans_a ? 1 : 0], k = a[trans_a ? 0 : 1], n = b[trans_b ? 0 : 1];
  if (k != b[trans_b ? 1 : 0]) {
    return InvalidArgument("inputs ", ToString(a), trans_a ? " transposed" : "", " and ", ToString(b),
                           trans_b ? " transposed" : "", " do not multiply");
  }
  Shape out = {m, n};
  if (v.Has(2)) {
    StatusOr<Shape> shape = BroadcastShapes(out, v.shape(2));
    if (!shape.ok() || *shape != out) {
      return InvalidArgument("bias ", ToString(v.shape(2)), " does not broadcast to ", ToString(out));
    }
  }
  return std::vector<TensorType>{{DType::kF32, std::move(out)}};
}

Types InferMatMul(const NodeView& v) {
  Shape a = v.shape(0), b = v.shape(1);
  if (a.empty() || b.empty()) return InvalidArgument("an input is a scalar");
  bool row = a.size() == 1, column = b.size() == 1;
  if (row) a.insert(a.begin(), 1);
  if (column) b.push_back(1);
  int64_t m = a[a.size() - 2], k = a.back(), n = b.back();
  if (k != b[b.size() - 2]) {
    return InvalidArgument("inputs ", ToString(v.shape(0)), " and ", ToString(v.shape(1)), " do not multiply");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Shape out, BroadcastShapes({a.begin(), a.end() - 2}, {b.begin(), b.end() - 2}));
  if (!row) out.push_back(m);
  if (!column) out.push_back(n);
  return std::vector<TensorType>{{DType::kF32, std::move(out)}};
}

Types InferReduce(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> axes, ReducedAxes(v));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t keep, IntAttribute(v.node, "keepdims", 1));
  Shape out;
  for (size_t i = 0; i < v.shape(0).size(); ++i) {
    bool reduced = std::binary_search(axes.begin(), axes.end(), static_cast<int64_t>(i));
    if (!reduced) out.push_back(v.shape(0)[i]);
    if (reduced && keep) out.push_back(1);
  }
  return std::vector<TensorType>{{v.in(0).dtype, std::move(out)}};
}

double LrnFlops(const NodeView& v) {
  StatusOr<int64_t> size = IntAttribute(v.node, "size", 1);
  return 3 + 2 * static_cast<double>(size.ok() ? *size : 1);
}

double GemmFlops(const NodeView& v) {
  StatusOr<int64_t> trans_a = IntAttribute(v.node, "transA", 0);
  int64_t k = v.shape(0)[trans_a.ok() && *trans_a ? 0 : 1];
  return 2 * static_cast<double>(k) + (v.Has(2) ? 1 : 0);
}

double MatMulFlops(const NodeView& v) { return 2 * static_cast<double>(v.shape(0).back()); }

double ReduceFlops(const NodeView& v) {
  double in = static_cast<double>(*NumElements(v.shape(0))), out = static_cast<double>(*NumElements(v.out().shape));
  return out > 0 ? in / out : 0;
}

}  // namespace rules
}  // namespace infenclave
