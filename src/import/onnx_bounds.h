// What decoding a protobuf message would cost, found by walking its bytes without decoding it.
//
// A field of two bytes can become an empty message of hundreds, so a limit on the file alone bounds nothing.
#ifndef INFENCLAVE_IMPORT_ONNX_BOUNDS_H_
#define INFENCLAVE_IMPORT_ONNX_BOUNDS_H_

#include <google/protobuf/descriptor.h>

#include "base/bytes.h"
#include "base/status.h"

namespace infenclave {

// Beside the bytes of strings and tensors, which cost what they weigh.
inline constexpr int64_t kMaxDecodedStructureBytes = int64_t{512} << 20;

// INVALID_ARGUMENT for what is no encoding of `type`, nests deeper than 32 messages, or would exceed the limit.
Status CheckDecodingBounds(ByteSpan encoded, const google::protobuf::Descriptor& type,
                           int64_t limit = kMaxDecodedStructureBytes);

}  // namespace infenclave

#endif  // INFENCLAVE_IMPORT_ONNX_BOUNDS_H_
