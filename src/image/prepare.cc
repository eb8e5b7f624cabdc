#include <algorithm>
#include <cmath>

#include "image/image.h"
#include "image/resample.h"

namespace infenclave {
namespace {

Image Crop(const Image& image, uint32_t left, uint32_t top, uint32_t width, uint32_t height) {
  Image out{width, height, Bytes(size_t{width} * height * 3)};
  for (uint32_t y = 0; y < height; ++y) {
    const uint8_t* from = &image.rgb[((size_t{top} + y) * image.width + left) * 3];
    std::copy_n(from, size_t{width} * 3, &out.rgb[size_t{y} * width * 3]);
  }
  return out;
}

Image CropSquare(const Image& image, const Preprocessing& p) {
  const double share = static_cast<double>(p.width) / (static_cast<double>(p.width) + p.crop_padding);
  const auto side = std::max(1u, static_cast<uint32_t>(share * std::min(image.width, image.height)));
  Image square = Crop(image, (image.width - side + 1) / 2, (image.height - side + 1) / 2, side, side);
  return Resize(square, p.width, p.height, p.filter);
}

// As torchvision: the long side is rounded down, the crop's offset to the nearest even number.
ResizeAxis CentreOf(uint32_t size, uint32_t count) {
  return {size, static_cast<uint32_t>(std::nearbyint((size - count) / 2.0)), count};
}

Image ShortSide(const Image& image, const Preprocessing& p) {
  const uint64_t target = std::max({p.short_side, p.width, p.height}), shorter = std::min(image.width, image.height);
  const auto width = static_cast<uint32_t>(target * image.width / shorter);
  const auto height = static_cast<uint32_t>(target * image.height / shorter);
  return ResizeWindow(image, CentreOf(width, p.width), CentreOf(height, p.height), p.filter);
}

}  // namespace

Image Prepare(const Image& image, const Preprocessing& preprocessing) {
  switch (preprocessing.resize) {
    case Preprocessing::Resize::kCropSquare:
      return CropSquare(image, preprocessing);
    case Preprocessing::Resize::kShortSide:
      return ShortSide(image, preprocessing);
    case Preprocessing::Resize::kStretch:
      break;
  }
  return Resize(image, preprocessing.width, preprocessing.height, preprocessing.filter);
}

}  // namespace infenclave
