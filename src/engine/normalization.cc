// Normalisations that depend on the picture: local response, instance, group and layer.
#include <cmath>

#include "engine/compiler.h"
#include "engine/onednn.h"

namespace infenclave::engine {
namespace {

constexpr auto kF32 = memory::data_type::f32;

// Rows of `length` elements are each brought to mean 0 and variance 1, then scaled and shifted: element i of row r by
// entry (r * length + i) / run % period of the scale and the shift.
struct Rows {
  int64_t count = 0, length = 0;
  int64_t run = 1, period = 1;
  double epsilon = 0;
};

void NormalizeRows(const Rows& rows, const float* in, const float* scale, const float* shift, float* out) {
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t start = r * rows.length;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < rows.length; ++i) sum += in[start + i];
    const double mean = sum / static_cast<double>(rows.length);
    for (int64_t i = 0; i < rows.length; ++i) squares += (in[start + i] - mean) * (in[start + i] - mean);
    const double factor = 1 / std::sqrt(squares / static_cast<double>(rows.length) + rows.epsilon);
    for (int64_t i = start; i < start + rows.length; ++i) {
      const int64_t at = i / rows.run % rows.period;
      const double y = (in[i] - mean) * factor * scale[at];
      out[i] = static_cast<float>(shift == nullptr ? y : y + shift[at]);
    }
  }
}

Status EmitRows(Compiler& c, const Node& node, const Rows& rows) {
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.InPlain(node.inputs[0], kF32));
  INFENCLAVE_ASSIGN_OR_RETURN(Place scale, c.In(node.inputs[1]));
  Place dst = c.NewPlace(src.desc);
  std::vector<Argument> arguments = {{0, src}, {0, dst}, {0, scale}};
  if (c.view(node).Has(2)) {
    INFENCLAVE_ASSIGN_OR_RETURN(Place shift, c.In(node.inputs[2]));
    arguments.push_back({0, shift});
  }
  c.EmitKernel(
      node, "loop",
      [rows](const std::vector<void*>& args) {
        NormalizeRows(rows, static_cast<const float*>(args[0]), static_cast<const float*>(args[2]),
                      args.size() > 3 ? static_cast<const float*>(args[3]) : nullptr, static_cast<float*>(args[1]));
      },
      std::move(arguments));
  return c.Define(node, dst, /*activate=*/true);
}

int64_t Product(const Shape& shape, size_t from, size_t to) {
  int64_t n = 1;
  for (size_t i = from; i < to; ++i) n *= shape[i];
  return n;
}

// x / (bias + alpha/size * sum of squares of the channels around)^beta.
Status EmitLrnLoop(Compiler& c, const Node& node, int64_t size, float alpha, float beta, float bias) {
  const Shape& in = c.view(node).shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.InPlain(node.inputs[0], kF32));
  Place dst = c.NewPlace(src.desc);
  const int64_t channels = in[1], places = Product(in, 2, in.size()), before = (size - 1) / 2,
                after = size - 1 - before;
  c.EmitKernel(node, "loop",
               [=, batch = in[0]](const std::vector<void*>& args) {
                 for (int64_t n = 0; n < batch; ++n) {
                   const float* from = static_cast<const float*>(args[0]) + n * channels * places;
                   float* to = static_cast<float*>(args[1]) + n * channels * places;
                   for (int64_t k = 0; k < channels; ++k) {
                     for (int64_t p = 0; p < places; ++p) {
                       double sum = 0;
                       for (int64_t j = std::max<int64_t>(0, k - before); j <= std::min(channels - 1, k + after); ++j) {
                         sum += static_cast<double>(from[j * places + p]) * from[j * places + p];
                       }
                       to[k * places + p] = static_cast<float>(
                           from[k * places + p] * std::pow(bias + alpha / static_cast<double>(size) * sum, -beta));
                     }
                   }
                 }
               },
               {{0, src}, {0, dst}});
  return c.Define(node, dst, /*activate=*/true);
}

}  // namespace

Status CompileLrn(Compiler& c, const Node& node, int) {
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t size, IntAttribute(node, "size", 1));
  INFENCLAVE_ASSIGN_OR_RETURN(float alpha, FloatAttribute(node, "alpha", 1e-4f));
  INFENCLAVE_ASSIGN_OR_RETURN(float beta, FloatAttribute(node, "beta", 0.75f));
  INFENCLAVE_ASSIGN_OR_RETURN(float bias, FloatAttribute(node, "bias", 1.0f));
  // oneDNN's window has as many channels on either side; where it has no fast kernel the loop is ours.
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.In(node.inputs[0]));
  if (size % 2 == 1 && c.view(node).shape(0).size() == 4) {
    dnnl::lrn_forward::primitive_desc pd(
        {dnnl::prop_kind::forward_inference, dnnl::algorithm::lrn_across_channels, src.desc, size, alpha, beta, bias},
        Attributes(), CpuEngine());
    if (!std::string_view(pd.impl_info_str()).starts_with("ref")) {
      Place dst = c.NewPlace(pd.dst_desc());
      c.Emit(node, pd, {{DNNL_ARG_SRC, src}, {DNNL_ARG_DST, dst}});
      return c.Define(node, dst, /*activate=*/true);
    }
  }
  return EmitLrnLoop(c, node, size, alpha, beta, bias);
}

Status CompileInstanceNormalization(Compiler& c, const Node& node, int) {
  const Shape& in = c.view(node).shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(float epsilon, FloatAttribute(node, "epsilon", 1e-5f));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t groups, IntAttribute(node, "num_groups", in[1]));
  const int64_t places = Product(in, 2, in.size());
  return EmitRows(
      c, node,
      {.count = in[0] * groups, .length = in[1] / groups * places, .run = places, .period = in[1], .epsilon = epsilon});
}

Status CompileLayerNormalization(Compiler& c, const Node& node, int) {
  const NodeView view = c.view(node);
  const Shape& in = view.shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(float epsilon, FloatAttribute(node, "epsilon", 1e-5f));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(node, "axis", -1));
  INFENCLAVE_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis, in.size()));
  const int64_t length = Product(in, static_cast<size_t>(axis), in.size());
  for (size_t i = 1; i < node.inputs.size(); ++i) {
    if (view.Has(i) && Product(view.shape(i), 0, view.shape(i).size()) != length) {
      return Unimplemented("LayerNormalization '", node.name, "': input ", i, " is ", ToString(view.shape(i)),
                           ", which would have to be repeated");
    }
  }
  return EmitRows(c, node,
                  {.count = Product(in, 0, static_cast<size_t>(axis)),
                   .length = length,
                   .run = 1,
                   .period = length,
                   .epsilon = epsilon});
}

}  // namespace infenclave::engine
