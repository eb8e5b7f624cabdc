// MaxPool, AveragePool, their global forms, and ReduceMean over all spatial dimensions.
#include <algorithm>

#include "engine/compiler.h"
#include "engine/int8.h"
#include "engine/onednn.h"

namespace infenclave::engine {
namespace {

using PoolPd = dnnl::pooling_v2_forward::primitive_desc;

Status EmitPool(Compiler& c, const Node& node, dnnl::algorithm algorithm, const Window& w, const Shape& out) {
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, PoolsIntegers(c, node) ? c.InAny(node.inputs[0]) : c.In(node.inputs[0]));
  const Shape& in = c.graph().value(node.inputs[0]).shape;
  memory::dims dilations, pads_end;
  for (size_t i = 0; i < w.kernel.size(); ++i) {
    dilations.push_back(w.dilations[i] - 1);
    // What the last window reaches, which with ceil_mode is not what the attribute says.
    int64_t extent = (w.kernel[i] - 1) * w.dilations[i] + 1;
    pads_end.push_back(std::max<int64_t>(0, (w.output[i] - 1) * w.strides[i] + extent - in[i + 2] - w.pads_begin[i]));
  }
  const memory::desc dst_any(out, src.desc.data_type(), memory::format_tag::any);
  auto make = [&](const memory::desc& from, const dnnl::post_ops& ops) -> std::optional<PoolPd> {
    try {
      return PoolPd({dnnl::prop_kind::forward_inference, algorithm, from, dst_any, w.strides, w.kernel, dilations,
                     w.pads_begin, pads_end},
                    Attributes(ops), CpuEngine());
    } catch (const dnnl::error& e) {
      if (e.status != dnnl_unimplemented) throw;
      return std::nullopt;
    }
  };
  dnnl::post_ops ops;
  AppendActivation(node.activation, ops);
  std::optional<PoolPd> pd = make(src.desc, ops);
  const bool fused = pd.has_value();
  if (!pd) pd = make(src.desc, {});
  if (!pd) return Unimplemented(node.op, " '", node.name, "': oneDNN has no implementation of this shape");
  Place dst = c.NewPlace(pd->dst_desc());
  dst.scale = src.scale;
  dst.zero = src.zero;
  c.Emit(node, *pd, {{DNNL_ARG_SRC, src}, {DNNL_ARG_DST, dst}});
  return c.DefineReshaped(node, dst, !fused);
}

// One window over everything.
Window GlobalWindow(const Shape& in) {
  const Shape ones(in.size() - 2, 1), zeros(in.size() - 2, 0);
  return {.kernel = Shape(in.begin() + 2, in.end()),
          .strides = ones,
          .dilations = ones,
          .pads_begin = zeros,
          .pads_end = zeros,
          .output = ones};
}

}  // namespace

Status CompilePool(Compiler& c, const Node& node, int) {
  INFENCLAVE_ASSIGN_OR_RETURN(Window window, WindowOf(c.view(node)));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t include_pad, IntAttribute(node, "count_include_pad", 0));
  const Shape& out = c.view(node).out().shape;
  dnnl::algorithm algorithm = dnnl::algorithm::pooling_max;
  if (node.op == "AveragePool") {
    algorithm =
        include_pad != 0 ? dnnl::algorithm::pooling_avg_include_padding : dnnl::algorithm::pooling_avg_exclude_padding;
  }
  if (include_pad != 0) {
    // ONNX divides by what lies within the padding; oneDNN by the kernel, which is the same unless a window reaches on.
    const Shape& in = c.view(node).shape(0);
    for (size_t i = 0; i < window.kernel.size(); ++i) {
      int64_t reach = (window.output[i] - 1) * window.strides[i] + (window.kernel[i] - 1) * window.dilations[i] + 1;
      if (reach > in[i + 2] + window.pads_begin[i] + window.pads_end[i]) {
        return Unimplemented(node.op, " '", node.name, "': ceil_mode with count_include_pad beyond the padding");
      }
    }
  }
  return EmitPool(c, node, algorithm, window, out);
}

Status CompileGlobalPool(Compiler& c, const Node& node, int) {
  if (node.op == "GlobalAveragePool") {
    INFENCLAVE_ASSIGN_OR_RETURN(bool int8, TryInt8GlobalAverage(c, node));
    if (int8) return OkStatus();
  }
  return EmitPool(
      c, node, node.op == "GlobalMaxPool" ? dnnl::algorithm::pooling_max : dnnl::algorithm::pooling_avg_exclude_padding,
      GlobalWindow(c.view(node).shape(0)), c.view(node).out().shape);
}

Status CompileReduceMean(Compiler& c, const Node& node, int) {
  const Shape& in = c.view(node).shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> axes, ReducedAxes(c.view(node)));
  Shape kept = in;
  for (int64_t axis : axes) kept[static_cast<size_t>(axis)] = 1;
  if (in.size() >= 3 && axes.size() == in.size() - 2 && axes[0] == 2) {
    INFENCLAVE_ASSIGN_OR_RETURN(bool int8, TryInt8GlobalAverage(c, node));
    if (int8) return OkStatus();
    return EmitPool(c, node, dnnl::algorithm::pooling_avg_exclude_padding, GlobalWindow(in), kept);
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Place place, c.InPlain(node.inputs[0], memory::data_type::f32));
  if (kept != in) {
    Place dst = c.NewPlace(PlainDesc(kept, memory::data_type::f32));
    dnnl::reduction::primitive_desc pd({dnnl::algorithm::reduction_mean, place.desc, dst.desc, 0.0f, 0.0f},
                                       Attributes(), CpuEngine());
    c.Emit(node, pd, {{DNNL_ARG_SRC, place}, {DNNL_ARG_DST, dst}});
    place = dst;
  }
  return c.DefineReshaped(node, place);
}

}  // namespace infenclave::engine
