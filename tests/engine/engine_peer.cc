// engine_peer MODEL PRECISION: reads the network's f32 input from standard input, again and again, and writes its f32
// outputs to standard output. For tests in Python.
#include <cstdio>
#include <iostream>

#include "engine/compiled_network.h"
#include "import/model.h"

namespace infenclave {
namespace {

Status Serve(const char* path, const char* precision_name) {
  INFENCLAVE_ASSIGN_OR_RETURN(Precision precision, ParsePrecision(precision_name));
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(path));
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(model.graph, {.precision = precision}));
  Tensor in(DType::kF32, network.input_shapes()[0]);
  const TensorView input = in.view();
  std::vector<Tensor> results;
  for (const Shape& shape : network.output_shapes()) results.emplace_back(DType::kF32, shape);
  std::vector<MutableTensorView> outputs;
  for (Tensor& tensor : results) outputs.push_back(tensor.mutable_view());
  while (std::fread(in.data(), 1, in.bytes(), stdin) == in.bytes()) {
    INFENCLAVE_RETURN_IF_ERROR(network.Run({&input, 1}, outputs));
    for (const Tensor& tensor : results) std::fwrite(tensor.data(), 1, tensor.bytes(), stdout);
    std::fflush(stdout);
  }
  return OkStatus();
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  infenclave::Status status = infenclave::Serve(argv[1], argv[2]);
  if (!status.ok()) std::cerr << "engine_peer: " << infenclave::MessageOf(status) << "\n";
  return status.ok() ? 0 : 1;
}
