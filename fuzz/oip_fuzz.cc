// Any message as a ModelInfer request or answer, and any text as a list of endpoints: a value that fits its
// description, or an error.
#include "oip/client.h"
#include "oip/infer.h"

namespace {

using namespace infenclave;  // NOLINT(google-build-using-namespace)

void CheckNumbers(const StatusOr<TensorData>& tensor, int64_t width = 4) {
  if (!tensor.ok()) return;
  INFENCLAVE_CHECK(NumElements(tensor->shape).value() * width == static_cast<int64_t>(tensor->data.size()));
  uint32_t sum = 0;
  for (uint8_t byte : tensor->data) sum += byte;  // the sanitizer sees to it that all of it is there
  INFENCLAVE_CHECK(sum <= 255 * tensor->data.size());
}

void CheckBytes(const StatusOr<ByteSpan>& element, size_t message_bytes) {
  if (element.ok()) INFENCLAVE_CHECK(element->size() <= message_bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = AsText({data, size});
  if (text.starts_with("grpc")) {
    if (auto endpoints = ParseEndpoints(text); endpoints.ok()) {
      for (const OipEndpoint& endpoint : *endpoints) {
        INFENCLAVE_CHECK(!endpoint.model.empty() && endpoint.target.find(':') != std::string::npos);
      }
    }
    return 0;
  }
  if (inference::ModelInferRequest request; request.ParseFromArray(data, static_cast<int>(size))) {
    CheckBytes(ReadBytesInput(request, ""), size);
    CheckNumbers(ReadInput(request, "", DType::kF32));
    CheckNumbers(ReadInput(request, "", DType::kU8), 1);
  }
  if (inference::ModelInferResponse response; response.ParseFromArray(data, static_cast<int>(size))) {
    CheckBytes(ReadBytesOutput(response, ""), size);
    CheckNumbers(ReadF32Output(response, ""));
  }
  return 0;
}
