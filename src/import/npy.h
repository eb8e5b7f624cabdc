// NumPy's .npy files: one tensor each, for comparing with other frameworks.
#ifndef INFENCLAVE_IMPORT_NPY_H_
#define INFENCLAVE_IMPORT_NPY_H_

#include <string>

#include "tensor/tensor.h"

namespace infenclave {

inline constexpr size_t kMaxNpyBytes = size_t{1} << 30;

// Versions 1 to 3, little-endian, C order; floats of 2, 4 and 8 bytes, integers of 1, 4 and 8 (unsigned: 1).
StatusOr<Tensor> DecodeNpy(ByteSpan file);
StatusOr<Tensor> ReadNpy(const std::string& path);
// f32 or i64.
Bytes EncodeNpy(const TensorView& tensor);

}  // namespace infenclave

#endif  // INFENCLAVE_IMPORT_NPY_H_
