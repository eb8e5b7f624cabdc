// A slow interpreter of graphs, written from ONNX's definitions and apart from the engine: what the passes are held to.
#ifndef INFENCLAVE_TESTS_GRAPH_REFERENCE_H_
#define INFENCLAVE_TESTS_GRAPH_REFERENCE_H_

#include <map>
#include <string>

#include "graph/graph.h"

namespace infenclave {

// Evaluates the graph (convolutions and pooling in two dimensions) on inputs filled with a fixed pseudo-random pattern
// in [-1, 1], and returns its outputs by name.
std::map<std::string, Tensor> Evaluate(const Graph& graph);

// Both graphs' outputs agree in name, shape and, to 1e-5 of the largest element, value.
void ExpectSameFunction(const Graph& expected, const Graph& actual);

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_GRAPH_REFERENCE_H_
