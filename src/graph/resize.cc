// Resize: scales or sizes, constant, to the output's shape.
#include <cmath>

#include "graph/rules.h"

namespace infenclave {
namespace {

Status CheckAttributes(const NodeView& v) {
  struct Choice {
    std::string_view name, standard;
    std::vector<std::string_view> allowed;
  } const choices[] = {
      {"mode", "nearest", {"nearest", "linear", "cubic"}},
      {"coordinate_transformation_mode",
       "half_pixel",
       {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric",
        "tf_half_pixel_for_nn"}},
      {"nearest_mode", "round_prefer_floor", {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}},
      {"keep_aspect_ratio_policy", "stretch", {"stretch"}},
  };
  for (const Choice& choice : choices) {
    INFENCLAVE_ASSIGN_OR_RETURN(std::string value, StringAttribute(v.node, choice.name, choice.standard));
    bool known = false;
    for (std::string_view allowed : choice.allowed) known |= value == allowed;
    if (!known) return Unimplemented("attribute '", choice.name, "' is '", value, "', which is not supported");
  }
  return OkStatus();
}

}  // namespace

StatusOr<std::vector<double>> ResizeScalesOf(const NodeView& v) {
  const Shape& in = v.shape(0);
  std::vector<int64_t> axes(in.size());
  for (size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int64_t>(i);
  INFENCLAVE_ASSIGN_OR_RETURN(axes, IntsAttribute(v.node, "axes", axes));
  bool sized = v.Has(3) && v.in(3).shape != Shape{0};
  const Tensor* factors = v.Constant(2);
  std::vector<int64_t> sizes;
  if (sized) {
    INFENCLAVE_ASSIGN_OR_RETURN(sizes, v.Ints(3));
  } else if (factors == nullptr || factors->dtype() != DType::kF32) {
    return Unimplemented("neither scales nor sizes are constant");
  }
  if (axes.size() != (sized ? sizes.size() : factors->as<float>().size())) {
    return InvalidArgument("scales or sizes do not fit the input ", ToString(in));
  }
  std::vector<double> scales(in.size(), 1);
  for (size_t i = 0; i < axes.size(); ++i) {
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, NormalizeAxis(axes[i], in.size()));
    size_t a = static_cast<size_t>(axis);
    if (in[a] < 1) return InvalidArgument("input ", ToString(in), " is empty");
    // A batch size of 1 that was written into `sizes` does not resize.
    if (sized && a == 0 && sizes[i] == 1) continue;
    scales[a] = sized ? static_cast<double>(sizes[i]) / static_cast<double>(in[a])
                      : static_cast<double>(factors->as<float>()[i]);
    if (!(scales[a] > 0 && scales[a] <= 0x1p31)) return InvalidArgument("scale ", scales[a], " on axis ", axis);
  }
  return scales;
}

namespace rules {

Types InferResize(const NodeView& v) {
  if (v.in(0).dtype != DType::kF32) return InvalidArgument("input is ", NameOf(v.in(0).dtype), ", expected f32");
  INFENCLAVE_RETURN_IF_ERROR(CheckAttributes(v));
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<double> scales, ResizeScalesOf(v));
  Shape out = v.shape(0);
  bool sized = v.Has(3) && v.in(3).shape != Shape{0};
  for (size_t i = 0; i < out.size(); ++i) {
    double extent = static_cast<double>(out[i]) * scales[i];
    if (extent > 0x1p31) return InvalidArgument("axis ", i, " of ", ToString(v.shape(0)), " by ", scales[i]);
    out[i] = static_cast<int64_t>(sized ? std::nearbyint(extent) : std::floor(extent));
  }
  return std::vector<TensorType>{{DType::kF32, std::move(out)}};
}

double ResizeFlops(const NodeView& v) {
  StatusOr<std::string> mode = StringAttribute(v.node, "mode", "nearest");
  double taps = !mode.ok() || *mode == "nearest" ? 1 : *mode == "linear" ? 2 : 4, out = 1;
  for (size_t i = 0; i < v.out().shape.size(); ++i) out *= v.out().shape[i] != v.shape(0)[i] ? taps : 1;
  return out;
}

}  // namespace rules
}  // namespace infenclave
