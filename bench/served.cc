#include "bench/served.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "base/file.h"
#include "bundle/bundle.h"
#include "client/provision.h"
#include "tee/evidence.h"

namespace infenclave {
namespace {

using Clock = std::chrono::steady_clock;

std::string Sibling(const std::string& name) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

// `infenclave backnet` with one worker; gives the address that its ready line tells.
StatusOr<std::string> StartBackNet(const std::string& bundle, std::vector<pid_t>& processes) {
  int ends[2];
  if (pipe(ends) != 0) return ErrnoStatus("pipe");
  UniqueFd ours(ends[0]), theirs(ends[1]);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, theirs.get(), STDOUT_FILENO);
  posix_spawn_file_actions_addclosefrom_np(&files, 3);
  std::vector<std::string> arguments = {Sibling("infenclave"), "backnet", bundle, "--workers", "1", "--listen",
                                        "127.0.0.1:0",         "--json"};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid = -1;
  errno = posix_spawn(&pid, argv[0], &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (errno != 0) return ErrnoStatus(arguments[0]);
  processes.push_back(pid);
  theirs.Reset();
  std::string line;
  for (char c = 0; read(ours.get(), &c, 1) == 1 && c != '\n';) line += c;
  const auto ready = nlohmann::json::parse(line, nullptr, false);
  if (!ready.is_object() || !ready.contains("address")) return Internal("infenclave backnet said '", line, "'");
  return ready["address"].get<std::string>();
}

// Requests that are under way, and the first error among them.
class InFlight {
 public:
  // False once one has failed.
  bool Enter(int limit) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ < limit; });
    ++count_;
    return failure_.ok();
  }
  void Leave(const Status& status) {
    const std::lock_guard lock(mutex_);
    if (!status.ok()) failure_ = status;
    --count_;
    changed_.notify_all();
  }
  Status Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ == 0; });
    return failure_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
  Status failure_;
};

}  // namespace

double Quantile(std::vector<double> values, double q) {
  const auto at = values.begin() + static_cast<ptrdiff_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

int Cores() {
  static const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));  // asked of a file
  return cores;
}

std::string Machine() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return Concat(line.substr(line.find(':') + 2), ", ", Cores(), " cores");
  }
  return Concat("unknown processor, ", Cores(), " cores");
}

Image SomePicture(const Graph& graph) {
  const Preprocessing size = BenchPreprocessing(graph);
  Image image{size.height, size.width, Bytes(size_t{3} * size.height * size.width)};
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<uint8_t>(i * 7919 % 251);
  return image;
}

Preprocessing BenchPreprocessing(const Graph& graph) {
  const Shape& shape = graph.value(graph.inputs.at(0)).shape;
  Preprocessing p;
  p.height = static_cast<uint32_t>(shape.at(2));
  p.width = static_cast<uint32_t>(shape.at(3));
  p.resize = Preprocessing::Resize::kStretch;
  p.mean = {127, 127, 127};
  p.scale = {1 / 128.0f, 1 / 128.0f, 1 / 128.0f};
  return p;
}

Service::~Service() {
  client.reset();
  server.reset();
  for (pid_t pid : backnets) {
    kill(pid, SIGTERM);
    waitpid(pid, nullptr, 0);
  }
  std::error_code error;
  if (!folder.empty()) std::filesystem::remove_all(folder, error);
}

StatusOr<std::unique_ptr<Service>> Serve(const Graph& graph, const ServedOptions& options) {
  auto service = std::make_unique<Service>();
  std::string folder = (std::filesystem::temp_directory_path() / "serving-bench-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return Internal("cannot make a folder in ", folder);
  service->folder = folder;
  PartitionOptions partition;
  partition.cut = options.cut;
  partition.model_name = "bench";
  partition.preprocessing = BenchPreprocessing(graph);
  partition.tee_class = TeeClass::kSimulated;
  partition.open = true;
  const int64_t classes = graph.value(graph.outputs.at(0)).shape.back();
  for (int64_t i = 0; i < classes; ++i) partition.labels.push_back(Concat("class ", i));
  const Ed25519PrivateKey owner = Ed25519PrivateKey::Generate();
  INFENCLAVE_ASSIGN_OR_RETURN(PartitionResult made, MakeBundle(graph, owner, partition));
  SpawnOptions spawn{
      .executable = Sibling("infenclave-enclave"), .bundle_path = folder + "/bundle", .enclave = {.lanes = Cores()}};
  spawn.enclave.bind_lanes = options.backnets == 0;
  INFENCLAVE_RETURN_IF_ERROR(WriteBundle(made.bundle, spawn.bundle_path));
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<EnclaveLink> link, EnclaveLink::Spawn(spawn));
  const Manifest& manifest = made.bundle.manifest;
  const BackNetShape shape = BackNetShapeOf(manifest);
  ConfidentialModel::Options model{.max_batch = options.max_batch};
  BackNetFactory backnet;
  if (options.backnets == 0) {
    model.least_batch = kLeastBuiltinBatch;
    model.bind_workers = true;
    INFENCLAVE_ASSIGN_OR_RETURN(backnet, BuiltinBackNet(made.bundle.backnet_onnx, shape));
  } else {
    std::vector<OipEndpoint> endpoints;
    for (int i = 0; i < options.backnets; ++i) {
      INFENCLAVE_ASSIGN_OR_RETURN(std::string address, StartBackNet(spawn.bundle_path, service->backnets));
      endpoints.push_back({address, partition.model_name, ""});
    }
    model.max_in_flight = 4 * options.backnets;
    INFENCLAVE_ASSIGN_OR_RETURN(backnet, RemoteBackNet(endpoints, shape));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(service->server,
                              ConfidentialServer::Start(std::move(link), made.bundle.manifest_bytes, backnet,
                                                        {.listen = "127.0.0.1:0", .model = model}));
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

Rate RateOf(int64_t done, Clock::time_point start, double cpu_before) {
  const auto requests = static_cast<double>(done);
  return {1000 * requests / Milliseconds(Clock::now() - start), (CpuMilliseconds() - cpu_before) / requests};
}

// Each engine is compiled on its own thread, as it must be, before the time starts.
StatusOr<Rate> BareThroughput(const Graph& graph, const Image& image, std::chrono::milliseconds time) {
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
      while (!failed && Clock::now() - start < time) {
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

StatusOr<Rate> ServedThroughput(Client& client, const Image& image, std::chrono::milliseconds time) {
  InFlight in_flight;
  std::atomic<int64_t> ended = 0;
  const auto keep_busy = [&](Clock::duration duration) {
    const auto start = Clock::now();
    while (Clock::now() - start < duration) {
      if (!in_flight.Enter(kInFlight * Cores())) return in_flight.Leave(OkStatus());
      client.ClassifyAsync(image, [&](const StatusOr<Answer>& answer) {
        ++ended;
        in_flight.Leave(answer.status());
      });
    }
  };
  keep_busy(std::chrono::milliseconds(200));
  const int64_t before = ended;
  const double cpu = CpuMilliseconds();
  const auto start = Clock::now();
  keep_busy(time);
  const Rate rate = RateOf(ended - before, start, cpu);
  INFENCLAVE_RETURN_IF_ERROR(in_flight.Wait());
  return rate;
}

StatusOr<std::vector<double>> LatenciesAt(Client& client, const Image& image, double per_second,
                                          std::chrono::milliseconds time) {
  // A Poisson process, given how many come: a stretch of it that happened to be busier would be another load.
  std::mt19937 random(1);
  std::uniform_real_distribution<double> when(0, Milliseconds(time));
  std::vector<double> due(static_cast<size_t>(per_second * Milliseconds(time) / 1000));
  for (double& at : due) at = when(random);
  std::ranges::sort(due);
  std::mutex mutex;
  std::vector<double> ms;
  InFlight in_flight;
  const auto start = Clock::now();
  for (const double at : due) {
    const auto next =
        start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::milli>(at));
    std::this_thread::sleep_until(next);
    if (!in_flight.Enter(1 << 20)) {
      in_flight.Leave(OkStatus());
      break;
    }
    // From when it was due: a client that is late does not hide what the server makes others wait.
    client.ClassifyAsync(image, [&, next](const StatusOr<Answer>& answer) {
      {
        const std::lock_guard lock(mutex);
        ms.push_back(Milliseconds(Clock::now() - next));
      }
      in_flight.Leave(answer.status());
    });
  }
  INFENCLAVE_RETURN_IF_ERROR(in_flight.Wait());
  return ms;
}

}  // namespace infenclave
