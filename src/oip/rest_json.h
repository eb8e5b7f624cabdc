// The Open Inference Protocol's messages as its REST half writes them: JSON, with tensors inside it or, by the
// binary-data extension, as bytes behind it.
//
// An element of BYTES is base64 in JSON (what is sealed is no text); answers say so with "content_type": "base64".
// Numbers may be nested arrays or flat. Bodies are hostile: their depth is bounded here, their size by who reads
// them.
#ifndef INFENCLAVE_OIP_REST_JSON_H_
#define INFENCLAVE_OIP_REST_JSON_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "oip/open_inference.pb.h"

namespace infenclave {

inline constexpr int kMaxRestDepth = 16;

// Answers travel in the form in which they are asked for.
struct RestInferRequest {
  inference::ModelInferRequest request;  // without the model's name and version, which are in the path
  bool binary_answer = false;
};
// `json_bytes` is the header Inference-Header-Content-Length: where the JSON ends and binary tensors begin.
StatusOr<RestInferRequest> ParseRestInfer(std::string_view body, std::optional<uint64_t> json_bytes);

struct RestInferAnswer {
  std::string body;
  std::optional<uint64_t> json_bytes;  // set if binary tensors follow
};
StatusOr<RestInferAnswer> WriteRestInfer(const inference::ModelInferResponse& response, bool binary);

// Any message by its field names: numbers as numbers, bytes as base64, fields without presence always there.
std::string ToJson(const google::protobuf::Message& message);

// {"error":MESSAGE,"code":NAME}, with `details` (a key and any bytes, as base64) where there are some.
std::string ErrorJson(const Status& status, const std::vector<std::pair<std::string, std::string>>& details = {});

// The fields of a flat message (bytes as base64, booleans) by their names, as the enclave's calls take them. Absent
// ones keep their values, and so do all if there is no body.
Status ParseFields(std::string_view body, google::protobuf::Message& message);

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_REST_JSON_H_
