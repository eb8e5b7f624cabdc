#include "assessment/front_net.h"

#include <utility>

#include "assessment/statistics.h"
#include "graph/passes.h"

namespace infenclave {

MapChoice ChooseMaps(const Value& cut, int limit, uint64_t seed) {
  MapChoice choice;
  if (cut.shape.size() != 4) {
    choice.not_applicable = "the tensor has no height and width";
    return choice;
  }
  choice.maps = static_cast<int>(cut.shape[1]);
  choice.height = static_cast<int>(cut.shape[2]);
  choice.width = static_cast<int>(cut.shape[3]);
  if (choice.height * choice.width <= 1) {
    choice.not_applicable = "the maps have one pixel";
    return choice;
  }
  for (char c : cut.name) seed = Random(seed ^ static_cast<uint8_t>(c)).Next();
  Random random(seed);
  choice.chosen = Sample(choice.maps, limit == 0 ? choice.maps : limit, random);
  return choice;
}

StatusOr<FrontNet> FrontNet::Create(const Graph& model, const Preprocessing& preprocessing,
                                    const std::vector<ValueId>& cuts, const std::vector<MapChoice>& choices) {
  const Shape want = {1, 3, preprocessing.height, preprocessing.width};
  if (model.inputs.size() != 1 || model.value(model.inputs[0]).shape != want) {
    return InvalidArgument("the model's input is not the ", ToString(want),
                           " that its preprocessing makes: choose it with --preprocessing");
  }
  FrontNet front;
  front.preprocessing_ = preprocessing;
  front.input_ = Tensor(DType::kF32, want);
  Graph graph = model.Clone();
  graph.outputs.clear();
  for (size_t i = 0; i < cuts.size(); ++i) {
    front.outputs_.push_back(choices[i].chosen.empty() ? -1 : static_cast<int>(graph.outputs.size()));
    if (!choices[i].chosen.empty()) graph.outputs.push_back(cuts[i]);
  }
  if (graph.outputs.empty()) return front;
  INFENCLAVE_ASSIGN_OR_RETURN(graph, RemoveDead(std::move(graph)));
  auto network = CompiledNetwork::Compile(graph, {});
  if (!network.ok()) return Annotate(network.status(), "FrontNet");
  front.network_.emplace(*std::move(network));
  for (const Shape& shape : front.network_->output_shapes()) front.tensors_.emplace_back(DType::kF32, shape);
  return front;
}

Status FrontNet::Run(const Image& photograph) {
  if (!network_) return OkStatus();
  Normalize(preprocessing_, Prepare(photograph, preprocessing_).rgb, input_.as<float>());
  const TensorView inputs[] = {input_.view()};
  std::vector<MutableTensorView> outputs;
  for (Tensor& tensor : tensors_) outputs.push_back(tensor.mutable_view());
  return network_->Run(inputs, outputs);
}

std::span<const float> FrontNet::Map(size_t cut, int map, const MapChoice& choice) const {
  const size_t size = static_cast<size_t>(choice.height) * choice.width;
  return tensors_[outputs_[cut]].as<float>().subspan(map * size, size);
}

}  // namespace infenclave
