#include <utility>

#include "image/formats.h"

namespace infenclave {
namespace {

constexpr uint16_t kOrientationTag = 0x0112;
constexpr uint16_t kTypeShort = 3;

// A TIFF block, in the byte order that it names; reads past the end give nothing.
class Tiff {
 public:
  explicit Tiff(ByteSpan block) : block_(block), little_(block.size() > 1 && block[0] == 'I') {}

  bool valid() const {
    std::string_view start = AsText(block_.first(std::min<size_t>(4, block_.size())));
    return start == std::string_view("II*\0", 4) || start == std::string_view("MM\0*", 4);
  }
  bool Has(uint64_t offset, uint64_t size) const { return offset + size <= block_.size(); }
  uint32_t Read(size_t offset, int width) const {
    uint32_t value = 0;
    for (int i = 0; i < width; ++i) value = value << 8 | block_[offset + (little_ ? width - 1 - i : i)];
    return value;
  }

 private:
  ByteSpan block_;
  bool little_;
};

}  // namespace

int ExifOrientation(ByteSpan block) {
  constexpr std::string_view kPrefix("Exif\0\0", 6);
  if (block.size() >= kPrefix.size() && AsText(block.first(kPrefix.size())) == kPrefix) {
    block = block.subspan(kPrefix.size());
  }
  Tiff tiff(block);
  if (!tiff.valid() || !tiff.Has(4, 4)) return 1;
  uint64_t directory = tiff.Read(4, 4);
  if (!tiff.Has(directory, 2)) return 1;
  uint32_t entries = tiff.Read(directory, 2);
  for (uint32_t i = 0; i < entries; ++i) {
    uint64_t entry = directory + 2 + uint64_t{12} * i;
    if (!tiff.Has(entry, 12)) return 1;
    if (tiff.Read(entry, 2) != kOrientationTag) continue;
    uint32_t value = tiff.Read(entry + 8, 2);
    return tiff.Read(entry + 2, 2) == kTypeShort && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image ApplyOrientation(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  // What each of the eight does, from stored to seen: swap the axes, then mirror left-right, then top-bottom.
  constexpr struct {
    bool transpose, mirror, flip;
  } kTurns[9] = {{},
                 {},
                 {0, 1, 0} /*2*/,
                 {0, 1, 1} /*3*/,
                 {0, 0, 1} /*4*/,
                 {1, 0, 0} /*5*/,
                 {1, 1, 0} /*6*/,
                 {1, 1, 1} /*7*/,
                 {1, 0, 1} /*8*/};
  const auto turn = kTurns[orientation];
  Image out;
  out.width = turn.transpose ? image.height : image.width;
  out.height = turn.transpose ? image.width : image.height;
  out.rgb.resize(image.rgb.size());
  uint8_t* to = out.rgb.data();
  for (uint32_t y = 0; y < out.height; ++y) {
    for (uint32_t x = 0; x < out.width; ++x, to += 3) {
      uint32_t from_x = turn.mirror ? out.width - 1 - x : x, from_y = turn.flip ? out.height - 1 - y : y;
      if (turn.transpose) std::swap(from_x, from_y);
      const uint8_t* from = &image.rgb[(size_t{from_y} * image.width + from_x) * 3];
      std::copy(from, from + 3, to);
    }
  }
  return out;
}

}  // namespace infenclave
