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

using tag = memory::format_tag;
using ConvPd = dnnl::convolution_forward::primitive_desc;

// One way to compute it: an implementation of oneDNN's, its activation in a step of its own where it cannot do that.
struct Way {
  ConvPd pd;
  dnnl::primitive primitive;
  bool apart = false;
};

// What is asked of a convolution beside the sum itself.
struct Task {
  const ConvShape& shape;
  memory::data_type type;
  FusedActivation activation;
  std::optional<memory::desc> sum = std::nullopt;  // the layout of what it adds itself to
  bool any_layout = false;                         // whoever reads the result takes it as it lies

  dnnl::post_ops PostOps(bool with_activation) const {
    dnnl::post_ops ops;
    if (sum) ops.append_sum(1.0f);
    if (with_activation) AppendActivation(activation, ops);
    return ops;
  }
};

std::optional<dnnl::convolution_forward::desc> Describe(const ConvShape& s, memory::data_type type,
                                                        dnnl::algorithm algorithm, tag src_tag,
                                                        const memory::desc& dst) {
  const memory::desc src(s.src, type, src_tag), weights(s.weights, type, tag::any);
  const auto kind = dnnl::prop_kind::forward_inference;
  try {
    if (s.bias.empty()) {
      return dnnl::convolution_forward::desc(kind, algorithm, src, weights, dst, s.strides, s.dilations, s.pads_begin,
                                             s.pads_end);
    }
    const memory::desc bias(s.bias, memory::data_type::f32, tag::x);
    return dnnl::convolution_forward::desc(kind, algorithm, src, weights, bias, dst, s.strides, s.dilations,
                                           s.pads_begin, s.pads_end);
  } catch (const dnnl::error& e) {
    if (e.status != dnnl_unimplemented) throw;
    return std::nullopt;
  }
}

struct Wanted {
  dnnl::algorithm algorithm = dnnl::algorithm::convolution_direct;
  tag src = tag::any;
  memory::desc dst;
  bool apart = false, reference = false;  // whether oneDNN's plain reference will do
  size_t most = 1;
};

// Adds what oneDNN has for that, its favourites first.
void AddWays(std::vector<Way>& ways, const Task& task, const Wanted& wanted) {
  const auto desc = Describe(task.shape, task.type, wanted.algorithm, wanted.src, wanted.dst);
  if (!desc) return;
  // Refers to `desc` for as long as it looks for implementations.
  ConvPd pd(*desc, Attributes(task.PostOps(!wanted.apart)), CpuEngine(), /*allow_empty=*/true);
  if (!pd) return;
  const size_t before = ways.size();
  do {
    if (!wanted.reference && std::string_view(pd.impl_info_str()).starts_with("ref")) continue;
    try {
      // Some of oneDNN's implementations accept a shape and then cannot generate code for it.
      ways.push_back({ConvPd(pd.get()), dnnl::primitive(pd.get()), wanted.apart});
    } catch (const dnnl::error& e) {
      if (e.status == dnnl_out_of_memory) throw;
    }
  } while (ways.size() < before + wanted.most && pd.next_impl());
}

// Channels in blocks of 16, which oneDNN would not pick by itself: with AVX-512 its blocked depthwise kernels are
// faster than its channels-last ones in f32, the pointwise ones are equal, the first layer reads the image as it comes,
// and operands of a Concat lie one after the other. `any` where that does not hold.
tag PreferredTag(const ConvShape& s) {
  if (!HasAvx512()) return tag::any;
  switch (s.dst.size()) {
    case 3:
      return tag::nCw16c;
    case 4:
      return tag::nChw16c;
    case 5:
      return tag::nCdhw16c;
    default:
      return tag::any;
  }
}

memory::desc AnyLayout(const Task& task) {
  return task.sum ? *task.sum : memory::desc(task.shape.dst, task.type, tag::any);
}

// Winograd's (dense 3x3: half the work or less; both of oneDNN's sizes of tile), which it never picks by itself and
// which know few activations.
void AddWinograd(std::vector<Way>& ways, const Task& task) {
  Wanted wanted{.algorithm = dnnl::algorithm::convolution_winograd, .dst = AnyLayout(task), .most = 2};
  AddWays(ways, task, wanted);
  wanted.apart = true;
  if (ways.empty() && task.activation.kind != FusedActivation::Kind::kNone) AddWays(ways, task, wanted);
}

void AddDirect(std::vector<Way>& ways, const Task& task) {
  const ConvShape& s = task.shape;
  const size_t before = ways.size();
  if (const tag preferred = PreferredTag(s); preferred != tag::any) {
    const memory::desc blocked(s.dst, task.type, preferred);
    if (!task.sum || *task.sum == blocked) {
      AddWays(ways, task, {.src = s.src[1] < 16 ? tag::any : preferred, .dst = blocked});
    }
  }
  if (ways.size() == before) return AddWays(ways, task, {.dst = AnyLayout(task)});
  // oneDNN's newer kernels know channels-last only, and are better at small maps.
  if (task.any_layout && s.dst.size() == 4 && s.weights.size() == 4 && s.src[1] >= 16) {
    AddWays(ways, task, {.src = tag::nhwc, .dst = memory::desc(s.dst, task.type, tag::nhwc)});
  }
}

// What one core of some GHz reaches; only what they are to each other matters much.
double ExpectedGflops(std::string_view implementation) {
  if (implementation.find("wino_4x3") != std::string_view::npos) return 480;
  if (implementation.find("wino") != std::string_view::npos) return 320;
  return 200;
}

void AddReorder(const memory::desc& from, const memory::desc& to, Alternative& alternative) {
  const dnnl::reorder::primitive_desc pd(CpuEngine(), from, CpuEngine(), to, Attributes());
  alternative.parts.push_back(
      {dnnl::reorder(pd), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc()}}});
  alternative.memory += 2 * to.get_size();
}

// With the reorders that it costs: before it, and, where it leaves its result in an unusual layout, after it.
StatusOr<Alternative> AsAlternative(Compiler& c, const Node& node, const Way& way, const Task& task) {
  const ConvPd& pd = way.pd;
  Alternative out;
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.In(node.inputs[0]));
  if (!c.LiesAs(node.inputs[0], pd.src_desc())) AddReorder(src.desc, pd.src_desc(), out);
  out.name = Concat(pd.impl_info_str(), way.apart ? " apart" : "");
  out.memory += pd.weights_desc().get_size() + pd.scratchpad_desc().get_size();
  out.gflops = ExpectedGflops(out.name);
  out.parts.push_back({way.primitive,
                       {{DNNL_ARG_SRC, pd.src_desc()},
                        {DNNL_ARG_WEIGHTS, pd.weights_desc()},
                        {DNNL_ARG_BIAS, pd.bias_desc()},
                        {DNNL_ARG_DST, pd.dst_desc()},
                        {DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc()}}});
  if (way.apart) {
    const auto activation = ActivationPd(task.activation, pd.dst_desc());
    out.parts.push_back({dnnl::eltwise_forward(activation),
                         {{DNNL_ARG_SRC, pd.dst_desc()},
                          {DNNL_ARG_DST, pd.dst_desc()},
                          {DNNL_ARG_SCRATCHPAD, activation.scratchpad_desc()}}});
    out.memory += 2 * pd.dst_desc().get_size();
  }
  if (const tag preferred = PreferredTag(task.shape); preferred != tag::any) {
    const memory::desc usual(task.shape.dst, task.type, preferred);
    if (!task.sum && pd.dst_desc() != usual) {
      AddReorder(pd.dst_desc(), usual, out);
      out.handicap = 1.1;
    }
  }
  return out;
}

// Says all that can make one implementation faster than another.
std::string Name(const Task& task) {
  const ConvShape& s = task.shape;
  std::string out = task.type == memory::data_type::f32 ? "conv f32" : "conv bf16";
  for (const memory::dims* dims : {&s.src, &s.weights, &s.dst, &s.strides, &s.dilations, &s.pads_begin}) {
    out += ' ' + ToString(*dims);
  }
  return Concat(out, " activation ", static_cast<int>(task.activation.kind), task.sum ? " sum" : "");
}

StatusOr<std::optional<Way>> Choose(Compiler& c, const Node& node, const Task& task) {
  std::vector<Way> ways;
  if (task.type == memory::data_type::f32) AddWinograd(ways, task);
  AddDirect(ways, task);
  if (ways.size() < 2) return ways.empty() ? std::nullopt : std::optional(ways[0]);
  std::vector<Alternative> alternatives;
  std::string name = Name(task);
  for (const Way& way : ways) {
    INFENCLAVE_ASSIGN_OR_RETURN(Alternative alternative, AsAlternative(c, node, way, task));
    name += Concat(" ", alternative.parts.size());  // tells where reorders would be
    alternatives.push_back(std::move(alternative));
  }
  return ways[c.chooser().Choose(name, FlopsOf(c.view(node)), alternatives)];
}

Status EmitConv(Compiler& c, const Node& node, const ConvShape& s, const Way& way, const Place& dst) {
  const ConvPd& pd = way.pd;
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.InAs(node.inputs[0], pd.src_desc()));
  INFENCLAVE_ASSIGN_OR_RETURN(
      Place weights, c.Weight(node.inputs[1], pd.weights_desc(), PlainDesc(s.weights, memory::data_type::f32)));
  std::vector<Argument> arguments = {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, dst}};
  if (!s.bias.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(Place bias, c.In(node.inputs[2]));
    arguments.push_back({DNNL_ARG_BIAS, bias});
  }
  c.Emit(node, way.primitive, pd.impl_info_str(), std::move(arguments), pd.scratchpad_desc());
  return OkStatus();
}

// conv + other in place of `other`. False if oneDNN has no fast way to do it.
StatusOr<bool> TryResidual(Compiler& c, const Node& node, const ConvShape& s, const Residual& residual) {
  const Node& add = c.graph().nodes[static_cast<size_t>(residual.add_node)];
  INFENCLAVE_ASSIGN_OR_RETURN(std::optional<Way> way,
                              Choose(c, node, {s, c.type(), add.activation, residual.other.desc}));
  if (!way) return false;
  INFENCLAVE_RETURN_IF_ERROR(EmitConv(c, node, s, *way, residual.other));
  INFENCLAVE_RETURN_IF_ERROR(c.DefineResidual(residual, way->apart));
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
  const Task task{s, c.type(), node.activation, std::nullopt, c.OnlyWindowsRead(node)};
  INFENCLAVE_ASSIGN_OR_RETURN(std::optional<Way> way, Choose(c, node, task));
  if (!way) {
    std::vector<Way> ways;
    AddWays(ways, task, {.dst = AnyLayout(task), .apart = true, .reference = true});
    if (ways.empty()) return Unimplemented(node.op, " '", node.name, "': oneDNN has no implementation of this shape");
    way = ways[0];
  }
  Place dst = c.NewPlace(way->pd.dst_desc());
  INFENCLAVE_RETURN_IF_ERROR(EmitConv(c, node, s, *way, dst));
  return c.Define(node, dst, /*activate=*/way->apart);
}

}  // namespace infenclave::engine
