// What users and the enclave seal for each other: requests, answers, credentials, and the owner's grant of part keys.
//
// A sealed request is  version u16 | key id [8] | enc [32] | ciphertext.  The first two are the header, which is the
// AAD; `info` is the key configuration's digest. An answer is sealed as in RFC 9458 §4.4 under a secret exported from
// the request's context, so it can only be the answer to that request, and has the same length whatever it says.
#ifndef INFENCLAVE_PROTOCOL_SEALED_H_
#define INFENCLAVE_PROTOCOL_SEALED_H_

#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "crypto/hpke.h"
#include "crypto/secret.h"
#include "protocol/key_config.h"
#include "protocol/manifest.h"

namespace infenclave {

inline constexpr size_t kMaxUserBytes = 128, kMaxCredentialBytes = 1024;
inline constexpr size_t kMaxSealedRequestBytes = (64 << 20) + 4096;
inline constexpr size_t kMaxAnswerMessageBytes = 256;

// ---- credentials: who may ask -------------------------------------------------------------------------------------
// The owner's signature over context, user name and the lowest and highest model_version it is good for.
struct Credential {
  std::string user;  // 1 to 128 bytes
  uint64_t first_version = 1, last_version = UINT64_MAX;
  Ed25519Signature signature{};
};
StatusOr<Credential> MakeCredential(const Ed25519Signer& owner, std::string_view user, uint64_t first_version,
                                    uint64_t last_version);
Bytes EncodeCredential(const Credential& credential);
StatusOr<Credential> DecodeCredential(ByteSpan bytes);
// PERMISSION_DENIED if it is not the owner's or not for this version.
Status VerifyCredential(const Credential& credential, const Ed25519PublicKey& owner, uint64_t model_version);

// ---- requests -----------------------------------------------------------------------------------------------------
struct RequestPlaintext {
  Bytes credential;  // encoded, empty if none
  uint32_t height = 0, width = 0;
  ByteSpan rgb;  // u8 [height,width,3], borrowed
};
struct SealedRequestHeader {
  uint16_t version = 0;
  KeyId key_id{};
};
// Only the header, without touching anything else: to choose the key.
StatusOr<SealedRequestHeader> PeekRequestHeader(ByteSpan sealed);

// The client's half: the sealed request, and the context that opens its answer.
struct SealedRequest {
  Bytes sealed;
  HpkeContext context;
};
StatusOr<SealedRequest> SealRequest(const KeyConfig& config, const RequestPlaintext& request);
// The same in two steps. The first needs no request and may be taken beforehand; what it gives seals one request. The
// second writes straight to where the request is wanted, since pictures are large: `out` has SealedRequestBytes.
StatusOr<HpkeContext> EncapsulateFor(const KeyConfig& config);
size_t SealedRequestBytes(const RequestPlaintext& request);
Status SealRequestInto(const KeyConfig& config, const RequestPlaintext& request, HpkeContext& context,
                       MutableByteSpan out);

// Seals the answer to one request. Keys and nonce are made with it, while the request is being opened and all that
// takes is in the caches; while the BackNet computes, it is all that is kept of the request.
class AnswerSealer {
 public:
  explicit AnswerSealer(const HpkeContext& request);
  // The first answer is the only one. The length depends on the manifest's answer_classes and label_bytes alone.
  // INVALID_ARGUMENT if there are more classes or longer labels than the manifest says: the enclave rules that out when
  // it opens the class mapping, for an error here would tell the host something about the label.
  StatusOr<Bytes> Seal(const Manifest& manifest, const struct Answer& answer);

 private:
  std::array<uint8_t, kAeadKeyBytes> response_nonce_;
  SecretBytes key_, nonce_;  // empty once used
};

// The enclave's half. `plaintext` borrows from `buffer`. FAILED_PRECONDITION if it is sealed to another key id,
// PERMISSION_DENIED if it does not open, INVALID_ARGUMENT if what opens is no request.
struct OpenedRequest {
  SecretBytes buffer;
  RequestPlaintext plaintext;
  AnswerSealer answer;
};
StatusOr<OpenedRequest> OpenRequest(const KeyConfig& config, const X25519KeyPair& key, ByteSpan sealed);
// The enc bytes of a sealed request: what the single-use set remembers.
StatusOr<std::array<uint8_t, kHpkeEncBytes>> PeekEnc(ByteSpan sealed);

// ---- answers ------------------------------------------------------------------------------------------------------
struct AnswerClass {
  std::string label;  // zeros at its end are padding, which OpenAnswer takes off
  float probability = 0;
};
struct Answer {
  StatusCode code = StatusCode::kOk;
  std::string message;               // when not OK; cut off after kMaxAnswerMessageBytes
  std::vector<AnswerClass> classes;  // when OK, most probable first
  bool audited = false, audit_passed = false;
};
StatusOr<Answer> OpenAnswer(const HpkeContext& request, ByteSpan sealed);
size_t SealedAnswerBytes(const Manifest& manifest);

// ---- the owner's grant --------------------------------------------------------------------------------------------
// Sealed to the attested key by HPKE, and signed by a release key that the manifest names. The host can send a grant
// again: the enclave must accept each `enc` once, as it does with requests, or a lease would renew itself.
struct Grant {
  SecretBytes frontnet_key, mapping_key;  // 32 bytes each
  uint64_t lease = 0;                     // requests that may be answered before the next grant; at least 1
};
struct SealedGrant {
  std::array<uint8_t, kHpkeEncBytes> enc{};
  Bytes ciphertext;
  Ed25519PublicKey release_key{};
  Ed25519Signature signature{};  // over context, key configuration digest, enc and ciphertext
};
StatusOr<SealedGrant> SealGrant(const KeyConfig& config, const Ed25519Signer& release_key, const Grant& grant);
// PERMISSION_DENIED unless a release key of the manifest signed it for this configuration and version.
StatusOr<Grant> OpenGrant(const KeyConfig& config, const X25519KeyPair& key, const Manifest& manifest,
                          const SealedGrant& sealed);
Bytes EncodeSealedGrant(const SealedGrant& grant);
StatusOr<SealedGrant> DecodeSealedGrant(ByteSpan bytes);

}  // namespace infenclave

#endif  // INFENCLAVE_PROTOCOL_SEALED_H_
