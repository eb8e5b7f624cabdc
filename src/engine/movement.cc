// Operators that pick elements: Slice, Split, Pad, Expand, Tile, DepthToSpace, SpaceToDepth, Gather with constant
// indices. All of them are one loop, told per output dimension where each of its indices comes from.
#include <algorithm>
#include <numeric>

#include "engine/compiler.h"
#include "engine/onednn.h"

namespace infenclave::engine {
namespace {

constexpr auto kF32 = memory::data_type::f32;
constexpr int64_t kFill = -1;  // comes from nowhere

// from[d][i]: how many input elements index i of output dimension d adds to the offset, or kFill.
struct Selection {
  std::vector<std::vector<int64_t>> from;
  float fill = 0;
};

std::vector<int64_t> StridesOf(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

// Dimensions 0..rank-1 one to one; callers change the dimensions that they touch.
Selection Same(const Shape& in) {
  Selection s;
  std::vector<int64_t> strides = StridesOf(in);
  for (size_t d = 0; d < in.size(); ++d) {
    std::vector<int64_t>& from = s.from.emplace_back(static_cast<size_t>(in[d]));
    for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<int64_t>(i) * strides[d];
  }
  return s;
}

void CopyRow(const std::vector<int64_t>& from, const float* src, float fill, float* dst) {
  const size_t n = from.size();
  const bool run =
      from[0] != kFill && from[n - 1] == from[0] + static_cast<int64_t>(n) - 1 && (n < 3 || from[1] == from[0] + 1);
  if (run) {
    std::copy_n(src + from[0], n, dst);
    return;
  }
  for (size_t i = 0; i < n; ++i) dst[i] = from[i] == kFill ? fill : src[from[i]];
}

Kernel SelectionKernel(Selection s) {
  if (s.from.empty()) s.from.push_back({0});
  std::vector<size_t> index(s.from.size());
  return [s = std::move(s), index = std::move(index)](const std::vector<void*>& args) mutable {
    const float* src = static_cast<const float*>(args[0]);
    float* dst = static_cast<float*>(args[1]);
    const size_t last = s.from.size() - 1, row = s.from[last].size();
    std::fill(index.begin(), index.end(), size_t{0});
    for (;;) {
      int64_t offset = 0;
      for (size_t d = 0; d < last && offset != kFill; ++d) {
        const int64_t step = s.from[d][index[d]];
        offset = step == kFill ? kFill : offset + step;
      }
      if (offset == kFill) {
        std::fill_n(dst, row, s.fill);
      } else {
        CopyRow(s.from[last], src + offset, s.fill, dst);
      }
      dst += row;
      size_t d = last;
      while (d > 0 && ++index[d - 1] == s.from[d - 1].size()) index[--d] = 0;
      if (d == 0) return;
    }
  };
}

// Defines output `which` of the node, of the shape that the graph says (the selection's elements in order).
Status EmitSelection(Compiler& c, const Node& node, size_t which, Selection selection) {
  for (const std::vector<int64_t>& from : selection.from) {
    if (from.empty()) return Unimplemented(node.op, " '", node.name, "': an empty result is not supported");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.InPlain(node.inputs[0], kF32));
  Place dst = c.NewPlace(PlainDesc(c.graph().value(node.outputs[which]).shape, kF32));
  c.EmitKernel(node, "copy", SelectionKernel(std::move(selection)), {{0, src}, {0, dst}});
  return c.DefineOutput(node, which, dst);
}

}  // namespace

Status CompileSlice(Compiler& c, const Node& node, int) {
  const NodeView view = c.view(node);
  INFENCLAVE_ASSIGN_OR_RETURN(SliceBounds bounds, SliceBoundsOf(view));
  Selection s = Same(view.shape(0));
  std::vector<int64_t> strides = StridesOf(view.shape(0));
  for (size_t d = 0; d < s.from.size(); ++d) {
    s.from[d].resize(static_cast<size_t>(view.out().shape[d]));
    for (size_t i = 0; i < s.from[d].size(); ++i) {
      s.from[d][i] = (bounds.start[d] + static_cast<int64_t>(i) * bounds.step[d]) * strides[d];
    }
  }
  return EmitSelection(c, node, 0, std::move(s));
}

Status CompileSplit(Compiler& c, const Node& node, int) {
  const Shape& in = c.view(node).shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t attribute, IntAttribute(node, "axis", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, NormalizeAxis(attribute, in.size()));
  const size_t along = static_cast<size_t>(axis);
  size_t begin = 0;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i] == kNoValue) return Unimplemented("Split '", node.name, "': output ", i, " is absent");
    const size_t size = static_cast<size_t>(c.graph().value(node.outputs[i]).shape[along]);
    Selection s = Same(in);
    std::vector<int64_t>& from = s.from[along];
    from.assign(from.begin() + static_cast<int64_t>(begin), from.begin() + static_cast<int64_t>(begin + size));
    begin += size;
    INFENCLAVE_RETURN_IF_ERROR(EmitSelection(c, node, i, std::move(s)));
  }
  return OkStatus();
}

Status CompilePad(Compiler& c, const Node& node, int) {
  const NodeView view = c.view(node);
  const Shape& in = view.shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(PadAmounts pads, PadAmountsOf(view));
  INFENCLAVE_ASSIGN_OR_RETURN(std::string mode, StringAttribute(node, "mode", "constant"));
  Selection s = Same(in);
  if (view.Has(2)) {
    const Tensor* value = view.Constant(2);
    if (value == nullptr || value->elements() != 1 || value->dtype() != DType::kF32) {
      return Unimplemented("Pad '", node.name, "': the padded value must be a constant f32");
    }
    s.fill = value->as<float>()[0];
  }
  std::vector<int64_t> strides = StridesOf(in);
  for (size_t d = 0; d < in.size(); ++d) {
    s.from[d].resize(static_cast<size_t>(view.out().shape[d]));
    for (size_t i = 0; i < s.from[d].size(); ++i) {
      int64_t at = static_cast<int64_t>(i) - pads.begin[d];
      const bool outside = at < 0 || at >= in[d];
      if (outside && mode == "edge") at = std::clamp<int64_t>(at, 0, in[d] - 1);
      if (outside && mode == "reflect") at = at < 0 ? -at : 2 * (in[d] - 1) - at;
      if (outside && mode == "wrap") at = (at % in[d] + in[d]) % in[d];
      if (at < 0 || at >= in[d]) {
        if (mode != "constant") return Unimplemented("Pad '", node.name, "': ", mode, " by more than the input has");
        s.from[d][i] = kFill;
      } else {
        s.from[d][i] = at * strides[d];
      }
    }
  }
  return EmitSelection(c, node, 0, std::move(s));
}

Status CompileExpand(Compiler& c, const Node& node, int) {
  const NodeView view = c.view(node);
  const Shape& out = view.out().shape;
  Shape in = view.shape(0);
  in.insert(in.begin(), out.size() - in.size(), 1);
  Selection s = Same(in);
  for (size_t d = 0; d < out.size(); ++d) {
    if (in[d] == 1) s.from[d].assign(static_cast<size_t>(out[d]), 0);
  }
  return EmitSelection(c, node, 0, std::move(s));
}

Status CompileGather(Compiler& c, const Node& node, int) {
  const NodeView view = c.view(node);
  const Shape& in = view.shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t attribute, IntAttribute(node, "axis", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, NormalizeAxis(attribute, in.size()));
  const Tensor* indices = view.Constant(1);
  if (indices == nullptr) return Unimplemented("Gather '", node.name, "': the indices depend on the image");
  const size_t along = static_cast<size_t>(axis);
  // However many dimensions the indices have, in memory they are one.
  Selection s = Same(in);
  const std::vector<int64_t> all = std::move(s.from[along]);
  s.from[along].clear();
  for (int64_t i = 0; i < indices->elements(); ++i) {
    const size_t at = static_cast<size_t>(i);
    int64_t v = indices->dtype() == DType::kI64 ? indices->as<int64_t>()[at] : indices->as<int32_t>()[at];
    if (v < 0) v += in[along];
    if (v < 0 || v >= in[along]) return InvalidArgument("Gather '", node.name, "': index ", v, " of ", in[along]);
    s.from[along].push_back(all[static_cast<size_t>(v)]);
  }
  return EmitSelection(c, node, 0, std::move(s));
}

Status CompileTile(Compiler& c, const Node& node, int) {
  const NodeView view = c.view(node);
  Selection s = Same(view.shape(0));
  for (size_t d = 0; d < s.from.size(); ++d) {
    const size_t period = s.from[d].size();
    s.from[d].resize(static_cast<size_t>(view.out().shape[d]));
    for (size_t i = period; i < s.from[d].size(); ++i) s.from[d][i] = s.from[d][i - period];
  }
  return EmitSelection(c, node, 0, std::move(s));
}

// Blocks of places to channels or back: the input seen with six dimensions, which the output has in another order.
Status CompileBlocks(Compiler& c, const Node& node, int) {
  const Shape& in = c.view(node).shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t b, IntAttribute(node, "blocksize", 1));
  INFENCLAVE_ASSIGN_OR_RETURN(std::string mode, StringAttribute(node, "mode", "DCR"));
  Shape six;
  std::vector<size_t> order;
  if (node.op == "SpaceToDepth") {
    six = {in[0], in[1], in[2] / b, b, in[3] / b, b};
    order = {0, 3, 5, 1, 2, 4};
  } else if (mode == "DCR") {
    six = {in[0], b, b, in[1] / (b * b), in[2], in[3]};
    order = {0, 3, 4, 1, 5, 2};
  } else {
    six = {in[0], in[1] / (b * b), b, b, in[2], in[3]};
    order = {0, 1, 4, 2, 5, 3};
  }
  const Selection same = Same(six);
  Selection s;
  for (size_t d : order) s.from.push_back(same.from[d]);
  return EmitSelection(c, node, 0, std::move(s));
}

}  // namespace infenclave::engine
