// Dense 3x3 convolutions of stride 1 in bf16 by Winograd's F(2x2, 3x3) (Lavin and Gray, "Fast Algorithms for
// Convolutional Neural Networks", 2016): 16 products of matrices do what takes 36 multiply-adds for every tile of 2x2
// results. oneDNN has it in f32 only.
//
// Sums are in f32; what is multiplied are transformed pixels and weights, rounded to bf16. That adds to the rounding
// of the layer's own input about twice as much again.
#ifndef INFENCLAVE_ENGINE_WINOGRAD_H_
#define INFENCLAVE_ENGINE_WINOGRAD_H_

#include <string_view>

#include "engine/convolution.h"
#include "engine/rectifier.h"

namespace infenclave::engine {

class Winograd {
 public:
  // Whether there is a kernel for that, on this processor.
  static bool Takes(const ConvShape& shape, memory::data_type type);

  // `sum`: adds itself to what `dst` holds, before it is rectified.
  Winograd(const ConvShape& shape, const Rectifier& rectifier, bool sum, int threads);

  std::string_view name() const { return "winograd_2x3:avx512_core_bf16"; }
  // Channels in blocks of 16.
  memory::desc src_desc() const;
  memory::desc dst_desc() const;
  memory::desc weights_desc() const;  // a row of bf16, in the packer's order
  memory::desc scratch_desc() const;  // bytes

  Packer packer() const;  // of [out, in, 3, 3] in f32
  // Of src, weights, dst, scratch and, where the convolution has one, bias (f32).
  Kernel kernel() const;

 private:
  struct Plan {
    int64_t batch, in, out, height, width, out_height, out_width, pad_top, pad_left;
    int64_t tile_rows, tile_columns, tiles;  // tiles: of all pictures
    int64_t block;                           // tiles whose transformed pixels are kept at a time
    bool shared;                             // whether all threads work at one block
    int threads;
    bool bias, sum;
    Rectifier rectifier;
  };
  friend struct WinogradRun;
  Plan plan_;
};

}  // namespace infenclave::engine

#endif  // INFENCLAVE_ENGINE_WINOGRAD_H_
