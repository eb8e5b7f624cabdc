#include "client/provision.h"

#include <iostream>

#include "attestation/policy.h"
#include "base/file.h"
#include "cli/collateral.h"
#include "cli/command.h"
#include "cli/model_files.h"
#include "cli/serving.h"

namespace infenclave {
namespace {

constexpr size_t kMaxKeysBytes = 64 << 10;
constexpr auto kWatchEvery = std::chrono::seconds(2);
constexpr auto kWatchTimeout = std::chrono::seconds(10);

struct Options {
  std::string keys, policy, server, release_key, collateral, log;
  int64_t lease = int64_t{1} << 40;
  bool watch = false;
};

StatusOr<BundleKeys> LoadKeys(const std::string& path) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes file, ReadFile(path, kMaxKeysBytes));
  StatusOr<BundleKeys> keys = DecodeBundleKeys(file);
  Wipe(file);
  if (!keys.ok()) return Annotate(keys.status(), path);
  return keys;
}

// What ProvisionEnclave borrows.
struct Borrowed {
  std::unique_ptr<Ed25519Signer> release_key;
  std::shared_ptr<CollateralSource> collateral;
  SeenVersions seen_versions{""};
  ProvisionOptions options;
};

Status Load(const Options& options, Borrowed& out) {
  INFENCLAVE_ASSIGN_OR_RETURN(out.options.policy, LoadPolicy(options.policy));
  if (!options.release_key.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(out.release_key, LoadSigner(options.release_key));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(out.collateral, OpenCollateral(options.collateral));
  INFENCLAVE_ASSIGN_OR_RETURN(const std::string seen, DefaultSeenVersionsPath());
  out.seen_versions = SeenVersions(seen);
  out.options.lease = static_cast<uint64_t>(options.lease);
  out.options.release_key = out.release_key.get();
  out.options.seen_versions = &out.seen_versions;
  out.options.collateral = out.collateral.get();
  out.options.log = options.log.empty() ? options.keys + ".log" : options.log;
  return OkStatus();
}

Status ProvisionOnce(const ServerConnection& server, const BundleKeys& keys, const ProvisionOptions& options) {
  INFENCLAVE_ASSIGN_OR_RETURN(Appraisal appraisal, ProvisionEnclave(server, keys, options));
  const Manifest& manifest = appraisal.manifest;
  std::cout << "provisioned " << server.address() << ": model " << manifest.model_name << ", version "
            << manifest.model_version << ", key " << HexEncode(appraisal.key_config.key_id) << std::endl;
  if (manifest.tee_class == TeeClass::kSimulated) std::cerr << "WARNING: " << kSimulatedWarning << "\n";
  return OkStatus();
}

Status ProvisionIfNeeded(const std::string& path, const ServerConnection& server, const ProvisionOptions& options) {
  INFENCLAVE_ASSIGN_OR_RETURN(BundleKeys keys, LoadKeys(path));
  INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceReply reply, FetchEvidenceFor(server, keys, std::nullopt, kWatchTimeout));
  return reply.provisioned ? OkStatus() : ProvisionOnce(server, keys, options);
}

// Gives keys whenever the enclave has none: after a restart, when a new bundle waits for them, or when its lease is
// used up. The keys' file is read each time, for with a new bundle there are new keys. A refusal ends it.
Status Watch(const std::string& path, const ServerConnection& server, const ProvisionOptions& options) {
  StopSignal stop;
  Status last;
  do {
    const Status status = ProvisionIfNeeded(path, server, options);
    if (status.code() == StatusCode::kPermissionDenied) return status;
    if (!status.ok() && status != last) std::cerr << "infenclave provision: " << status.message() << "; trying again\n";
    last = status;
  } while (!stop.Wait(kWatchEvery));
  return OkStatus();
}

Status Provision(const Options& options) {
  Borrowed borrowed;
  INFENCLAVE_RETURN_IF_ERROR(Load(options, borrowed));
  INFENCLAVE_ASSIGN_OR_RETURN(BundleKeys keys, LoadKeys(options.keys));
  const ServerConnection server(options.server);
  if (options.watch) return Watch(options.keys, server, borrowed.options);
  return ProvisionOnce(server, keys, borrowed.options);
}

}  // namespace

Command ProvisionCommand() {
  auto options = std::make_shared<Options>();
  Command command;
  command.name = "provision";
  command.summary = "Attest a server's enclave and give it the bundle's keys";
  command.example = "infenclave provision lite0.bundle.keys --policy lite0.bundle.policy.toml --server 127.0.0.1:8001";
  command.declare = [options](Flags& flags) {
    flags.Text("KEYS", &options->keys, "the bundle's keys, BUNDLE.keys", true);
    flags.Text("--policy", &options->policy, "what evidence to accept", true);
    flags.Text("--server", &options->server, "HOST:PORT", true);
    flags.Int("--lease", &options->lease, "requests to answer before keys must be given again", 1, INT64_MAX);
    flags.Text("--release-key", &options->release_key,
               "the bundle's release key where it is not in KEYS: a PEM file, or a PKCS#11 URI");
    DeclareCollateral(flags, &options->collateral);
    flags.Text("--log", &options->log,
               "where releases are written down ('infenclave releases'); KEYS.log if not given");
    flags.Switch("--watch", &options->watch, "stay, and give keys again when the enclave has none");
  };
  command.run = [options] { return Provision(*options); };
  return command;
}

}  // namespace infenclave
