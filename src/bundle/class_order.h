// The secret order of the classes: drawn at random, and put into the BackNet's last linear layer, so that the position
// of a score says nothing of its class.
#ifndef INFENCLAVE_BUNDLE_CLASS_ORDER_H_
#define INFENCLAVE_BUNDLE_CLASS_ORDER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "graph/graph.h"

namespace infenclave {

// A permutation of 0..n-1, every one of them equally likely (Fisher and Yates, with rejection for the bias).
std::vector<uint32_t> DrawClassOrder(uint32_t n);

// The number of classes: the output's one dimension beside the batch that is not 1. INVALID_ARGUMENT for another shape.
StatusOr<uint32_t> CountClasses(const Graph& graph);

// Takes a Softmax (or LogSoftmax) over the classes off the end, where only changes of shape follow it: the enclave
// applies it.
StatusOr<Graph> StripFinalSoftmax(Graph graph);

// The same network with class order[i] at position i of its scores: rows of the last linear layers are permuted, and
// everything behind them commutes with that. INVALID_ARGUMENT, naming the node in the way, where it does not.
StatusOr<Graph> PermuteClasses(Graph graph, std::span<const uint32_t> order);

}  // namespace infenclave

#endif  // INFENCLAVE_BUNDLE_CLASS_ORDER_H_
