// The enclave's HPKE key pairs: one that new requests are sealed to, and for a while the one before it.
//
// Each key remembers the encapsulated keys it has accepted, so that nothing is answered twice: no replay, no averaging
// over noise, no second answer for other scores. The set is bounded by the rotation. Not thread-safe: EnclaveCore's
// mutex guards it.
#ifndef INFENCLAVE_ENCLAVE_KEY_RING_H_
#define INFENCLAVE_ENCLAVE_KEY_RING_H_

#include <array>
#include <memory>
#include <set>

#include "protocol/key_config.h"
#include "protocol/sealed.h"

namespace infenclave {

struct EnclaveKey {
  KeyConfig config;
  Bytes encoded;  // of the configuration
  X25519KeyPair pair;
};
// Shared by the ring and the lanes that are opening something with it at the moment: the last of them erases it.
using EnclaveKeyRef = std::shared_ptr<const EnclaveKey>;

class KeyRing {
 public:
  KeyRing(const Sha256Digest& manifest_digest, uint64_t requests_per_key, uint64_t overlap);

  EnclaveKeyRef newest() const { return newest_.key; }
  // FAILED_PRECONDITION ("rotated key") for one that is unknown or erased.
  StatusOr<EnclaveKeyRef> Find(const KeyId& id) const;
  // Records that something sealed to `key` under `enc` was opened, then rotates and erases as the counts say.
  // FAILED_PRECONDITION if the key was erased meanwhile, ALREADY_EXISTS if `enc` was accepted before.
  Status Accept(const EnclaveKey& key, const std::array<uint8_t, kHpkeEncBytes>& enc);

 private:
  struct Slot {
    EnclaveKeyRef key;  // null if there is none
    std::set<std::array<uint8_t, kHpkeEncBytes>> accepted;
  };
  EnclaveKeyRef Generate() const;

  const Sha256Digest manifest_digest_;
  const uint64_t requests_per_key_, overlap_;
  Slot newest_, previous_;
  uint64_t since_rotation_ = 0;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ENCLAVE_KEY_RING_H_
