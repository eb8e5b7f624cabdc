// The manifest of a bundle: everything about a served model that the owner signs and anyone may read.
//
// It is public to the host, so it holds no label, no class order and no tensor name of the original network. The
// owner's Ed25519 signature is over kManifestContext followed by the raw encoded bytes and is verified before they are
// parsed.
#ifndef INFENCLAVE_PROTOCOL_MANIFEST_H_
#define INFENCLAVE_PROTOCOL_MANIFEST_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "crypto/primitives.h"
#include "protocol/preprocessing.h"

namespace infenclave {

inline constexpr size_t kMaxManifestBytes = 64 << 10;
inline constexpr uint16_t kBundleFormatVersion = 1;
inline constexpr std::string_view kManifestContext = "infenclave manifest v1";
inline constexpr uint32_t kMaxClasses = 1 << 20, kMaxAnswerClasses = 1000, kMaxLabelBytes = 1024;
inline constexpr size_t kMaxReleaseKeys = 64, kMaxVerdictSummaryBytes = 4096;

enum class TeeClass : uint8_t { kHardware = 1, kSimulated = 2 };
enum class TeeKind : uint8_t { kSimulated = 1, kSgx = 2, kTdx = 3, kSevSnp = 4 };
std::string_view NameOf(TeeKind kind);  // "simulated", "sgx", "tdx", "sev-snp"
StatusOr<TeeKind> ParseTeeKind(std::string_view name);
inline TeeClass ClassOf(TeeKind kind) {
  return kind == TeeKind::kSimulated ? TeeClass::kSimulated : TeeClass::kHardware;
}

using BundleId = std::array<uint8_t, 16>;

// What crosses the cut. The integers are codes: multiples of the manifest's ir_step, from 0, in a byte each or two to a
// byte. The numbers of the floats are those of DType.
enum class IrPrecision : uint8_t { kF32 = 1, kBf16 = 3, kInt8 = 16, kInt4 = 17 };
std::string_view NameOf(IrPrecision precision);  // "f32", "bf16", "int8", "int4"
StatusOr<IrPrecision> ParseIrPrecision(std::string_view name);
// The largest code; 0 for floats.
inline int LargestCode(IrPrecision precision) {
  return precision == IrPrecision::kInt8 ? 255 : precision == IrPrecision::kInt4 ? 15 : 0;
}

struct Manifest {
  uint16_t format_version = kBundleFormatVersion;
  BundleId bundle_id{};
  std::string model_name;  // the name clients call: [A-Za-z0-9._-]{1,64}, and a letter or digit first
  uint64_t model_version = 1;

  // The tensor at the cut, and what comes back; batch (dimension 0) left out.
  Shape ir_shape;  // three dimensions, channels first, where codes cross
  IrPrecision ir_precision = IrPrecision::kF32;
  float ir_step = 0;         // between two codes, in units of each channel's deviation; 0 without codes
  float ir_noise = 0;        // Gaussian, in units of each channel's deviation; 0 is none
  uint32_t tail_layers = 0;  // linear layers at the end that stay inside
  uint32_t classes = 0;
  Shape backnet_output_shape;   // {classes} without a tail
  uint32_t answer_classes = 5;  // top-k that an answer holds: 1 to min(classes, kMaxAnswerClasses)
  uint32_t label_bytes = 64;    // every label in an answer is padded to this length

  Preprocessing preprocessing;

  // SHA-256 of the files of the bundle, as they lie there (sealed). The tail's counts where there is a tail, that of
  // the audits' copy of the BackNet where there are audits.
  Sha256Digest frontnet_digest{}, mapping_digest{}, backnet_digest{}, tail_digest{}, audit_digest{};

  bool open = false;  // anyone may ask; no secrecy of labels is promised then
  TeeClass tee_class = TeeClass::kHardware;
  // The share of requests whose BackNet output the enclave computes itself, too, and the largest difference that
  // passes, as a share of the range of its own output.
  uint32_t audit_per_million = 0;
  float audit_tolerance = 0;

  struct Verdict {
    bool assessed = false;
    bool safe = false;
    std::string summary;               // for people: which attacks ran, what decided
    Sha256Digest assessment_digest{};  // of assessment.json
  } verdict;

  struct ReleaseKey {
    Ed25519PublicKey key{};
    uint64_t last_version = 0;  // may release keys for bundles up to this model_version
  };
  std::vector<ReleaseKey> release_keys;
  Ed25519PublicKey owner{};  // whose signature credentials carry, too
};

// The IR of one request as it crosses the cut: floats, or bytes with codes. Of four bits, channel c is in the low and
// channel c + ceil(C/2) in the high half of a byte of [ceil(C/2),H,W].
struct IrWire {
  DType dtype = DType::kF32;  // kF32, kBf16 or kU8
  Shape shape;

  // 0 for a shape that NumElements refuses.
  size_t bytes() const { return static_cast<size_t>(NumElements(shape).value_or(0)) * SizeOf(dtype); }
};
IrWire IrWireOf(const Manifest& manifest);

Bytes EncodeManifest(const Manifest& manifest);
// Parses after the signature was verified; limits on every field all the same. Another format version is UNIMPLEMENTED.
StatusOr<Manifest> DecodeManifest(ByteSpan bytes);

// manifest.sig: the owner's public key (32 bytes) and signature (64 bytes).
struct ManifestSignature {
  Ed25519PublicKey owner{};
  Ed25519Signature signature{};
};
Bytes EncodeManifestSignature(const ManifestSignature& signature);
StatusOr<ManifestSignature> DecodeManifestSignature(ByteSpan bytes);
StatusOr<ManifestSignature> SignManifest(const Ed25519Signer& owner, ByteSpan manifest);
// PERMISSION_DENIED unless the signature is that of the key it names and, in the second form, that key is `owner`.
Status VerifyManifest(ByteSpan manifest, const ManifestSignature& signature);
Status VerifyManifest(ByteSpan manifest, const ManifestSignature& signature, const Ed25519PublicKey& owner);

// The sealed parts: AES-256-GCM, 12 random bytes of nonce first. AAD = format version, bundle id, part name. "mapping"
// has a key of its own; "frontnet", "tail" and "audit" are the network, and share the FrontNet's.
Bytes SealPart(ByteSpan key, const BundleId& id, std::string_view part, ByteSpan plaintext);
StatusOr<SecretBytes> OpenPart(ByteSpan key, const BundleId& id, std::string_view part, ByteSpan sealed);

// The class mapping, mapping.sealed's plaintext: position i of the BackNet's scores is class order[i], called
// labels[order[i]]. Labels are all padded with zeros to the length of the longest, so that neither the size of what is
// sealed nor the time and the addresses of decoding it tell more than that length.
struct ClassMapping {
  std::vector<uint32_t> order;  // a permutation
  std::vector<std::string> labels;
};
SecretBytes EncodeClassMapping(const ClassMapping& mapping);
// Data-oblivious in order and labels. The labels come padded.
StatusOr<ClassMapping> DecodeClassMapping(ByteSpan bytes);

}  // namespace infenclave

#endif  // INFENCLAVE_PROTOCOL_MANIFEST_H_
