// Passes over graphs: each takes a valid graph and returns a valid one that computes the same function. All but
// InferShapes, WithBatch, FoldConstants and RemoveDead need shapes that the table has inferred. Values are renumbered.
#ifndef INFENCLAVE_GRAPH_PASSES_H_
#define INFENCLAVE_GRAPH_PASSES_H_

#include "graph/graph.h"

namespace infenclave {

// Recomputes every shape from the inputs' (opaque nodes keep what they declare).
StatusOr<Graph> InferShapes(Graph graph);
// Sets dimension 0 of every input to `batch` and infers shapes again.
StatusOr<Graph> WithBatch(Graph graph, int64_t batch);
// What folding may make, in all, of a network: a few Expands in a hostile model would ask for any amount of memory.
class FoldingBudget {
 public:
  static constexpr size_t kAnyModel = size_t{1} << 30;

  explicit FoldingBudget(size_t bytes) : total_(bytes), left_(bytes) {}
  static FoldingBudget For(const Graph& graph) { return FoldingBudget(kAnyModel + 2 * graph.ConstantBytes()); }

  // The model turns out to have a constant of so many bytes.
  void Widen(size_t constant_bytes) { total_ += 2 * constant_bytes, left_ += 2 * constant_bytes; }
  // RESOURCE_EXHAUSTED where less is left than `result` takes.
  Status Take(const Value& result);

 private:
  size_t total_, left_;
};

// Infers shapes and evaluates nodes whose inputs are all constants on the way, so that Shape arithmetic ends up in the
// shapes that depend on it. What that makes is taken off `budget`; an error names the node that exceeds it.
StatusOr<Graph> FoldConstants(Graph graph, FoldingBudget& budget);
StatusOr<Graph> FoldConstants(Graph graph);
// Sum, Mean, and Min and Max of other than two operands become chains of operators of two: one form for all that
// follows.
StatusOr<Graph> ExpandVariadic(Graph graph);
// Identity, Dropout at inference, Reshape to the same shape, Cast to the same type, Pad by nothing, Concat of one, …
StatusOr<Graph> RemoveIdentities(Graph graph);
// HardSigmoid, HardSwish, Gelu and Mish where an exporter wrote them out of Add, Clip, Mul, Div, Erf, Tanh and
// Softplus; Pow by 2 and 1/2 as Mul and Sqrt.
StatusOr<Graph> RecognizeOperators(Graph graph);
// y = gamma (x - mean) / sqrt(var + eps) + beta after Conv, Gemm or MatMul goes into its weights, and so do Mul, Add,
// Sub and Div by a constant per channel. A BatchNormalization standing alone becomes a depthwise 1x1 convolution, or a
// Mul and an Add for matrices.
StatusOr<Graph> FoldBatchNorm(Graph graph);
// Constant Pad before Conv or pooling goes into its pads where the values agree.
StatusOr<Graph> FoldPad(Graph graph);
// Relu, Clip, … whose input has no other reader go into the producer's FusedActivation. The fused node then produces
// the activation's output under its name.
StatusOr<Graph> FuseActivations(Graph graph);
// Drops nodes and constants that no output needs.
StatusOr<Graph> RemoveDead(Graph graph);

// All of the above in the order that works, to a fixed point: what import runs, and what cut points are defined on.
StatusOr<Graph> Simplify(Graph graph);
StatusOr<Graph> Simplify(Graph graph, FoldingBudget budget);

}  // namespace infenclave

#endif  // INFENCLAVE_GRAPH_PASSES_H_
