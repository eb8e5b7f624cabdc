// Shapes of operators that move elements, make constants or change types.
#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/rules.h"

namespace infenclave {

StatusOr<SliceBounds> SliceBoundsOf(const NodeView& v) {
  const Shape& in = v.shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> starts, v.Ints(1));
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> ends, v.Ints(2));
  std::vector<int64_t> axes(starts.size()), steps(starts.size(), 1);
  for (size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int64_t>(i);
  if (v.Has(3)) {
    INFENCLAVE_ASSIGN_OR_RETURN(axes, v.Ints(3));
  }
  if (v.Has(4)) {
    INFENCLAVE_ASSIGN_OR_RETURN(steps, v.Ints(4));
  }
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size()) {
    return InvalidArgument("starts, ends, axes and steps differ in length");
  }
  SliceBounds out{std::vector<int64_t>(in.size(), 0), std::vector<int64_t>(in.size(), 1), in};
  std::vector<bool> seen(in.size());
  for (size_t i = 0; i < starts.size(); ++i) {
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, NormalizeAxis(axes[i], in.size()));
    size_t a = static_cast<size_t>(axis);
    if (seen[a]) return InvalidArgument("axis ", axis, " is named twice");
    seen[a] = true;
    int64_t dim = in[a], step = steps[i];
    if (step == 0 || step == std::numeric_limits<int64_t>::min()) return InvalidArgument("step is ", step);
    auto from_end = [&](int64_t index) { return index < 0 ? index + dim : index; };
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? dim : dim - 1;
    int64_t start = std::clamp(from_end(starts[i]), std::min<int64_t>(0, high), high);
    int64_t end = std::clamp(from_end(ends[i]), low, high);
    int64_t distance = step > 0 ? end - start : start - end, stride = step > 0 ? step : -step;
    out.start[a] = start;
    out.step[a] = step;
    out.shape[a] = distance <= 0 ? 0 : (distance - 1) / stride + 1;
  }
  return out;
}

StatusOr<PadAmounts> PadAmountsOf(const NodeView& v) {
  size_t rank = v.shape(0).size();
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> pads, v.Ints(1));
  std::vector<int64_t> axes(rank);
  for (size_t i = 0; i < rank; ++i) axes[i] = static_cast<int64_t>(i);
  if (v.Has(3)) {
    INFENCLAVE_ASSIGN_OR_RETURN(axes, v.Ints(3));
  }
  if (pads.size() != 2 * axes.size()) {
    return InvalidArgument("pads has ", pads.size(), " entries, expected ", 2 * axes.size());
  }
  PadAmounts out{std::vector<int64_t>(rank, 0), std::vector<int64_t>(rank, 0)};
  for (size_t i = 0; i < axes.size(); ++i) {
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, NormalizeAxis(axes[i], rank));
    out.begin[static_cast<size_t>(axis)] = pads[i];
    out.end[static_cast<size_t>(axis)] = pads[i + axes.size()];
  }
  return out;
}

namespace rules {
namespace {

std::vector<TensorType> One(DType dtype, Shape shape) { return {{dtype, std::move(shape)}}; }

StatusOr<int64_t> Product(const Shape& shape, size_t from, size_t to) {
  return NumElements({shape.begin() + static_cast<ptrdiff_t>(from), shape.begin() + static_cast<ptrdiff_t>(to)});
}

}  // namespace

Types InferConcat(const NodeView& v) {
  Shape out = v.shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(v.node, "axis", 1));
  INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, out.size()));
  size_t a = static_cast<size_t>(axis);
  for (size_t i = 1; i < v.node.inputs.size(); ++i) {
    if (v.in(i).dtype != v.in(0).dtype) {
      return InvalidArgument("inputs are ", NameOf(v.in(0).dtype), " and ", NameOf(v.in(i).dtype));
    }
    Shape other = v.shape(i);
    bool fits = other.size() == out.size();
    for (size_t d = 0; fits && d < out.size(); ++d) fits = d == a || other[d] == out[d];
    if (!fits) {
      return InvalidArgument("inputs ", ToString(v.shape(0)), " and ", ToString(other), " differ outside axis ", axis);
    }
    if (other[a] > std::numeric_limits<int64_t>::max() - out[a]) return InvalidArgument("axis ", axis, " overflows");
    out[a] += other[a];
  }
  return One(v.in(0).dtype, std::move(out));
}

Types InferSplit(const NodeView& v) {
  const Shape& in = v.shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(v.node, "axis", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, in.size()));
  int64_t dim = in[static_cast<size_t>(axis)], parts = static_cast<int64_t>(v.node.outputs.size());
  std::vector<int64_t> sizes;
  if (v.Has(1)) {
    INFENCLAVE_ASSIGN_OR_RETURN(sizes, v.Ints(1, parts));
  } else {
    INFENCLAVE_ASSIGN_OR_RETURN(parts, IntAttribute(v.node, "num_outputs", parts));
    if (parts != static_cast<int64_t>(v.node.outputs.size())) return InvalidArgument("num_outputs is ", parts);
    int64_t each = (dim + parts - 1) / parts, left = dim;
    for (int64_t i = 0; i < parts; ++i, left -= each) sizes.push_back(std::clamp<int64_t>(left, 0, each));
  }
  std::vector<TensorType> out;
  int64_t total = 0;
  for (int64_t size : sizes) {
    if (size < 0 || size > dim - total) return InvalidArgument("the parts do not add up to ", dim);
    total += size;
    out.push_back({v.in(0).dtype, in});
    out.back().shape[static_cast<size_t>(axis)] = size;
  }
  if (total != dim || out.size() != v.node.outputs.size()) {
    return InvalidArgument(sizes.size(), " parts of ", total, " in all do not fit ", v.node.outputs.size(),
                           " outputs of dimension ", dim);
  }
  return out;
}

Types InferReshape(const NodeView& v) {
  const Shape& in = v.shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(Shape out, v.Ints(1));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t allow_zero, IntAttribute(v.node, "allowzero", 0));
  auto refuse = [&] { return InvalidArgument("cannot reshape ", ToString(in), " to ", ToString(*v.Ints(1))); };
  ptrdiff_t unknown = -1;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] == 0 && allow_zero == 0) {
      if (i >= in.size()) return refuse();
      out[i] = in[i];
    } else if (out[i] == -1 && unknown < 0) {
      unknown = static_cast<ptrdiff_t>(i);
    } else if (out[i] < 0) {
      return refuse();
    }
  }
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t elements, NumElements(in));
  if (unknown >= 0) {
    int64_t& free = out[static_cast<size_t>(unknown)];
    free = 1;
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t rest, NumElements(out));
    if (rest == 0 || elements % rest != 0) return refuse();
    free = elements / rest;
  }
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t result, NumElements(out));
  if (result != elements) return refuse();
  return One(v.in(0).dtype, std::move(out));
}

Types InferFlatten(const NodeView& v) {
  const Shape& in = v.shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(v.node, "axis", 1));
  if (axis != static_cast<int64_t>(in.size())) {
    INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, in.size()));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t rows, Product(in, 0, static_cast<size_t>(axis)));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t columns, Product(in, static_cast<size_t>(axis), in.size()));
  return One(v.in(0).dtype, {rows, columns});
}

Types InferSqueeze(const NodeView& v) {
  const Shape& in = v.shape(0);
  std::vector<bool> drop(in.size());
  if (v.Has(1)) {
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> axes, v.Ints(1));
    for (int64_t axis : axes) {
      INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, in.size()));
      if (in[static_cast<size_t>(axis)] != 1) {
        return InvalidArgument("cannot squeeze axis ", axis, " of ", ToString(in));
      }
      drop[static_cast<size_t>(axis)] = true;
    }
  } else {
    for (size_t i = 0; i < in.size(); ++i) drop[i] = in[i] == 1;
  }
  Shape out;
  for (size_t i = 0; i < in.size(); ++i) {
    if (!drop[i]) out.push_back(in[i]);
  }
  return One(v.in(0).dtype, std::move(out));
}

Types InferUnsqueeze(const NodeView& v) {
  const Shape& in = v.shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> axes, v.Ints(1));
  std::vector<bool> added(in.size() + axes.size());
  for (int64_t axis : axes) {
    INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, added.size()));
    if (added[static_cast<size_t>(axis)]) return InvalidArgument("axis ", axis, " is named twice");
    added[static_cast<size_t>(axis)] = true;
  }
  Shape out;
  auto next = in.begin();
  for (bool add : added) out.push_back(add ? 1 : *next++);
  return One(v.in(0).dtype, std::move(out));
}

Types InferTranspose(const NodeView& v) {
  const Shape& in = v.shape(0);
  std::vector<int64_t> reversed(in.size());
  for (size_t i = 0; i < in.size(); ++i) reversed[i] = static_cast<int64_t>(in.size() - 1 - i);
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> perm, IntsAttribute(v.node, "perm", reversed));
  std::vector<int64_t> sorted = perm;
  std::sort(sorted.begin(), sorted.end());
  std::sort(reversed.begin(), reversed.end());
  if (sorted != reversed) return InvalidArgument("perm ", ToString(perm), " does not permute ", ToString(in));
  Shape out;
  for (int64_t p : perm) out.push_back(in[static_cast<size_t>(p)]);
  return One(v.in(0).dtype, std::move(out));
}

Types InferPad(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::string mode, StringAttribute(v.node, "mode", "constant"));
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap") {
    return InvalidArgument("mode is '", mode, "', expected constant, reflect, edge or wrap");
  }
  if (v.Has(2) && (v.Constant(2) == nullptr || v.Constant(2)->elements() != 1 || v.in(2).dtype != v.in(0).dtype)) {
    return InvalidArgument("constant_value is not a constant ", NameOf(v.in(0).dtype));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(PadAmounts pads, PadAmountsOf(v));
  Shape out = v.shape(0);
  for (size_t i = 0; i < out.size(); ++i) {
    constexpr int64_t kMost = int64_t{1} << 32;
    int64_t reach = mode == "reflect" ? out[i] - 1 : mode == "wrap" ? out[i] : kMost;
    if (std::max(pads.begin[i], pads.end[i]) > reach || std::min(pads.begin[i], pads.end[i]) < -kMost ||
        out[i] + pads.begin[i] + pads.end[i] < 0) {
      return InvalidArgument("cannot pad ", ToString(v.shape(0)), " by ", pads.begin[i], " and ", pads.end[i],
                             " on axis ", i, " in mode ", mode);
    }
    out[i] += pads.begin[i] + pads.end[i];
  }
  return One(v.in(0).dtype, std::move(out));
}

Types InferSlice(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(SliceBounds bounds, SliceBoundsOf(v));
  return One(v.in(0).dtype, std::move(bounds.shape));
}

Types InferGather(const NodeView& v) {
  const Shape &in = v.shape(0), &indices = v.shape(1);
  if (v.in(1).dtype != DType::kI64 && v.in(1).dtype != DType::kI32) {
    return InvalidArgument("indices are ", NameOf(v.in(1).dtype), ", expected i64 or i32");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(v.node, "axis", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, in.size()));
  Shape out(in.begin(), in.begin() + axis);
  out.insert(out.end(), indices.begin(), indices.end());
  out.insert(out.end(), in.begin() + axis + 1, in.end());
  return One(v.in(0).dtype, std::move(out));
}

Types InferExpand(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(Shape to, v.Ints(1));
  INFENCLAVE_ASSIGN_OR_RETURN(Shape out, BroadcastShapes(v.shape(0), to));
  return One(v.in(0).dtype, std::move(out));
}

Types InferTile(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> repeats, v.Ints(1));
  Shape out = v.shape(0);
  if (repeats.size() != out.size()) {
    return InvalidArgument("repeats has ", repeats.size(), " entries, expected ", out.size());
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (repeats[i] < 0 || repeats[i] > kMaxValueElements) return InvalidArgument("repeats has the entry ", repeats[i]);
    out[i] *= repeats[i];
  }
  return One(v.in(0).dtype, std::move(out));
}

Types InferBlocks(const NodeView& v) {
  Shape out = v.shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t block, IntAttribute(v.node, "blocksize", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(std::string mode, StringAttribute(v.node, "mode", "DCR"));
  if (mode != "DCR" && mode != "CRD") return InvalidArgument("mode is '", mode, "', expected DCR or CRD");
  if (out.size() != 4 || block < 1 || block > (1 << 15)) {
    return InvalidArgument("blocksize ", block, " does not fit the input ", ToString(out));
  }
  bool to_space = v.node.op == "DepthToSpace";
  if (to_space ? out[1] % (block * block) != 0 : out[2] % block != 0 || out[3] % block != 0) {
    return InvalidArgument("blocksize ", block, " does not divide the input ", ToString(out));
  }
  out[1] = to_space ? out[1] / (block * block) : out[1] * block * block;
  for (size_t i : {2, 3}) out[i] = to_space ? out[i] * block : out[i] / block;
  return One(DType::kF32, std::move(out));
}

Types InferRange(const NodeView& v) {
  DType dtype = v.in(0).dtype;
  for (size_t i = 0; i < 3; ++i) {
    if (v.Constant(i) == nullptr) return Unimplemented("input ", i, ", '", v.in(i).name, "', depends on the image");
    if (v.Constant(i)->elements() != 1 || v.in(i).dtype != dtype) {
      return InvalidArgument("start, limit and delta are not scalars of one type");
    }
  }
  double count = 0;
  if (dtype == DType::kF32) {
    auto at = [&](size_t i) { return static_cast<double>(v.Constant(i)->as<float>()[0]); };
    count = std::ceil((at(1) - at(0)) / at(2));
  } else {
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> start, v.Ints(0));
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> limit, v.Ints(1));
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> delta, v.Ints(2));
    count = std::ceil((static_cast<double>(limit[0]) - static_cast<double>(start[0])) / static_cast<double>(delta[0]));
  }
  if (!(count <= static_cast<double>(kMaxValueElements))) return InvalidArgument("a range of ", count, " elements");
  return One(dtype, {static_cast<int64_t>(std::max(count, 0.0))});
}

Types InferShape(const NodeView& v) {
  if (v.node.op == "Size") return One(DType::kI64, {});
  int64_t rank = static_cast<int64_t>(v.shape(0).size());
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t start, IntAttribute(v.node, "start", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t end, IntAttribute(v.node, "end", rank));
  auto bound = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + rank : i, 0, rank); };
  return One(DType::kI64, {std::max<int64_t>(0, bound(end) - bound(start))});
}

Types InferCast(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t to, IntAttribute(v.node, "to", 0));
  switch (to) {  // onnx.TensorProto.DataType
    case 1:
    case 10:
    case 11:
    case 16:
      return One(DType::kF32, v.shape(0));
    case 2:
      return One(DType::kU8, v.shape(0));
    case 3:
      return One(DType::kI8, v.shape(0));
    case 6:
      return One(DType::kI32, v.shape(0));
    case 7:
      return One(DType::kI64, v.shape(0));
    case 9:
      return One(DType::kBool, v.shape(0));
    default:
      return InvalidArgument("cast to the type ", to, " is not supported");
  }
}

Types InferConstant(const NodeView& v) {
  if (v.node.attributes.size() != 1) return InvalidArgument("expected one value attribute");
  const Attribute& value = v.node.attributes.begin()->second;
  if (std::holds_alternative<int64_t>(value)) return One(DType::kI64, {});
  if (std::holds_alternative<float>(value)) return One(DType::kF32, {});
  if (auto* ints = std::get_if<std::vector<int64_t>>(&value)) {
    return One(DType::kI64, {static_cast<int64_t>(ints->size())});
  }
  if (auto* floats = std::get_if<std::vector<float>>(&value)) {
    return One(DType::kF32, {static_cast<int64_t>(floats->size())});
  }
  return InvalidArgument("a text constant is not supported");
}

Types InferConstantOfShape(const NodeView& v) {
  INFENCLAVE_ASSIGN_OR_RETURN(Shape shape, v.Ints(0));
  auto value = v.node.attributes.find("value");
  bool integer = value != v.node.attributes.end() && std::holds_alternative<int64_t>(value->second);
  return One(integer ? DType::kI64 : DType::kF32, std::move(shape));
}

double NoFlops(const NodeView&) { return 0; }

}  // namespace rules
}  // namespace infenclave
