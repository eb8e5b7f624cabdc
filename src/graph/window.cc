// Sliding windows: Conv and pooling.
#include <algorithm>

#include "graph/rules.h"

namespace infenclave {
namespace {

// Keeps every product below in 64 bits.
constexpr int64_t kMaxExtent = 1 << 20;

std::string Times(const std::vector<int64_t>& extents) {
  std::string out;
  for (size_t i = 0; i < extents.size(); ++i) out += Concat(i > 0 ? "x" : "", extents[i]);
  return out;
}

StatusOr<std::vector<int64_t>> Extents(const Node& node, std::string_view name, size_t n, int64_t least,
                                       std::vector<int64_t> otherwise) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> out, IntsAttribute(node, name, std::move(otherwise)));
  if (out.size() != n) return InvalidArgument("attribute '", name, "' has ", out.size(), " entries, expected ", n);
  for (int64_t e : out) {
    if (e < least || e > kMaxExtent) {
      return InvalidArgument("attribute '", name, "' has the entry ", e, ", expected ", least, " to ", kMaxExtent);
    }
  }
  return out;
}

StatusOr<std::vector<int64_t>> KernelOf(const NodeView& v, size_t spatial) {
  std::vector<int64_t> otherwise;
  if (v.node.op == "Conv") {
    const Shape& weights = v.shape(1);
    if (weights.size() != spatial + 2) {
      return InvalidArgument("weights ", ToString(weights), " do not fit the input ", ToString(v.shape(0)));
    }
    otherwise.assign(weights.begin() + 2, weights.end());
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> kernel, IntsAttribute(v.node, "kernel_shape", otherwise));
    if (kernel != otherwise) {
      return InvalidArgument("kernel_shape ", Times(kernel), " contradicts the weights ", ToString(weights));
    }
  }
  return Extents(v.node, "kernel_shape", spatial, 1, std::move(otherwise));
}

// auto_pad's amounts for one dimension; `same` is SAME_UPPER or SAME_LOWER.
void PadSame(int64_t in, int64_t extent, bool lower, int64_t stride, int64_t* begin, int64_t* end, int64_t* out) {
  *out = (in + stride - 1) / stride;
  int64_t total = std::max<int64_t>(0, (*out - 1) * stride + extent - in);
  *begin = lower ? (total + 1) / 2 : total / 2;
  *end = total - *begin;
}

// The number of windows in `padded` elements, of which the last `pad_end` are padding.
int64_t CountWindows(int64_t padded, int64_t pad_end, int64_t extent, int64_t stride, bool ceil) {
  int64_t free = padded - extent;
  if (!ceil) return free / stride + 1;
  int64_t out = (free + stride - 1) / stride + 1;
  // A window that would start in the padding at the end does not count (as PyTorch, and ONNX since opset 22).
  if ((out - 1) * stride >= padded - pad_end) --out;
  return out;
}

}  // namespace

StatusOr<Window> WindowOf(const NodeView& v) {
  const Shape& in = v.shape(0);
  if (in.size() < 3) return InvalidArgument("input ", ToString(in), " has no spatial dimension");
  size_t n = in.size() - 2;
  Window w;
  INFENCLAVE_ASSIGN_OR_RETURN(w.kernel, KernelOf(v, n));
  INFENCLAVE_ASSIGN_OR_RETURN(w.strides, Extents(v.node, "strides", n, 1, std::vector<int64_t>(n, 1)));
  INFENCLAVE_ASSIGN_OR_RETURN(w.dilations, Extents(v.node, "dilations", n, 1, std::vector<int64_t>(n, 1)));
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> pads,
                              Extents(v.node, "pads", 2 * n, 0, std::vector<int64_t>(2 * n, 0)));
  INFENCLAVE_ASSIGN_OR_RETURN(std::string auto_pad, StringAttribute(v.node, "auto_pad", "NOTSET"));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t ceil_mode, IntAttribute(v.node, "ceil_mode", 0));
  bool same = auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER";
  if (auto_pad == "VALID") pads.assign(2 * n, 0);
  if (!same && auto_pad != "VALID" && auto_pad != "NOTSET" && !auto_pad.empty()) {
    return InvalidArgument("auto_pad is '", auto_pad, "', expected NOTSET, VALID, SAME_UPPER or SAME_LOWER");
  }
  w.pads_begin.assign(pads.begin(), pads.begin() + static_cast<ptrdiff_t>(n));
  w.pads_end.assign(pads.begin() + static_cast<ptrdiff_t>(n), pads.end());
  w.output.resize(n);
  std::vector<int64_t> padded(n);
  for (size_t i = 0; i < n; ++i) {
    int64_t extent = (w.kernel[i] - 1) * w.dilations[i] + 1;
    if (same) {
      PadSame(in[i + 2], extent, auto_pad == "SAME_LOWER", w.strides[i], &w.pads_begin[i], &w.pads_end[i],
              &w.output[i]);
    }
    padded[i] = in[i + 2] + w.pads_begin[i] + w.pads_end[i];
    if (in[i + 2] < 1 || padded[i] < extent) {
      for (size_t j = 0; j < n; ++j) padded[j] = in[j + 2] + w.pads_begin[j] + w.pads_end[j];
      std::string dilated = w.dilations == std::vector<int64_t>(n, 1) ? "" : " dilated by " + Times(w.dilations);
      return InvalidArgument("kernel ", Times(w.kernel), dilated, " exceeds padded input ", Times(padded));
    }
    if (!same) w.output[i] = CountWindows(padded[i], w.pads_end[i], extent, w.strides[i], ceil_mode != 0);
  }
  return w;
}

namespace rules {
namespace {

Shape Spatial(int64_t batch, int64_t channels, const std::vector<int64_t>& extents) {
  Shape out = {batch, channels};
  out.insert(out.end(), extents.begin(), extents.end());
  return out;
}

double Product(const std::vector<int64_t>& extents) {
  double out = 1;
  for (int64_t e : extents) out *= static_cast<double>(e);
  return out;
}

}  // namespace

Types InferConv(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(Window w, WindowOf(v));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t group, IntAttribute(v.node, "group", 1));
  const Shape &in = v.shape(0), &weights = v.shape(1);
  if (group < 1 || weights[0] < 1 || weights[0] % group != 0 || in[1] % group != 0 || weights[1] != in[1] / group) {
    return InvalidArgument("weights ", ToString(weights), " in ", group, " groups do not fit the input ", ToString(in));
  }
  if (v.Has(2) && v.shape(2) != Shape{weights[0]}) {
    return InvalidArgument("bias ", ToString(v.shape(2)), " is not [", weights[0], "]");
  }
  return std::vector<TensorType>{{DType::kF32, Spatial(in[0], weights[0], w.output)}};
}

Types InferPool(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(Window w, WindowOf(v));
  for (size_t i = 0; i < w.kernel.size(); ++i) {
    int64_t extent = (w.kernel[i] - 1) * w.dilations[i] + 1;
    if (w.pads_begin[i] >= extent || w.pads_end[i] >= extent) {
      return InvalidArgument("padding ", std::max(w.pads_begin[i], w.pads_end[i]), " is not smaller than the kernel's ",
                             extent);
    }
  }
  return std::vector<TensorType>{{DType::kF32, Spatial(v.shape(0)[0], v.shape(0)[1], w.output)}};
}

Types InferGlobalPool(const NodeView& v) {
  const Shape& in = v.shape(0);
  if (in.size() < 3) return InvalidArgument("input ", ToString(in), " has no spatial dimension");
  return std::vector<TensorType>{{DType::kF32, Spatial(in[0], in[1], std::vector<int64_t>(in.size() - 2, 1))}};
}

double ConvFlops(const NodeView& v) {
  const Shape& weights = v.shape(1);
  return 2 * Product({weights.begin() + 1, weights.end()}) + (v.Has(2) ? 1 : 0);
}

double PoolFlops(const NodeView& v) {
  StatusOr<std::vector<int64_t>> kernel = IntsAttribute(v.node, "kernel_shape", {});
  return kernel.ok() ? Product(*kernel) : 0;
}

double GlobalPoolFlops(const NodeView& v) {
  const Shape& in = v.shape(0);
  return Product({in.begin() + 2, in.end()});
}

}  // namespace rules
}  // namespace infenclave
