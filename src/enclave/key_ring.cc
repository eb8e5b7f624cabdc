#include "enclave/key_ring.h"

#include <utility>

namespace infenclave {

KeyRing::KeyRing(const Sha256Digest& manifest_digest, uint64_t requests_per_key, uint64_t overlap)
    : manifest_digest_(manifest_digest), requests_per_key_(requests_per_key), overlap_(overlap) {
  newest_.key = Generate();
}

EnclaveKeyRef KeyRing::Generate() const {
  auto key = std::make_shared<EnclaveKey>();
  key->pair = X25519KeyPair::Generate();
  key->config.key_id = RandomArray<std::tuple_size_v<KeyId>>();
  key->config.public_key = key->pair.public_key;
  key->config.manifest_digest = manifest_digest_;
  key->encoded = EncodeKeyConfig(key->config);
  return key;
}

StatusOr<EnclaveKeyRef> KeyRing::Find(const KeyId& id) const {
  for (const Slot* slot : {&newest_, &previous_}) {
    if (slot->key != nullptr && slot->key->config.key_id == id) return slot->key;
  }
  return FailedPrecondition("rotated key: the enclave does not hold key ", HexEncode(id), "; attest again");
}

Status KeyRing::Accept(const EnclaveKey& key, const std::array<uint8_t, kHpkeEncBytes>& enc) {
  INFENCLAVE_ASSIGN_OR_RETURN(EnclaveKeyRef held, Find(key.config.key_id));
  Slot& slot = held == newest_.key ? newest_ : previous_;
  if (!slot.accepted.insert(enc).second) return AlreadyExists("this sealed message was accepted before");
  ++since_rotation_;
  if (previous_.key != nullptr && since_rotation_ >= overlap_) previous_ = {};
  if (newest_.accepted.size() >= requests_per_key_) {
    previous_ = std::exchange(newest_, Slot{.key = Generate()});
    since_rotation_ = 0;
    if (overlap_ == 0) previous_ = {};
  }
  return OkStatus();
}

}  // namespace infenclave
