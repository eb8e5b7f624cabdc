#include <algorithm>
#include <cstring>
#include <iterator>

#include "engine/compiled_network.h"
#include "host/backnet.h"
#include "import/model.h"

namespace infenclave {
namespace {

// Requests that are computed together read the weights once; more than four gained nothing on EfficientNet-Lite0.
constexpr int kBatches[] = {4, 2, 1};
// For each of them, of the time that `serve` takes to start the first time it sees a network.
constexpr std::chrono::milliseconds kMeasuring{200};

class Builtin final : public BackNet {
 public:
  // One network for each of kBatches, in that order.
  Builtin(std::vector<CompiledNetwork> networks, const BackNetShape& shape)
      : networks_(std::move(networks)), shape_(shape), input_(DType::kF32, WithBatch(kBatches[0], shape.ir)) {}

  Started Start(const Batch& batch, Done) override { return {Run(batch), nullptr}; }

 private:
  Status Run(Batch left) {
    for (size_t i = 0; i < std::size(kBatches); ++i) {
      const auto together = static_cast<size_t>(kBatches[i]);
      for (; left.size >= kBatches[i]; left.size -= kBatches[i]) {
        const TensorView input = AsInput(left.ir.first(together * shape_.ir_bytes()), networks_[i].input_shapes()[0]);
        const MutableTensorView scores{DType::kF32, networks_[i].output_shapes()[0], left.output.data()};
        INFENCLAVE_RETURN_IF_ERROR(networks_[i].Run({&input, 1}, {&scores, 1}));
        left.ir = left.ir.subspan(together * shape_.ir_bytes());
        left.output = left.output.subspan(together * shape_.output_floats());
      }
    }
    return OkStatus();
  }

  // In place where the engine can read it; widened or moved to an aligned place where it cannot.
  TensorView AsInput(ByteSpan ir, const Shape& shape) {
    if (shape_.ir_dtype == DType::kF32 && reinterpret_cast<uintptr_t>(ir.data()) % alignof(float) == 0) {
      return {DType::kF32, shape, ir.data()};
    }
    if (shape_.ir_dtype == DType::kF32) {
      std::memcpy(input_.data(), ir.data(), ir.size());
      return {DType::kF32, shape, input_.data()};
    }
    if (shape_.ir_dtype == DType::kU8) {
      std::copy(ir.begin(), ir.end(), input_.as<float>().begin());
      return {DType::kF32, shape, input_.data()};
    }
    const std::span<float> wide = input_.as<float>().first(ir.size() / sizeof(uint16_t));
    for (size_t i = 0; i < wide.size(); ++i) {
      uint16_t narrow;
      std::memcpy(&narrow, ir.data() + i * sizeof(narrow), sizeof(narrow));
      wide[i] = Bf16ToF32(narrow);
    }
    return {DType::kF32, shape, input_.data()};
  }

  std::vector<CompiledNetwork> networks_;
  const BackNetShape shape_;
  Tensor input_;
};

Status CheckTensor(const Graph& graph, const std::vector<ValueId>& ids, const Shape& wanted, std::string_view what) {
  if (ids.size() != 1) return InvalidArgument("the BackNet has ", ids.size(), " ", what, "s, expected one");
  const Shape& shape = graph.value(ids[0]).shape;
  if (shape != WithBatch(1, wanted)) {
    return InvalidArgument("the BackNet's ", what, " has shape ", ToString(shape), ", the manifest says ",
                           ToString(WithBatch(1, wanted)));
  }
  return OkStatus();
}

}  // namespace

StatusOr<BackNetFactory> BuiltinBackNet(ByteSpan backnet_onnx, const BackNetShape& shape,
                                        std::shared_ptr<PackedWeights> weights) {
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel imported, ImportOnnx(backnet_onnx, ""));
  if (!imported.opaque.empty()) {
    return InvalidArgument("the BackNet has operators that the built-in engine does not know (", imported.opaque[0],
                           "): serve it elsewhere and name it with --backnet grpc://HOST:PORT/MODEL");
  }
  INFENCLAVE_RETURN_IF_ERROR(CheckTensor(imported.graph, imported.graph.inputs, shape.ir, "input"));
  INFENCLAVE_RETURN_IF_ERROR(CheckTensor(imported.graph, imported.graph.outputs, shape.output, "output"));
  // Shared by all workers, which read it only while they compile.
  auto graph = std::make_shared<const Graph>(std::move(imported.graph));
  return BackNetFactory([graph, shape, weights]() -> StatusOr<std::unique_ptr<BackNet>> {
    std::vector<CompiledNetwork> networks;
    for (int batch : kBatches) {
      INFENCLAVE_ASSIGN_OR_RETURN(
          CompiledNetwork network,
          CompiledNetwork::Compile(*graph, {.batch = batch, .measuring = kMeasuring, .weights = weights}));
      networks.push_back(std::move(network));
    }
    return std::make_unique<Builtin>(std::move(networks), shape);
  });
}

}  // namespace infenclave
