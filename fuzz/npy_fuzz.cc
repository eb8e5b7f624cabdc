// Any bytes as a .npy file: a tensor or an error. f32 tensors survive being written and read again.
#include "import/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace infenclave;  // NOLINT(google-build-using-namespace)
  auto tensor = DecodeNpy({data, size});
  if (!tensor.ok() || tensor->dtype() != DType::kF32) return 0;
  INFENCLAVE_CHECK(tensor->bytes() <= size);
  auto again = DecodeNpy(EncodeNpy(tensor->view()));
  INFENCLAVE_CHECK(again.ok() && again->shape() == tensor->shape());
  INFENCLAVE_CHECK(ToBytes(again->raw()) == ToBytes(tensor->raw()));
  return 0;
}
