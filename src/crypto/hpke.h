// HPKE (RFC 9180) in base mode, one suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
//
// A context serves one message and the secrets exported beside it: Seal and Open use sequence number 0, and one of them
// may be called, once (more is a programming error).
#ifndef INFENCLAVE_CRYPTO_HPKE_H_
#define INFENCLAVE_CRYPTO_HPKE_H_

#include <array>

#include "base/bytes.h"
#include "crypto/primitives.h"
#include "crypto/secret.h"

namespace infenclave {

inline constexpr uint16_t kHpkeKem = 0x0020, kHpkeKdf = 0x0001, kHpkeAead = 0x0002;
inline constexpr size_t kHpkeEncBytes = 32;
using X25519PublicKey = std::array<uint8_t, 32>;

struct X25519KeyPair {
  SecretBytes private_key;  // 32 bytes
  X25519PublicKey public_key;
  static X25519KeyPair Generate();
  static StatusOr<X25519KeyPair> FromPrivate(ByteSpan private_key);
};

class HpkeContext {
 public:
  // Sender: a fresh ephemeral key, whose public half is enc().
  static StatusOr<HpkeContext> Encapsulate(const X25519PublicKey& recipient, ByteSpan info);
  // The same with a given ephemeral key: for test vectors only.
  static StatusOr<HpkeContext> EncapsulateWith(const X25519KeyPair& ephemeral, const X25519PublicKey& recipient,
                                               ByteSpan info);
  // Receiver. INVALID_ARGUMENT if enc is not 32 bytes or gives the all-zero secret (RFC 9180 §7.1.4).
  static StatusOr<HpkeContext> Decapsulate(const X25519KeyPair& recipient, ByteSpan enc, ByteSpan info);

  HpkeContext(HpkeContext&&) = default;
  HpkeContext& operator=(HpkeContext&&) = default;

  const std::array<uint8_t, kHpkeEncBytes>& enc() const { return enc_; }
  StatusOr<Bytes> Seal(ByteSpan aad, ByteSpan plaintext);
  Status SealInto(ByteSpan aad, std::initializer_list<ByteSpan> plaintext, MutableByteSpan out);  // as AeadSealInto
  StatusOr<SecretBytes> Open(ByteSpan aad, ByteSpan ciphertext);
  SecretBytes Export(ByteSpan exporter_context, size_t length) const;

 private:
  HpkeContext() = default;
  static HpkeContext Make(ByteSpan dh, ByteSpan enc, ByteSpan recipient, ByteSpan info);
  std::array<uint8_t, kHpkeEncBytes> enc_{};
  SecretBytes key_, base_nonce_, exporter_secret_;
  bool used_ = false;
};

}  // namespace infenclave

#endif  // INFENCLAVE_CRYPTO_HPKE_H_
