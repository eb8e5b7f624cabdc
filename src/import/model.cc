#include "import/model.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "graph/passes.h"
#include "graph/serialize.h"
#include "import/darknet.h"
#include "import/onnx_bounds.h"
#include "import/onnx_import.h"

namespace infenclave {
namespace {

Status ParseModel(ByteSpan bytes, onnx::ModelProto& proto) {
  if (bytes.size() > static_cast<size_t>(INT_MAX)) return InvalidArgument("an ONNX file has less than 2 GiB");
  INFENCLAVE_RETURN_IF_ERROR(
      Annotate(CheckDecodingBounds(bytes, *onnx::ModelProto::descriptor()), "not an ONNX model"));
  if (!proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return InvalidArgument("not an ONNX model: protobuf cannot decode it");
  }
  if (!proto.has_graph() || proto.graph().output_size() == 0) {
    return InvalidArgument("not an ONNX model: it has no graph with an output");
  }
  return OkStatus();
}

StatusOr<ImportedModel> SimplifiedModel(onnx::ModelProto& proto, const std::string& folder) {
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, GraphFromProto(proto, folder));
  proto.Clear();
  INFENCLAVE_ASSIGN_OR_RETURN(model.graph, Simplify(std::move(model.graph)));
  return model;
}

}  // namespace

StatusOr<ImportedModel> ImportOnnx(ByteSpan model, const std::string& folder) {
  onnx::ModelProto proto;
  INFENCLAVE_RETURN_IF_ERROR(ParseModel(model, proto));
  return SimplifiedModel(proto, folder);
}

namespace {

// A file that was exported for a fixed batch of pictures.
StatusOr<ImportedModel> WithBatchOfOne(ImportedModel model) {
  const Value& input = model.graph.value(model.graph.inputs[0]);
  if (model.graph.inputs.size() != 1 || input.shape.size() != 4 || input.shape[0] == 1) return model;
  const std::string what = Concat("input '", input.name, "' has a fixed batch of ", input.shape[0]);
  StatusOr<Graph> graph = WithBatch(std::move(model.graph), 1);
  bool follows = graph.ok() && std::all_of(graph->outputs.begin(), graph->outputs.end(), [&](ValueId id) {
                   return !graph->value(id).shape.empty() && graph->value(id).shape[0] == 1;
                 });
  if (!follows) {
    return InvalidArgument(what, ", and the network does not work for one picture; export it with a symbolic batch",
                           graph.ok() ? "" : Concat(" (", MessageOf(graph.status()), ")"));
  }
  model.graph = *std::move(graph);
  return model;
}

// The weights lie beside the cfg, under the same name.
StatusOr<ImportedModel> ImportDarknetModel(const std::filesystem::path& path) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes cfg, ReadFile(path, kMaxDarknetCfgBytes));
  std::filesystem::path weights_path = path;
  weights_path.replace_extension(".weights");
  StatusOr<Bytes> weights = ReadFile(weights_path, kMaxDarknetWeightBytes);
  if (!weights.ok()) return Annotate(weights.status(), Concat("the weights of ", path.string()));
  StatusOr<Graph> graph = ImportDarknet(AsText(cfg), *weights);
  if (!graph.ok()) return Annotate(graph.status(), path.string());
  return ImportedModel{.graph = *std::move(graph), .metadata = {}, .opaque = {}};
}

}  // namespace

StatusOr<ImportedModel> ImportModel(const std::string& path) {
  if (path.ends_with(".cfg")) return ImportDarknetModel(path);
  onnx::ModelProto proto;
  {
    INFENCLAVE_ASSIGN_OR_RETURN(Bytes file, ReadFile(path, kMaxGraphBytes));
    INFENCLAVE_RETURN_IF_ERROR(Annotate(ParseModel(file, proto), path));
  }
  std::string folder = std::filesystem::path(path).parent_path().string();
  StatusOr<ImportedModel> model = SimplifiedModel(proto, folder.empty() ? "." : folder);
  if (model.ok()) model = WithBatchOfOne(*std::move(model));
  if (!model.ok()) return Annotate(model.status(), path);
  return model;
}

}  // namespace infenclave
