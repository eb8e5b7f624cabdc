// EnclaveCore: the trusted half of the service as a state machine. Bytes in, bytes out; no clock, no network, no file.
//
// It starts with a signed manifest and two sealed parts, makes a key pair, answers GetEvidence with evidence for that
// key, accepts a Grant of part keys (Provision), and then serves Begin and Finish: open the sealed request, normalise,
// run the FrontNet, hand out the IR; take the BackNet's scores, undo the secret class order, seal the answer.
//
// Threads: Handle may be called from any thread; `lane` says which FrontNet instance computes, and calls of one lane
// must come from one thread (the engine's rule). State is behind one mutex that is never held while computing.
//
// Bounds: `max_pending` requests between Begin and Finish; older ones are dropped when they have seen `max_age` later
// Begins. Every encapsulated key is accepted once per enclave key; after `requests_per_key` opened requests the key
// rotates, and the key before it stays open until another `overlap` requests (to either) were opened, then it is
// erased.
//
// Audits: after the BackNet's output has come in, so that nothing earlier can depend on it, the enclave draws whether
// it computes that output itself, at the manifest's rate. If the two differ by more than the tolerance the answer says
// so, and is made from its own.
//
// The lease: each request that could be opened counts, refused ones too. At zero, requests are UNAVAILABLE and stay
// unopened until the next grant, which sets the lease anew and needs no compilation. A grant is good once.
#ifndef INFENCLAVE_ENCLAVE_ENCLAVE_CORE_H_
#define INFENCLAVE_ENCLAVE_ENCLAVE_CORE_H_

#include <functional>
#include <memory>

#include "base/bytes.h"
#include "base/status.h"
#include "tee/evidence.h"

namespace infenclave {

struct EnclaveOptions {
  int lanes = 1;  // FrontNet instances, one thread each
  int threads_per_lane = 1;
  bool bind_lanes = false;  // each lane's thread to a core of its own
  int max_batch = 8;        // requests in one Begin
  size_t max_pending = 256;
  uint64_t max_age = 4096;  // in Begins
  uint64_t requests_per_key = 1 << 16;
  uint64_t overlap = 1 << 12;
};

struct EnclaveBundle {
  Bytes manifest, manifest_signature, frontnet_sealed, mapping_sealed;
  Bytes tail_sealed, audit_sealed;  // empty without a tail, and without audits
};

// The threads of the lanes. A network must be compiled on the thread that will run it, but a grant arrives on one lane.
class LaneThreads {
 public:
  virtual ~LaneThreads() = default;
  // Runs compile(lane) once for every lane, each on its own thread, and returns when all have: the first error, if any.
  // Called from a lane's thread, and not again after it has succeeded: no code is generated from then on.
  virtual Status CompileOnEach(const std::function<Status(int lane)>& compile) = 0;
};

class EnclaveCore {
 public:
  // Verifies the manifest's own signature and the digests of the sealed parts. Whether the owner is the right one is
  // the clients' and the provisioner's to say: they see it in the evidence. PERMISSION_DENIED if the TEE is of another
  // class than the manifest allows. Without `threads`, all lanes are taken to be the calling thread's.
  static StatusOr<std::unique_ptr<EnclaveCore>> Create(EnclaveBundle bundle, std::unique_ptr<EvidenceMaker> evidence,
                                                       const EnclaveOptions& options, LaneThreads* threads = nullptr);
  virtual ~EnclaveCore() = default;

  // One call in, one reply out (protocol/calls.h). A malformed call gets an error reply; nothing here aborts.
  virtual Bytes Handle(ByteSpan call, int lane) = 0;

  // What a transport must be able to carry, from the manifest and the options.
  virtual uint64_t max_call_bytes() const = 0;
  virtual uint64_t max_reply_bytes() const = 0;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ENCLAVE_ENCLAVE_CORE_H_
