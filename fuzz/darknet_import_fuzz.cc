// A cfg and a weights file, split at the first zero byte.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "import/darknet.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  infenclave::ByteSpan input(data, size);
  auto end = std::find(input.begin(), input.end(), uint8_t{0});
  const size_t split = static_cast<size_t>(end - input.begin());
  (void)infenclave::ImportDarknet(infenclave::AsText(input.first(split)), input.subspan(std::min(size, split + 1)));
  return 0;
}
