// Conv: the weights packed once, the activation and a residual sum done on the way out.
#include "engine/convolution.h"

#include <optional>
#include <string_view>

#include "engine/int8.h"
#include "engine/onednn.h"
#include "engine/pointwise.h"
#include "engine/winograd.h"

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

// One way to compute it, its activation in a step of its own where it cannot do that.
struct Way {
  // An implementation of oneDNN's.
  Way(const ConvPd& pd, bool activation_apart)
      : name(pd.impl_info_str()),
        src(pd.src_desc()),
        weights(pd.weights_desc()),
        dst(pd.dst_desc()),
        scratch(pd.scratchpad_desc()),
        primitive(pd.get()),
        apart(activation_apart) {}
  // One of our own: its kernel takes src, weights, dst, scratch and, if there is one, bias.
  template <typename Ours>
  Way(const Ours& ours, bool activation_apart)
      : name(ours.name()),
        src(ours.src_desc()),
        weights(ours.weights_desc()),
        dst(ours.dst_desc()),
        scratch(ours.scratch_desc()),
        kernel(ours.kernel()),
        packer(ours.packer()),
        apart(activation_apart) {}

  std::string name;
  memory::desc src, weights, dst, scratch;
  dnnl::primitive primitive;
  Kernel kernel;  // instead of it
  Packer packer;  // its weights
  bool apart;
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

memory::desc BiasDesc(const ConvShape& s) {
  return s.bias.empty() ? memory::desc() : memory::desc(s.bias, memory::data_type::f32, tag::x);
}

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
    return dnnl::convolution_forward::desc(kind, algorithm, src, weights, BiasDesc(s), dst, s.strides, s.dilations,
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
      ways.emplace_back(pd, wanted.apart);
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

// Our own kernels, where they may be faster than oneDNN's direct ones.
void AddOwn(std::vector<Way>& ways, const Task& task, int threads) {
  const std::optional<Rectifier> rectifier = Rectifier::Of(task.activation);
  const auto add = [&](const auto& ours) {
    if (!task.sum || *task.sum == ours.dst_desc()) ways.emplace_back(ours, !rectifier);
  };
  const Rectifier on_the_way = rectifier.value_or(Rectifier{});
  if (Winograd::Takes(task.shape, task.type)) add(Winograd(task.shape, on_the_way, task.sum.has_value(), threads));
  if (rectifier && Pointwise::Takes(task.shape, task.type, on_the_way)) {
    add(Pointwise(task.shape, task.type, on_the_way, task.sum.has_value(), threads));
  }
}

// Winograd's (dense 3x3: half the work or less; both of oneDNN's sizes of tile), which it never picks by itself and
// which know few activations.
void AddWinograd(std::vector<Way>& ways, const Task& task) {
  Wanted wanted{.algorithm = dnnl::algorithm::convolution_winograd, .dst = AnyLayout(task), .most = 2};
  const size_t before = ways.size();
  AddWays(ways, task, wanted);
  wanted.apart = true;
  if (ways.size() == before && task.activation.kind != FusedActivation::Kind::kNone) AddWays(ways, task, wanted);
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
  if (implementation.starts_with("winograd")) return 300;
  if (implementation.starts_with("pointwise")) return 210;
  if (implementation.find("wino_4x3") != std::string_view::npos) return 480;
  if (implementation.find("wino") != std::string_view::npos) return 320;
  return 200;
}

void AddReorder(const memory::desc& from, const memory::desc& to, Alternative& alternative) {
  const dnnl::reorder::primitive_desc pd(CpuEngine(), from, CpuEngine(), to, Attributes());
  alternative.parts.push_back(
      {.primitive = dnnl::reorder(pd),
       .arguments = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc()}}});
  alternative.memory += 2 * to.get_size();
}

// With the reorders that it costs: before it, and, where it leaves its result in an unusual layout, after it.
StatusOr<Alternative> AsAlternative(Compiler& c, const Node& node, const Way& way, const Task& task) {
  Alternative out;
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.In(node.inputs[0]));
  if (!c.LiesAs(node.inputs[0], way.src)) AddReorder(src.desc, way.src, out);
  out.name = Concat(way.name, way.apart ? " apart" : "");
  out.memory += way.weights.get_size() + way.scratch.get_size();
  out.gflops = ExpectedGflops(out.name);
  const memory::desc bias = BiasDesc(task.shape);
  if (way.kernel) {
    out.parts.push_back({.kernel = way.kernel,
                         .arguments = {{0, way.src}, {1, way.weights}, {2, way.dst}, {3, way.scratch}, {4, bias}}});
  } else {
    out.parts.push_back({.primitive = way.primitive,
                         .arguments = {{DNNL_ARG_SRC, way.src},
                                       {DNNL_ARG_WEIGHTS, way.weights},
                                       {DNNL_ARG_BIAS, bias},
                                       {DNNL_ARG_DST, way.dst},
                                       {DNNL_ARG_SCRATCHPAD, way.scratch}}});
  }
  if (way.apart) {
    const auto activation = ActivationPd(task.activation, way.dst);
    out.parts.push_back(
        {.primitive = dnnl::eltwise_forward(activation),
         .arguments = {
             {DNNL_ARG_SRC, way.dst}, {DNNL_ARG_DST, way.dst}, {DNNL_ARG_SCRATCHPAD, activation.scratchpad_desc()}}});
    out.memory += 2 * way.dst.get_size();
  }
  if (const tag preferred = PreferredTag(task.shape); preferred != tag::any) {
    const memory::desc usual(task.shape.dst, task.type, preferred);
    if (!task.sum && way.dst != usual) {
      AddReorder(way.dst, usual, out);
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
  AddOwn(ways, task, c.chooser().threads());
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

// The weights as that way wants them.
StatusOr<Place> PackWeights(Compiler& c, ValueId id, const ConvShape& s, const Way& way) {
  if (way.kernel) return c.Weight(id, way.weights, way.packer);
  return c.Weight(id, way.weights, PlainDesc(s.weights, memory::data_type::f32));
}

Status EmitConv(Compiler& c, const Node& node, const ConvShape& s, const Way& way, const Place& dst) {
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.InAs(node.inputs[0], way.src));
  INFENCLAVE_ASSIGN_OR_RETURN(Place weights, PackWeights(c, node.inputs[1], s, way));
  std::optional<Place> bias;
  if (!s.bias.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(bias, c.In(node.inputs[2]));
  }
  if (way.kernel) {
    std::vector<Argument> arguments = {{0, src}, {0, weights}, {0, dst}, {0, c.NewPlace(way.scratch)}};
    if (bias) arguments.push_back({0, *bias});
    c.EmitKernel(node, way.name, way.kernel, std::move(arguments));
    return OkStatus();
  }
  std::vector<Argument> arguments = {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, dst}};
  if (bias) arguments.push_back({DNNL_ARG_BIAS, *bias});
  c.Emit(node, way.primitive, way.name, std::move(arguments), way.scratch);
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
  Place dst = c.NewPlace(way->dst);
  INFENCLAVE_RETURN_IF_ERROR(EmitConv(c, node, s, *way, dst));
  return c.Define(node, dst, /*activate=*/way->apart);
}

}  // namespace infenclave::engine
