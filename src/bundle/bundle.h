// Bundles: a network cut in three, sealed and signed; a directory of
//   manifest  manifest.json  manifest.sig  frontnet.sealed  mapping.sealed  backnet.onnx
// and, with a tail or audits, tail.sealed and audit.sealed.
//
// Nothing trusts manifest.json. Opening verifies the signature before it parses, and every digest before it returns,
// and says which part is wrong and why.
#ifndef INFENCLAVE_BUNDLE_BUNDLE_H_
#define INFENCLAVE_BUNDLE_BUNDLE_H_

#include <optional>
#include <string>
#include <vector>

#include "crypto/primitives.h"
#include "graph/graph.h"
#include "protocol/manifest.h"

namespace infenclave {

struct PartitionOptions {
  std::string cut;                  // the tensor's name
  std::vector<std::string> labels;  // one per class, in the model's order
  std::string model_name;
  uint64_t model_version = 1;
  Preprocessing preprocessing;
  TeeClass tee_class = TeeClass::kHardware;
  bool open = false;
  IrPrecision ir_precision = IrPrecision::kF32;
  // Between two codes, and noise that the enclave adds; the cut's channels have unit deviation then, and no value below
  // 0 where there are codes (assessment/defence.h).
  float ir_step = 0, ir_noise = 0;
  // How many linear layers (Conv, Gemm, MatMul) at the end stay in the enclave, with all that lies between and behind
  // them; a few more where the network cannot be cut just there.
  uint32_t tail_layers = 0;
  // The share of requests that the enclave audits, and the difference that passes (protocol/manifest.h).
  uint32_t audit_per_million = 0;
  float audit_tolerance = 0;
  Manifest::Verdict verdict;
  // Who may release the keys; not given: a key that is made, and lies with them.
  std::optional<Ed25519PublicKey> release_key;
};

// The keys that `partition` makes, BUNDLE.keys (mode 0600): what the provisioner needs, and nobody else may have.
struct BundleKeys {
  BundleId bundle_id{};
  SecretBytes frontnet_key, mapping_key;  // 32 bytes
  SecretBytes release_seed;               // Ed25519
  uint64_t model_version = 0;
};
SecretBytes EncodeBundleKeys(const BundleKeys& keys);
StatusOr<BundleKeys> DecodeBundleKeys(ByteSpan bytes);

struct Bundle {
  Bytes manifest_bytes;
  ManifestSignature signature;
  Manifest manifest;  // decoded
  Bytes frontnet_sealed, mapping_sealed, backnet_onnx;
  Bytes tail_sealed, audit_sealed;  // empty without a tail, and without audits
};

struct PartitionResult {
  Bundle bundle;
  BundleKeys keys;
};

// Cuts, permutes the classes, seals and signs; a final Softmax is stripped. Refused (INVALID_ARGUMENT) where the
// permutation cannot be hidden in the last linear layer; with a tail there is none to hide, for no class leaves the
// enclave.
StatusOr<PartitionResult> MakeBundle(const Graph& model, const Ed25519Signer& owner, const PartitionOptions& options);

// Writes the directory (which must not exist) whole or not at all.
Status WriteBundle(const Bundle& bundle, const std::string& path);

struct OpenOptions {
  std::optional<Ed25519PublicKey> owner;  // who must have signed; not given: whoever the manifest says
  uint64_t min_version = 0;
};
// NOT_FOUND for a missing part; PERMISSION_DENIED for a wrong signature, another owner, a wrong digest, a part of
// another bundle, a version below the minimum.
StatusOr<Bundle> OpenBundle(const std::string& path, const OpenOptions& options);
StatusOr<Bundle> OpenBundle(const std::string& path, const std::optional<Ed25519PublicKey>& owner = std::nullopt);

std::string ManifestToJson(const Manifest& manifest);
// The starter policy of a new bundle (attestation/policy.h reads it), with comments.
std::string StarterPolicy(const Manifest& manifest, const std::string& measurement_hex);

}  // namespace infenclave

#endif  // INFENCLAVE_BUNDLE_BUNDLE_H_
