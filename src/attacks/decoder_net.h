// The decoder: from an IR, and a first reconstruction by ridge.h, to a better one.
//
// Residual 3x3 convolutions at the IR's own resolution, then at each doubling of it up to 56 by pixel shuffle (Shi et
// al. 2016); the last shuffle leads to 112. The first reconstruction joins at 56, and what comes out is added to it, so
// that training starts from the ridge regression's quality. A flat IR begins with a linear layer to 7x7.
#ifndef INFENCLAVE_ATTACKS_DECODER_NET_H_
#define INFENCLAVE_ATTACKS_DECODER_NET_H_

#include <vector>

#include "attacks/job_folder.h"

namespace infenclave {

class DecoderNet {
 public:
  // Weights drawn by seed (He et al. 2015).
  DecoderNet(const Grid& grid, uint64_t seed);

  std::vector<at::Tensor>& parameters() { return parameters_; }
  int64_t ParameterCount() const;

  // `ir` [n,channels,s,s], normalised; `first` [n,3,s patch,s patch]. s may be smaller than the grid's side: a window.
  at::Tensor Forward(const std::vector<at::Tensor>& parameters, const at::Tensor& ir, const at::Tensor& first) const;

 private:
  // Index into the parameters: weight, then bias.
  struct Layer {
    size_t at = 0;
    int64_t kernel = 1;
  };
  struct Stage {
    std::vector<std::pair<Layer, Layer>> blocks;
    Layer up;  // to the next stage
  };
  Layer Add(int64_t in, int64_t out, int64_t kernel, double gain);

  Grid grid_;
  std::vector<at::Tensor> parameters_;
  uint64_t seed_;
  Layer stem_, join_, head_;
  std::vector<Stage> stages_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ATTACKS_DECODER_NET_H_
