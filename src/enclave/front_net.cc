#include "enclave/front_net.h"

#include <bit>
#include <cstring>
#include <utility>

#include "crypto/secret.h"

namespace infenclave {
namespace {

Shape WithBatchOne(Shape shape) {
  shape.insert(shape.begin(), 1);
  return shape;
}

}  // namespace

void ToBf16(std::span<const float> in, MutableByteSpan out) {
  INFENCLAVE_CHECK(out.size() == in.size() * sizeof(uint16_t));
  uint8_t* to = out.data();
  for (float value : in) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40u;
    const uint32_t is_nan = uint32_t{0} - static_cast<uint32_t>((bits & 0x7fffffffu) > 0x7f800000u);
    const uint16_t narrow = static_cast<uint16_t>((quiet & is_nan) | (rounded & ~is_nan));
    std::memcpy(to, &narrow, sizeof(narrow));
    to += sizeof(narrow);
  }
}

FrontNet::FrontNet(const Manifest& manifest, const EnclaveOptions& options, ByteSpan key)
    : manifest_(manifest), threads_(options.threads_per_lane), lanes_(static_cast<size_t>(options.lanes)) {
  size_t elements = 1;
  for (int64_t extent : manifest.ir_shape) elements *= static_cast<size_t>(extent);
  ir_bytes_ = elements * SizeOf(manifest.ir_dtype);
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
  if (noise_ || manifest_.ir_dtype == DType::kBf16) self.output = Tensor(DType::kF32, output, SecretMemory());
  return OkStatus();
}

Status FrontNet::Run(ByteSpan rgb, MutableByteSpan ir, int lane) {
  Lane& self = lanes_[static_cast<size_t>(lane)];
  INFENCLAVE_CHECK(self.network.has_value() && ir.size() == ir_bytes_);
  Normalize(manifest_.preprocessing, rgb, self.input.as<float>());
  const TensorView inputs[] = {self.input.view()};
  if (noise_ || manifest_.ir_dtype == DType::kBf16) {
    const MutableTensorView outputs[] = {self.output.mutable_view()};
    INFENCLAVE_RETURN_IF_ERROR(self.network->Run(inputs, outputs));
    if (noise_) noise_->Add(rgb, self.output.as<float>());
    if (manifest_.ir_dtype == DType::kBf16) {
      ToBf16(self.output.as<float>(), ir);
    } else {
      std::memcpy(ir.data(), self.output.as<float>().data(), ir.size());
    }
    return OkStatus();
  }
  // What goes out is for the host to read: it needs no secret memory on its way.
  const MutableTensorView outputs[] = {{DType::kF32, self.network->output_shapes().front(), ir.data()}};
  return self.network->Run(inputs, outputs);
}

}  // namespace infenclave
