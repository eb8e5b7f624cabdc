// infenclave-enclave: the trusted process. Reads the bundle and its own executable, makes the key pair, closes the
// sandbox behind itself, and serves calls until the host goes away.
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <climits>
#include <csignal>
#include <cstdio>
#include <optional>

#include "crypto/secret.h"
#include "enclave/channel.h"
#include "enclave/enclave_core.h"
#include "enclave/sandbox.h"
#include "enclave/service.h"
#include "enclave/socket_address.h"
#include "engine/compiled_network.h"
#include "graph/serialize.h"
#include "protocol/calls.h"
#include "tee/configfs_tsm.h"
#include "tee/gramine.h"

namespace infenclave {
namespace {

constexpr size_t kMaxExecutableBytes = size_t{1} << 30;
constexpr char kUsage[] =
    "usage: infenclave-enclave --bundle DIR --listen unix:PATH|vsock:CID:PORT|tcp:ADDRESS:PORT [OPTION N]...\n"
    "       infenclave-enclave --bundle DIR --channel-fd N [OPTION N]...   (as `infenclave serve` starts it)\n"
    "options: --lanes --threads-per-lane --bind-lanes --max-batch --max-pending --max-age --requests-per-key "
    "--overlap\n"
    "example: infenclave-enclave --bundle lite0.bundle --listen unix:/run/infenclave.sock --lanes 2\n";

struct Arguments {
  std::string bundle, listen;
  int channel = -1;
  EnclaveOptions enclave;
};

Status ParseNumber(std::string_view name, std::string_view text, uint64_t lowest, uint64_t highest, auto& out) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < lowest || value > highest) {
    return InvalidArgument(name, " '", text, "': expected a number from ", lowest, " to ", highest);
  }
  out = static_cast<std::remove_reference_t<decltype(out)>>(value);
  return OkStatus();
}

Status ParseOption(std::string_view name, std::string_view text, Arguments& out) {
  constexpr uint64_t kMany = uint64_t{1} << 24;
  EnclaveOptions& enclave = out.enclave;
  if (name == "--bundle") return out.bundle = text, OkStatus();
  if (name == "--listen") return out.listen = text, OkStatus();
  if (name == "--channel-fd") return ParseNumber(name, text, 3, 1 << 20, out.channel);
  if (name == "--lanes") return ParseNumber(name, text, 1, kMaxLanes, enclave.lanes);
  if (name == "--threads-per-lane") return ParseNumber(name, text, 1, 256, enclave.threads_per_lane);
  if (name == "--bind-lanes") return ParseNumber(name, text, 0, 1, enclave.bind_lanes);
  if (name == "--max-batch") return ParseNumber(name, text, 1, kMaxBatch, enclave.max_batch);
  if (name == "--max-pending") return ParseNumber(name, text, 1, 1 << 16, enclave.max_pending);
  if (name == "--max-age") return ParseNumber(name, text, 1, kMany, enclave.max_age);
  if (name == "--requests-per-key") return ParseNumber(name, text, 1, kMany, enclave.requests_per_key);
  if (name == "--overlap") return ParseNumber(name, text, 0, kMany, enclave.overlap);
  return InvalidArgument("unknown option '", name, "'");
}

StatusOr<Arguments> ParseArguments(std::span<char*> argv) {
  Arguments out;
  for (size_t i = 1; i < argv.size(); i += 2) {
    if (i + 1 == argv.size()) return InvalidArgument(argv[i], " needs a value");
    INFENCLAVE_RETURN_IF_ERROR(ParseOption(argv[i], argv[i + 1], out));
  }
  if (out.bundle.empty()) return InvalidArgument("--bundle is missing");
  if (out.listen.empty() == (out.channel < 0)) return InvalidArgument("give one of --listen and --channel-fd");
  return out;
}

StatusOr<EnclaveBundle> ReadBundle(const std::string& folder) {
  EnclaveBundle out;
  INFENCLAVE_ASSIGN_OR_RETURN(out.manifest, ReadFile(folder + "/manifest", kMaxManifestBytes));
  INFENCLAVE_ASSIGN_OR_RETURN(out.manifest_signature, ReadFile(folder + "/manifest.sig", 4096));
  INFENCLAVE_ASSIGN_OR_RETURN(out.frontnet_sealed, ReadFile(folder + "/frontnet.sealed", kMaxGraphBytes + 4096));
  INFENCLAVE_ASSIGN_OR_RETURN(out.mapping_sealed, ReadFile(folder + "/mapping.sealed", size_t{64} << 20));
  for (const auto& [file, part] : {std::pair{"/tail.sealed", &out.tail_sealed}, {"/audit.sealed", &out.audit_sealed}}) {
    StatusOr<Bytes> bytes = ReadFile(folder + file, kMaxGraphBytes + 4096);
    if (bytes.status().code() == StatusCode::kNotFound) continue;  // whether it should be there, the manifest says
    INFENCLAVE_RETURN_IF_ERROR(bytes.status());
    *part = *std::move(bytes);
  }
  return out;
}

// Of the TEE that this process runs in; without one it is simulated, and the measurement is the hash of this very file.
// The libraries it loads are not in it: `cmake --build build --target tcb` lists them.
StatusOr<std::unique_ptr<EvidenceMaker>> MakeEvidence() {
  StatusOr<std::unique_ptr<EvidenceMaker>> hardware = MakeGramineEvidenceMaker();
  if (hardware.status().code() == StatusCode::kNotFound) hardware = MakeConfigfsTsmEvidenceMaker();
  if (hardware.ok()) return hardware;
  if (hardware.status().code() != StatusCode::kNotFound) {
    std::fprintf(stderr, "infenclave-enclave: no hardware TEE: %s\n", MessageOf(hardware.status()).c_str());
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes executable, ReadFile("/proc/self/exe", kMaxExecutableBytes));
  return MakeSimulatedEvidenceMaker(Sha256(executable));
}

// None under Gramine: the library OS has neither seccomp nor Landlock, and is the boundary itself.
StatusOr<std::optional<Sandbox>> PrepareSandbox(TeeKind tee, const Arguments& arguments) {
  if (tee == TeeKind::kSgx) return std::nullopt;
  SandboxOptions options;
  options.accept_connections = !arguments.listen.empty();
  if (tee != TeeKind::kSimulated) options.evidence_folder = kConfigfsTsmReports;
  INFENCLAVE_ASSIGN_OR_RETURN(Sandbox sandbox, Sandbox::Prepare(options));
  return sandbox;
}

class Process {
 public:
  static StatusOr<std::unique_ptr<Process>> Load(const Arguments& arguments) {
    INFENCLAVE_ASSIGN_OR_RETURN(EnclaveBundle bundle, ReadBundle(arguments.bundle));
    INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<EvidenceMaker> evidence, MakeEvidence());
    const TeeKind tee = evidence->kind();
    INFENCLAVE_ASSIGN_OR_RETURN(std::optional<Sandbox> sandbox, PrepareSandbox(tee, arguments));
    std::unique_ptr<Process> self(new Process(arguments, tee, std::move(sandbox)));
    INFENCLAVE_ASSIGN_OR_RETURN(
        self->core_, EnclaveCore::Create(std::move(bundle), std::move(evidence), arguments.enclave, &self->service_));
    INFENCLAVE_RETURN_IF_ERROR(self->OpenTransport());
    return self;
  }

  // Threads run from here on, so the process may only end by _exit.
  Status CloseSandbox() {
    isa_ = EffectiveIsa();
    if (sandbox_) INFENCLAVE_RETURN_IF_ERROR(sandbox_->RestrictFiles());
    INFENCLAVE_RETURN_IF_ERROR(service_.Start(core_.get()));
    return sandbox_ ? sandbox_->Enter() : OkStatus();
  }

  void Serve() {
    if (listener_) {
      // Not by stdio, which asks what its file is: the sandbox has no answer.
      const std::string ready = Concat("ready ", listener_->name, "\n", StartLine(), "\n");
      if (::write(STDOUT_FILENO, ready.data(), ready.size()) < 0) return;
      service_.ServeListener(std::move(listener_->socket), EncodeHello(MakeHello()));
      return;
    }
    std::vector<int> descriptors = {slots_->descriptor()};
    for (const UniqueFd& end : host_ends_) descriptors.push_back(end.get());
    if (!WriteFrame(arguments_.channel, EncodeHello(MakeHello()), descriptors).ok()) return;
    host_ends_.clear();
    service_.Serve(std::move(ports_));
  }

 private:
  Process(const Arguments& arguments, TeeKind tee, std::optional<Sandbox> sandbox)
      : arguments_(arguments),
        tee_(tee),
        sandbox_(std::move(sandbox)),
        service_(arguments.enclave, sandbox_ ? &*sandbox_ : nullptr) {}

  Status OpenTransport() {
    if (!arguments_.listen.empty()) {
      INFENCLAVE_ASSIGN_OR_RETURN(listener_, ListenOn(arguments_.listen));
      return OkStatus();
    }
    const int lanes = arguments_.enclave.lanes;
    INFENCLAVE_ASSIGN_OR_RETURN(SharedSlots slots,
                                SharedSlots::Create(lanes, core_->max_call_bytes(), core_->max_reply_bytes()));
    slots_.emplace(std::move(slots));
    host_ends_.resize(static_cast<size_t>(lanes));
    for (int lane = 0; lane < lanes; ++lane) {
      UniqueFd ours;
      INFENCLAVE_RETURN_IF_ERROR(MakeDoorbell(ours, host_ends_[static_cast<size_t>(lane)]));
      ports_.push_back(MakeSlotPort(std::move(ours), slots_->call(lane), slots_->reply(lane)));
    }
    return OkStatus();
  }

  Hello MakeHello() const {
    return {.start_line = StartLine(),
            .lanes = arguments_.enclave.lanes,
            .max_call_bytes = core_->max_call_bytes(),
            .max_reply_bytes = core_->max_reply_bytes()};
  }

  std::string StartLine() const {
    std::string line = Concat("tee=", NameOf(tee_), " secret-memory=", SecretMemoryKind(),
                              " sandbox=", sandbox_ ? sandbox_->Describe() : "library OS", " isa=", isa_,
                              " lanes=", arguments_.enclave.lanes, "x", arguments_.enclave.threads_per_lane);
    if (tee_ == TeeKind::kSimulated) line += " (simulated: no protection from the owner of this machine)";
    return line;
  }

  const Arguments arguments_;
  const TeeKind tee_;
  std::optional<Sandbox> sandbox_;
  Service service_;
  std::unique_ptr<EnclaveCore> core_;
  std::string isa_;
  std::optional<Listener> listener_;
  std::optional<SharedSlots> slots_;
  std::vector<UniqueFd> host_ends_;
  std::vector<std::unique_ptr<LanePort>> ports_;
};

// Secret memory is locked memory: as much of it as we may have without asking.
void RaiseLockedMemoryLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_MEMLOCK, &limit);
}

// Before glibc gives memory of a thread's heap back, it reads how the kernel overcommits from a file, which the sandbox
// forbids. So it keeps what it has; up to 32 MiB, what is freed is used again without asking the kernel.
void KeepFreedMemory() {
  ::mallopt(M_TRIM_THRESHOLD, INT_MAX);
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
}

int Main(std::span<char*> argv) {
  std::signal(SIGPIPE, SIG_IGN);
  KeepFreedMemory();
  RaiseLockedMemoryLimit();
  if (argv.size() == 2 && std::string_view(argv[1]) == "--help") return std::fputs(kUsage, stdout), 0;
  StatusOr<Arguments> arguments = ParseArguments(argv);
  if (!arguments.ok()) {
    std::fprintf(stderr, "infenclave-enclave: %s\n%s", MessageOf(arguments.status()).c_str(), kUsage);
    return 2;
  }
  StatusOr<std::unique_ptr<Process>> process = Process::Load(*arguments);
  Status status = process.ok() ? (*process)->CloseSandbox() : process.status();
  if (status.ok()) {
    (*process)->Serve();
  } else if (arguments->channel >= 0) {
    (void)WriteFrame(arguments->channel, EncodeHello({.status = status}));  // the host, which spawned us, prints it
  } else {
    std::fprintf(stderr, "infenclave-enclave: %s\n", MessageOf(status).c_str());
  }
  ::_exit(status.ok() ? 0 : status.code() == StatusCode::kPermissionDenied ? 3 : 1);
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) { return infenclave::Main({argv, static_cast<size_t>(argc)}); }
