// The decoders behind DecodeImage, one file each, and the EXIF orientation that all three can carry.
//
// Each checks width * height against `max_pixels` before it allocates a picture, and leaves `orientation` at 1 where
// the file names none.
#ifndef INFENCLAVE_IMAGE_FORMATS_H_
#define INFENCLAVE_IMAGE_FORMATS_H_

#include "image/image.h"

namespace infenclave {

struct DecodedImage {
  Image image;
  int orientation = 1;
};

StatusOr<DecodedImage> DecodeJpeg(ByteSpan file, uint64_t max_pixels);
StatusOr<DecodedImage> DecodePng(ByteSpan file, uint64_t max_pixels);
StatusOr<DecodedImage> DecodeWebp(ByteSpan file, uint64_t max_pixels);

// Sizes the picture, or says why it is refused.
Status AllocateImage(uint64_t width, uint64_t height, uint64_t max_pixels, Image* image);

// The orientation (1 to 8) in a TIFF block as EXIF stores it, with or without the "Exif\0\0" before it; 1 if the block
// is malformed or holds none.
int ExifOrientation(ByteSpan block);
// Turns and mirrors the picture so that it stands as it was seen.
Image ApplyOrientation(Image image, int orientation);

}  // namespace infenclave

#endif  // INFENCLAVE_IMAGE_FORMATS_H_
