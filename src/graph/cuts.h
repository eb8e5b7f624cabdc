// Where a network can be cut in two, and what a cut costs.
//
// A cut point is a tensor that every path from the input to the output passes through (a single-vertex dominator of
// the output), constants aside. The input and the output themselves are none, nor is what a QuantizeLinear or a
// DequantizeLinear gives: a quantised network is cut before it quantises. Order: from the input on; `depth` is the
// index in that order.
#ifndef INFENCLAVE_GRAPH_CUTS_H_
#define INFENCLAVE_GRAPH_CUTS_H_

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/graph.h"

namespace infenclave {

// One graph input and one graph output are needed.
StatusOr<std::vector<ValueId>> CutPoints(const Graph& graph);
// The cut point of that name, else NOT_FOUND with the nearest ones.
StatusOr<ValueId> FindCut(const Graph& graph, std::string_view name);

struct Partition {
  Graph front, back;
};
// front: input -> cut; back: cut -> output. The tensor keeps its name on both sides; each side has the constants it
// needs, and shares them with `graph`.
StatusOr<Partition> SplitAt(const Graph& graph, ValueId cut);
// The part that computes any one tensor from the graph's inputs.
StatusOr<Graph> UpTo(const Graph& graph, ValueId tensor);

// FLOPs count a multiply and an add as two; elementwise operators and pooling one per output element and tap.
// An opaque node counts as zero and sets `opaque`.
struct Cost {
  int64_t flops = 0;
  int64_t weight_bytes = 0;  // f32, and i8 where quantised
  // The arena (graph/memory_plan.h) for f32 (or quantised) activations of the graph's batch, input and output included;
  // operators that only change the shape share their input's memory.
  int64_t peak_bytes = 0;
  bool opaque = false;
};
StatusOr<Cost> CostOf(const Graph& graph);

}  // namespace infenclave

#endif  // INFENCLAVE_GRAPH_CUTS_H_
