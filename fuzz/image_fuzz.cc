// Any bytes as a picture and as preprocessing JSON: a value or an error, never more than the limits allow.
#include "image/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace infenclave;  // NOLINT(google-build-using-namespace)
  constexpr uint64_t kMaxPixels = 1 << 18;
  ByteSpan input(data, size);
  if (size > 0 && data[0] == '{') {
    auto parsed = LoadPreprocessing(std::string(AsText(input)));
    if (parsed.ok()) INFENCLAVE_CHECK(*LoadPreprocessing(PreprocessingToJson(*parsed)) == *parsed);
    return 0;
  }
  auto image = DecodeImage(input, kMaxPixels);
  if (!image.ok()) return 0;
  INFENCLAVE_CHECK(uint64_t{image->width} * image->height <= kMaxPixels);
  INFENCLAVE_CHECK(image->rgb.size() == size_t{image->width} * image->height * 3);
  Preprocessing preprocessing;
  preprocessing.width = preprocessing.height = 8;
  INFENCLAVE_CHECK(Prepare(*image, preprocessing).rgb.size() == 8 * 8 * 3);
  return 0;
}
