#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>

#include "image/formats.h"

namespace infenclave {
namespace {

int OrientationOf(ByteSpan file) {
  const WebPData data{file.data(), file.size()};
  std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)> demuxer(WebPDemux(&data), &WebPDemuxDelete);
  if (demuxer == nullptr) return 1;
  WebPChunkIterator chunk;
  if (WebPDemuxGetChunk(demuxer.get(), "EXIF", 1, &chunk) == 0) return 1;
  int orientation = ExifOrientation({chunk.chunk.bytes, chunk.chunk.size});
  WebPDemuxReleaseChunkIterator(&chunk);
  return orientation;
}

}  // namespace

StatusOr<DecodedImage> DecodeWebp(ByteSpan file, uint64_t max_pixels) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(file.data(), file.size(), &features) != VP8_STATUS_OK) {
    return InvalidArgument("WebP: the header is malformed or truncated");
  }
  if (features.has_animation != 0) return InvalidArgument("WebP: an animation, not a picture");
  DecodedImage out;
  INFENCLAVE_RETURN_IF_ERROR(AllocateImage(static_cast<uint64_t>(features.width),
                                           static_cast<uint64_t>(features.height), max_pixels, &out.image));
  if (WebPDecodeRGBInto(file.data(), file.size(), out.image.rgb.data(), out.image.rgb.size(), features.width * 3) ==
      nullptr) {
    return InvalidArgument("WebP: the picture is malformed or truncated");
  }
  out.orientation = OrientationOf(file);
  return out;
}

}  // namespace infenclave
