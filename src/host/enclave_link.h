// The host's end of the channel to the enclave: calls in, replies out.
//
// Spawn() starts infenclave-enclave (posix_spawn, never a bare fork) with one end of a socket pair, and waits for its
// hello, which brings the shared memory and a doorbell per lane. Attach() connects to one that listens elsewhere
// (unix:PATH, vsock:CID:PORT, tcp:HOST:PORT), once per lane. When the enclave dies or misbehaves, every call from then
// on is UNAVAILABLE, and says how it ended.
//
// Threads: Call may be used by several threads at once, one per lane; it blocks until the reply is there.
#ifndef INFENCLAVE_HOST_ENCLAVE_LINK_H_
#define INFENCLAVE_HOST_ENCLAVE_LINK_H_

#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/status.h"
#include "enclave/enclave_core.h"

namespace infenclave {

struct SpawnOptions {
  std::string executable;  // infenclave-enclave
  std::string bundle_path;
  EnclaveOptions enclave;
};

class EnclaveLink {
 public:
  // Fails with the enclave's own status if it could not start (a bundle for another class of TEE: PERMISSION_DENIED).
  static StatusOr<std::unique_ptr<EnclaveLink>> Spawn(const SpawnOptions& options);
  static StatusOr<std::unique_ptr<EnclaveLink>> Attach(const std::string& address);
  virtual ~EnclaveLink() = default;

  // The reply's bytes; valid until the next Call on the same lane. The host has copied nothing out of shared memory
  // yet, and may read it in place: the enclave writes it once and does not read it back. A call longer than
  // max_call_bytes() is INVALID_ARGUMENT and does not reach the enclave.
  virtual StatusOr<ByteSpan> Call(ByteSpan call, int lane) = 0;
  // The same, of a call of `bytes` that `write` writes to where it goes: pictures are large.
  using Writer = std::function<void(MutableByteSpan out)>;
  virtual StatusOr<ByteSpan> CallWritten(size_t bytes, const Writer& write, int lane);
  virtual bool alive() const = 0;
  // What the enclave said of itself when it started: TEE, secret memory kind, sandbox, instruction set.
  virtual const std::string& start_line() const = 0;
  virtual int lanes() const = 0;
  virtual uint64_t max_call_bytes() const = 0;
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_ENCLAVE_LINK_H_
