// The one table of operators: everything that `graph` and the modules above it know about an operator, except its
// compilation, which is the engine's.
//
// Semantics and attribute names are those of the newest ONNX opset (import brings older forms to it). The graph
// computes in f32: Cast to any floating type yields f32. Integers are there between QuantizeLinear and
// DequantizeLinear, around which the engine computes in int8. An operator that is not in the table is opaque.
//
// A new operator is one row in operators.cc: its name, arity and attributes (any other attribute is refused by name),
// and its rules. An elementwise function of one variable needs a scalar function and nothing else.
#ifndef INFENCLAVE_GRAPH_OPERATORS_H_
#define INFENCLAVE_GRAPH_OPERATORS_H_

#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace infenclave {

struct TensorType {
  DType dtype = DType::kF32;
  Shape shape;
};

// A node as its rules see it. Inputs' shapes are known.
struct NodeView {
  const Graph& graph;
  const Node& node;

  bool Has(size_t i) const { return i < node.inputs.size() && node.inputs[i] != kNoValue; }
  const Value& in(size_t i) const { return graph.value(node.inputs[i]); }
  const Shape& shape(size_t i) const { return in(i).shape; }
  // The input's data if it is a constant, else nullptr.
  const Tensor* Constant(size_t i) const;
  // The values of a constant i64 or i32 list or scalar; an error that names it if it is anything else, or longer.
  StatusOr<std::vector<int64_t>> Ints(size_t i, int64_t limit = 2 * kMaxRank) const;
  // Output 0 after inference.
  const Value& out() const { return graph.value(node.outputs[0]); }
};

// How an operator treats dimension 1, the channels (and, after the last layer, the classes).
enum class ChannelRule : uint8_t {
  kMixes,        // an output channel depends on several input channels, or channels move
  kElementwise,  // an output element depends on the inputs' elements at the same (broadcast) place alone
  kPerChannel,   // every channel is treated alone, and all of them alike
  kSymmetric,    // channels mix, but permuting them before or after is the same (Softmax)
};

// A function of one variable and up to two parameters.
struct ScalarFunction {
  float (*f)(float x, float alpha, float beta) = nullptr;
  std::string_view alpha_name = {};  // attribute that overrides `alpha`
  float alpha = 0;
  std::string_view beta_name = {};
  float beta = 0;
};

inline constexpr int kManyInputs = 1 << 12;

struct Operator {
  std::string_view name;
  int min_inputs = 1, max_inputs = 1;
  std::string_view attributes = {};  // names, separated by spaces
  // Checks attributes, ranks and dtypes, and gives one type per output that is supported.
  StatusOr<std::vector<TensorType>> (*infer)(const NodeView&) = nullptr;
  // Per element of output 0. FLOPs are as in cuts.h; nullptr is one.
  double (*flops)(const NodeView&) = nullptr;
  // Output 0 from inputs that are all constants (of inferred, checked shapes); nullptr: not folded.
  StatusOr<Tensor> (*evaluate)(const NodeView&) = nullptr;
  ChannelRule channels = ChannelRule::kMixes;
  bool any_type = false;    // else every input must be f32
  bool fuses = false;       // the engine can apply a FusedActivation to its result
  bool view = false;        // output 0 is input 0's elements in the same order: memory can be shared
  bool shape_only = false;  // depends on its inputs' shapes alone, so it folds with inputs that are no constants
  FusedActivation::Kind activation = FusedActivation::Kind::kNone;  // what it becomes when it is fused
  ScalarFunction scalar = {};                                       // set for elementwise functions of input 0
};

// nullptr if there is none: the node is opaque.
const Operator* FindOperator(std::string_view domain, std::string_view op);
// Also nullptr for a node that carries its ONNX encoding: a known operator whose input's shape nothing tells.
inline const Operator* OperatorOf(const Node& node) {
  return node.opaque.empty() ? FindOperator(node.domain, node.op) : nullptr;
}
inline bool IsOpaque(const Node& node) { return OperatorOf(node) == nullptr; }
// Every operator's name, sorted.
std::vector<std::string_view> OperatorNames();

// The types of a known operator's outputs, after all checks of the table. Errors say which node.
StatusOr<std::vector<TensorType>> InferNode(const NodeView& view);
// FLOPs of the whole node for its inferred shapes.
double FlopsOf(const NodeView& view);

// The parameters of a ScalarFunction's node: attributes, or Clip's constant bounds (infinite where absent).
struct ScalarParameters {
  float alpha = 0, beta = 0;
};
StatusOr<ScalarParameters> ScalarParametersOf(const NodeView& view);

// The sliding window of Conv and the pooling operators, auto_pad resolved: one entry per spatial dimension. With
// ceil_mode the last window may reach beyond pads_end.
struct Window {
  std::vector<int64_t> kernel, strides, dilations, pads_begin, pads_end, output;
};
StatusOr<Window> WindowOf(const NodeView& view);

// Broadcast as ONNX and numpy do.
StatusOr<Shape> BroadcastShapes(const Shape& a, const Shape& b);
// -rank..rank-1 to 0..rank-1.
StatusOr<int64_t> NormalizeAxis(int64_t axis, size_t rank);
// The normalised, sorted axes of a Reduce operator (input 1 or attribute; all of them if it names none).
StatusOr<std::vector<int64_t>> ReducedAxes(const NodeView& view);

// Slice with constant bounds: per dimension of the input, first index and step (not 0); the output has the counts.
struct SliceBounds {
  std::vector<int64_t> start, step;
  Shape shape;
};
StatusOr<SliceBounds> SliceBoundsOf(const NodeView& view);
// Resize's factor per dimension of the input, from its constant scales or sizes.
StatusOr<std::vector<double>> ResizeScalesOf(const NodeView& view);
// What QuantizeLinear and DequantizeLinear say: real = scale (integer - zero). One scale, or for constants one per
// index of `axis`.
struct QuantizationParameters {
  DType dtype = DType::kU8;  // of the integers
  std::vector<float> scales;
  int32_t zero = 0;
  size_t axis = 0;
};
StatusOr<QuantizationParameters> QuantizationOf(const NodeView& view);
// A DequantizeLinear's result, where its input is a constant.
StatusOr<Tensor> Dequantize(const NodeView& view, std::pmr::memory_resource* memory = std::pmr::get_default_resource());
// Pad's constant amounts per dimension of the input, begin and end.
struct PadAmounts {
  std::vector<int64_t> begin, end;
};
StatusOr<PadAmounts> PadAmountsOf(const NodeView& view);

}  // namespace infenclave

#endif  // INFENCLAVE_GRAPH_OPERATORS_H_
