#include <algorithm>

#include "base/file.h"
#include "image/formats.h"
#include "image/image.h"

namespace infenclave {
namespace {

constexpr uint64_t kMaxSide = 1 << 16;

bool StartsWith(ByteSpan file, std::string_view magic, size_t offset = 0) {
  return file.size() >= offset + magic.size() && AsText(file.subspan(offset, magic.size())) == magic;
}

}  // namespace

Status AllocateImage(uint64_t width, uint64_t height, uint64_t max_pixels, Image* image) {
  if (width == 0 || height == 0) return InvalidArgument("the picture is empty: ", width, "x", height);
  if (width > kMaxSide || height > kMaxSide || width * height > max_pixels) {
    return InvalidArgument("a picture of ", width, "x", height, " exceeds the limit of ", max_pixels, " pixels or ",
                           kMaxSide, " a side");
  }
  image->width = static_cast<uint32_t>(width);
  image->height = static_cast<uint32_t>(height);
  image->rgb.resize(width * height * 3);
  return OkStatus();
}

StatusOr<Image> DecodeImage(ByteSpan file, uint64_t max_pixels) {
  StatusOr<DecodedImage> decoded = InvalidArgument(
      file.empty() ? "the file is empty" : "not a picture in one of the formats that are read: JPEG, PNG, WebP");
  if (file.size() > kMaxImageFileBytes) {
    return InvalidArgument(file.size(), " bytes exceed the limit of ", kMaxImageFileBytes);
  }
  if (StartsWith(file, "\xff\xd8\xff")) {
    decoded = DecodeJpeg(file, max_pixels);
  } else if (StartsWith(file, "\x89PNG\r\n\x1a\n")) {
    decoded = DecodePng(file, max_pixels);
  } else if (StartsWith(file, "RIFF") && StartsWith(file, "WEBP", 8)) {
    decoded = DecodeWebp(file, max_pixels);
  }
  if (!decoded.ok()) return decoded.status();
  return ApplyOrientation(std::move(decoded->image), decoded->orientation);
}

StatusOr<Image> LoadImage(const std::string& path) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes file, ReadFile(path, kMaxImageFileBytes));
  StatusOr<Image> image = DecodeImage(file);
  if (!image.ok()) return Annotate(image.status(), path);
  return image;
}

}  // namespace infenclave
