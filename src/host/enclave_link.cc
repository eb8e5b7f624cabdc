#include "host/enclave_link.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>

#include "enclave/channel.h"
#include "enclave/socket_address.h"

extern char** environ;

namespace infenclave {
namespace {

constexpr int kChannelFd = 3;
constexpr int kStartTimeoutMs = 120'000, kConnectTimeoutMs = 10'000, kEndTimeoutMs = 2'000;

Status AwaitReadable(int socket, int timeout_ms, std::string_view what) {
  pollfd wait{socket, POLLIN, 0};
  int n;
  do n = ::poll(&wait, 1, timeout_ms);
  while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoStatus(what);
  return n > 0 ? OkStatus() : Unavailable(what, " said nothing for ", timeout_ms / 1000, " s");
}

StatusOr<Hello> ReadHello(int socket, int timeout_ms, std::vector<UniqueFd>* descriptors) {
  INFENCLAVE_RETURN_IF_ERROR(AwaitReadable(socket, timeout_ms, "the enclave"));
  Bytes frame;
  INFENCLAVE_RETURN_IF_ERROR(ReadFrame(socket, kMaxHelloBytes, frame, descriptors));
  INFENCLAVE_ASSIGN_OR_RETURN(Hello hello, DecodeHello(frame));
  if (!hello.status.ok()) return hello.status;
  return hello;
}

// ---- the child process --------------------------------------------------------------------------------------------
class ChildProcess {
 public:
  explicit ChildProcess(pid_t pid) : pid_(pid), pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  // Its channel is closed by now, on which it ends by itself; if not, it is killed.
  ~ChildProcess() {
    std::lock_guard lock(mutex_);
    if (Reap(kEndTimeoutMs)) return;
    ::kill(pid_, SIGKILL);
    Reap(kEndTimeoutMs);
  }

  void Kill() {
    std::lock_guard lock(mutex_);
    if (!ended_) ::kill(pid_, SIGKILL);
  }

  // For a process whose channel has closed: how it ended.
  std::string Describe() {
    std::lock_guard lock(mutex_);
    if (!Reap(kEndTimeoutMs)) return "has closed its channel";
    if (WIFEXITED(status_)) return Concat("ended with exit status ", WEXITSTATUS(status_));
    const int signal = WTERMSIG(status_);
    std::string_view why = signal == SIGSYS ? ": it tried what its sandbox forbids" : "";
    return Concat("was ended by signal ", signal, " (", ::strsignal(signal), ")", why);
  }

 private:
  bool Reap(int timeout_ms) {
    if (ended_) return true;
    pollfd wait{pidfd_.get(), POLLIN, 0};
    if (pidfd_.valid()) (void)::poll(&wait, 1, timeout_ms);
    const pid_t n = ::waitpid(pid_, &status_, WNOHANG);
    ended_ = n == pid_ || (n < 0 && errno == ECHILD);
    return ended_;
  }

  std::mutex mutex_;
  const pid_t pid_;
  UniqueFd pidfd_;
  int status_ = 0;
  bool ended_ = false;
};

// The settings of file actions and attributes, freed at the end.
struct SpawnSettings {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  SpawnSettings() {
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
  }
};

std::vector<std::string> CommandLine(const SpawnOptions& options) {
  const EnclaveOptions& e = options.enclave;
  std::vector<std::string> out = {options.executable, "--bundle", options.bundle_path, "--channel-fd",
                                  std::to_string(kChannelFd)};
  auto add = [&](std::string_view name, auto value) {
    out.emplace_back(name);
    out.push_back(std::to_string(value));
  };
  add("--lanes", e.lanes);
  add("--threads-per-lane", e.threads_per_lane);
  add("--bind-lanes", e.bind_lanes ? 1 : 0);
  add("--max-batch", e.max_batch);
  add("--max-pending", e.max_pending);
  add("--max-age", e.max_age);
  add("--requests-per-key", e.requests_per_key);
  add("--overlap", e.overlap);
  return out;
}

// Of ours only what the loader, oneDNN, OpenMP and sanitizers read: nothing in there configures what else is trusted
// (OPENSSL_CONF, say). OpenMP waits without spinning: its threads would steal the cores that the BackNet computes on.
std::vector<std::string> Environment() {
  constexpr std::string_view kKept[] = {
      "LD_LIBRARY_PATH=", "DNNL_MAX_CPU_ISA=", "ONEDNN_MAX_CPU_ISA=", "GOMP_SPINCOUNT=",
      "ASAN_OPTIONS=",    "UBSAN_OPTIONS=",    "TSAN_OPTIONS="};
  std::vector<std::string> out = {"OMP_WAIT_POLICY=passive"};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (std::any_of(std::begin(kKept), std::end(kKept), [&](auto name) { return text.starts_with(name); })) {
      out.emplace_back(text);
    }
  }
  return out;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

StatusOr<pid_t> SpawnChild(const SpawnOptions& options, int channel) {
  SpawnSettings settings;
  // Nothing but the channel and the error stream is inherited; what the enclave prints must not mix with our output.
  ::posix_spawn_file_actions_addopen(&settings.files, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&settings.files, 2, 1);
  ::posix_spawn_file_actions_adddup2(&settings.files, channel, kChannelFd);
  ::posix_spawn_file_actions_addclosefrom_np(&settings.files, kChannelFd + 1);
  // A group of its own: an interrupt from the terminal is for the host, which then drains and lets the enclave go.
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&settings.attributes, &none);
  ::posix_spawnattr_setsigdefault(&settings.attributes, &all);
  ::posix_spawnattr_setpgroup(&settings.attributes, 0);
  ::posix_spawnattr_setflags(&settings.attributes,
                             POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<std::string> arguments = CommandLine(options), environment = Environment();
  pid_t pid = -1;
  errno = ::posix_spawn(&pid, options.executable.c_str(), &settings.files, &settings.attributes,
                        Pointers(arguments).data(), Pointers(environment).data());
  if (errno != 0) return ErrnoStatus(options.executable);
  return pid;
}

// ---- links --------------------------------------------------------------------------------------------------------
class Link : public EnclaveLink {
 public:
  explicit Link(Hello hello) : hello_(std::move(hello)) {}
  const std::string& start_line() const override { return hello_.start_line; }
  int lanes() const override { return hello_.lanes; }
  uint64_t max_call_bytes() const override { return hello_.max_call_bytes; }

  StatusOr<ByteSpan> Call(ByteSpan call, int lane) override {
    return CallWritten(
        call.size(), [call](MutableByteSpan out) { std::ranges::copy(call, out.begin()); }, lane);
  }

  StatusOr<ByteSpan> CallWritten(size_t bytes, const Writer& write, int lane) override {
    INFENCLAVE_CHECK(lane >= 0 && lane < hello_.lanes);
    if (bytes > hello_.max_call_bytes) {
      return InvalidArgument("a call of ", bytes, " bytes exceeds the enclave's limit of ", hello_.max_call_bytes);
    }
    if (dead_.load(std::memory_order_acquire)) return Dead();
    StatusOr<ByteSpan> reply = Exchange(bytes, write, lane);
    return reply.ok() ? reply : Bury(reply.status());
  }

  bool alive() const override {
    if (dead_.load(std::memory_order_acquire)) return false;
    pollfd wait{watched(), POLLRDHUP, 0};
    return ::poll(&wait, 1, 0) == 0;
  }

 protected:
  virtual StatusOr<ByteSpan> Exchange(size_t bytes, const Writer& write, int lane) = 0;
  // Wakes whoever waits on another lane, and says how the enclave ended.
  virtual std::string End(const Status& why) = 0;
  virtual int watched() const = 0;
  const Hello hello_;

 private:
  Status Dead() {
    std::lock_guard lock(mutex_);
    return Unavailable("the enclave ", epitaph_, "; restart it, then provision it again");
  }

  Status Bury(const Status& why) {
    {
      std::lock_guard lock(mutex_);
      if (epitaph_.empty()) epitaph_ = End(why);
      dead_.store(true, std::memory_order_release);
    }
    return Dead();
  }

  std::atomic<bool> dead_{false};
  std::mutex mutex_;
  std::string epitaph_;
};

class SpawnedLink : public Link {
 public:
  SpawnedLink(Hello hello, std::unique_ptr<ChildProcess> child, UniqueFd channel, SharedSlots slots,
              std::vector<UniqueFd> doorbells)
      : Link(std::move(hello)),
        child_(std::move(child)),
        channel_(std::move(channel)),
        slots_(std::move(slots)),
        doorbells_(std::move(doorbells)) {}

 protected:
  StatusOr<ByteSpan> Exchange(size_t bytes, const Writer& write, int lane) override {
    const int doorbell = doorbells_[static_cast<size_t>(lane)].get();
    write(slots_.call(lane).first(bytes));
    INFENCLAVE_RETURN_IF_ERROR(RingDoorbell(doorbell, bytes));
    INFENCLAVE_ASSIGN_OR_RETURN(uint64_t length, AwaitDoorbell(doorbell, hello_.max_reply_bytes));
    return slots_.reply(lane).first(length);
  }
  std::string End(const Status& why) override {
    if (why.code() == StatusCode::kInvalidArgument) child_->Kill();
    for (const UniqueFd& doorbell : doorbells_) ::shutdown(doorbell.get(), SHUT_RDWR);
    return child_->Describe();
  }
  int watched() const override { return channel_.get(); }

 private:
  std::unique_ptr<ChildProcess> child_;  // destroyed after the sockets, whose closing tells it to end
  UniqueFd channel_;
  SharedSlots slots_;
  std::vector<UniqueFd> doorbells_;
};

class AttachedLink : public Link {
 public:
  AttachedLink(Hello hello, std::vector<UniqueFd> connections)
      : Link(std::move(hello)), connections_(std::move(connections)), buffers_(connections_.size()) {}

 protected:
  StatusOr<ByteSpan> Exchange(size_t bytes, const Writer& write, int lane) override {
    const int connection = connections_[static_cast<size_t>(lane)].get();
    Bytes& buffer = buffers_[static_cast<size_t>(lane)];
    buffer.resize(bytes);
    write(buffer);
    INFENCLAVE_RETURN_IF_ERROR(WriteFrame(connection, buffer));
    INFENCLAVE_RETURN_IF_ERROR(ReadFrame(connection, hello_.max_reply_bytes, buffer));
    return ByteSpan(buffer);
  }
  std::string End(const Status& why) override {
    for (const UniqueFd& connection : connections_) ::shutdown(connection.get(), SHUT_RDWR);
    return Concat("is lost (", MessageOf(why), ")");
  }
  int watched() const override { return connections_.front().get(); }

 private:
  std::vector<UniqueFd> connections_;
  std::vector<Bytes> buffers_;  // a lane's call, then its reply
};

// ---- connecting ---------------------------------------------------------------------------------------------------
StatusOr<std::vector<SocketAddress>> Resolve(const std::string& text) {
  StatusOr<SocketAddress> numeric = ParseSocketAddress(text);
  if (numeric.ok()) return std::vector{*numeric};
  if (!text.starts_with("tcp:")) return numeric.status();
  INFENCLAVE_ASSIGN_OR_RETURN(auto host_port, SplitHostPort(std::string_view(text).substr(4)));
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (int error = ::getaddrinfo(host_port.first.c_str(), host_port.second.c_str(), &hints, &found); error != 0) {
    return Unavailable(text, ": ", ::gai_strerror(error));
  }
  std::vector<SocketAddress> out;
  for (addrinfo* info = found; info != nullptr; info = info->ai_next) {
    SocketAddress& address = out.emplace_back();
    std::memcpy(&address.storage, info->ai_addr, info->ai_addrlen);
    address.length = info->ai_addrlen;
  }
  ::freeaddrinfo(found);
  return out;
}

Status AwaitConnected(int socket, const std::string& name) {
  pollfd wait{socket, POLLOUT, 0};
  if (::poll(&wait, 1, kConnectTimeoutMs) <= 0) {
    return Unavailable(name, ": no connection in ", kConnectTimeoutMs / 1000, " s");
  }
  socklen_t length = sizeof(errno);
  int error = 0;
  if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return ErrnoStatus(name);
  errno = error;
  return error == 0 ? OkStatus() : ErrnoStatus(name);
}

StatusOr<UniqueFd> ConnectTo(const SocketAddress& address, const std::string& name) {
  UniqueFd socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return ErrnoStatus(name);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0) {
    if (errno != EINPROGRESS) return ErrnoStatus(name);
    INFENCLAVE_RETURN_IF_ERROR(AwaitConnected(socket.get(), name));
  }
  ::fcntl(socket.get(), F_SETFL, 0);  // blocking from here on
  TuneConnection(socket.get());
  return socket;
}

StatusOr<UniqueFd> ConnectToAny(const std::vector<SocketAddress>& addresses, const std::string& name) {
  Status status = Unavailable(name, ": no address");
  for (const SocketAddress& address : addresses) {
    StatusOr<UniqueFd> socket = ConnectTo(address, name);
    if (socket.ok()) return socket;
    status = socket.status();
  }
  return Unavailable("cannot reach the enclave at ", MessageOf(status));
}

}  // namespace

StatusOr<ByteSpan> EnclaveLink::CallWritten(size_t bytes, const Writer& write, int lane) {
  Bytes call(bytes);
  write(call);
  return Call(call, lane);
}

StatusOr<std::unique_ptr<EnclaveLink>> EnclaveLink::Spawn(const SpawnOptions& options) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return ErrnoStatus("channel");
  UniqueFd ours(pair[0]), theirs(pair[1]);
  INFENCLAVE_ASSIGN_OR_RETURN(pid_t pid, SpawnChild(options, theirs.get()));
  auto child = std::make_unique<ChildProcess>(pid);
  theirs.Reset();
  std::vector<UniqueFd> descriptors;
  StatusOr<Hello> hello = ReadHello(ours.get(), kStartTimeoutMs, &descriptors);
  if (hello.status().code() == StatusCode::kUnavailable) {
    child->Kill();
    return Unavailable("the enclave process did not start: it ", child->Describe());
  }
  if (!hello.ok()) return Annotate(hello.status(), "enclave");
  if (descriptors.size() != static_cast<size_t>(hello->lanes) + 1) {
    return Internal("enclave: ", descriptors.size(), " descriptors for ", hello->lanes, " lanes");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(SharedSlots slots, SharedSlots::Map(std::move(descriptors[0]), hello->lanes,
                                                                  hello->max_call_bytes, hello->max_reply_bytes));
  descriptors.erase(descriptors.begin());
  return std::make_unique<SpawnedLink>(*std::move(hello), std::move(child), std::move(ours), std::move(slots),
                                       std::move(descriptors));
}

StatusOr<std::unique_ptr<EnclaveLink>> EnclaveLink::Attach(const std::string& address) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<SocketAddress> addresses, Resolve(address));
  std::vector<UniqueFd> connections;
  Hello hello{.lanes = 1};
  for (int lane = 0; lane < hello.lanes; ++lane) {
    INFENCLAVE_ASSIGN_OR_RETURN(UniqueFd connection, ConnectToAny(addresses, address));
    StatusOr<Hello> said = ReadHello(connection.get(), kConnectTimeoutMs, nullptr);
    if (!said.ok()) return Annotate(said.status(), Concat(address, " (is another host attached to it?)"));
    if (lane > 0 && said->lanes != hello.lanes) return Internal(address, ": the enclave changed while we attached");
    hello = *std::move(said);
    connections.push_back(std::move(connection));
  }
  return std::make_unique<AttachedLink>(std::move(hello), std::move(connections));
}

}  // namespace infenclave
