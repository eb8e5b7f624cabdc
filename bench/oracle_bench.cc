// oracle_bench MODEL ORACLE [MAPS]: how fast `assess` shows feature maps to its oracle, against what the engine
// gives when it does nothing but run the oracle on batches. Prints one line; both are measured in turns on the same
// threads, so that whatever else the machine does meets both alike. The photographs are noise: speed does not depend on
// what they show.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include "assessment/assess.h"
#include "engine/compiled_network.h"
#include "import/model.h"

namespace infenclave {
namespace {

constexpr int kBatch = 8, kTurns = 3, kPhotographs = 4;
constexpr uint32_t kSide = 320;
constexpr double kEngineSeconds = 4;

using Clock = std::chrono::steady_clock;
double Since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Pictures a second of all threads together, each with a network of its own.
double EngineRate(const Graph& oracle, int threads) {
  std::vector<double> rates(threads);
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&oracle, &rates, t] {
      EngineOptions options;
      options.batch = kBatch;
      CompiledNetwork network = CompiledNetwork::Compile(oracle, options).value();
      const Tensor in(DType::kF32, network.input_shapes()[0]);
      Tensor out(DType::kF32, network.output_shapes()[0]);
      const TensorView inputs[] = {in.view()};
      const MutableTensorView outputs[] = {out.mutable_view()};
      INFENCLAVE_CHECK(network.Run(inputs, outputs).ok());
      const Clock::time_point start = Clock::now();
      int64_t pictures = 0;
      for (; Since(start) < kEngineSeconds; pictures += kBatch) INFENCLAVE_CHECK(network.Run(inputs, outputs).ok());
      rates[t] = static_cast<double>(pictures) / Since(start);
    });
  }
  double sum = 0;
  for (int t = 0; t < threads; ++t) {
    workers[t].join();
    sum += rates[t];
  }
  return sum;
}

// The same from `assess`: from the first map that is shown to the last.
StatusOr<double> AssessRate(AssessOptions options, const std::string& out) {
  options.out = out;
  Clock::time_point start{};
  double seconds = 0;
  const auto progress = [&](std::string_view stage, int64_t done, int64_t total) {
    if (stage != "maps") return;
    if (start == Clock::time_point()) start = Clock::now();
    if (done == total) seconds = Since(start);
  };
  INFENCLAVE_ASSIGN_OR_RETURN(const auto result, Assess(options, progress));
  return static_cast<double>(result->assessment.run.evaluations) / seconds;
}

Status WriteNoise(const std::string& folder) {
  std::filesystem::create_directories(folder);
  Random random(1);
  for (int i = 0; i < kPhotographs; ++i) {
    Image image{kSide, kSide, Bytes(size_t{3} * kSide * kSide)};
    for (uint8_t& v : image.rgb) v = static_cast<uint8_t>(random.Next());
    INFENCLAVE_ASSIGN_OR_RETURN(const Bytes png, EncodePng(image));
    INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(Concat(folder, "/", i, ".png"), png));
  }
  return OkStatus();
}

Status Measure(const std::string& model_path, const std::string& oracle_path, int maps) {
  INFENCLAVE_ASSIGN_OR_RETURN(const ImportedModel model, ImportModel(model_path));
  INFENCLAVE_ASSIGN_OR_RETURN(const ImportedModel oracle, ImportModel(oracle_path));
  AssessOptions options;
  options.model_path = model_path;
  options.oracle_path = oracle_path;
  options.model = &model.graph;
  options.oracle = oracle.graph;
  INFENCLAVE_ASSIGN_OR_RETURN(options.preprocessing, LoadPreprocessing(model.metadata.at("infenclave.preprocessing")));
  INFENCLAVE_ASSIGN_OR_RETURN(options.oracle_preprocessing,
                              LoadPreprocessing(oracle.metadata.at("infenclave.preprocessing")));
  options.maps = maps;
  options.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  char folder[] = "/tmp/oracle-bench-XXXXXX";
  if (::mkdtemp(folder) == nullptr) return ErrnoStatus("/tmp");
  options.images = Concat(folder, "/photographs");
  INFENCLAVE_RETURN_IF_ERROR(WriteNoise(options.images));
  double engine = 0, assess = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    engine += EngineRate(oracle.graph, options.threads) / kTurns;
    const auto rate = AssessRate(options, Concat(folder, "/", turn));
    if (!rate.ok()) return rate.status();
    assess += *rate / kTurns;
  }
  std::filesystem::remove_all(folder);
  std::printf("oracle, %d threads, batch %d: engine %.1f pictures/s, assess %.1f pictures/s, ratio %.2f\n",
              options.threads, kBatch, engine, assess, assess / engine);
  return OkStatus();
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: oracle_bench MODEL ORACLE [MAPS]\n");
    return 2;
  }
  const infenclave::Status status = infenclave::Measure(argv[1], argv[2], argc > 3 ? std::atoi(argv[3]) : 4);
  if (!status.ok()) std::fprintf(stderr, "oracle_bench: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
