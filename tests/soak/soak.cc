// soak [--requests N] [--state FILE]: a mixed load while everything around the server misbehaves.
//
// A real enclave process with the tests' small network; BackNet workers that are killed and started again at random;
// BackNets that are slow, lie, send nonsense, reset or hang; clients that give up and client processes that are killed
// in the middle. The enclave audits every answer, so that a lie about the scores shows. Every request of the clients
// that live must end once, in the right answer or in an error that says which it is; memory and descriptors must not
// grow. With --state, a soak that was stopped goes on where it was.
#include <dirent.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <thread>

#include "base/file.h"
#include "client/client.h"
#include "client/provision.h"
#include "host/backnet_server.h"
#include "host/confidential_server.h"
#include "import/model.h"
#include "tee/evidence.h"
#include "tests/enclave/harness.h"
#include "tests/host/scripted_backnet.h"

namespace infenclave {
namespace {

using Mood = ScriptedBackNet::Mood;
using std::chrono::milliseconds;

constexpr int kPictures = 32, kClients = 4, kInFlight = 16;
constexpr char kModel[] = "tiny";
constexpr size_t kMaxFile = 16 << 20;

// ---- processes that are killed ------------------------------------------------------------------------------------
// This program again, as something else. Ends with its parent.
class Child {
 public:
  explicit Child(std::vector<std::string> arguments) : arguments_(std::move(arguments)) { Start(); }
  ~Child() { Kill(); }
  void Restart() {
    Kill();
    Start();
  }

 private:
  void Start() {
    std::vector<char*> argv;
    for (std::string& argument : arguments_) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = vfork();
    if (pid_ == 0) {
      execv("/proc/self/exe", argv.data());
      _exit(127);
    }
  }
  void Kill() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::vector<std::string> arguments_;
  pid_t pid_ = -1;
};

int FreePort() {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  INFENCLAVE_CHECK(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
  INFENCLAVE_CHECK(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return ntohs(address.sin_port);
}

Manifest LoadManifest(const std::string& folder) {
  return DecodeManifest(ReadFile(folder + "/manifest", kMaxManifestBytes).value()).value();
}

// soak --backnet FOLDER ADDRESS
int BackNetMain(const std::string& folder, const std::string& address) {
  const Manifest manifest = LoadManifest(folder);
  const Bytes onnx = ReadFile(folder + "/backnet.onnx", kMaxFile).value();
  auto backnet = BuiltinBackNet(onnx, ServerShapeOf(BackNetShapeOf(manifest)));
  const auto server = BackNetServer::Start(manifest, *backnet, {.listen = address});
  while (server.ok()) pause();
  return 1;
}

Policy PolicyFor(const Ed25519PublicKey& owner, const Sha256Digest& measurement) {
  Policy policy;
  policy.accept = {TeeKind::kSimulated};
  policy.owner = owner;
  policy.simulated.measurements = {measurement};
  return policy;
}

// soak --client FOLDER ADDRESS MEASUREMENT: asks until it is killed.
int ClientMain(const std::string& folder, const std::string& address, const std::string& measurement) {
  Sha256Digest digest{};
  std::ranges::copy(HexDecode(measurement).value(), digest.begin());
  while (true) {
    auto client = Client::Connect({.server = address,
                                   .policy = PolicyFor(LoadManifest(folder).owner, digest),
                                   .seen_versions = folder + "/versions-of-the-killed"});
    for (uint32_t i = 0; client.ok(); ++i) {
      (*client)->ClassifyAsync({TinyModel::kSide, TinyModel::kSide, RandomPicture(i % kPictures)}, [](const auto&) {});
      if (i % 8 == 0) std::this_thread::sleep_for(milliseconds(20));
    }
    std::this_thread::sleep_for(milliseconds(20));
  }
}

// Accepts connections, and resets them.
class Resetter {
 public:
  Resetter() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port_));
    INFENCLAVE_CHECK(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    INFENCLAVE_CHECK(listen(socket_.get(), 64) == 0);
    thread_ = std::thread([this] {
      while (true) {
        UniqueFd connection(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!connection.valid()) return;
        const linger reset{1, 0};
        setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
      }
    });
  }
  ~Resetter() {
    shutdown(socket_.get(), SHUT_RDWR);
    thread_.join();
  }
  std::string address() const { return Concat("127.0.0.1:", port_); }

 private:
  const int port_ = FreePort();
  UniqueFd socket_;
  std::thread thread_;
};

// ---- what is counted ----------------------------------------------------------------------------------------------
struct Tally {
  uint64_t done = 0, right = 0;
  std::map<std::string, uint64_t> errors;

  void Load(const std::string& file) {
    std::ifstream in(file);
    std::string code;
    in >> done >> right;
    for (uint64_t count; in >> code >> count;) errors[code] = count;
  }
  void Save(const std::string& file) const {
    std::string text = Concat(done, " ", right, "\n");
    for (const auto& [code, count] : errors) text += Concat(code, " ", count, "\n");
    INFENCLAVE_CHECK(WriteFileAtomic(file, ToBytes(AsBytes(text))).ok());
  }
};

struct Footprint {
  size_t kilobytes = 0, descriptors = 0;
};

Footprint FootprintOf(const std::string& process) {
  Footprint out;
  std::ifstream status(Concat("/proc/", process, "/status"));
  for (std::string word; status >> word;) {
    if (word == "VmRSS:") status >> out.kilobytes;
  }
  for (const auto& entry : std::filesystem::directory_iterator(Concat("/proc/", process, "/fd"))) {
    out.descriptors += entry.path().empty() ? 0 : 1;
  }
  return out;
}

std::string EnclaveProcess() {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream children(task.path() / "children");
    for (std::string pid; children >> pid;) {
      std::string name;
      std::getline(std::ifstream(Concat("/proc/", pid, "/comm")), name);
      if (std::string_view(name).starts_with("infenclave-encl")) return pid;
    }
  }
  return "";
}

[[noreturn]] void Fail(const std::string& why) {
  std::cerr << "\nsoak: FAILED: " << why << std::endl;
  std::_Exit(1);
}

// ---- the stage ----------------------------------------------------------------------------------------------------
TestBundle MakeBundle() {
  return TestBundle([](Manifest& manifest) {
    manifest.model_name = kModel;
    manifest.open = true;
    manifest.audit_per_million = 1'000'000;
    manifest.audit_tolerance = 1e-3f;
  });
}

class Stage {
 public:
  Stage() {
    WriteOrDie("/backnet.onnx", ExportOnnx(bundle_.model.BackNet(bundle_.mapping.order), {.anonymous = true}).value());
    for (std::string& address : worker_addresses_) {
      address = Concat("127.0.0.1:", FreePort());
      workers_.push_back(std::make_unique<Child>(std::vector<std::string>{"soak", "--backnet", folder_, address}));
    }
    for (int i = 0; i < 2; ++i) {
      scripted_.push_back(std::make_unique<ScriptedBackNet>([this](const TensorData& ir) { return Compute(ir); }));
    }
    Serve();
    for (int i = 0; i < 2; ++i) {
      clients_.push_back(std::make_unique<Child>(
          std::vector<std::string>{"soak", "--client", folder_, server_->address(), HexEncode(measurement_)}));
    }
    trouble_ = std::jthread([this](const std::stop_token& stop) { MakeTrouble(stop); });
  }
  ~Stage() {
    trouble_ = {};
    clients_.clear();
    server_.reset();
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
  }

  const TestBundle& bundle() const { return bundle_; }
  std::unique_ptr<Client> Connect(int index) const {
    Client::Options options{.server = server_->address(),
                            .policy = PolicyFor(bundle_.owner.public_key(), measurement_),
                            .seen_versions = folder_ + "/versions"};
    // One of them has no patience.
    auto client = Client::Connect(options);
    if (!client.ok()) Fail(Concat("a client cannot connect: ", MessageOf(client.status())));
    if (index != 0) return *std::move(client);
    options.timeout = milliseconds(15);
    for (int i = 0; i < 100; ++i) {
      if (auto impatient = Client::Connect(options); impatient.ok()) return *std::move(impatient);
    }
    return *std::move(client);
  }

 private:
  void WriteOrDie(const std::string& name, ByteSpan bytes) {
    INFENCLAVE_CHECK(WriteFileAtomic(folder_ + name, bytes).ok());
  }

  // As the network computes it, or else a lie: in the right form, but for other scores.
  std::vector<float> Compute(const TensorData& ir) {
    const size_t each = ir.data.size() / static_cast<size_t>(ir.shape[0]);
    std::vector<float> out;
    for (int64_t i = 0; i < ir.shape[0]; ++i) {
      const std::vector<float> one = bundle_.BackNetScores(ir.data.subspan(static_cast<size_t>(i) * each, each));
      out.insert(out.end(), one.begin(), one.end());
    }
    if (lies_) std::ranges::reverse(out);
    return out;
  }

  void Serve() {
    SpawnOptions spawn{.executable = INFENCLAVE_ENCLAVE, .bundle_path = folder_, .enclave = {.lanes = 2}};
    spawn.enclave.max_pending = 1024;
    spawn.enclave.requests_per_key = 1 << 12;
    spawn.enclave.overlap = 1 << 9;
    auto link = EnclaveLink::Spawn(spawn);
    if (!link.ok()) Fail(MessageOf(link.status()));
    std::vector<OipEndpoint> endpoints = {{resetter_.address(), kModel, ""}};
    for (const std::string& address : worker_addresses_) endpoints.push_back({address, kModel, ""});
    for (const auto& scripted : scripted_) endpoints.push_back({scripted->address(), kModel, ""});
    const Manifest& manifest = bundle_.manifest;
    auto backnet = RemoteBackNet(endpoints, BackNetShapeOf(manifest));
    if (!backnet.ok()) Fail(MessageOf(backnet.status()));
    ConfidentialServer::Options options;
    options.listen = "127.0.0.1:0";
    options.model.max_batch = 8;
    options.model.max_in_flight = 32;
    options.model.max_queue = 1024;
    auto server = ConfidentialServer::Start(*std::move(link), bundle_.parts.manifest, *backnet, options);
    if (!server.ok()) Fail(MessageOf(server.status()));
    server_ = *std::move(server);
    const ServerConnection connection(server_->address());
    const auto reply = FetchEvidence(connection, std::nullopt, std::chrono::seconds(30));
    measurement_ =
        DecodeSimulatedEvidence(DecodeEvidenceEnvelope(reply.value().evidence).value().evidence).value().measurement;
    const BundleKeys keys{manifest.bundle_id, bundle_.frontnet_key.Clone(), bundle_.mapping_key.Clone(),
                          bundle_.release.seed().Clone(), manifest.model_version};
    const auto provisioned = ProvisionEnclave(
        connection, keys, {.policy = PolicyFor(bundle_.owner.public_key(), measurement_), .lease = uint64_t{1} << 40});
    if (!provisioned.ok()) Fail(MessageOf(provisioned.status()));
  }

  void MakeTrouble(const std::stop_token& stop) {
    std::minstd_rand random(std::random_device{}());
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(milliseconds(20 + random() % 80));
      switch (random() % 10) {
        case 0:
          workers_[random() % workers_.size()]->Restart();
          break;
        case 1:
          clients_[random() % clients_.size()]->Restart();
          break;
        case 2:
          lies_ = !lies_;
          break;
        default:
          scripted_[random() % scripted_.size()]->mood = static_cast<Mood>(random() % 9);
      }
    }
  }

  TestBundle bundle_ = MakeBundle();
  const std::string folder_ = bundle_.Write();
  Resetter resetter_;
  std::array<std::string, 2> worker_addresses_;
  std::vector<std::unique_ptr<Child>> workers_, clients_;
  std::vector<std::unique_ptr<ScriptedBackNet>> scripted_;
  std::atomic<bool> lies_{false};
  Sha256Digest measurement_{};
  std::unique_ptr<ConfidentialServer> server_;
  std::jthread trouble_;
};

// ---- the clients that live ----------------------------------------------------------------------------------------
bool Same(const std::vector<AnswerClass>& one, const std::vector<AnswerClass>& other) {
  return std::ranges::equal(one, other, [](const AnswerClass& a, const AnswerClass& b) {
    return a.label == b.label && std::abs(a.probability - b.probability) < 1e-4f;
  });
}

class Load {
 public:
  Load(const Stage& stage, uint64_t wanted, Tally& tally) : tally_(tally) {
    for (uint32_t i = 0; i < kPictures; ++i) {
      pictures_.push_back({TinyModel::kSide, TinyModel::kSide, RandomPicture(i)});
      expected_.push_back(stage.bundle().Expected(pictures_.back().rgb));
    }
    for (uint64_t i = 0; i < kClients; ++i) {
      const uint64_t share = wanted * (i + 1) / kClients - wanted * i / kClients;
      threads_.emplace_back([this, share, client = stage.Connect(static_cast<int>(i))] { Run(*client, share); });
    }
  }
  ~Load() {
    for (std::thread& thread : threads_) thread.join();
  }
  uint64_t done() {
    const std::lock_guard lock(mutex_);
    return tally_.done;
  }
  void Save(const std::string& file) {
    const std::lock_guard lock(mutex_);
    tally_.Save(file);
  }

 private:
  void Run(Client& client, uint64_t wanted) {
    std::mutex mutex;
    std::condition_variable changed;
    int in_flight = 0;
    for (uint64_t i = 0; i < wanted; ++i) {
      const size_t picture = i % kPictures;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return in_flight < kInFlight; });
        ++in_flight;
      }
      auto ended = std::make_shared<std::atomic<bool>>(false);
      client.ClassifyAsync(pictures_[picture], [&, picture, ended](const StatusOr<Answer>& answer) {
        if (ended->exchange(true)) Fail("a request ended twice");
        Count(answer, picture);
        const std::lock_guard lock(mutex);
        --in_flight;
        changed.notify_all();
      });
    }
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return in_flight == 0; });
  }

  void Count(const StatusOr<Answer>& answer, size_t picture) {
    if (answer.ok() && !Same(answer->classes, expected_[picture])) Fail("a wrong answer");
    const StatusCode code = answer.status().code();
    const bool clear = code == StatusCode::kOk || code == StatusCode::kUnavailable ||
                       code == StatusCode::kDeadlineExceeded || code == StatusCode::kResourceExhausted ||
                       code == StatusCode::kPermissionDenied;  // a lie, found by the audit
    if (!clear) Fail(Concat("an error that should not be: ", answer.status().ToString()));
    const std::lock_guard lock(mutex_);
    ++tally_.done;
    if (answer.ok()) {
      ++tally_.right;
    } else {
      ++tally_.errors[absl::StatusCodeToString(code)];
    }
  }

  std::vector<Image> pictures_;
  std::vector<std::vector<AnswerClass>> expected_;
  std::mutex mutex_;
  Tally& tally_;
  std::vector<std::thread> threads_;
};

void CheckFlat(const std::string& what, const Footprint& before, const Footprint& after) {
  std::cout << what << ": " << before.kilobytes / 1024 << " MB and " << before.descriptors << " descriptors, then "
            << after.kilobytes / 1024 << " MB and " << after.descriptors << "\n";
  if (after.kilobytes > before.kilobytes + before.kilobytes / 4 + (16 << 10)) Fail(what + ": its memory grows");
  if (after.descriptors > before.descriptors + 32) Fail(what + ": its descriptors grow");
}

int Soak(uint64_t requests, const std::string& state) {
  Tally tally;
  if (!state.empty()) tally.Load(state);
  if (tally.done >= requests) return std::cout << "done before: " << tally.done << " requests\n", 0;
  const uint64_t before = tally.done, wanted = requests - before;
  Stage stage;
  const std::string enclave = EnclaveProcess();
  Footprint host_early, enclave_early;
  {
    Load load(stage, wanted, tally);
    for (uint64_t done = before; done < requests; done = load.done()) {
      std::this_thread::sleep_for(milliseconds(100));
      if (host_early.kilobytes == 0 && done - before > wanted / 4) {
        host_early = FootprintOf("self");
        enclave_early = FootprintOf(enclave);
      }
      if (!state.empty()) load.Save(state);
      std::cerr << "\r" << done << " of " << requests << std::flush;
    }
  }
  std::cerr << "\r";
  if (!state.empty()) tally.Save(state);
  std::cout << tally.done << " requests: " << tally.right << " right answers";
  for (const auto& [code, count] : tally.errors) std::cout << ", " << count << " " << code;
  std::cout << "\n";
  if (host_early.kilobytes != 0) {
    CheckFlat("host, clients and scripted BackNets", host_early, FootprintOf("self"));
    CheckFlat("enclave", enclave_early, FootprintOf(enclave));
  }
  if (tally.right < tally.done / 4) Fail("fewer than a quarter of the requests were answered");
  return 0;
}

int Main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() >= 3 && arguments[0].starts_with("--") && arguments[0] != "--requests") {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (arguments[0] == "--backnet") return BackNetMain(arguments[1], arguments[2]);
    if (arguments[0] == "--client" && arguments.size() == 4)
      return ClientMain(arguments[1], arguments[2], arguments[3]);
  }
  uint64_t requests = 4000;
  std::string state;
  for (size_t i = 0; i + 1 < arguments.size(); i += 2) {
    if (arguments[i] == "--requests") requests = std::stoull(arguments[i + 1]);
    if (arguments[i] == "--state") state = arguments[i + 1];
  }
  return Soak(requests, state);
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) { return infenclave::Main(argc, argv); }
