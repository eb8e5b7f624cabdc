#include "assessment/cost.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "assessment/statistics.h"
#include "engine/compiled_network.h"
#include "graph/cuts.h"

namespace infenclave {
namespace {

constexpr int kLeastRuns = 5, kMostRuns = 40;
constexpr double kSecondsPerSide = 0.2;

// The median over enough runs to be steady, of zeros: no operator of ours takes another time for other values.
Status MeasureLatency(CompiledNetwork& network, std::optional<double>& ms) {
  std::vector<Tensor> tensors;
  std::vector<TensorView> inputs;
  std::vector<MutableTensorView> outputs;
  tensors.reserve(network.input_shapes().size() + network.output_shapes().size());
  for (const Shape& shape : network.input_shapes()) inputs.push_back(tensors.emplace_back(DType::kF32, shape).view());
  for (const Shape& shape : network.output_shapes()) {
    outputs.push_back(tensors.emplace_back(DType::kF32, shape).mutable_view());
  }
  INFENCLAVE_RETURN_IF_ERROR(network.Run(inputs, outputs));
  std::vector<double> times;
  double sum = 0;
  while (static_cast<int>(times.size()) < kLeastRuns ||
         (sum < kSecondsPerSide * 1000 && static_cast<int>(times.size()) < kMostRuns)) {
    const auto start = std::chrono::steady_clock::now();
    INFENCLAVE_RETURN_IF_ERROR(network.Run(inputs, outputs));
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    sum += times.back();
  }
  ms = Quantile(std::move(times), 0.5);
  return OkStatus();
}

}  // namespace

StatusOr<CutCost> MeasureCost(const Graph& graph, ValueId cut, int64_t total_flops) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Partition sides, SplitAt(graph, cut));
  INFENCLAVE_ASSIGN_OR_RETURN(const Cost front, CostOf(sides.front));
  INFENCLAVE_ASSIGN_OR_RETURN(const Cost back, CostOf(sides.back));
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t elements, NumElements(graph.value(cut).shape));
  CutCost cost;
  cost.ir_bytes = elements * static_cast<int64_t>(sizeof(float));
  cost.flops = front.flops;
  cost.weight_bytes = front.weight_bytes;
  cost.peak_bytes = front.peak_bytes;
  cost.flops_share = total_flops > 0 ? static_cast<double>(front.flops) / static_cast<double>(total_flops) : 0;
  if (!front.opaque) {
    INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(sides.front, {}));
    cost.memory_bytes = static_cast<int64_t>(network.arena_bytes() + network.weight_bytes());
    INFENCLAVE_RETURN_IF_ERROR(MeasureLatency(network, cost.front_ms));
  }
  if (!back.opaque) {
    INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(sides.back, {}));
    INFENCLAVE_RETURN_IF_ERROR(MeasureLatency(network, cost.back_ms));
  }
  return cost;
}

}  // namespace infenclave
