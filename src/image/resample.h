// A window of a resized picture: only what is looked at is computed, so that a long strip cannot grow without bound.
#ifndef INFENCLAVE_IMAGE_RESAMPLE_H_
#define INFENCLAVE_IMAGE_RESAMPLE_H_

#include "image/image.h"

namespace infenclave {

// Along one axis: the picture is resized to `size`, of which [first, first + count) is wanted.
struct ResizeAxis {
  uint32_t size = 0, first = 0, count = 0;
};

// Equal to the same window of Resize(image, x.size, y.size, filter).
Image ResizeWindow(const Image& image, const ResizeAxis& x, const ResizeAxis& y, Preprocessing::Filter filter);

}  // namespace infenclave

#endif  // INFENCLAVE_IMAGE_RESAMPLE_H_
