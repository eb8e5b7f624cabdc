#include "attacks/torch_network.h"

#include "attacks/torch_operators.h"

namespace infenclave {

StatusOr<TorchNetwork> TorchNetwork::Create(const Graph& graph) {
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1) {
    return InvalidArgument("graph '", graph.name, "': ", graph.inputs.size(), " inputs and ", graph.outputs.size(),
                           " outputs, expected one of each");
  }
  TorchNetwork network;
  network.input_ = graph.inputs[0];
  network.output_ = graph.outputs[0];
  network.input_shape_ = graph.value(network.input_).shape;
  network.output_shape_ = graph.value(network.output_).shape;
  network.constants_.resize(graph.values.size());
  for (const auto& [id, constant] : graph.constants) {
    if (constant->dtype() != DType::kF32) continue;  // the others are read when the nodes are mapped
    at::Tensor& copy = network.constants_[static_cast<size_t>(id)];
    copy = at::empty(constant->shape(), at::kFloat);
    if (!constant->empty()) std::memcpy(copy.data_ptr(), constant->data(), constant->bytes());
  }
  std::vector<int> last_reader(graph.values.size(), -1);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    StatusOr<Function> function = TorchOperator({graph, node});
    if (!function.ok()) return Annotate(function.status(), Concat(node.op, " '", node.name, "'"));
    if (node.activation.kind != FusedActivation::Kind::kNone) {
      function = [plain = *std::move(function), activation = node.activation](std::span<const at::Tensor> in) {
        std::vector<at::Tensor> out = plain(in);
        out[0] = Activate(activation, out[0]);
        return out;
      };
    }
    network.steps_.push_back({node.inputs, node.outputs, *std::move(function), {}});
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) last_reader[static_cast<size_t>(id)] = static_cast<int>(i);
    }
  }
  for (size_t id = 0; id < last_reader.size(); ++id) {
    if (last_reader[id] < 0 || static_cast<ValueId>(id) == network.output_) continue;
    network.steps_[static_cast<size_t>(last_reader[id])].last_read.push_back(static_cast<ValueId>(id));
  }
  return network;
}

at::Tensor TorchNetwork::Forward(const at::Tensor& input) const {
  std::vector<at::Tensor> values = constants_;
  values[static_cast<size_t>(input_)] = input;
  std::vector<at::Tensor> in;
  for (const Step& step : steps_) {
    in.clear();
    for (const ValueId id : step.inputs) in.push_back(id == kNoValue ? at::Tensor() : values[static_cast<size_t>(id)]);
    std::vector<at::Tensor> out = step.compute(in);
    for (size_t i = 0; i < out.size() && i < step.outputs.size(); ++i) {
      if (step.outputs[i] != kNoValue) values[static_cast<size_t>(step.outputs[i])] = std::move(out[i]);
    }
    for (const ValueId id : step.last_read) values[static_cast<size_t>(id)] = at::Tensor();
  }
  return values[static_cast<size_t>(output_)];
}

}  // namespace infenclave
