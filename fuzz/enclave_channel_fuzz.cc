// What either end of the channel reads from the other: the hello, a frame, an address.
#include <sys/socket.h>

#include "enclave/channel.h"
#include "enclave/socket_address.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace infenclave;
  const ByteSpan input(data, size);
  StatusOr<Hello> hello = DecodeHello(input);
  if (hello.ok() && EncodeHello(*hello) != ToBytes(input)) __builtin_trap();
  (void)ParseSocketAddress(AsText(input));

  int pair[2];
  if (size > 4096 || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return 0;
  UniqueFd a(pair[0]), b(pair[1]);
  (void)!::send(a.get(), data, size, MSG_NOSIGNAL);
  a.Reset();
  auto port = MakeStreamPort(std::move(b), 1024);
  for (StatusOr<ByteSpan> call = port->Receive(); call.ok(); call = port->Receive()) {
    if (call->size() > 1024) __builtin_trap();
  }
  return 0;
}
