// The intermediate representations of a photograph at many cuts at once: one network whose outputs are all of them.
#ifndef INFENCLAVE_ASSESSMENT_FRONT_NET_H_
#define INFENCLAVE_ASSESSMENT_FRONT_NET_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/compiled_network.h"
#include "graph/graph.h"
#include "image/image.h"
#include "protocol/preprocessing.h"

namespace infenclave {

// The maps of one cut that the oracle is shown: the same for every photograph.
struct MapChoice {
  int maps = 0, height = 0, width = 0;
  std::vector<int> chosen;     // ascending
  std::string not_applicable;  // why none is
};
// Maps are the channels of a tensor [1,C,H,W] with H W > 1. At most `limit` (0: all), drawn by seed and name of the
// cut.
MapChoice ChooseMaps(const Value& cut, int limit, uint64_t seed);

// Belongs to one thread (engine/compiled_network.h).
class FrontNet {
 public:
  // Cuts without chosen maps are not computed.
  static StatusOr<FrontNet> Create(const Graph& model, const Preprocessing& preprocessing,
                                   const std::vector<ValueId>& cuts, const std::vector<MapChoice>& choices);

  Status Run(const Image& photograph);
  // [height,width] of the last Run, for the cut of that index.
  std::span<const float> Map(size_t cut, int map, const MapChoice& choice) const;

 private:
  FrontNet() = default;
  Preprocessing preprocessing_;
  std::optional<CompiledNetwork> network_;
  Tensor input_;
  std::vector<Tensor> tensors_;
  std::vector<int> outputs_;  // of each cut, -1 where it is not computed
};

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_FRONT_NET_H_
