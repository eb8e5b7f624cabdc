// ONNX's TensorProto to Tensor and back.
#ifndef INFENCLAVE_IMPORT_ONNX_TENSOR_H_
#define INFENCLAVE_IMPORT_ONNX_TENSOR_H_

#include <onnx/onnx_pb.h>

#include <string>

#include "tensor/tensor.h"

namespace infenclave {

// Half, bfloat16 and double become f32; small and unsigned integers that DType lacks become i32 or i64. UNIMPLEMENTED
// for strings and complex numbers, which no image classifier computes with.
StatusOr<DType> ImportedDType(int onnx_type);
int OnnxDType(DType dtype);
std::string OnnxTypeName(int onnx_type);  // "float16", for messages

// Reads tensors of one model, external ones from its folder (empty: none may be read), and holds a budget on the bytes
// that all of them may take.
class TensorReader {
 public:
  TensorReader(std::string folder, size_t budget) : folder_(std::move(folder)), budget_(budget) {}
  StatusOr<Tensor> Read(const onnx::TensorProto& proto);

 private:
  StatusOr<Bytes> ReadExternal(const onnx::TensorProto& proto, size_t bytes);
  std::string folder_;
  size_t budget_;
};

void WriteTensor(const Tensor& tensor, onnx::TensorProto& proto);

}  // namespace infenclave

#endif  // INFENCLAVE_IMPORT_ONNX_TENSOR_H_
