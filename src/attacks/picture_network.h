// A network, stored as a graph beside its preprocessing, applied to pictures so that a gradient leads back to them.
#ifndef INFENCLAVE_ATTACKS_PICTURE_NETWORK_H_
#define INFENCLAVE_ATTACKS_PICTURE_NETWORK_H_

#include <map>
#include <string>

#include "attacks/torch_network.h"
#include "protocol/preprocessing.h"

namespace infenclave {

// [n,3,h,w] to another size, as image/Resize does (bilinear, antialiased).
at::Tensor ResizePictures(const at::Tensor& pictures, int64_t height, int64_t width);

class PictureNetwork {
 public:
  // The graph's input is [1,3,H,W], of the preprocessing's size; errors name the file.
  static StatusOr<PictureNetwork> Open(const std::string& graph_path, const std::string& preprocessing_path);

  int64_t height() const { return preprocessing_.height; }
  int64_t width() const { return preprocessing_.width; }
  const Shape& output_shape() const { return output_shape_; }  // of one picture, without the batch

  // RGB [n,3,H,W] in 0..1.
  StatusOr<at::Tensor> Run(const at::Tensor& pictures);

 private:
  StatusOr<const TorchNetwork*> OfBatch(int64_t n);

  std::string path_;
  Graph graph_;
  Preprocessing preprocessing_;
  Shape output_shape_;
  std::map<int64_t, TorchNetwork> networks_;  // by batch
};

}  // namespace infenclave

#endif  // INFENCLAVE_ATTACKS_PICTURE_NETWORK_H_
