// The steps of RFC 9180 by their names there, for the tests that compare every intermediate value. Not for other
// modules.
#ifndef INFENCLAVE_CRYPTO_HPKE_INTERNAL_H_
#define INFENCLAVE_CRYPTO_HPKE_INTERNAL_H_

#include "crypto/hpke.h"

namespace infenclave::internal {

// "KEM" || kem_id (§4.1) and "HPKE" || kem_id || kdf_id || aead_id (§5.1).
inline constexpr std::array<uint8_t, 5> kKemSuite = {'K', 'E', 'M', 0, 0x20};
inline constexpr std::array<uint8_t, 10> kHpkeSuite = {'H', 'P', 'K', 'E', 0, 0x20, 0, 1, 0, 2};

// §4
SecretBytes LabeledExtract(ByteSpan suite, ByteSpan salt, std::string_view label, ByteSpan ikm);
SecretBytes LabeledExpand(ByteSpan suite, ByteSpan prk, std::string_view label, ByteSpan info, size_t length);

// §4.1. DH is INVALID_ARGUMENT where the result is all zero (§7.1.4).
StatusOr<SecretBytes> Dh(const X25519KeyPair& own, const X25519PublicKey& peer);
SecretBytes ExtractAndExpand(ByteSpan dh, ByteSpan enc, ByteSpan recipient);

// §5.1
struct KeySchedule {
  Bytes context;
  SecretBytes secret, key, base_nonce, exporter_secret;
};
KeySchedule MakeKeySchedule(ByteSpan shared_secret, ByteSpan info);
// §5.2
std::array<uint8_t, kAeadNonceBytes> ComputeNonce(ByteSpan base_nonce, uint64_t sequence);

}  // namespace infenclave::internal

#endif  // INFENCLAVE_CRYPTO_HPKE_INTERNAL_H_
