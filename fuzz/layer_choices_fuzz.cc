// Any bytes as remembered choices of implementations: what is kept is text that reads back as itself.
#include "engine/compiled_network.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace infenclave;  // NOLINT(google-build-using-namespace)
  AddLayerChoices({reinterpret_cast<const char*>(data), size});
  const std::string kept = LayerChoices();
  AddLayerChoices(kept);
  INFENCLAVE_CHECK(LayerChoices() == kept);
  return 0;
}
