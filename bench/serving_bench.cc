// serving_bench MODEL [--cut TENSOR] [--rounds N] [--latency] [--json]: what the confidential path costs beside the
// bare engine.
//
// Client, server, enclave and BackNet run on this machine's cores, over gRPC on the loopback interface; the engine
// alone computes the same network from the same pixels. They take turns, so that whatever else the machine does meets
// both.
//   latency     one request at a time; what the median grows by, and where (--latency: nothing else)
//   throughput  as many requests as keep every core busy; the share that is kept. The service computes some of those
//               that wait together; the engine one by one, which is where it is fastest (infenclave bench --batch)
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>

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
  bool latency_only = false, json = false;
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

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
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

// Where the milliseconds of a request alone go, per round: the means of the server's stages, as its metrics count them,
// beside what the engine takes for the same part of the network.
struct Stages {
  std::vector<double> front, begin;   // normalising and the FrontNet; the enclave opens the request first
  std::vector<double> back, backnet;  // the BackNet
  std::vector<double> finish;         // the enclave orders the classes and seals the answer, gRPC takes it
  std::vector<double> rest;           // the client, gRPC and waiting for a worker
};

struct Result {
  Stages stages;
  std::vector<double> half_load_ms;  // of each request
  std::vector<double> bare_ms, served_ms;
  std::vector<double> bare_rate, served_rate, kept;  // per round
  std::vector<double> bare_cpu, served_cpu;          // milliseconds a request, at saturation
};

// The two parts of the network, one after the other, on the engine alone.
class BareParts {
 public:
  static StatusOr<BareParts> Make(const Graph& graph, const std::string& cut) {
    INFENCLAVE_ASSIGN_OR_RETURN(ValueId at, FindCut(graph, cut));
    INFENCLAVE_ASSIGN_OR_RETURN(Partition parts, SplitAt(graph, at));
    INFENCLAVE_ASSIGN_OR_RETURN(Bare front, Bare::Make(parts.front));
    INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork back, CompiledNetwork::Compile(parts.back, EngineOptions{}));
    return BareParts(std::move(front), std::move(back));
  }
  Status RunFront(const Image& image) { return front_.Run(image); }
  Status RunBack() {
    const TensorView in = front_.output();
    const MutableTensorView out = out_.mutable_view();
    return back_.Run({&in, 1}, {&out, 1});
  }

 private:
  BareParts(Bare front, CompiledNetwork back)
      : front_(std::move(front)), back_(std::move(back)), out_(DType::kF32, back_.output_shapes()[0]) {}
  Bare front_;
  CompiledNetwork back_;
  Tensor out_;
};

// One request at a time, and the same by stages.
Status MeasureLatency(const Image& image, Bare& bare, BareParts& parts, Service& service, Result& result) {
  std::vector<double> served, front, back;
  INFENCLAVE_RETURN_IF_ERROR(Repeat(kLatencyRuns, result.bare_ms, [&] { return bare.Run(image); }));
  const auto before = service.server->model().statistics().Read().stage_seconds;
  INFENCLAVE_RETURN_IF_ERROR(Repeat(kLatencyRuns, served, [&] { return service.client->Classify(image).status(); }));
  const auto after = service.server->model().statistics().Read().stage_seconds;
  for (int i = 0; i < kLatencyRuns; ++i) {
    INFENCLAVE_RETURN_IF_ERROR(Repeat(1, front, [&] { return parts.RunFront(image); }));
    INFENCLAVE_RETURN_IF_ERROR(Repeat(1, back, [&] { return parts.RunBack(); }));
  }
  const auto stage = [&](Stage which) {
    const size_t i = static_cast<size_t>(which);
    return 1000 * (after[i].sum - before[i].sum) / kLatencyRuns;
  };
  Stages& out = result.stages;
  out.front.push_back(Mean(front));
  out.back.push_back(Mean(back));
  out.begin.push_back(stage(Stage::kBegin));
  out.backnet.push_back(stage(Stage::kBackNet));
  out.finish.push_back(stage(Stage::kFinish));
  out.rest.push_back(Mean(served) - out.begin.back() - out.backnet.back() - out.finish.back());
  result.served_ms.insert(result.served_ms.end(), served.begin(), served.end());
  return OkStatus();
}

Status Measure(const Graph& graph, const Options& options, Service& service, Result& result) {
  Client& client = *service.client;
  const Image image = SomePicture(graph);
  INFENCLAVE_ASSIGN_OR_RETURN(Bare bare, Bare::Make(graph));
  INFENCLAVE_ASSIGN_OR_RETURN(BareParts parts, BareParts::Make(graph, options.cut));
  Result warm_up;
  INFENCLAVE_RETURN_IF_ERROR(MeasureLatency(image, bare, parts, service, warm_up));
  for (int round = 0; round < options.rounds; ++round) {
    std::cerr << "\rround " << round + 1 << " of " << options.rounds << std::flush;
    INFENCLAVE_RETURN_IF_ERROR(MeasureLatency(image, bare, parts, service, result));
    if (options.latency_only) continue;
    INFENCLAVE_ASSIGN_OR_RETURN(const Rate engine, BareThroughput(graph, image, kThroughputTime));
    INFENCLAVE_ASSIGN_OR_RETURN(const Rate served, ServedThroughput(client, image, kThroughputTime));
    result.bare_rate.push_back(engine.per_second);
    result.served_rate.push_back(served.per_second);
    result.kept.push_back(served.per_second / engine.per_second);
    result.bare_cpu.push_back(engine.cpu_ms);
    result.served_cpu.push_back(served.cpu_ms);
  }
  std::cerr << "\r" << std::string(30, ' ') << "\r";
  if (options.latency_only) return OkStatus();
  INFENCLAVE_ASSIGN_OR_RETURN(result.half_load_ms,
                              LatenciesAt(client, image, Median(result.served_rate) / 2, kHalfLoadTime));
  return OkStatus();
}

double Least(const std::vector<double>& values) { return *std::ranges::min_element(values); }

nlohmann::ordered_json LatencyJson(const Result& r) {
  const double bare = Median(r.bare_ms), served = Median(r.served_ms);
  const double bare_least = Least(r.bare_ms), served_least = Least(r.served_ms);
  return {{"median_ms", {{"engine", bare}, {"confidential", served}, {"added", served - bare}}},
          {"min_ms", {{"engine", bare_least}, {"confidential", served_least}, {"added", served_least - bare_least}}},
          {"stages_ms",
           {{"front", {{"engine", Median(r.stages.front)}, {"confidential", Median(r.stages.begin)}}},
            {"back", {{"engine", Median(r.stages.back)}, {"confidential", Median(r.stages.backnet)}}},
            {"finish", Median(r.stages.finish)},
            {"rest", Median(r.stages.rest)}}}};
}

nlohmann::ordered_json LoadJson(const Result& r) {
  const double bare_cpu = Median(r.bare_cpu), served_cpu = Median(r.served_cpu);
  return {{"per_second", {{"engine", Median(r.bare_rate)}, {"confidential", Median(r.served_rate)}}},
          {"throughput_kept", Median(r.kept)},
          {"half_load_ms", {{"median", Median(r.half_load_ms)}, {"p99", Quantile(r.half_load_ms, 0.99)}}},
          {"cpu_ms", {{"engine", bare_cpu}, {"confidential", served_cpu}, {"kept", bare_cpu / served_cpu}}}};
}

std::ostream& Row(const char* name, const std::string& engine, double confidential) {
  return std::cout << std::left << std::setw(24) << name << std::right << std::setw(10) << engine << std::setw(14)
                   << confidential;
}

std::ostream& Row(const char* name, double engine, double confidential) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(2) << engine;
  return Row(name, text.str(), confidential);
}

void PrintLatency(const Result& r) {
  const double bare = Median(r.bare_ms), served = Median(r.served_ms);
  Row("median latency, ms", bare, served) << "   added " << served - bare << " (goal: at most 1.5)\n";
  Row("  opening, FrontNet", Median(r.stages.front), Median(r.stages.begin)) << "\n";
  Row("  BackNet", Median(r.stages.back), Median(r.stages.backnet)) << "\n";
  Row("  sealing the answer", "", Median(r.stages.finish)) << "\n";
  Row("  client, gRPC", "", Median(r.stages.rest)) << "\n";
  Row("least latency, ms", Least(r.bare_ms), Least(r.served_ms))
      << "   added " << Least(r.served_ms) - Least(r.bare_ms) << "\n";
}

void PrintLoad(const Result& r) {
  Row("requests a second", Median(r.bare_rate), Median(r.served_rate))
      << "   kept " << 100 * Median(r.kept) << " % (goal: at least 90)\n";
  const double half = Median(r.half_load_ms), p99 = Quantile(r.half_load_ms, 0.99);
  std::cout << "at half load            median " << half << " ms, p99 " << p99 << " ms: " << p99 / half
            << " times (goal: at most 3)\n";
  const double bare = Median(r.bare_cpu), served = Median(r.served_cpu);
  Row("CPU per request, ms", bare, served) << "   kept " << 100 * bare / served << " %\n";
}

void Print(const Options& options, const Result& r) {
  if (options.json) {
    nlohmann::ordered_json json = {{"machine", Machine()}, {"cut", options.cut}};
    json.update(LatencyJson(r));
    if (!options.latency_only) json.update(LoadJson(r));
    std::cout << json.dump() << "\n";
    return;
  }
  std::cout << Machine() << "; cut at " << options.cut << ", simulated TEE; " << options.rounds << " rounds\n"
            << std::fixed << std::setprecision(2) << std::setw(34) << "engine" << std::setw(14) << "confidential\n";
  PrintLatency(r);
  if (!options.latency_only) PrintLoad(r);
}

Status Run(Options options) {
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(options.model));
  if (options.cut.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(options.cut, MiddleCut(model.graph));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<Service> service, Serve(model.graph, {.cut = options.cut}));
  Result result;
  INFENCLAVE_RETURN_IF_ERROR(Measure(model.graph, options, *service, result));
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
    } else if (argument == "--latency") {
      options.latency_only = true;
    } else if (argument == "--cut" && i + 1 < argc) {
      options.cut = argv[++i];
    } else if (argument == "--rounds" && i + 1 < argc) {
      options.rounds = std::max(1, std::atoi(argv[++i]));
    } else {
      options.model = argument;
    }
  }
  if (options.model.empty()) {
    std::cerr << "usage: serving_bench MODEL [--cut TENSOR] [--rounds N] [--latency] [--json]\n";
    return 2;
  }
  const infenclave::Status status = infenclave::Run(options);
  if (!status.ok()) std::cerr << "serving_bench: " << infenclave::MessageOf(status) << "\n";
  return status.ok() ? 0 : 1;
}
