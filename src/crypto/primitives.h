// Hashes, random bytes, AEAD and signatures, on OpenSSL's EVP. Thread-safe.
#ifndef INFENCLAVE_CRYPTO_PRIMITIVES_H_
#define INFENCLAVE_CRYPTO_PRIMITIVES_H_

#include <array>
#include <initializer_list>

#include "base/bytes.h"
#include "crypto/secret.h"

namespace infenclave {

using Sha256Digest = std::array<uint8_t, 32>;
using Sha512Digest = std::array<uint8_t, 64>;
Sha256Digest Sha256(ByteSpan data);
Sha512Digest Sha512(ByteSpan data);

// From the operating system by OpenSSL's DRBG; a failure of it is fatal (there is nothing safe to go on with).
void RandomBytes(MutableByteSpan out);
template <size_t N>
std::array<uint8_t, N> RandomArray() {
  std::array<uint8_t, N> out;
  RandomBytes(out);
  return out;
}

// HKDF-SHA256 (RFC 5869).
SecretBytes HkdfExtract(ByteSpan salt, ByteSpan ikm);
SecretBytes HkdfExpand(ByteSpan prk, ByteSpan info, size_t length);

// AES-256-GCM with a 16-byte tag behind the ciphertext.
inline constexpr size_t kAeadKeyBytes = 32, kAeadNonceBytes = 12, kAeadTagBytes = 16;
StatusOr<Bytes> AeadSeal(ByteSpan key, ByteSpan nonce, ByteSpan aad, ByteSpan plaintext);
// Of the parts one after another, straight to where they are wanted: `out` is kAeadTagBytes longer than they together.
Status AeadSealInto(ByteSpan key, ByteSpan nonce, ByteSpan aad, std::initializer_list<ByteSpan> plaintext,
                    MutableByteSpan out);
// PERMISSION_DENIED if the tag does not fit; nothing of the plaintext is returned then.
StatusOr<SecretBytes> AeadOpen(ByteSpan key, ByteSpan nonce, ByteSpan aad, ByteSpan ciphertext);

// Ed25519 (RFC 8032).
using Ed25519PublicKey = std::array<uint8_t, 32>;
using Ed25519Signature = std::array<uint8_t, 64>;
// Who signs: a key in memory, or one in a token that never gives it away (cli/pkcs11.h).
class Ed25519Signer {
 public:
  virtual ~Ed25519Signer() = default;
  virtual const Ed25519PublicKey& public_key() const = 0;
  virtual StatusOr<Ed25519Signature> TrySign(ByteSpan message) const = 0;
};
class Ed25519PrivateKey final : public Ed25519Signer {
 public:
  static Ed25519PrivateKey Generate();
  static StatusOr<Ed25519PrivateKey> FromSeed(ByteSpan seed);  // 32 bytes
  // PKCS#8 PEM, not encrypted, as `openssl genpkey -algorithm ed25519` writes it.
  static StatusOr<Ed25519PrivateKey> FromPem(std::string_view pem);
  SecretBytes ToPem() const;

  const Ed25519PublicKey& public_key() const override { return public_key_; }
  const SecretBytes& seed() const { return seed_; }
  Ed25519Signature Sign(ByteSpan message) const;
  StatusOr<Ed25519Signature> TrySign(ByteSpan message) const override { return Sign(message); }

 private:
  Ed25519PrivateKey() = default;
  SecretBytes seed_;
  Ed25519PublicKey public_key_{};
};
bool Ed25519Verify(const Ed25519PublicKey& key, ByteSpan message, ByteSpan signature);

}  // namespace infenclave

#endif  // INFENCLAVE_CRYPTO_PRIMITIVES_H_
