// Resize, one axis after the other: every output index is a weighted sum of one, two or four input indices.
#include <algorithm>
#include <cmath>

#include "engine/compiler.h"
#include "engine/onednn.h"

namespace infenclave::engine {
namespace {

constexpr auto kF32 = memory::data_type::f32;

struct Rule {
  std::string mode, coordinates, nearest;
  float cubic_a = -0.75f;
  bool exclude_outside = false;
};

StatusOr<Rule> RuleOf(const Node& node) {
  Rule rule;
  INFENCLAVE_ASSIGN_OR_RETURN(rule.mode, StringAttribute(node, "mode", "nearest"));
  INFENCLAVE_ASSIGN_OR_RETURN(rule.coordinates, StringAttribute(node, "coordinate_transformation_mode", "half_pixel"));
  INFENCLAVE_ASSIGN_OR_RETURN(rule.nearest, StringAttribute(node, "nearest_mode", "round_prefer_floor"));
  INFENCLAVE_ASSIGN_OR_RETURN(rule.cubic_a, FloatAttribute(node, "cubic_coeff_a", -0.75f));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t exclude, IntAttribute(node, "exclude_outside", 0));
  rule.exclude_outside = exclude != 0;
  return rule;
}

// Where output index x lies among the input's indices (ONNX, Resize, coordinate_transformation_mode).
double Coordinate(const Rule& rule, int64_t x, int64_t in, int64_t out, double scale) {
  const double at = static_cast<double>(x);
  if (rule.coordinates == "asymmetric") return at / scale;
  if (rule.coordinates == "tf_half_pixel_for_nn") return (at + 0.5) / scale;
  if (rule.coordinates == "align_corners") {
    // The length before it is rounded down to whole places.
    const double length = scale * static_cast<double>(in);
    return length == 1 ? 0 : at * static_cast<double>(in - 1) / (length - 1);
  }
  if (rule.coordinates == "pytorch_half_pixel" && out == 1) return 0;
  double offset = 0;
  if (rule.coordinates == "half_pixel_symmetric") {
    const double adjustment = static_cast<double>(out) / (scale * static_cast<double>(in));
    offset = static_cast<double>(in) / 2 * (1 - adjustment);
  }
  return offset + (at + 0.5) / scale - 0.5;
}

int64_t Nearest(const Rule& rule, double x) {
  if (rule.nearest == "floor") return static_cast<int64_t>(std::floor(x));
  if (rule.nearest == "ceil") return static_cast<int64_t>(std::ceil(x));
  if (rule.nearest == "round_prefer_ceil") return static_cast<int64_t>(std::floor(x + 0.5));
  return static_cast<int64_t>(std::ceil(x - 0.5));
}

// Keys 1981, eq. 4 and 5, with a for -1/2.
double Cubic(double a, double x) {
  x = std::abs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

// `width` taps per output index: input index and weight.
struct Taps {
  size_t width = 1;
  std::vector<int64_t> index;
  std::vector<float> weight;
};

Taps TapsOf(const Rule& rule, int64_t in, int64_t out, double scale) {
  Taps taps;
  taps.width = rule.mode == "nearest" ? 1 : rule.mode == "linear" ? 2 : 4;
  for (int64_t x = 0; x < out; ++x) {
    const double at = Coordinate(rule, x, in, out, scale);
    const int64_t first = rule.mode == "nearest"  ? Nearest(rule, at)
                          : rule.mode == "linear" ? static_cast<int64_t>(std::floor(at))
                                                  : static_cast<int64_t>(std::floor(at)) - 1;
    double sum = 0;
    std::vector<double> weights;
    for (size_t k = 0; k < taps.width; ++k) {
      const int64_t index = first + static_cast<int64_t>(k);
      const double away = std::abs(at - static_cast<double>(index));
      double weight = rule.mode == "nearest" ? 1 : rule.mode == "linear" ? 1 - away : Cubic(rule.cubic_a, away);
      if (rule.exclude_outside && rule.mode == "cubic" && (index < 0 || index >= in)) weight = 0;
      weights.push_back(weight);
      sum += weight;
      taps.index.push_back(std::clamp<int64_t>(index, 0, in - 1));
    }
    for (double weight : weights) taps.weight.push_back(static_cast<float>(weight / sum));
  }
  return taps;
}

Kernel AxisKernel(Taps taps, int64_t outer, int64_t in, int64_t out, int64_t inner) {
  return [=, taps = std::move(taps)](const std::vector<void*>& args) {
    for (int64_t o = 0; o < outer; ++o) {
      const float* from = static_cast<const float*>(args[0]) + o * in * inner;
      float* to = static_cast<float*>(args[1]) + o * out * inner;
      for (int64_t x = 0; x < out; ++x, to += inner) {
        std::fill_n(to, inner, 0.0f);
        for (size_t k = 0; k < taps.width; ++k) {
          const size_t tap = static_cast<size_t>(x) * taps.width + k;
          const float* row = from + taps.index[tap] * inner;
          for (int64_t i = 0; i < inner; ++i) to[i] += taps.weight[tap] * row[i];
        }
      }
    }
  };
}

int64_t Product(const Shape& shape, size_t from, size_t to) {
  int64_t n = 1;
  for (size_t i = from; i < to; ++i) n *= shape[i];
  return n;
}

}  // namespace

Status CompileResize(Compiler& c, const Node& node, int) {
  const NodeView view = c.view(node);
  INFENCLAVE_ASSIGN_OR_RETURN(Rule rule, RuleOf(node));
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<double> scales, ResizeScalesOf(view));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t antialias, IntAttribute(node, "antialias", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(Place place, c.InPlain(node.inputs[0], kF32));
  Shape shape = view.shape(0);
  const Shape& want = view.out().shape;
  // From the last axis on, so that enlarging comes where the rows are short.
  for (size_t d = shape.size(); d-- > 0;) {
    if (scales[d] == 1 && shape[d] == want[d]) continue;
    if (antialias != 0 && scales[d] < 1) {
      return Unimplemented("Resize '", node.name, "': antialias where it makes smaller is not supported");
    }
    const int64_t in = shape[d];
    shape[d] = want[d];
    Place next = c.NewPlace(PlainDesc(shape, kF32));
    c.EmitKernel(node, "loop",
                 AxisKernel(TapsOf(rule, in, want[d], scales[d]), Product(shape, 0, d), in, want[d],
                            Product(shape, d + 1, shape.size())),
                 {{0, place}, {0, next}});
    place = next;
  }
  return c.Define(node, place, /*activate=*/true);
}

}  // namespace infenclave::engine
