// What the benchmarks of serving have in common: a served bundle with its client, and how its rate is taken.
#ifndef INFENCLAVE_BENCH_SERVED_H_
#define INFENCLAVE_BENCH_SERVED_H_

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "client/client.h"
#include "engine/compiled_network.h"
#include "graph/graph.h"
#include "host/confidential_server.h"

namespace infenclave {

// Queued for each core, so that none waits for the clients and batches fill.
inline constexpr int kInFlight = 16;
// For what the engine alone tries, as the built-in BackNet does.
inline constexpr std::chrono::milliseconds kMeasuring{200};

inline double Milliseconds(std::chrono::steady_clock::duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}
double Quantile(std::vector<double> values, double q);
inline double Median(const std::vector<double>& values) { return Quantile(values, 0.5); }
int Cores();
std::string Machine();

// Of the network's size, so that resizing, which everybody would need, is left out.
Image SomePicture(const Graph& graph);
Preprocessing BenchPreprocessing(const Graph& graph);

struct ServedOptions {
  std::string cut;
  int backnets = 0;  // processes of one worker each; 0: the BackNet is computed in this process
  int max_batch = kBuiltinBatch;
};

// The network alone: normalises the pixels and computes.
class Bare {
 public:
  static StatusOr<Bare> Make(const Graph& graph) {
    INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(graph, {.measuring = kMeasuring}));
    return Bare(std::move(network), BenchPreprocessing(graph));
  }
  Status Run(const Image& image) {
    Normalize(preprocessing_, image.rgb, in_.as<float>());
    const TensorView in = in_.view();
    const MutableTensorView out = out_.mutable_view();
    return network_.Run({&in, 1}, {&out, 1});
  }
  TensorView output() const { return out_.view(); }  // of the last Run

 private:
  Bare(CompiledNetwork network, Preprocessing preprocessing)
      : network_(std::move(network)),
        preprocessing_(preprocessing),
        in_(DType::kF32, network_.input_shapes()[0]),
        out_(DType::kF32, network_.output_shapes()[0]) {}
  CompiledNetwork network_;
  Preprocessing preprocessing_;
  Tensor in_, out_;
};

// A served bundle of the network, provisioned, and a client of it.
struct Service {
  std::filesystem::path folder;
  std::vector<pid_t> backnets;
  std::unique_ptr<ConfidentialServer> server;
  std::unique_ptr<Client> client;
  ~Service();
};
StatusOr<std::unique_ptr<Service>> Serve(const Graph& graph, const ServedOptions& options);

// Processor time of this process and of those that it started. Where other work disturbs the clock on the wall, it
// still says what a request costs.
double CpuMilliseconds();

struct Rate {
  double per_second = 0, cpu_ms = 0;
};
Rate RateOf(int64_t done, std::chrono::steady_clock::time_point start, double cpu_before);

// Requests a second of the engine alone, with one per core.
StatusOr<Rate> BareThroughput(const Graph& graph, const Image& image, std::chrono::milliseconds time);

// Requests a second, with a bounded number in flight: those that end in a window of `time`, which opens when the
// service is busy and closes while it still is.
StatusOr<Rate> ServedThroughput(Client& client, const Image& image, std::chrono::milliseconds time);

// Milliseconds of each request, which come at random (a Poisson process) at `per_second`, for `time`.
StatusOr<std::vector<double>> LatenciesAt(Client& client, const Image& image, double per_second,
                                          std::chrono::milliseconds time);

}  // namespace infenclave

#endif  // INFENCLAVE_BENCH_SERVED_H_
