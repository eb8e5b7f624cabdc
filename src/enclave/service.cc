#include "enclave/service.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/core_binding.h"
#include "crypto/secret.h"
#include "enclave/socket_address.h"
#include "engine/compiled_network.h"

namespace infenclave {

Service::Service(const EnclaveOptions& options, Sandbox* sandbox)
    : options_(options), sandbox_(sandbox), lanes_(static_cast<size_t>(options.lanes)) {}

Service::~Service() {
  for (Lane& lane : lanes_) {
    if (lane.thread.joinable()) lane.thread.join();
  }
}

Status Service::Start(EnclaveCore* core) {
  core_ = core;
  for (Lane& lane : lanes_) {
    lane.wake.Reset(::eventfd(0, EFD_CLOEXEC));
    if (!lane.wake.valid()) return ErrnoStatus("eventfd");
  }
  for (int i = 0; i < options_.lanes; ++i) lanes_[static_cast<size_t>(i)].thread = std::thread(&Service::Run, this, i);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return warm_ == options_.lanes; });
  return OkStatus();
}

void Service::Open() {
  std::lock_guard lock(mutex_);
  open_ = true;
  changed_.notify_all();
}

void Service::Serve(std::vector<std::unique_ptr<LanePort>> ports) {
  INFENCLAVE_CHECK(ports.size() == lanes_.size());
  for (size_t i = 0; i < ports.size(); ++i) lanes_[i].port = std::move(ports[i]);
  Open();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return closed_; });
}

void Service::ServeListener(UniqueFd listener, Bytes hello) {
  listener_ = std::move(listener);
  hello_ = std::move(hello);
  Open();
  for (Lane& lane : lanes_) lane.thread.join();
}

void Service::Run(int lane) {
  WarmUpEngine(options_.threads_per_lane);
  if (options_.bind_lanes) CoreBinding(lane).Keep();
  {
    std::unique_lock lock(mutex_);
    ++warm_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  if (LanePort* port = lanes_[static_cast<size_t>(lane)].port.get(); port != nullptr) {
    ServePort(*port, lane);
    std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  } else {
    ServeConnections(lane);
  }
}

void Service::ServePort(LanePort& port, int lane) {
  while (true) {
    AwaitReadable(port.descriptor(), lane);
    StatusOr<ByteSpan> call = port.Receive();
    if (!call.ok() || !port.Send(core_->Handle(*call, lane)).ok()) return;
  }
}

void Service::ServeConnections(int lane) {
  while (true) {
    AwaitReadable(listener_.get(), lane);
    // Not blocking: all lanes see the listener readable, and one gets the connection.
    UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection.valid()) continue;
    TuneConnection(connection.get());
    if (!WriteFrame(connection.get(), hello_).ok()) continue;
    ServePort(*MakeStreamPort(std::move(connection), core_->max_call_bytes()), lane);
  }
}

void Service::AwaitReadable(int descriptor, int lane) {
  pollfd waits[] = {{descriptor, POLLIN, 0}, {lanes_[static_cast<size_t>(lane)].wake.get(), POLLIN, 0}};
  while (true) {
    if (::poll(waits, 2, -1) < 0) {
      INFENCLAVE_CHECK(errno == EINTR);
      continue;
    }
    if (waits[1].revents != 0) CompileIfAsked(lane);
    if (waits[0].revents != 0) return;
  }
}

void Service::CompileIfAsked(int lane) {
  Lane& self = lanes_[static_cast<size_t>(lane)];
  uint64_t rings = 0;
  INFENCLAVE_CHECK(::read(self.wake.get(), &rings, sizeof(rings)) == sizeof(rings));
  const std::function<Status(int)>* compile;
  {
    std::lock_guard lock(mutex_);
    if (!std::exchange(self.compiling, false)) return;
    compile = compile_;
  }
  Status status = (*compile)(lane);
  std::lock_guard lock(mutex_);
  if (compiled_.ok()) compiled_ = status;
  --to_compile_;
  changed_.notify_all();
}

Status Service::CompileOnEach(const std::function<Status(int lane)>& compile) {
  {
    std::lock_guard lock(mutex_);
    compile_ = &compile;
    compiled_ = OkStatus();
    to_compile_ = options_.lanes;
    for (Lane& lane : lanes_) lane.compiling = true;
  }
  const uint64_t one = 1;
  Lane* self = nullptr;
  int self_index = 0;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    INFENCLAVE_CHECK(::write(lanes_[i].wake.get(), &one, sizeof(one)) == sizeof(one));
    if (lanes_[i].thread.get_id() == std::this_thread::get_id()) {
      self = &lanes_[i];
      self_index = static_cast<int>(i);
    }
  }
  INFENCLAVE_CHECK(self != nullptr);
  CompileIfAsked(self_index);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return to_compile_ == 0; });
  if (!compiled_.ok()) return compiled_;
  // The start line told the kind before the network was there; now it is known whether all of it found room.
  if (SecretMemoryKind() == "unlocked") {
    std::fputs(
        "infenclave-enclave: secret memory is unlocked, so that it may be swapped out: raise the limit of locked "
        "memory (ulimit -l, LimitMEMLOCK=)\n",
        stderr);
  }
  return sandbox_ == nullptr ? OkStatus() : sandbox_->CloseCodeGeneration();
}

}  // namespace infenclave
