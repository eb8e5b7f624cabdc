// Any bytes as BUNDLE.keys: the same bytes again or an error.
#include "bundle/bundle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace infenclave;  // NOLINT(google-build-using-namespace)
  auto keys = DecodeBundleKeys({data, size});
  if (!keys.ok()) return 0;
  INFENCLAVE_CHECK(ToBytes(EncodeBundleKeys(*keys).span()) == ToBytes({data, size}));
  return 0;
}
