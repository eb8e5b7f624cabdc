// A slow interpreter of graphs, written from ONNX's definitions and apart from the engine: what the passes are held to.
#ifndef INFENCLAVE_TESTS_GRAPH_REFERENCE_H_
#define INFENCLAVE_TESTS_GRAPH_REFERENCE_H_

#include <map>
#include <string>

#include "graph/graph.h"

namespace infenclave {

// Evaluates the graph (convolutions and pooling in two dimensions) and returns its outputs by name. Inputs that are not
// given by name hold a fixed pseudo-random pattern in [-1, 1].
std::map<std::string, Tensor> Evaluate(const Graph& graph, const std::map<std::string, Tensor>& given = {});

// The same names, shapes and, to 1e-5 of the largest element, values.
void ExpectSame(const std::map<std::string, Tensor>& expected, const std::map<std::string, Tensor>& actual);
void ExpectSameFunction(const Graph& expected, const Graph& actual);

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_GRAPH_REFERENCE_H_
