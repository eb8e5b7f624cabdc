#include <cstring>

#include "engine/compiled_network.h"
#include "host/backnet.h"
#include "import/model.h"

namespace infenclave {
namespace {

class Builtin final : public BackNet {
 public:
  Builtin(CompiledNetwork network, const BackNetShape& shape)
      : network_(std::move(network)), shape_(shape), input_(DType::kF32, WithBatch(1, shape.ir)) {}

  Started Start(const Batch& batch, Done) override { return {Run(batch), nullptr}; }

 private:
  Status Run(const Batch& batch) {
    for (int64_t i = 0; i < batch.size; ++i) {
      const ByteSpan one = batch.ir.subspan(static_cast<size_t>(i) * shape_.ir_bytes(), shape_.ir_bytes());
      const TensorView input = AsInput(one);
      const MutableTensorView scores{DType::kF32, network_.output_shapes()[0],
                                     batch.output.data() + static_cast<size_t>(i) * shape_.output_floats()};
      INFENCLAVE_RETURN_IF_ERROR(network_.Run({&input, 1}, {&scores, 1}));
    }
    return OkStatus();
  }

  // In place where the engine can read it; widened or moved to an aligned place where it cannot.
  TensorView AsInput(ByteSpan ir) {
    if (shape_.ir_dtype == DType::kF32 && reinterpret_cast<uintptr_t>(ir.data()) % alignof(float) == 0) {
      return {DType::kF32, network_.input_shapes()[0], ir.data()};
    }
    if (shape_.ir_dtype == DType::kF32) {
      std::memcpy(input_.data(), ir.data(), ir.size());
      return input_.view();
    }
    std::span<float> wide = input_.as<float>();
    for (size_t i = 0; i < wide.size(); ++i) {
      uint16_t narrow;
      std::memcpy(&narrow, ir.data() + i * sizeof(narrow), sizeof(narrow));
      wide[i] = Bf16ToF32(narrow);
    }
    return input_.view();
  }

  CompiledNetwork network_;
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
    INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(*graph, {.weights = weights}));
    return std::make_unique<Builtin>(std::move(network), shape);
  });
}

}  // namespace infenclave
