// Darknet models in: a `.cfg` (the network) and a `.weights` file (its parameters) to a simplified Graph.
//
// Reads every layer that Darknet's classifiers use: convolutional (groups, batch_normalize, flipped), connected,
// maxpool, avgpool, softmax, dropout, route, shortcut, crop, activation, batchnorm and cost; a layer of another kind
// (detectors, recurrent ones) is refused by name. Darknet's own arithmetic holds: batch normalisation adds its 1e-6 to
// the deviation and not to the variance, max pooling pads by size-1 in all unless told otherwise, a shortcut between
// unequal shapes adds what the two have in common.
//
// Values are called "layerNN" after the layer in the order of the cfg, the activation applied; the input is "input",
// f32 [1,channels,height,width] in RGB and, as Darknet has it, in 0..1.
#ifndef INFENCLAVE_IMPORT_DARKNET_H_
#define INFENCLAVE_IMPORT_DARKNET_H_

#include <string_view>

#include "base/bytes.h"
#include "graph/graph.h"

namespace infenclave {

inline constexpr size_t kMaxDarknetCfgBytes = 1 << 20;
inline constexpr size_t kMaxDarknetLayers = 2048;
inline constexpr size_t kMaxDarknetWeightBytes = size_t{2} << 30;

// INVALID_ARGUMENT names the layer and its line; weights that end early, or are not used up, do not belong to the cfg.
StatusOr<Graph> ImportDarknet(std::string_view cfg, ByteSpan weights);

}  // namespace infenclave

#endif  // INFENCLAVE_IMPORT_DARKNET_H_
