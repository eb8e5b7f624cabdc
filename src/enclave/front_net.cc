#include "enclave/front_net.h"

#include <utility>

#include "crypto/secret.h"
#include "enclave/narrow_ir.h"

namespace infenclave {
namespace {

Shape WithBatchOne(Shape shape) {
  shape.insert(shape.begin(), 1);
  return shape;
}

}  // namespace

FrontNet::FrontNet(const Manifest& manifest, const EnclaveOptions& options, ByteSpan key)
    : manifest_(manifest),
      threads_(options.threads_per_lane),
      ir_bytes_(IrWireOf(manifest).bytes()),
      lanes_(static_cast<size_t>(options.lanes)) {
  if (manifest.ir_noise > 0) noise_.emplace(key, manifest.bundle_id, manifest.ir_noise);
}

Status FrontNet::Compile(const Graph& graph, int lane) {
  EngineOptions options;
  options.threads = threads_;
  options.memory = SecretMemory();
  options.weights = weights_;
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(graph, options));
  const Shape input = {1, 3, manifest_.preprocessing.height, manifest_.preprocessing.width};
  const Shape output = WithBatchOne(manifest_.ir_shape);
  if (network.input_shapes() != std::vector<Shape>{input} || network.output_shapes() != std::vector<Shape>{output}) {
    return InvalidArgument("the FrontNet does not go from ", ToString(input), " to ", ToString(output),
                           ", as its manifest says");
  }
  Lane& self = lanes_[static_cast<size_t>(lane)];
  self.network = std::move(network);
  self.input = Tensor(DType::kF32, input, SecretMemory());
  if (!goes_out_as_computed()) self.output = Tensor(DType::kF32, output, SecretMemory());
  return OkStatus();
}

Status FrontNet::Run(ByteSpan rgb, MutableByteSpan ir, int lane) {
  Lane& self = lanes_[static_cast<size_t>(lane)];
  INFENCLAVE_CHECK(self.network.has_value() && ir.size() == ir_bytes_);
  Normalize(manifest_.preprocessing, rgb, self.input.as<float>());
  const TensorView inputs[] = {self.input.view()};
  if (!goes_out_as_computed()) {
    const MutableTensorView outputs[] = {self.output.mutable_view()};
    INFENCLAVE_RETURN_IF_ERROR(self.network->Run(inputs, outputs));
    if (noise_) noise_->Add(rgb, self.output.as<float>());
    NarrowIr(manifest_, self.output.as<float>(), ir);
    return OkStatus();
  }
  // What goes out is for the host to read: it needs no secret memory on its way.
  const MutableTensorView outputs[] = {{DType::kF32, self.network->output_shapes().front(), ir.data()}};
  return self.network->Run(inputs, outputs);
}

}  // namespace infenclave
