#include "attacks/picture_network.h"

#include "base/file.h"
#include "graph/passes.h"
#include "graph/serialize.h"
#include "image/image.h"

namespace infenclave {

at::Tensor ResizePictures(const at::Tensor& pictures, int64_t height, int64_t width) {
  if (pictures.size(2) == height && pictures.size(3) == width) return pictures;
  return at::_upsample_bilinear2d_aa(pictures, at::IntArrayRef({height, width}), /*align_corners=*/false, c10::nullopt,
                                     c10::nullopt);
}

StatusOr<PictureNetwork> PictureNetwork::Open(const std::string& graph_path, const std::string& preprocessing_path) {
  PictureNetwork network;
  network.path_ = graph_path;
  INFENCLAVE_ASSIGN_OR_RETURN(const Bytes encoded, ReadFile(graph_path, kMaxGraphBytes));
  StatusOr<Graph> graph = DecodeGraph(encoded);
  if (!graph.ok()) return Annotate(graph.status(), graph_path);
  network.graph_ = *std::move(graph);
  INFENCLAVE_ASSIGN_OR_RETURN(network.preprocessing_, LoadPreprocessing(preprocessing_path));
  INFENCLAVE_ASSIGN_OR_RETURN(const TorchNetwork* one, network.OfBatch(1));
  if (one->input_shape() != Shape{1, 3, network.height(), network.width()}) {
    return InvalidArgument(graph_path, ": input ", ToString(one->input_shape()), " is not [1,3,", network.height(), ",",
                           network.width(), "], as ", preprocessing_path, " says");
  }
  if (one->output_shape().empty()) return InvalidArgument(graph_path, ": the output is a scalar");
  network.output_shape_.assign(one->output_shape().begin() + 1, one->output_shape().end());
  return network;
}

StatusOr<const TorchNetwork*> PictureNetwork::OfBatch(int64_t n) {
  if (const auto found = networks_.find(n); found != networks_.end()) return &found->second;
  StatusOr<Graph> batched = WithBatch(graph_.Clone(), n);
  if (!batched.ok()) return Annotate(batched.status(), path_);
  StatusOr<TorchNetwork> network = TorchNetwork::Create(*batched);
  if (!network.ok()) return Annotate(network.status(), path_);
  return &networks_.emplace(n, *std::move(network)).first->second;
}

StatusOr<at::Tensor> PictureNetwork::Run(const at::Tensor& pictures) {
  INFENCLAVE_ASSIGN_OR_RETURN(const TorchNetwork* network, OfBatch(pictures.size(0)));
  const Preprocessing& p = preprocessing_;
  const at::Tensor ordered = p.channels == Preprocessing::Channels::kBgr ? pictures.flip(1) : pictures;
  const at::Tensor mean = at::tensor({p.mean[0], p.mean[1], p.mean[2]}).view({1, 3, 1, 1}),
                   scale = at::tensor({p.scale[0], p.scale[1], p.scale[2]}).view({1, 3, 1, 1});
  return network->Forward((255 * ordered - mean) * scale);
}

}  // namespace infenclave
