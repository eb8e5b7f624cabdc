#include <signal.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/str_replace.h"
#include "base/core_binding.h"
#include "bundle/bundle.h"
#include "cli/collateral.h"
#include "cli/command.h"
#include "cli/cores.h"
#include "cli/layer_choices.h"
#include "cli/serving.h"
#include "host/confidential_server.h"
#include "host/serve_log.h"

namespace infenclave {
namespace {

// A remote BackNet gains from batches; the engine in this process computes picture by picture anyway.
constexpr auto kDrain = std::chrono::seconds(30);
constexpr auto kWatch = std::chrono::milliseconds(500);

struct Options {
  std::string bundle, listen = "127.0.0.1:8001", http, log = "text", backnet = "builtin", tee = "auto", enclave;
  std::string collateral;
  int64_t workers = 0, max_batch = kBuiltinBatch, batch_delay_us = 0, max_queue = 256, in_flight = 8;
  bool json = false;
};

bool IsBuiltin(const Options& options) { return options.backnet == "builtin"; }

int Workers(const Options& options) {
  return options.workers > 0 ? static_cast<int>(options.workers) : AvailableCores();
}

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

// Where this program has a core for each worker, the enclave's lanes and the BackNet on them stay on theirs. Who says
// how many workers there are shares the machine with others.
bool BindsWorkers(const Options& options) {
  return IsBuiltin(options) && options.enclave.empty() && options.workers == 0 && AvailableCores() == AllowedCores();
}

// Whom to ask, and how many batches may be with them.
struct BackNetChoice {
  BackNetFactory factory;
  int max_in_flight = 0;
  std::shared_ptr<PackedWeights> weights = std::make_shared<PackedWeights>();  // of the one in this process
};

StatusOr<BackNetChoice> ChooseBackNet(const Options& options, const Bundle& bundle) {
  const Manifest& manifest = bundle.manifest;
  const BackNetShape shape = BackNetShapeOf(manifest);
  BackNetChoice choice;
  if (IsBuiltin(options)) {
    INFENCLAVE_ASSIGN_OR_RETURN(choice.factory, BuiltinBackNet(bundle.backnet_onnx, shape, choice.weights));
    return choice;
  }
  // Each version of a bundle has a BackNet of its own, which a server can hold beside the one before it.
  const std::string named = absl::StrReplaceAll(options.backnet, {{"%v", Concat(manifest.model_version)}});
  const StatusOr<std::vector<OipEndpoint>> endpoints = ParseEndpoints(named);
  if (!endpoints.ok()) return UsageError("--backnet: " + MessageOf(endpoints.status()) + ", nor 'builtin'");
  choice.max_in_flight = static_cast<int>(options.in_flight * static_cast<int64_t>(endpoints->size()));
  INFENCLAVE_ASSIGN_OR_RETURN(choice.factory, RemoteBackNet(*endpoints, shape));
  return choice;
}

StatusOr<std::unique_ptr<EnclaveLink>> OpenLink(const Options& options, int max_in_flight) {
  if (!options.enclave.empty()) return EnclaveLink::Attach(options.enclave);
  SpawnOptions spawn;
  INFENCLAVE_ASSIGN_OR_RETURN(spawn.executable, SiblingExecutable("infenclave-enclave"));
  spawn.bundle_path = options.bundle;
  spawn.enclave.lanes = Workers(options);
  spawn.enclave.bind_lanes = BindsWorkers(options);
  spawn.enclave.max_batch = static_cast<int>(options.max_batch);
  const auto batches = static_cast<size_t>(max_in_flight + Workers(options));
  spawn.enclave.max_pending =
      std::max(spawn.enclave.max_pending, batches * static_cast<size_t>(static_cast<int>(options.max_batch)));
  return EnclaveLink::Spawn(spawn);
}

size_t RoundedMegabytes(size_t bytes) { return (bytes + 500'000) / 1'000'000; }

void Announce(const Options& options, const ConfidentialServer& server, ServeLog& log) {
  const Manifest manifest = server.model().manifest();
  const bool simulated = server.model().tee() == TeeKind::kSimulated;
  const int lanes = server.model().lanes();
  if (simulated) log.Say("simulated", Concat("WARNING: ", kSimulatedWarning));
  if (!server.model().ready()) {
    log.Say("no_keys", Concat("no keys yet: infenclave provision ", options.bundle, ".keys --policy FILE --server ",
                              server.address()));
  }
  PrintReady(options.json, server.address(), server.http_address(),
             Concat("ready on ", server.address(), ": model ", manifest.model_name, ", version ",
                    manifest.model_version, ", TEE ", simulated ? "SIMULATED" : NameOf(server.model().tee()), ", ",
                    lanes, lanes == 1 ? " worker" : " workers"));
}

// What a bundle needs to be served, and is made anew when it is loaded again.
struct Parts {
  Bundle bundle;
  BackNetChoice backnet;
  std::unique_ptr<EnclaveLink> link;
};

StatusOr<Parts> Prepare(const Options& options, ServeLog& log) {
  Parts parts;
  INFENCLAVE_ASSIGN_OR_RETURN(parts.bundle, OpenBundle(options.bundle));
  INFENCLAVE_RETURN_IF_ERROR(CheckTee(options, parts.bundle.manifest.tee_class));
  INFENCLAVE_ASSIGN_OR_RETURN(parts.backnet, ChooseBackNet(options, parts.bundle));
  INFENCLAVE_ASSIGN_OR_RETURN(parts.link, OpenLink(options, parts.backnet.max_in_flight));
  log.Say("enclave", Concat("enclave: ", parts.link->start_line()));
  return parts;
}

Status Reload(const Options& options, ConfidentialServer& server, ServeLog& log) {
  if (!options.enclave.empty()) {
    return FailedPrecondition("an enclave named by --enclave cannot be replaced: start another 'infenclave serve'");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Parts parts, Prepare(options, log));
  return server.Reload(std::move(parts.link), parts.bundle.manifest_bytes, parts.backnet.factory);
}

void ReloadAndSay(const Options& options, ConfidentialServer& server, ServeLog& log) {
  if (const Status status = Reload(options, server, log); !status.ok()) {
    return log.Say("not_reloaded", Concat("infenclave serve: not reloaded: ", MessageOf(status)));
  }
  log.Say("reloaded", Concat("reloaded ", options.bundle, ": in use once it has its keys (infenclave provision ",
                             options.bundle, ".keys --policy FILE --server ", server.address(), ")"));
}

void ServeUntilStopped(const Options& options, StopSignal& stop, ConfidentialServer& server, ServeLog& log) {
  bool said_dead = false;
  std::string version = server.model().info().version;
  while (true) {
    const std::optional<int> signal = stop.Next(kWatch);
    if (signal == SIGHUP) {
      ReloadAndSay(options, server, log);
    } else if (signal) {
      break;
    }
    server.Reap();
    if (const std::string now = server.model().info().version; now != version) {
      version = now;
      log.Say("version", Concat("version ", version, " is in use"), {{"version", version}});
    }
    const bool alive = server.model().alive();
    if (!alive && !said_dead) {
      log.Say("enclave_died",
              "infenclave serve: the enclave has died; requests get UNAVAILABLE. Send SIGHUP, or start "
              "'infenclave serve' again, and provision it");
    }
    said_dead = !alive;
  }
  log.Say("stopping", "stopping: answering the requests in flight");
  server.Shutdown(kDrain);
}

ConfidentialServer::Options ServerOptions(const Options& options, int max_in_flight) {
  ConfidentialServer::Options out;
  out.listen = options.listen;
  out.http = options.http;
  out.model.max_batch = static_cast<int>(options.max_batch);
  if (IsBuiltin(options)) out.model.least_batch = kLeastBuiltinBatch;
  out.model.bind_workers = BindsWorkers(options);
  out.model.max_delay = std::chrono::microseconds(options.batch_delay_us);
  out.model.max_queue = static_cast<size_t>(options.max_queue);
  out.model.max_in_flight = max_in_flight;
  return out;
}

Status Serve(const Options& options) {
  RaiseDescriptorLimit();
  StopSignal stop(true);
  const RememberedLayerChoices remembered;
  ServeLog log(options.log == "json", &std::cerr);  // outlives the server, whose requests it logs
  INFENCLAVE_ASSIGN_OR_RETURN(Parts parts, Prepare(options, log));
  INFENCLAVE_ASSIGN_OR_RETURN(const std::shared_ptr<CollateralSource> collateral, OpenCollateral(options.collateral));
  const auto keeper = collateral != nullptr ? std::make_unique<CollateralKeeper>(collateral) : nullptr;
  ConfidentialServer::Options server_options = ServerOptions(options, parts.backnet.max_in_flight);
  server_options.observer = log.RequestObserver();
  if (keeper != nullptr) server_options.model.collateral = [keeper = keeper.get()] { return keeper->current(); };
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<ConfidentialServer> server,
                              ConfidentialServer::Start(std::move(parts.link), parts.bundle.manifest_bytes,
                                                        parts.backnet.factory, server_options));
  const TeeKind tee = server->model().tee();
  if (options.tee != "auto" && options.tee != NameOf(tee)) {
    return PermissionDenied("the enclave runs on ", NameOf(tee), ", and --tee asks for ", options.tee);
  }
  if (const PackedWeights& weights = *parts.backnet.weights; weights.bytes() > 0) {
    log.Say("backnet", Concat("BackNet: ", RoundedMegabytes(weights.bytes()),
                              " MB of weights, shared by its workers, which saves ",
                              RoundedMegabytes(weights.saved_bytes()), " MB"));
  }
  if (keeper != nullptr) keeper->Watch(server->address());
  Announce(options, *server, log);
  ServeUntilStopped(options, stop, *server, log);
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
    flags.Text("--backnet", &options->backnet,
               "builtin, or grpc://HOST:PORT/MODEL[/VERSION], several with commas; also grpc://dns:///HOST:PORT/MODEL, "
               "ipv4:, ipv6: and xds: targets");
    flags.OneOf("--log", &options->log, {"text", "json"}, "for people, or a JSON object per event and request");
    flags.OneOf("--tee", &options->tee, {"auto", "simulated", "sgx", "tdx", "sev-snp"},
                "which TEE the enclave must be in");
    flags.Text("--enclave", &options->enclave, "a running enclave: unix:PATH, vsock:CID:PORT or tcp:HOST:PORT");
    DeclareCollateral(flags, &options->collateral);
    flags.Int("--workers", &options->workers,
              "requests computed at once; 0 is one per core, each bound to its own if the BackNet is builtin", 0, 1024);
    flags.Int("--max-batch", &options->max_batch, "most requests in one call to the enclave (default: 8)", 1,
              kMaxBatch);
    flags.Int("--batch-delay-us", &options->batch_delay_us,
              "how long a request may wait for others to fill its batch while the server is busy, in microseconds", 0,
              1'000'000);
    flags.Int("--max-queue", &options->max_queue, "requests that may wait; more are RESOURCE_EXHAUSTED", 1, 1 << 20);
    flags.Int("--in-flight", &options->in_flight, "batches in flight to each BackNet of --backnet", 1, 1024);
    flags.Switch("--json", &options->json, "print the ready line as JSON");
  };
  command.run = [options] { return Serve(*options); };
  return command;
}

}  // namespace infenclave
