// serving_bench MODEL [--cut TENSOR] [--rounds N] [--json]: what the confidential path costs beside the bare engine.
//
// Client, server, enclave and BackNet run on this machine's cores, over gRPC on the loopback interface; the engine
// alone computes the same network from the same pixels. They take turns, so that whatever else the machine does meets
// both.
//   latency     one request at a time; what the median grows by
//   throughput  as many requests as keep every core busy; the share that is kept. The service computes some of those
//               that wait together; the engine one by one, which is where it is fastest (infenclave bench --batch)
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench/served.h"
#include "graph/cuts.h"
#include "import/model.h"

namespace infenclave {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kLatencyRuns = 20;
constexpr auto kThroughputTime = std::chrono::milliseconds(1500), kHalfLoadTime = std::chrono::milliseconds(10000);

struct Options {
  std::string model, cut;
  int rounds = 10;
  bool json = false;
};

// Where half of the work is inside: the cut at which both sides are busy.
StatusOr<std::string> MiddleCut(const Graph& graph) {
  INFENCLAVE_ASSIGN_OR_RETURN(Cost total, CostOf(graph));
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<ValueId> cuts, CutPoints(graph));
  std::string best;
  int64_t least = INT64_MAX;
  for (ValueId cut : cuts) {
    INFENCLAVE_ASSIGN_OR_RETURN(Partition parts, SplitAt(graph, cut));
    INFENCLAVE_ASSIGN_OR_RETURN(Cost front, CostOf(parts.front));
    const int64_t distance = std::abs(2 * front.flops - total.flops);
    if (distance < least) best = graph.value(cut).name;
    least = std::min(least, distance);
  }
  if (best.empty()) return FailedPrecondition("the network has no cut point");
  return best;
}

// ---- what is measured ---------------------------------------------------------------------------------------------
template <typename F>
Status Repeat(int runs, std::vector<double>& ms, const F& one) {
  for (int i = 0; i < runs; ++i) {
    const auto before = Clock::now();
    INFENCLAVE_RETURN_IF_ERROR(one());
    ms.push_back(Milliseconds(Clock::now() - before));
  }
  return OkStatus();
}

struct Result {
  std::vector<double> half_load_ms;  // of each request
  std::vector<double> bare_ms, served_ms;
  std::vector<double> bare_rate, served_rate, kept;  // per round
  std::vector<double> bare_cpu, served_cpu;          // milliseconds a request, at saturation
};

Status Measure(const Graph& graph, Client& client, int rounds, Result& result) {
  const Image image = SomePicture(graph);
  INFENCLAVE_ASSIGN_OR_RETURN(Bare bare, Bare::Make(graph));
  const auto run_bare = [&] { return bare.Run(image); };
  const auto run_served = [&] { return client.Classify(image).status(); };
  std::vector<double> warm_up;
  INFENCLAVE_RETURN_IF_ERROR(Repeat(5, warm_up, run_bare));
  INFENCLAVE_RETURN_IF_ERROR(Repeat(5 * Cores(), warm_up, run_served));
  for (int round = 0; round < rounds; ++round) {
    INFENCLAVE_RETURN_IF_ERROR(Repeat(kLatencyRuns, result.bare_ms, run_bare));
    INFENCLAVE_RETURN_IF_ERROR(Repeat(kLatencyRuns, result.served_ms, run_served));
    INFENCLAVE_ASSIGN_OR_RETURN(const Rate engine, BareThroughput(graph, image, kThroughputTime));
    INFENCLAVE_ASSIGN_OR_RETURN(const Rate served, ServedThroughput(client, image, kThroughputTime));
    result.bare_rate.push_back(engine.per_second);
    result.served_rate.push_back(served.per_second);
    result.kept.push_back(served.per_second / engine.per_second);
    result.bare_cpu.push_back(engine.cpu_ms);
    result.served_cpu.push_back(served.cpu_ms);
    std::cerr << "\rround " << round + 1 << " of " << rounds << std::flush;
  }
  std::cerr << "\r" << std::string(30, ' ') << "\r";
  INFENCLAVE_ASSIGN_OR_RETURN(result.half_load_ms,
                              LatenciesAt(client, image, Median(result.served_rate) / 2, kHalfLoadTime));
  return OkStatus();
}

void Print(const Options& options, const Result& r) {
  const double bare = Median(r.bare_ms), served = Median(r.served_ms);
  const double bare_min = *std::ranges::min_element(r.bare_ms), served_min = *std::ranges::min_element(r.served_ms);
  const double bare_cpu = Median(r.bare_cpu), served_cpu = Median(r.served_cpu);
  const double half = Median(r.half_load_ms), half_p99 = Quantile(r.half_load_ms, 0.99);
  if (options.json) {
    const nlohmann::ordered_json json = {
        {"machine", Machine()},
        {"cut", options.cut},
        {"median_ms", {{"engine", bare}, {"confidential", served}, {"added", served - bare}}},
        {"min_ms", {{"engine", bare_min}, {"confidential", served_min}, {"added", served_min - bare_min}}},
        {"per_second", {{"engine", Median(r.bare_rate)}, {"confidential", Median(r.served_rate)}}},
        {"throughput_kept", Median(r.kept)},
        {"half_load_ms", {{"median", half}, {"p99", half_p99}}},
        {"cpu_ms", {{"engine", bare_cpu}, {"confidential", served_cpu}, {"kept", bare_cpu / served_cpu}}}};
    std::cout << json.dump() << "\n";
    return;
  }
  const auto row = [](const char* name, double engine, double confidential) -> std::ostream& {
    return std::cout << std::left << std::setw(24) << name << std::right << std::setw(10) << engine << std::setw(14)
                     << confidential;
  };
  std::cout << Machine() << "; cut at " << options.cut << ", simulated TEE; " << options.rounds << " rounds\n"
            << std::fixed << std::setprecision(2) << std::setw(34) << "engine" << std::setw(14) << "confidential\n";
  row("median latency, ms", bare, served) << "   added " << served - bare << " (goal: at most 1.5)\n";
  row("least latency, ms", bare_min, served_min) << "   added " << served_min - bare_min << "\n";
  row("requests a second", Median(r.bare_rate), Median(r.served_rate))
      << "   kept " << 100 * Median(r.kept) << " % (goal: at least 90)\n";
  std::cout << "at half load            median " << half << " ms, p99 " << half_p99 << " ms: " << half_p99 / half
            << " times (goal: at most 3)\n";
  row("CPU per request, ms", bare_cpu, served_cpu) << "   kept " << 100 * bare_cpu / served_cpu << " %\n";
}

Status Run(Options options) {
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(options.model));
  if (options.cut.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(options.cut, MiddleCut(model.graph));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<Service> service, Serve(model.graph, {.cut = options.cut}));
  Result result;
  INFENCLAVE_RETURN_IF_ERROR(Measure(model.graph, *service->client, options.rounds, result));
  Print(options, result);
  return OkStatus();
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) {
  infenclave::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--json") {
      options.json = true;
    } else if (argument == "--cut" && i + 1 < argc) {
      options.cut = argv[++i];
    } else if (argument == "--rounds" && i + 1 < argc) {
      options.rounds = std::max(1, std::atoi(argv[++i]));
    } else {
      options.model = argument;
    }
  }
  if (options.model.empty()) {
    std::cerr << "usage: serving_bench MODEL [--cut TENSOR] [--rounds N] [--json]\n";
    return 2;
  }
  const infenclave::Status status = infenclave::Run(options);
  if (!status.ok()) std::cerr << "serving_bench: " << infenclave::MessageOf(status) << "\n";
  return status.ok() ? 0 : 1;
}
