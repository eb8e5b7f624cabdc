// Any bytes as an ONNX model: a graph or an error. What was imported can be exported, and that can be imported again.
#include "import/model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace infenclave;  // NOLINT(google-build-using-namespace)
  auto model = ImportOnnx({data, size}, "");
  if (!model.ok()) return 0;
  INFENCLAVE_CHECK(Validate(model->graph).ok());
  size_t weights = 0;  // folding may make large ones, within its limit; copying them tests nothing
  for (const auto& [id, tensor] : model->graph.constants) weights += tensor->bytes();
  if (weights > 16 << 20) return 0;
  auto bytes = ExportOnnx(model->graph, {.anonymous = true});
  if (!bytes.ok()) return 0;  // an operator that is not known, of an opset too old to carry
  auto again = ImportOnnx(*bytes, "");
  INFENCLAVE_CHECK(again.ok());
  INFENCLAVE_CHECK(again->graph.outputs.size() == model->graph.outputs.size());
  return 0;
}
