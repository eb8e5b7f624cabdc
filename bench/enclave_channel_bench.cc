// The round trip between host and enclave: a call and a reply of the given size, echoed by another process, over shared
// memory with doorbells and over a stream socket.
#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "enclave/channel.h"

namespace infenclave {
namespace {

constexpr uint64_t kAreaBytes = 4 << 20;

// A process that answers each call with as many bytes, until the channel closes.
void StartEcho(std::unique_ptr<LanePort> port) {
  if (::fork() != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (true) {
    StatusOr<ByteSpan> call = port->Receive();
    if (!call.ok() || !port->Send(*call).ok()) ::_exit(0);
  }
}

void SharedMemory(benchmark::State& state) {
  StatusOr<SharedSlots> slots = SharedSlots::Create(1, kAreaBytes, kAreaBytes);
  UniqueFd host, enclave;
  INFENCLAVE_CHECK(slots.ok() && MakeDoorbell(enclave, host).ok());
  StartEcho(MakeSlotPort(std::move(enclave), slots->call(0), slots->reply(0)));
  Bytes call(static_cast<size_t>(state.range(0)), 1);
  for (auto _ : state) {
    std::memcpy(slots->call(0).data(), call.data(), call.size());
    INFENCLAVE_CHECK(RingDoorbell(host.get(), call.size()).ok());
    INFENCLAVE_CHECK(AwaitDoorbell(host.get(), kAreaBytes).ok());
  }
}
BENCHMARK(SharedMemory)->Arg(64)->Arg(151'000)->Arg(301'056)->UseRealTime()->Unit(benchmark::kMicrosecond);

void Stream(benchmark::State& state) {
  int pair[2];
  INFENCLAVE_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  UniqueFd host(pair[0]);
  StartEcho(MakeStreamPort(UniqueFd(pair[1]), kAreaBytes));
  Bytes call(static_cast<size_t>(state.range(0)), 1), reply;
  for (auto _ : state) {
    INFENCLAVE_CHECK(WriteFrame(host.get(), call).ok());
    INFENCLAVE_CHECK(ReadFrame(host.get(), kAreaBytes, reply).ok());
  }
}
BENCHMARK(Stream)->Arg(64)->Arg(151'000)->Arg(301'056)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace infenclave

BENCHMARK_MAIN();
