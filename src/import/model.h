// Models in: ONNX (and, by its extension, Darknet) files to a simplified Graph. Models out: a Graph to ONNX.
//
// The file is hostile: sizes, counts, depths and every dimension product are bounded before anything is allocated, and
// external data may not leave the model's folder.
#ifndef INFENCLAVE_IMPORT_MODEL_H_
#define INFENCLAVE_IMPORT_MODEL_H_

#include <map>
#include <string>

#include "graph/graph.h"

namespace infenclave {

struct ImportedModel {
  Graph graph;  // simplified (graph/passes.h), f32, batch 1
  // ONNX metadata_props, e.g. "infenclave.preprocessing" (JSON).
  std::map<std::string, std::string> metadata;
  std::vector<std::string> opaque;  // operators that the table does not know, each once, sorted
};
StatusOr<ImportedModel> ImportModel(const std::string& path);
StatusOr<ImportedModel> ImportOnnx(ByteSpan model, const std::string& folder);

struct ExportOptions {
  bool anonymous = false;  // values become t0, t1, …, nodes lose their names, no metadata, producer "infenclave"
  bool symbolic_batch = true;
  std::map<std::string, std::string> metadata = {};  // unless anonymous
};
StatusOr<Bytes> ExportOnnx(const Graph& graph, const ExportOptions& options);

}  // namespace infenclave

#endif  // INFENCLAVE_IMPORT_MODEL_H_
