// A network inside the enclave beside the FrontNet: the tail, or the audits' own copy of the BackNet. One compiled
// instance per lane, from f32 to f32, with its output in secret memory.
#ifndef INFENCLAVE_ENCLAVE_LANE_NETWORK_H_
#define INFENCLAVE_ENCLAVE_LANE_NETWORK_H_

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "enclave/enclave_core.h"
#include "engine/compiled_network.h"

namespace infenclave {

class LaneNetwork {
 public:
  // Shapes of one request, without the batch.
  LaneNetwork(const Shape& input, const Shape& output, const EnclaveOptions& options);

  // On the lane's thread. INVALID_ARGUMENT, naming `part`, if the graph goes between other shapes.
  Status Compile(const Graph& graph, std::string_view part, int lane);

  // On the lane's thread. What it returns is valid until the lane's next Run.
  StatusOr<std::span<const float>> Run(std::span<const float> input, int lane);

 private:
  struct Lane {
    std::optional<CompiledNetwork> network;
    Tensor output;
  };
  Shape input_, output_;
  const int threads_;
  const std::shared_ptr<PackedWeights> weights_ = std::make_shared<PackedWeights>();  // all lanes'
  std::vector<Lane> lanes_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ENCLAVE_LANE_NETWORK_H_
