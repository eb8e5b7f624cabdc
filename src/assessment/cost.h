// What a cut costs: counted from the graph, and measured on this machine.
#ifndef INFENCLAVE_ASSESSMENT_COST_H_
#define INFENCLAVE_ASSESSMENT_COST_H_

#include "assessment/assessment.h"
#include "graph/graph.h"

namespace infenclave {

// The FrontNet and the BackNet of the cut are compiled in turn and run on one thread. A side with opaque operators has
// no latency.
StatusOr<CutCost> MeasureCost(const Graph& graph, ValueId cut, int64_t total_flops);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_COST_H_
