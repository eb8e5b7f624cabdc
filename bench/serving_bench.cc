// serving_bench MODEL [--cut TENSOR] [--rounds N] [--json]: what the confidential path costs beside the bare engine.
//
// Client, server, enclave and BackNet run on this machine's cores, over gRPC on the loopback interface; the engine
// alone computes the same network from the same pixels. They take turns, so that whatever else the machine does meets
// both.
//   latency     one request at a time; what the median grows by
//   throughput  as many requests as keep every core busy; the share that is kept. The service computes some of those
//               that wait together; the engine one by one, which is where it is fastest (infenclave bench --batch)
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "bundle/bundle.h"
#include "client/client.h"
#include "client/provision.h"
#include "engine/compiled_network.h"
#include "graph/cuts.h"
#include "host/confidential_server.h"
#include "import/model.h"
#include "tee/evidence.h"

namespace infenclave {
namespace {

using Clock = std::chrono::steady_clock;
double Milliseconds(Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

constexpr uint32_t kSide = 224;
constexpr int kLatencyRuns = 20;
// Queued for each core, so that none waits for the clients and batches fill.
constexpr int kInFlight = 16;
constexpr auto kThroughputTime = std::chrono::milliseconds(1500);

struct Options {
  std::string model, cut, enclave;
  int rounds = 10;
  bool json = false;
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

int Cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

Image SomePicture() {
  Image image{kSide, kSide, Bytes(size_t{3} * kSide * kSide)};
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<uint8_t>(i * 7919 % 251);
  return image;
}

// Pictures come in the network's size, so that resizing, which both would need, is left out of both.
Preprocessing BenchPreprocessing() {
  Preprocessing p;
  p.width = p.height = kSide;
  p.resize = Preprocessing::Resize::kStretch;
  p.mean = {127, 127, 127};
  p.scale = {1 / 128.0f, 1 / 128.0f, 1 / 128.0f};
  return p;
}

// The network alone: normalises the pixels and computes.
class Bare {
 public:
  static StatusOr<Bare> Make(const Graph& graph) {
    INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(graph, EngineOptions{}));
    return Bare(std::move(network));
  }
  Status Run(const Image& image) {
    Normalize(preprocessing_, image.rgb, in_.as<float>());
    const TensorView in = in_.view();
    const MutableTensorView out = out_.mutable_view();
    return network_.Run({&in, 1}, {&out, 1});
  }

 private:
  explicit Bare(CompiledNetwork network)
      : network_(std::move(network)),
        in_(DType::kF32, network_.input_shapes()[0]),
        out_(DType::kF32, network_.output_shapes()[0]) {}
  CompiledNetwork network_;
  Preprocessing preprocessing_ = BenchPreprocessing();
  Tensor in_, out_;
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

// A served bundle of the network, provisioned, and a client of it.
struct Service {
  std::filesystem::path folder;
  std::unique_ptr<ConfidentialServer> server;
  std::unique_ptr<Client> client;
  ~Service() {
    client.reset();
    server.reset();
    std::error_code error;
    if (!folder.empty()) std::filesystem::remove_all(folder, error);
  }
};

StatusOr<std::unique_ptr<Service>> Serve(const Options& options, const Graph& graph) {
  auto service = std::make_unique<Service>();
  std::string folder = (std::filesystem::temp_directory_path() / "serving-bench-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return Internal("cannot make a folder in ", folder);
  service->folder = folder;
  PartitionOptions partition;
  partition.cut = options.cut;
  partition.model_name = "bench";
  partition.preprocessing = BenchPreprocessing();
  partition.tee_class = TeeClass::kSimulated;
  partition.open = true;
  const int64_t classes = graph.value(graph.outputs.at(0)).shape.back();
  for (int64_t i = 0; i < classes; ++i) partition.labels.push_back(Concat("class ", i));
  const Ed25519PrivateKey owner = Ed25519PrivateKey::Generate();
  INFENCLAVE_ASSIGN_OR_RETURN(PartitionResult made, MakeBundle(graph, owner, partition));
  SpawnOptions spawn{.executable = options.enclave, .bundle_path = folder + "/bundle", .enclave = {.lanes = Cores()}};
  INFENCLAVE_RETURN_IF_ERROR(WriteBundle(made.bundle, spawn.bundle_path));
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<EnclaveLink> link, EnclaveLink::Spawn(spawn));
  const Manifest& manifest = made.bundle.manifest;
  INFENCLAVE_ASSIGN_OR_RETURN(
      BackNetFactory backnet,
      BuiltinBackNet(made.bundle.backnet_onnx, {manifest.ir_shape, manifest.ir_dtype, manifest.backnet_output_shape}));
  INFENCLAVE_ASSIGN_OR_RETURN(
      service->server, ConfidentialServer::Start(std::move(link), made.bundle.manifest_bytes, backnet,
                                                 {.listen = "127.0.0.1:0", .model = {.max_batch = kBuiltinBatch}}));
  const ServerConnection connection(service->server->address());
  // The bench is not what a policy protects: it accepts the enclave that it has just started.
  INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceReply reply,
                              FetchEvidence(connection, std::nullopt, std::chrono::seconds(30)));
  INFENCLAVE_ASSIGN_OR_RETURN(EvidenceEnvelope envelope, DecodeEvidenceEnvelope(reply.evidence));
  INFENCLAVE_ASSIGN_OR_RETURN(SimulatedEvidence evidence, DecodeSimulatedEvidence(envelope.evidence));
  Policy policy;
  policy.accept = {TeeKind::kSimulated};
  policy.owner = owner.public_key();
  policy.simulated.measurements = {evidence.measurement};
  const ProvisionOptions provision{.policy = policy, .lease = uint64_t{1} << 40};
  INFENCLAVE_RETURN_IF_ERROR(ProvisionEnclave(connection, made.keys, provision).status());
  Client::Options client{.server = service->server->address(), .policy = policy, .seen_versions = folder + "/versions"};
  INFENCLAVE_ASSIGN_OR_RETURN(service->client, Client::Connect(std::move(client)));
  return service;
}

// Processor time of this process and of the enclave that it started. Where other work disturbs the clock on the wall,
// it still says what a request costs.
double CpuMilliseconds() {
  double total = 0;
  std::vector<pid_t> processes = {getpid()};
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream children(task.path() / "children");
    for (pid_t pid; children >> pid;) processes.push_back(pid);
  }
  for (pid_t pid : processes) {
    clockid_t clock;
    timespec time{};
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) continue;
    total += 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
  }
  return total;
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

struct Rate {
  double per_second = 0, cpu_ms = 0;
};

Rate RateOf(int64_t done, Clock::time_point start, double cpu_before) {
  const auto requests = static_cast<double>(done);
  return {1000 * requests / Milliseconds(Clock::now() - start), (CpuMilliseconds() - cpu_before) / requests};
}

// Requests a second, with one engine per core. Each is compiled on its own thread, as it must be, before the time
// starts.
StatusOr<Rate> BareThroughput(const Graph& graph, const Image& image) {
  std::atomic<int64_t> done{0};
  std::atomic<bool> failed{false};
  std::barrier ready(Cores() + 1);
  Clock::time_point start;
  std::vector<std::thread> threads;
  for (int i = 0; i < Cores(); ++i) {
    threads.emplace_back([&] {
      StatusOr<Bare> bare = Bare::Make(graph);
      if (!bare.ok() || !bare->Run(image).ok()) failed = true;
      ready.arrive_and_wait();  // all are compiled
      ready.arrive_and_wait();  // the clock runs
      while (!failed && Clock::now() - start < kThroughputTime) {
        if (!bare->Run(image).ok()) failed = true;
        ++done;
      }
    });
  }
  ready.arrive_and_wait();
  const double cpu = CpuMilliseconds();
  start = Clock::now();
  ready.arrive_and_wait();
  for (std::thread& thread : threads) thread.join();
  if (failed) return Internal("the engine failed");
  return RateOf(done, start, cpu);
}

// Requests a second, with a bounded number in flight.
StatusOr<Rate> ServedThroughput(Client& client, const Image& image) {
  const int in_flight_limit = kInFlight * Cores();
  std::mutex mutex;
  std::condition_variable changed;
  int in_flight = 0;
  int64_t done = 0;
  Status failure;
  const double cpu = CpuMilliseconds();
  const auto start = Clock::now();
  while (Clock::now() - start < kThroughputTime) {
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return in_flight < in_flight_limit; });
      if (!failure.ok()) break;
      ++in_flight;
    }
    client.ClassifyAsync(image, [&](const StatusOr<Answer>& answer) {
      const std::lock_guard lock(mutex);
      if (!answer.ok()) failure = answer.status();
      --in_flight;
      ++done;
      changed.notify_all();
    });
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return in_flight == 0; });
  if (!failure.ok()) return failure;
  return RateOf(done, start, cpu);
}

struct Result {
  std::vector<double> bare_ms, served_ms;
  std::vector<double> bare_rate, served_rate, kept;  // per round
  std::vector<double> bare_cpu, served_cpu;          // milliseconds a request, at saturation
};

Status Measure(const Graph& graph, Client& client, int rounds, Result& result) {
  const Image image = SomePicture();
  INFENCLAVE_ASSIGN_OR_RETURN(Bare bare, Bare::Make(graph));
  const auto run_bare = [&] { return bare.Run(image); };
  const auto run_served = [&] { return client.Classify(image).status(); };
  std::vector<double> warm_up;
  INFENCLAVE_RETURN_IF_ERROR(Repeat(5, warm_up, run_bare));
  INFENCLAVE_RETURN_IF_ERROR(Repeat(5 * Cores(), warm_up, run_served));
  for (int round = 0; round < rounds; ++round) {
    INFENCLAVE_RETURN_IF_ERROR(Repeat(kLatencyRuns, result.bare_ms, run_bare));
    INFENCLAVE_RETURN_IF_ERROR(Repeat(kLatencyRuns, result.served_ms, run_served));
    INFENCLAVE_ASSIGN_OR_RETURN(const Rate engine, BareThroughput(graph, image));
    INFENCLAVE_ASSIGN_OR_RETURN(const Rate served, ServedThroughput(client, image));
    result.bare_rate.push_back(engine.per_second);
    result.served_rate.push_back(served.per_second);
    result.kept.push_back(served.per_second / engine.per_second);
    result.bare_cpu.push_back(engine.cpu_ms);
    result.served_cpu.push_back(served.cpu_ms);
    std::cerr << "\rround " << round + 1 << " of " << rounds << std::flush;
  }
  std::cerr << "\r" << std::string(30, ' ') << "\r";
  return OkStatus();
}

std::string Machine() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return Concat(line.substr(line.find(':') + 2), ", ", Cores(), " cores");
  }
  return Concat("unknown processor, ", Cores(), " cores");
}

void Print(const Options& options, const Result& r) {
  const double bare = Median(r.bare_ms), served = Median(r.served_ms);
  const double bare_min = *std::ranges::min_element(r.bare_ms), served_min = *std::ranges::min_element(r.served_ms);
  const double bare_cpu = Median(r.bare_cpu), served_cpu = Median(r.served_cpu);
  if (options.json) {
    const nlohmann::ordered_json json = {
        {"machine", Machine()},
        {"cut", options.cut},
        {"median_ms", {{"engine", bare}, {"confidential", served}, {"added", served - bare}}},
        {"min_ms", {{"engine", bare_min}, {"confidential", served_min}, {"added", served_min - bare_min}}},
        {"per_second", {{"engine", Median(r.bare_rate)}, {"confidential", Median(r.served_rate)}}},
        {"throughput_kept", Median(r.kept)},
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
  row("CPU per request, ms", bare_cpu, served_cpu) << "   kept " << 100 * bare_cpu / served_cpu << " %\n";
}

Status Run(Options options) {
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(options.model));
  if (options.cut.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(options.cut, MiddleCut(model.graph));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<Service> service, Serve(options, model.graph));
  Result result;
  INFENCLAVE_RETURN_IF_ERROR(Measure(model.graph, *service->client, options.rounds, result));
  Print(options, result);
  return OkStatus();
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) {
  infenclave::Options options;
  options.enclave = (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "infenclave-enclave").string();
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
