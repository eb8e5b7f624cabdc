// engine_bench MODEL PRECISION THREADS: compiles once, says "ready PATH", then for each line of standard input that
// holds a number runs so many times and prints the milliseconds of each run. So two engines can take turns.
#include <chrono>
#include <iostream>
#include <string>

#include "engine/compiled_network.h"
#include "import/model.h"

namespace infenclave {
namespace {

Status Serve(const std::string& path, const std::string& precision_name, int threads) {
  INFENCLAVE_ASSIGN_OR_RETURN(Precision precision, ParsePrecision(precision_name));
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(path));
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network,
                              CompiledNetwork::Compile(model.graph, {.precision = precision, .threads = threads}));
  Tensor in(DType::kF32, network.input_shapes()[0]), out(DType::kF32, network.output_shapes()[0]);
  for (size_t i = 0; i < in.as<float>().size(); ++i) {
    in.as<float>()[i] = static_cast<float>(i * 7919 % 1000) / 500 - 1;  // as engine.py's
  }
  const TensorView input = in.view();
  const MutableTensorView output = out.mutable_view();
  std::cout << "ready " << network.path() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    for (int i = std::stoi(line); i > 0; --i) {
      const auto before = std::chrono::steady_clock::now();
      INFENCLAVE_RETURN_IF_ERROR(network.Run({&input, 1}, {&output, 1}));
      std::cout << std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count() << ' ';
    }
    std::cout << std::endl;
  }
  return OkStatus();
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: engine_bench MODEL PRECISION THREADS\n";
    return 2;
  }
  infenclave::Status status = infenclave::Serve(argv[1], argv[2], std::stoi(argv[3]));
  if (!status.ok()) std::cerr << "engine_bench: " << infenclave::MessageOf(status) << "\n";
  return status.ok() ? 0 : 1;
}
