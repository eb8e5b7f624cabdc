// Conv: the weights packed once, the activation and a residual sum done on the way out.
#include "engine/convolution.h"

#include <optional>
#include <string_view>

#include "engine/int8.h"
#include "engine/onednn.h"

namespace infenclave::engine {

StatusOr<ConvShape> ConvShapeOf(const NodeView& view) {
  INFENCLAVE_ASSIGN_OR_RETURN(Window window, WindowOf(view));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t groups, IntAttribute(view.node, "group", 1));
  ConvShape s{.src = view.shape(0),
              .weights = view.shape(1),
              .dst = view.out().shape,
              .strides = window.strides,
              .pads_begin = window.pads_begin,
              .pads_end = window.pads_end};
  for (int64_t d : window.dilations) s.dilations.push_back(d - 1);
  if (groups > 1) {
    s.weights[0] /= groups;
    s.weights.insert(s.weights.begin(), groups);
  }
  if (view.Has(2)) s.bias = view.shape(2);
  return s;
}

namespace {

using ConvPd = dnnl::convolution_forward::primitive_desc;

// What oneDNN would run, or nothing if it has no implementation or only its plain reference.
struct Chosen {
  ConvPd pd;
  dnnl::primitive primitive;
};

std::optional<Chosen> Choose(const ConvShape& s, dnnl::algorithm algorithm, memory::data_type type,
                             memory::format_tag src_tag, const memory::desc& dst, const dnnl::post_ops& ops,
                             bool allow_reference = false) {
  const memory::desc src(s.src, type, src_tag), weights(s.weights, type, memory::format_tag::any);
  std::optional<dnnl::convolution_forward::desc> desc;
  try {
    if (s.bias.empty()) {
      desc.emplace(dnnl::prop_kind::forward_inference, algorithm, src, weights, dst, s.strides, s.dilations,
                   s.pads_begin, s.pads_end);
    } else {
      const memory::desc bias(s.bias, memory::data_type::f32, memory::format_tag::x);
      desc.emplace(dnnl::prop_kind::forward_inference, algorithm, src, weights, bias, dst, s.strides, s.dilations,
                   s.pads_begin, s.pads_end);
    }
  } catch (const dnnl::error& e) {
    if (e.status != dnnl_unimplemented) throw;
    return std::nullopt;
  }
  ConvPd pd(*desc, Attributes(ops), CpuEngine(), /*allow_empty=*/true);
  if (!pd) return std::nullopt;
  do {
    if (!allow_reference && std::string_view(pd.impl_info_str()).starts_with("ref")) continue;
    try {
      // Some of oneDNN's implementations accept a shape and then cannot generate code for it.
      return Chosen{pd, dnnl::primitive(pd.get())};
    } catch (const dnnl::error& e) {
      if (e.status == dnnl_out_of_memory) throw;
    }
  } while (pd.next_impl());
  return std::nullopt;
}

// Channels in blocks of 16, which oneDNN would not pick by itself: with AVX-512 its blocked depthwise kernels are
// faster than its channels-last ones in f32, the pointwise ones are equal, the first layer reads the image as it comes,
// and operands of a Concat lie one after the other. `any` where that does not hold.
memory::format_tag PreferredTag(const ConvShape& s) {
  if (!HasAvx512()) return memory::format_tag::any;
  switch (s.dst.size()) {
    case 3:
      return memory::format_tag::nCw16c;
    case 4:
      return memory::format_tag::nChw16c;
    case 5:
      return memory::format_tag::nCdhw16c;
    default:
      return memory::format_tag::any;
  }
}

// Winograd's where oneDNN has it (dense 3x3: half the work or less), else direct. `dst` if the layout is given.
std::optional<Chosen> ChooseFused(const ConvShape& s, memory::data_type type, const std::optional<memory::desc>& dst,
                                  const dnnl::post_ops& ops) {
  using dnnl::algorithm;
  using tag = memory::format_tag;
  const memory::desc any = dst ? *dst : memory::desc(s.dst, type, tag::any);
  if (type == memory::data_type::f32) {
    if (auto chosen = Choose(s, algorithm::convolution_winograd, type, tag::any, any, ops)) return chosen;
  }
  if (const tag preferred = PreferredTag(s); preferred != tag::any) {
    const memory::desc blocked(s.dst, type, preferred);
    const tag src = s.src[1] < 16 ? tag::any : preferred;
    if (!dst || *dst == blocked) {
      if (auto chosen = Choose(s, algorithm::convolution_direct, type, src, blocked, ops)) return chosen;
    }
  }
  return Choose(s, algorithm::convolution_direct, type, tag::any, any, ops);
}

Status EmitConv(Compiler& c, const Node& node, const ConvShape& s, const Chosen& chosen, const Place& dst) {
  const ConvPd& pd = chosen.pd;
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.InAs(node.inputs[0], pd.src_desc()));
  INFENCLAVE_ASSIGN_OR_RETURN(
      Place weights, c.Weight(node.inputs[1], pd.weights_desc(), PlainDesc(s.weights, memory::data_type::f32)));
  std::vector<Argument> arguments = {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, dst}};
  if (!s.bias.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(Place bias, c.In(node.inputs[2]));
    arguments.push_back({DNNL_ARG_BIAS, bias});
  }
  c.Emit(node, chosen.primitive, pd.impl_info_str(), std::move(arguments), pd.scratchpad_desc());
  return OkStatus();
}

// conv + other in place of `other`. False if oneDNN has no fast way to do it.
StatusOr<bool> TryResidual(Compiler& c, const Node& node, const ConvShape& s, const Residual& residual) {
  dnnl::post_ops ops;
  ops.append_sum(1.0f);
  AppendActivation(c.graph().nodes[static_cast<size_t>(residual.add_node)].activation, ops);
  std::optional<Chosen> chosen = ChooseFused(s, c.type(), residual.other.desc, ops);
  if (!chosen) return false;
  INFENCLAVE_RETURN_IF_ERROR(EmitConv(c, node, s, *chosen, residual.other));
  INFENCLAVE_RETURN_IF_ERROR(c.DefineResidual(residual));
  return true;
}

}  // namespace

Status CompileConv(Compiler& c, const Node& node, int index) {
  INFENCLAVE_ASSIGN_OR_RETURN(ConvShape s, ConvShapeOf(c.view(node)));
  INFENCLAVE_ASSIGN_OR_RETURN(bool int8, TryInt8Conv(c, node, index, s));
  if (int8) return OkStatus();
  if (std::optional<Residual> residual = c.FindResidual(index)) {
    INFENCLAVE_ASSIGN_OR_RETURN(bool fused, TryResidual(c, node, s, *residual));
    if (fused) return OkStatus();
  }
  dnnl::post_ops ops;
  AppendActivation(node.activation, ops);
  std::optional<Chosen> chosen = ChooseFused(s, c.type(), std::nullopt, ops);
  const bool activate = !chosen;  // then apart
  if (!chosen) {
    const memory::desc any(s.dst, c.type(), memory::format_tag::any);
    chosen = Choose(s, dnnl::algorithm::convolution_direct, c.type(), memory::format_tag::any, any, {},
                    /*allow_reference=*/true);
  }
  if (!chosen) return Unimplemented(node.op, " '", node.name, "': oneDNN has no implementation of this shape");
  Place dst = c.NewPlace(chosen->pd.dst_desc());
  INFENCLAVE_RETURN_IF_ERROR(EmitConv(c, node, s, *chosen, dst));
  return c.Define(node, dst, activate);
}

}  // namespace infenclave::engine
