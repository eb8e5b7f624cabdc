// NumPy's .npy files: one tensor each, for comparing with other frameworks.
#ifndef INFENCLAVE_IMPORT_NPY_H_
#define INFENCLAVE_IMPORT_NPY_H_

#include <string>

#include "tensor/tensor.h"

namespace infenclave {

inline constexpr size_t kMaxNpyBytes = size_t{1} << 30;

// Versions 1 to 3, little-endian, C order; floats of 2, 4 and 8 bytes, integers of 1, 4 and 8 (unsigned: 1). NumPy has
// no bf16: its bits are kept as unsigned integers of 2 bytes.
StatusOr<Tensor> DecodeNpy(ByteSpan file);
StatusOr<Tensor> ReadNpy(const std::string& path);
// f32, bf16, u8, i32 or i64.
Bytes EncodeNpy(const TensorView& tensor);

// What precedes the elements, for files that are read or written in parts.
struct NpyHeader {
  DType dtype = DType::kF32;
  Shape shape;        // has passed NumElements
  size_t offset = 0;  // of the first element in the file
};
inline constexpr size_t kMaxNpyHeaderBytes = 12 + 4096;
// `file` is the whole file or at least its first kMaxNpyHeaderBytes.
StatusOr<NpyHeader> DecodeNpyHeader(ByteSpan file);
Bytes EncodeNpyHeader(DType dtype, const Shape& shape);

}  // namespace infenclave

#endif  // INFENCLAVE_IMPORT_NPY_H_
