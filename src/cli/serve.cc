#include <algorithm>
#include <iostream>
#include <thread>

#include "bundle/bundle.h"
#include "cli/command.h"
#include "cli/serving.h"
#include "host/confidential_server.h"

namespace infenclave {
namespace {

// A remote BackNet gains from batches; the engine in this process computes picture by picture anyway.
constexpr int kRemoteBatch = 8;
constexpr auto kDrain = std::chrono::seconds(30);
constexpr auto kWatch = std::chrono::milliseconds(500);

struct Options {
  std::string bundle, listen = "127.0.0.1:8001", http, backnet = "builtin", tee = "auto", enclave;
  int64_t workers = 0;
  bool json = false;
};

// `--tee auto` takes the simulated TEE for simulated bundles only, and nothing takes it for others.
Status CheckTee(const Options& options, TeeClass bundle) {
  const bool simulated = bundle == TeeClass::kSimulated;
  if (options.tee == "simulated" && !simulated) {
    return PermissionDenied(
        "this bundle is for hardware TEEs only and refuses the simulated one: make another with "
        "'infenclave partition --tee simulated'");
  }
  if (options.tee != "auto" && options.tee != "simulated" && simulated) {
    return PermissionDenied(
        "this bundle is for the simulated TEE only: make another with "
        "'infenclave partition --tee hardware'");
  }
  if (!simulated && options.enclave.empty()) {
    return FailedPrecondition(
        "this bundle is for hardware TEEs: start 'infenclave-enclave --listen ADDR' in one, and "
        "name it with --enclave ADDR");
  }
  return OkStatus();
}

StatusOr<std::unique_ptr<EnclaveLink>> OpenLink(const Options& options, int workers, int max_batch) {
  if (!options.enclave.empty()) return EnclaveLink::Attach(options.enclave);
  SpawnOptions spawn;
  INFENCLAVE_ASSIGN_OR_RETURN(spawn.executable, SiblingExecutable("infenclave-enclave"));
  spawn.bundle_path = options.bundle;
  spawn.enclave.lanes = workers;
  spawn.enclave.max_batch = max_batch;
  return EnclaveLink::Spawn(spawn);
}

StatusOr<BackNetFactory> MakeBackNet(const Options& options, const Bundle& bundle,
                                     std::shared_ptr<PackedWeights> weights) {
  const Manifest& manifest = bundle.manifest;
  const BackNetShape shape{manifest.ir_shape, manifest.ir_dtype, manifest.backnet_output_shape};
  if (options.backnet == "builtin") return BuiltinBackNet(bundle.backnet_onnx, shape, std::move(weights));
  const StatusOr<std::vector<OipEndpoint>> endpoints = ParseEndpoints(options.backnet);
  if (!endpoints.ok()) return UsageError("--backnet: " + MessageOf(endpoints.status()) + ", nor 'builtin'");
  return RemoteBackNet(*endpoints, shape);
}

size_t RoundedMegabytes(size_t bytes) { return (bytes + 500'000) / 1'000'000; }

void Announce(const Options& options, const ConfidentialServer& server) {
  const Manifest& manifest = server.model().manifest();
  const bool simulated = server.model().tee() == TeeKind::kSimulated;
  const int lanes = server.link().lanes();
  if (simulated) std::cerr << "WARNING: " << kSimulatedWarning << "\n";
  if (!server.model().ready()) {
    std::cerr << "no keys yet: infenclave provision " << options.bundle << ".keys --policy FILE --server "
              << server.address() << "\n";
  }
  PrintReady(options.json, server.address(), server.http_address(),
             Concat("ready on ", server.address(), ": model ", manifest.model_name, ", version ",
                    manifest.model_version, ", TEE ", simulated ? "SIMULATED" : NameOf(server.model().tee()), ", ",
                    lanes, lanes == 1 ? " worker" : " workers"));
}

void ServeUntilStopped(StopSignal& stop, ConfidentialServer& server) {
  bool said_dead = false;
  while (!stop.Wait(kWatch)) {
    if (said_dead || server.link().alive()) continue;
    std::cerr
        << "infenclave serve: the enclave has died; requests get UNAVAILABLE. Start 'infenclave serve' again, and "
           "provision it\n";
    said_dead = true;
  }
  std::cerr << "stopping: answering the requests in flight\n";
  server.Shutdown(kDrain);
}

Status Serve(const Options& options) {
  StopSignal stop;
  INFENCLAVE_ASSIGN_OR_RETURN(Bundle bundle, OpenBundle(options.bundle));
  INFENCLAVE_RETURN_IF_ERROR(CheckTee(options, bundle.manifest.tee_class));
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int workers = options.workers > 0 ? static_cast<int>(options.workers) : cores;
  const int max_batch = options.backnet == "builtin" ? 1 : kRemoteBatch;
  const auto weights = std::make_shared<PackedWeights>();
  INFENCLAVE_ASSIGN_OR_RETURN(BackNetFactory backnet, MakeBackNet(options, bundle, weights));
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<EnclaveLink> link, OpenLink(options, workers, max_batch));
  std::cerr << "enclave: " << link->start_line() << "\n";
  ConfidentialServer::Options server_options;
  server_options.listen = options.listen;
  server_options.http = options.http;
  server_options.model.max_batch = max_batch;
  INFENCLAVE_ASSIGN_OR_RETURN(
      std::unique_ptr<ConfidentialServer> server,
      ConfidentialServer::Start(std::move(link), bundle.manifest_bytes, backnet, server_options));
  const TeeKind tee = server->model().tee();
  if (options.tee != "auto" && options.tee != NameOf(tee)) {
    return PermissionDenied("the enclave runs on ", NameOf(tee), ", and --tee asks for ", options.tee);
  }
  if (weights->bytes() > 0) {
    std::cerr << "BackNet: " << RoundedMegabytes(weights->bytes())
              << " MB of weights, shared by its workers, which saves " << RoundedMegabytes(weights->saved_bytes())
              << " MB\n";
  }
  Announce(options, *server);
  ServeUntilStopped(stop, *server);
  return OkStatus();
}

}  // namespace

Command ServeCommand() {
  auto options = std::make_shared<Options>();
  Command command;
  command.name = "serve";
  command.summary = "Serve a bundle: start its enclave and answer sealed requests";
  command.example = "infenclave serve lite0.bundle --listen 0.0.0.0:8001";
  command.declare = [options](Flags& flags) {
    flags.Text("BUNDLE", &options->bundle, "the folder that 'infenclave partition' made", true);
    flags.Text("--listen", &options->listen, "HOST:PORT (port 0 picks one) or unix:PATH; 127.0.0.1:8001 if not given");
    flags.Text("--http", &options->http, "HOST:PORT for the protocol's REST half and /metrics; none if not given");
    flags.Text("--backnet", &options->backnet, "builtin, or grpc://HOST:PORT/MODEL[/VERSION], several with commas");
    flags.OneOf("--tee", &options->tee, {"auto", "simulated", "sgx", "tdx", "sev-snp"},
                "which TEE the enclave must be in");
    flags.Text("--enclave", &options->enclave, "a running enclave: unix:PATH, vsock:CID:PORT or tcp:HOST:PORT");
    flags.Int("--workers", &options->workers, "requests computed at once; 0 is one per core", 0, 1024);
    flags.Switch("--json", &options->json, "print the ready line as JSON");
  };
  command.run = [options] { return Serve(*options); };
  return command;
}

}  // namespace infenclave
