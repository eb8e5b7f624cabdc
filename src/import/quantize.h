// Post-training quantisation: a simplified f32 graph to one with QuantizeLinear and DequantizeLinear around what can
// compute in int8, for ranges that calibration has observed.
//
// Conv, Gemm and MatMul with constant weights, Add of two computed operands, pooling, Concat and changes of shape are
// quantised; everything else stays in f32. Weights are i8, symmetric, one scale per output channel; activations one
// scale per tensor: u8 from zero where they are not negative, i8 around zero where they are about as wide on both
// sides, else u8 with a zero point. Pools, Concat and changes of shape keep the scale of what they carry.
#ifndef INFENCLAVE_IMPORT_QUANTIZE_H_
#define INFENCLAVE_IMPORT_QUANTIZE_H_

#include <map>
#include <span>
#include <vector>

#include "graph/graph.h"

namespace infenclave {

struct Range {
  float low = 0, high = 0;
};

// Collects a tensor's values over photographs: extremes on a first pass, a histogram between them on a second.
class RangeObserver {
 public:
  void ObserveExtremes(std::span<const float> values);
  void ObserveHistogram(std::span<const float> values);
  // The extremes less a small share of the values at either end.
  Range Choose() const;

 private:
  static constexpr size_t kBins = 2048;
  Range extremes_;
  std::vector<int64_t> bins_;
};

// The values that Quantize would make integers, in the order of the graph.
StatusOr<std::vector<ValueId>> QuantizedValues(const Graph& graph);
// A range for each of them is needed. INVALID_ARGUMENT for a graph that is quantised already or has nothing to
// quantise.
StatusOr<Graph> Quantize(Graph graph, const std::map<ValueId, Range>& ranges);

}  // namespace infenclave

#endif  // INFENCLAVE_IMPORT_QUANTIZE_H_
