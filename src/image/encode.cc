#include <png.h>

#include "image/image.h"

namespace infenclave {

StatusOr<Bytes> EncodePng(const Image& image) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = image.width;
  png.height = image.height;
  png.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  Bytes out(size);
  if (png_image_write_to_memory(&png, out.data(), &size, 0, image.rgb.data(), 0, nullptr) == 0) {
    return Internal("PNG: ", png.message);
  }
  out.resize(size);
  return out;
}

}  // namespace infenclave
