// What engine.py runs:
//
//   engine_bench run MODEL PRECISION THREADS BATCH   compiles once, says "ready COMPILE_MS GFLOP PATH", then for each
//                                                    line of standard input that holds a number runs so many times and
//                                                    prints the milliseconds of each run: so engines can take turns
//   engine_bench export MODEL FILE                   the simplified network as ONNX, for the others
//   engine_bench peak THREADS                        GFLOP/s of f32 multiply-adds in registers
#include <chrono>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "engine/compiled_network.h"
#include "import/model.h"

namespace infenclave {
namespace {

// As `serve` does.
constexpr std::chrono::milliseconds kMeasuring{500};

double MillisecondsSince(std::chrono::steady_clock::time_point before) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count();
}

Status Serve(const std::string& path, const std::string& precision_name, int threads, int batch) {
  INFENCLAVE_ASSIGN_OR_RETURN(Precision precision, ParsePrecision(precision_name));
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(path));
  const auto start = std::chrono::steady_clock::now();
  INFENCLAVE_ASSIGN_OR_RETURN(
      CompiledNetwork network,
      CompiledNetwork::Compile(model.graph,
                               {.precision = precision, .batch = batch, .threads = threads, .measuring = kMeasuring}));
  const double compile_ms = MillisecondsSince(start);
  Tensor in(DType::kF32, network.input_shapes()[0]), out(DType::kF32, network.output_shapes()[0]);
  for (size_t i = 0; i < in.as<float>().size(); ++i) {
    in.as<float>()[i] = static_cast<float>(i * 7919 % 1000) / 500 - 1;  // as engine.py's
  }
  const TensorView input = in.view();
  const MutableTensorView output = out.mutable_view();
  std::cout << "ready " << compile_ms << ' ' << network.flops() / 1e9 << ' ' << network.path() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    for (int i = std::stoi(line); i > 0; --i) {
      const auto before = std::chrono::steady_clock::now();
      INFENCLAVE_RETURN_IF_ERROR(network.Run({&input, 1}, {&output, 1}));
      std::cout << MillisecondsSince(before) << ' ';
    }
    std::cout << std::endl;
  }
  return OkStatus();
}

Status Export(const std::string& path, const std::string& file) {
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(path));
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes onnx, ExportOnnx(model.graph, {}));
  std::ofstream out(file, std::ios::binary);
  out.write(reinterpret_cast<const char*>(onnx.data()), static_cast<std::streamsize>(onnx.size()));
  out.flush();
  return out.good() ? OkStatus() : Unavailable(file, ": cannot be written");
}

typedef float Floats8 __attribute__((vector_size(32)));
typedef float Floats16 __attribute__((vector_size(64)));

// Ten independent chains of multiply-adds fill the pipelines.
template <typename V>
__attribute__((always_inline)) inline float Chains(int64_t rounds) {
  // Not equal, or the compiler would compute one.
  V a0 = {1}, a1 = {2}, a2 = {3}, a3 = {4}, a4 = {5}, a5 = {6}, a6 = {7}, a7 = {8}, a8 = {9}, a9 = {10};
  const V factor = V{} + 0.999f, term = V{} + 0.001f;
  for (int64_t i = 0; i < rounds; ++i) {
    a0 = a0 * factor + term, a1 = a1 * factor + term, a2 = a2 * factor + term, a3 = a3 * factor + term;
    a4 = a4 * factor + term, a5 = a5 * factor + term, a6 = a6 * factor + term, a7 = a7 * factor + term;
    a8 = a8 * factor + term, a9 = a9 * factor + term;
  }
  return (a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9)[0];
}
__attribute__((target("avx512f,fma"))) float Chains512(int64_t rounds) { return Chains<Floats16>(rounds); }
__attribute__((target("avx2,fma"))) float Chains256(int64_t rounds) { return Chains<Floats8>(rounds); }

// The best of 20 tries of some milliseconds each.
double PeakGflops() {
  constexpr int64_t kRounds = 1'000'000;
  const bool wide = __builtin_cpu_supports("avx512f");
  double best = 1e9;
  volatile float sink = 0;
  for (int i = 0; i < 20; ++i) {
    const auto before = std::chrono::steady_clock::now();
    sink = sink + (wide ? Chains512(kRounds) : Chains256(kRounds));
    best = std::min(best, MillisecondsSince(before));
  }
  return 2.0 * kRounds * 10 * (wide ? 16 : 8) / best / 1e6;
}

void PrintPeak(int threads) {
  std::vector<double> each(static_cast<size_t>(threads));
  std::vector<std::thread> team;
  for (double& gflops : each) team.emplace_back([&gflops] { gflops = PeakGflops(); });
  for (std::thread& thread : team) thread.join();
  double sum = 0;
  for (double gflops : each) sum += gflops;
  std::cout << sum << std::endl;
}

Status Main(const std::vector<std::string>& arguments) {
  const std::string verb = arguments.empty() ? "" : arguments[0];
  if (verb == "run" && arguments.size() == 5) {
    return Serve(arguments[1], arguments[2], std::stoi(arguments[3]), std::stoi(arguments[4]));
  }
  if (verb == "export" && arguments.size() == 3) return Export(arguments[1], arguments[2]);
  if (verb == "peak" && arguments.size() == 2) {
    PrintPeak(std::stoi(arguments[1]));
    return OkStatus();
  }
  return InvalidArgument("usage: engine_bench run MODEL PRECISION THREADS BATCH | export MODEL FILE | peak THREADS");
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) {
  infenclave::Status status = infenclave::Main({argv + 1, argv + argc});
  if (!status.ok()) std::cerr << "engine_bench: " << infenclave::MessageOf(status) << "\n";
  return status.ok() ? 0 : 1;
}
