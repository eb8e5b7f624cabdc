// What Conv is in each precision: the shapes that oneDNN is told.
#ifndef INFENCLAVE_ENGINE_CONVOLUTION_H_
#define INFENCLAVE_ENGINE_CONVOLUTION_H_

#include "engine/compiler.h"

namespace infenclave::engine {

struct ConvShape {
  memory::dims src, weights, bias, dst, strides, dilations, pads_begin, pads_end;
};
StatusOr<ConvShape> ConvShapeOf(const NodeView& view);

}  // namespace infenclave::engine

#endif  // INFENCLAVE_ENGINE_CONVOLUTION_H_
