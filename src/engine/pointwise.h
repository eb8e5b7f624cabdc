// 1x1 convolutions of stride 1 whose channels do not fill blocks of 16, in f32 and bf16: oneDNN's kernels multiply the
// padding, too (24 channels cost as much as 32), these do not.
#ifndef INFENCLAVE_ENGINE_POINTWISE_H_
#define INFENCLAVE_ENGINE_POINTWISE_H_

#include <string_view>

#include "engine/convolution.h"
#include "engine/rectifier.h"

namespace infenclave::engine {

class Pointwise {
 public:
  // Whether there is a kernel for that, on this processor, which may be faster than oneDNN's.
  static bool Takes(const ConvShape& shape, memory::data_type type, const Rectifier& rectifier);

  // `sum`: adds itself to what `dst` holds, before it is rectified.
  Pointwise(const ConvShape& shape, memory::data_type type, const Rectifier& rectifier, bool sum, int threads);

  std::string_view name() const;
  // Channels in blocks of 16.
  memory::desc src_desc() const;
  memory::desc dst_desc() const;
  memory::desc weights_desc() const;  // a row of elements, in the packer's order
  memory::desc scratch_desc() const { return {}; }

  Packer packer() const;  // of [out, in, 1, 1] in f32
  // Of src, weights, dst, nothing and, where the convolution has one, bias (f32).
  Kernel kernel() const;

 private:
  struct Plan {
    int64_t batch, in, out, height, width;
    memory::data_type type;
    int threads;
    bool bias, sum;
    Rectifier rectifier;
  };
  template <typename T>
  friend struct PointwiseRun;
  Plan plan_;
};

}  // namespace infenclave::engine

#endif  // INFENCLAVE_ENGINE_POINTWISE_H_
