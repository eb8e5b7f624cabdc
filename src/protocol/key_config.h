// The enclave's key configuration, and how evidence is bound to it.
#ifndef INFENCLAVE_PROTOCOL_KEY_CONFIG_H_
#define INFENCLAVE_PROTOCOL_KEY_CONFIG_H_

#include <array>
#include <optional>

#include "base/bytes.h"
#include "crypto/hpke.h"
#include "crypto/primitives.h"
#include "protocol/manifest.h"

namespace infenclave {

inline constexpr uint16_t kProtocolVersion = 1;
using KeyId = std::array<uint8_t, 8>;
using Nonce = std::array<uint8_t, 32>;
using ReportData = Sha512Digest;

struct KeyConfig {
  uint16_t protocol_version = kProtocolVersion;
  uint16_t kem = kHpkeKem, kdf = kHpkeKdf, aead = kHpkeAead;
  KeyId key_id{};
  X25519PublicKey public_key{};
  Sha256Digest manifest_digest{};
  bool operator==(const KeyConfig&) const = default;
};
Bytes EncodeKeyConfig(const KeyConfig& config);
// Another protocol version or suite is UNIMPLEMENTED.
StatusOr<KeyConfig> DecodeKeyConfig(ByteSpan bytes);
// SHA-256 of the encoding: the `info` of every HPKE context to this key.
Sha256Digest DigestOf(const KeyConfig& config);

// SHA-512("infenclave report data v1" || len || encoding || 0 or 1 || nonce): what the TEE's evidence attests.
ReportData ReportDataFor(const KeyConfig& config, const std::optional<Nonce>& nonce);

// Evidence as it travels: which TEE made it, its bytes (a quote, a report), collateral that the owner ships along.
struct EvidenceEnvelope {
  TeeKind tee = TeeKind::kSimulated;
  Bytes evidence;
  Bytes collateral;
};
inline constexpr size_t kMaxEvidenceBytes = 64 << 10, kMaxCollateralBytes = 1 << 20;
Bytes EncodeEvidenceEnvelope(const EvidenceEnvelope& envelope);
StatusOr<EvidenceEnvelope> DecodeEvidenceEnvelope(ByteSpan bytes);

}  // namespace infenclave

#endif  // INFENCLAVE_PROTOCOL_KEY_CONFIG_H_
