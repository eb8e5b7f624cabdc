// infenclave bench: latency and throughput of the engine on one model.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "cli/command.h"
#include "cli/layer_choices.h"
#include "engine/compiled_network.h"
#include "import/model.h"

namespace infenclave {
namespace {

constexpr double kSeconds = 2;  // of measuring, at least; and at least this many runs:
constexpr size_t kMinRuns = 20, kWarmUps = 3;

struct BenchOptions {
  std::string model, precision = "f32";
  int64_t batch = 1, threads = 1;
  bool json = false;
};

using Clock = std::chrono::steady_clock;
double MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// What passes before the first result, in milliseconds: reading the file, making the network, and its first run.
struct ColdStart {
  double import = 0, compile = 0, first_run = 0;
};

// Milliseconds per run, sorted; and those of the first.
StatusOr<std::vector<double>> Measure(CompiledNetwork& network, double& first_run) {
  std::mt19937 rng(1);  // NOLINT(cert-msc32-c,cert-msc51-cpp): inputs that are the same every time
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<Tensor> tensors;
  std::vector<TensorView> inputs;
  std::vector<MutableTensorView> outputs;
  for (const Shape& shape : network.input_shapes()) {
    Tensor& tensor = tensors.emplace_back(DType::kF32, shape);
    for (float& v : tensor.as<float>()) v = uniform(rng);
    inputs.push_back(tensor.view());
  }
  for (const Shape& shape : network.output_shapes()) {
    outputs.push_back(tensors.emplace_back(DType::kF32, shape).mutable_view());
  }
  const Clock::time_point cold = Clock::now();
  INFENCLAVE_RETURN_IF_ERROR(network.Run(inputs, outputs));
  first_run = MillisecondsSince(cold);
  for (size_t i = 1; i < kWarmUps; ++i) INFENCLAVE_RETURN_IF_ERROR(network.Run(inputs, outputs));
  std::vector<double> ms;
  for (Clock::time_point start = Clock::now();
       ms.size() < kMinRuns || Clock::now() - start < std::chrono::duration<double>(kSeconds);) {
    const Clock::time_point before = Clock::now();
    INFENCLAVE_RETURN_IF_ERROR(network.Run(inputs, outputs));
    ms.push_back(MillisecondsSince(before));
  }
  std::sort(ms.begin(), ms.end());
  return ms;
}

Status Bench(const BenchOptions& options) {
  INFENCLAVE_ASSIGN_OR_RETURN(Precision precision, ParsePrecision(options.precision));
  ColdStart cold;
  const Clock::time_point import_start = Clock::now();
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(options.model));
  cold.import = MillisecondsSince(import_start);
  const RememberedLayerChoices remembered;
  const EngineOptions engine{.precision = precision,
                             .batch = static_cast<int>(options.batch),
                             .threads = static_cast<int>(options.threads),
                             .measuring = std::chrono::seconds(1)};
  const Clock::time_point compile_start = Clock::now();
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(model.graph, engine));
  cold.compile = MillisecondsSince(compile_start);
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<double> ms, Measure(network, cold.first_run));
  const double min = ms.front(), median = ms[ms.size() / 2], p95 = ms[ms.size() * 95 / 100];
  const double gflops = network.flops() / median / 1e6;
  const size_t peak_bytes = network.arena_bytes() + network.weight_bytes();
  if (options.json) {
    nlohmann::ordered_json json = {
        {"model", options.model},
        {"precision", options.precision},
        {"path", network.path()},
        {"threads", options.threads},
        {"batch", options.batch},
        {"ms", {{"min", min}, {"median", median}, {"p95", p95}}},
        {"gflops", gflops},
        {"peak_bytes", peak_bytes},
        {"cold_ms", {{"import", cold.import}, {"compile", cold.compile}, {"first_run", cold.first_run}}}};
    std::printf("%s\n", json.dump().c_str());
    return OkStatus();
  }
  std::printf("%s on %s, batch %d, %d thread%s\n", options.model.c_str(), network.path().c_str(), engine.batch,
              engine.threads, engine.threads == 1 ? "" : "s");
  std::printf("  %zu runs: min %.3f ms, median %.3f ms, 95th percentile %.3f ms\n", ms.size(), min, median, p95);
  std::printf("  %.1f images/s, %.1f GFLOP/s, %.1f MB of weights and activations\n",
              1000 * static_cast<double>(engine.batch) / median, gflops, static_cast<double>(peak_bytes) / 1e6);
  std::printf("  cold start: %.0f ms to read the model, %.0f ms to compile it, %.1f ms for the first run\n",
              cold.import, cold.compile, cold.first_run);
  return OkStatus();
}

}  // namespace

Command BenchCommand() {
  auto options = std::make_shared<BenchOptions>();
  Command command;
  command.name = "bench";
  command.summary = "Measure latency and throughput of the engine on a model";
  command.example = "infenclave bench efficientnet-lite0.onnx --precision bf16 --threads 2";
  command.declare = [options](Flags& flags) {
    flags.Text("MODEL", &options->model, "the network, an ONNX file", /*required=*/true);
    flags.Int("--batch", &options->batch, "images per run", 1, 4096);
    flags.Int("--threads", &options->threads, "threads that compute", 1, 256);
    flags.OneOf(
        "--precision", &options->precision, {"f32", "bf16", "int8"},
        "what the network computes in; bf16 where the processor has it, else f32; int8 needs a quantised network");
    flags.Switch("--json", &options->json, "print JSON");
  };
  command.run = [options] { return Bench(*options); };
  return command;
}

}  // namespace infenclave
