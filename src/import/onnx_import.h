// The decoded ONNX model to a graph whose operators are in their newest form; not yet simplified.
#ifndef INFENCLAVE_IMPORT_ONNX_IMPORT_H_
#define INFENCLAVE_IMPORT_ONNX_IMPORT_H_

#include <onnx/onnx_pb.h>

#include <string>

#include "import/model.h"

namespace infenclave {

// External data are read from `folder` (empty: none may be). Takes the weights out of `proto` on the way.
StatusOr<ImportedModel> GraphFromProto(onnx::ModelProto& proto, const std::string& folder);

}  // namespace infenclave

#endif  // INFENCLAVE_IMPORT_ONNX_IMPORT_H_
