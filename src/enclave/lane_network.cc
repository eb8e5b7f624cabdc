#include "enclave/lane_network.h"

#include <utility>

#include "crypto/secret.h"

namespace infenclave {

LaneNetwork::LaneNetwork(const Shape& input, const Shape& output, const EnclaveOptions& options)
    : input_(input), output_(output), threads_(options.threads_per_lane), lanes_(static_cast<size_t>(options.lanes)) {
  input_.insert(input_.begin(), 1);
  output_.insert(output_.begin(), 1);
}

Status LaneNetwork::Compile(const Graph& graph, std::string_view part, int lane) {
  EngineOptions options;
  options.threads = threads_;
  options.memory = SecretMemory();
  options.weights = weights_;
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(graph, options));
  if (network.input_shapes() != std::vector<Shape>{input_} || network.output_shapes() != std::vector<Shape>{output_}) {
    return InvalidArgument("the ", part, " does not go from ", ToString(input_), " to ", ToString(output_),
                           ", as its manifest says");
  }
  Lane& self = lanes_[static_cast<size_t>(lane)];
  self.network = std::move(network);
  self.output = Tensor(DType::kF32, output_, SecretMemory());
  return OkStatus();
}

StatusOr<std::span<const float>> LaneNetwork::Run(std::span<const float> input, int lane) {
  Lane& self = lanes_[static_cast<size_t>(lane)];
  INFENCLAVE_CHECK(self.network.has_value());
  const TensorView inputs[] = {{DType::kF32, input_, input.data()}};
  const MutableTensorView outputs[] = {self.output.mutable_view()};
  INFENCLAVE_RETURN_IF_ERROR(self.network->Run(inputs, outputs));
  return std::as_const(self.output).as<float>();
}

}  // namespace infenclave
