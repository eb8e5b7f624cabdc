// For export_test.py: "export_parts MODEL" prints the cut points; "export_parts MODEL FRONT BACK" reads one of them
// after the other on standard input, writes both parts at that cut as anonymous ONNX files, and says so by its name.
#include <iostream>
#include <string>

#include "base/file.h"
#include "graph/cuts.h"
#include "import/model.h"

namespace infenclave {
namespace {

Status Export(const Graph& graph, const std::string& path) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes bytes, ExportOnnx(graph, {.anonymous = true, .symbolic_batch = true}));
  return WriteFileAtomic(path, bytes);
}

Status Main(int argc, char** argv) {
  if (argc != 2 && argc != 4) return InvalidArgument("usage: export_parts MODEL [FRONT BACK]");
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(argv[1]));
  if (argc == 2) {
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<ValueId> cuts, CutPoints(model.graph));
    for (ValueId id : cuts) std::cout << model.graph.value(id).name << "\n";
    return OkStatus();
  }
  for (std::string name; std::getline(std::cin, name);) {
    INFENCLAVE_ASSIGN_OR_RETURN(ValueId cut, FindCut(model.graph, name));
    INFENCLAVE_ASSIGN_OR_RETURN(Partition parts, SplitAt(model.graph, cut));
    INFENCLAVE_RETURN_IF_ERROR(Export(parts.front, argv[2]));
    INFENCLAVE_RETURN_IF_ERROR(Export(parts.back, argv[3]));
    std::cout << name << std::endl;
  }
  return OkStatus();
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) {
  infenclave::Status status = infenclave::Main(argc, argv);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
