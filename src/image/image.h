// Photographs: decoding (JPEG, PNG, WebP) with limits, and the resize and crop with which a network was trained.
//
// Outside the TCB: this runs at the client's and in the assessment. Resampling is Pillow's (antialiased, same
// rounding), so that pixels are equal to what the network's authors measured with.
#ifndef INFENCLAVE_IMAGE_IMAGE_H_
#define INFENCLAVE_IMAGE_IMAGE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"
#include "protocol/preprocessing.h"

namespace infenclave {

struct Image {
  uint32_t width = 0, height = 0;
  Bytes rgb;  // u8 [height,width,3]
};

inline constexpr uint64_t kMaxImagePixels = uint64_t{1} << 27;  // a larger picture is refused before it is decoded
inline constexpr size_t kMaxImageFileBytes = size_t{256} << 20;

// INVALID_ARGUMENT with the reason for anything that is not one of the formats, is truncated or too large. Grey becomes
// RGB; alpha is dropped; CMYK JPEGs are converted; EXIF orientation is applied where the file says so.
StatusOr<Image> DecodeImage(ByteSpan file, uint64_t max_pixels = kMaxImagePixels);
StatusOr<Image> LoadImage(const std::string& path);  // errors name the path
StatusOr<Bytes> EncodePng(const Image& image);
StatusOr<Bytes> EncodeJpeg(const Image& image, int quality);

// u8 RGB [height,width,3] of the preprocessing's size, ready for sealing or Normalize(). The picture must not be empty.
Image Prepare(const Image& image, const Preprocessing& preprocessing);
Image Resize(const Image& image, uint32_t width, uint32_t height, Preprocessing::Filter filter);

// A preset's name ("efficientnet-lite0", "mobilenet-v2", "squeezenet1.1", …), else the path of a JSON file, else JSON
// text itself (starts with '{'):
//   {"width":224, "height":224, "resize":"crop-square", "crop_padding":32, "filter":"bicubic", "channels":"rgb",
//    "mean":[127,127,127], "scale":[0.0078125,0.0078125,0.0078125]}
// resize: "stretch", "crop-square" (with crop_padding) or "short-side" (with short_side); filter: "bilinear" or
// "bicubic"; channels: "rgb" or "bgr". Every key is needed, and no other is taken.
StatusOr<Preprocessing> LoadPreprocessing(const std::string& preset_or_path_or_json);
std::string PreprocessingToJson(const Preprocessing& preprocessing);

}  // namespace infenclave

#endif  // INFENCLAVE_IMAGE_IMAGE_H_
