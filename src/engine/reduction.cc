// Reductions over any axes but the mean over places, which is a pooling (pooling.cc).
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/compiler.h"
#include "engine/onednn.h"

namespace infenclave::engine {
namespace {

constexpr auto kF32 = memory::data_type::f32;

struct Fold {
  std::string_view op;
  double start;
  double (*add)(double, double);
  double (*finish)(double);
};

const Fold* FindFold(std::string_view op) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  static constexpr auto kSame = [](double v) { return v; };
  static const Fold kFolds[] = {
      {"ReduceSum", 0, [](double a, double x) { return a + x; }, kSame},
      {"ReduceProd", 1, [](double a, double x) { return a * x; }, kSame},
      {"ReduceMax", -kInfinity, [](double a, double x) { return a < x ? x : a; }, kSame},
      {"ReduceMin", kInfinity, [](double a, double x) { return x < a ? x : a; }, kSame},
      {"ReduceL1", 0, [](double a, double x) { return a + std::abs(x); }, kSame},
      {"ReduceSumSquare", 0, [](double a, double x) { return a + x * x; }, kSame},
      {"ReduceL2", 0, [](double a, double x) { return a + x * x; }, [](double v) { return std::sqrt(v); }},
  };
  for (const Fold& fold : kFolds) {
    if (fold.op == op) return &fold;
  }
  return nullptr;
}

// Offsets of all elements of the box that has `shape`'s extent along `axes` (where `inside`) or along all others.
std::vector<int64_t> Offsets(const Shape& shape, const std::vector<int64_t>& axes, bool inside) {
  std::vector<int64_t> out = {0};
  int64_t stride = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    const bool reduced = std::find(axes.begin(), axes.end(), static_cast<int64_t>(d)) != axes.end();
    if (reduced == inside) {
      std::vector<int64_t> wider;
      wider.reserve(out.size() * static_cast<size_t>(shape[d]));
      for (int64_t i = 0; i < shape[d]; ++i) {
        for (int64_t offset : out) wider.push_back(i * stride + offset);
      }
      out = std::move(wider);
    }
    stride *= shape[d];
  }
  return out;
}

}  // namespace

Status CompileReduce(Compiler& c, const Node& node, int) {
  const Shape& in = c.view(node).shape(0);
  const Fold* fold = FindFold(node.op);
  INFENCLAVE_CHECK(fold != nullptr);
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> axes, ReducedAxes(c.view(node)));
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.InPlain(node.inputs[0], kF32));
  Place dst = c.NewPlace(PlainDesc(c.view(node).out().shape, kF32));
  c.EmitKernel(
      node, "loop",
      [fold, starts = Offsets(in, axes, false), offsets = Offsets(in, axes, true)](const std::vector<void*>& args) {
        const float* from = static_cast<const float*>(args[0]);
        float* to = static_cast<float*>(args[1]);
        for (int64_t start : starts) {
          double sum = fold->start;
          for (int64_t offset : offsets) sum = fold->add(sum, from[start + offset]);
          *to++ = static_cast<float>(fold->finish(sum));
        }
      },
      {{0, src}, {0, dst}});
  return c.Define(node, dst, /*activate=*/true);
}

}  // namespace infenclave::engine
