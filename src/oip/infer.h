// Tensors in ModelInfer messages, in both forms that the protocol has: raw bytes beside the tensor's description, or
// typed contents inside it. Readers accept either and hold the peer to what it declared; they borrow from the message.
#ifndef INFENCLAVE_OIP_INFER_H_
#define INFENCLAVE_OIP_INFER_H_

#include <memory>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"
#include "oip/open_inference.pb.h"
#include "tensor/tensor.h"

namespace infenclave {

// The server that answers in the form in which it was asked pleases every client.
enum class TensorForm { kRaw, kTyped };
TensorForm FormOf(const inference::ModelInferRequest& request);

// The message's only input or output, which must be called `name` unless that is empty. INVALID_ARGUMENT for another
// name or data type, several tensors, a shape that does not fit the data, both forms at once.
// A BYTES tensor with one element, whatever its rank.
StatusOr<ByteSpan> ReadBytesInput(const inference::ModelInferRequest& request, std::string_view name);
StatusOr<ByteSpan> ReadBytesOutput(const inference::ModelInferResponse& response, std::string_view name);
// The protocol's name of what a tensor of numbers holds: "FP32" or "UINT8" of kF32 and kU8, the only ones here.
std::string_view OipTypeOf(DType dtype);
// A tensor of numbers; its data is little-endian, perhaps not aligned.
struct TensorData {
  Shape shape;
  ByteSpan data;
  std::unique_ptr<const Bytes> packed = {};  // owns `data` where typed contents hold each byte in a number of its own
};
StatusOr<TensorData> ReadInput(const inference::ModelInferRequest& request, std::string_view name, DType dtype);
StatusOr<TensorData> ReadF32Output(const inference::ModelInferResponse& response, std::string_view name);

// Writers append one tensor.
void AddBytesInput(inference::ModelInferRequest& request, std::string_view name, ByteSpan element);
// An element of `size` bytes, for the caller to fill in.
MutableByteSpan AddBytesInput(inference::ModelInferRequest& request, std::string_view name, size_t size);
void AddBytesOutput(inference::ModelInferResponse& response, std::string_view name, ByteSpan element, TensorForm form);
void AddInput(inference::ModelInferRequest& request, std::string_view name, DType dtype, const Shape& shape,
              ByteSpan data);
void AddF32Output(inference::ModelInferResponse& response, std::string_view name, const Shape& shape, ByteSpan data,
                  TensorForm form);

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_INFER_H_
