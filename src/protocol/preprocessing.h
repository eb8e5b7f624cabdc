// How a photograph becomes the network's input: part of the manifest, so that client and enclave agree.
//
// The client decodes, crops and resizes to u8 RGB [height,width,3] (module image); the enclave orders the channels and
// normalises: input[c] = (pixel[c] - mean[c]) * scale[c], c in the network's channel order, layout [1,3,H,W].
#ifndef INFENCLAVE_PROTOCOL_PREPROCESSING_H_
#define INFENCLAVE_PROTOCOL_PREPROCESSING_H_

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "tensor/tensor.h"

namespace infenclave {

inline constexpr uint32_t kMaxImageSide = 4096;

struct Preprocessing {
  enum class Resize : uint8_t {
    kStretch = 0,     // the whole picture to width x height, aspect ratio ignored
    kCropSquare = 1,  // the centre square of side int(s/(s+crop_padding) * min(w,h)), then to s x s (EfficientNet)
    kShortSide = 2,   // the short side to `short_side`, then the centre width x height
  };
  enum class Filter : uint8_t { kBilinear = 0, kBicubic = 1 };  // both antialiased, as Pillow's
  enum class Channels : uint8_t { kRgb = 0, kBgr = 1 };

  uint32_t width = 224, height = 224;
  Resize resize = Resize::kStretch;
  uint32_t crop_padding = 32;  // kCropSquare
  uint32_t short_side = 256;   // kShortSide
  Filter filter = Filter::kBicubic;
  Channels channels = Channels::kRgb;
  std::array<float, 3> mean{};
  std::array<float, 3> scale{1, 1, 1};

  bool operator==(const Preprocessing&) const = default;
};

void EncodePreprocessing(const Preprocessing& p, ByteWriter& out);
// Sizes of 1 to kMaxImageSide, finite mean and scale, known enums; anything else makes the reader fail.
Preprocessing DecodePreprocessing(ByteReader& in);

// `rgb` is u8 [height,width,3]; `out` f32 [3,height,width]. No branch and no address depends on a pixel.
void Normalize(const Preprocessing& p, ByteSpan rgb, std::span<float> out);

}  // namespace infenclave

#endif  // INFENCLAVE_PROTOCOL_PREPROCESSING_H_
