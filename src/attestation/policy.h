// What a user or an owner accepts: the appraisal policy, one small TOML file (design §9), and the appraisal itself.
//
//   accept = ["simulated"]            # or any of "sgx", "tdx", "sev-snp"; never both kinds
//   owner = "ed25519:<64 hex digits>"
//   min_bundle_version = 1
//   max_age = "1h"
//   [simulated]
//   measurements = ["<64 hex digits>"]
#ifndef INFENCLAVE_ATTESTATION_POLICY_H_
#define INFENCLAVE_ATTESTATION_POLICY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "protocol/calls.h"
#include "protocol/key_config.h"
#include "protocol/manifest.h"

namespace infenclave {

struct Policy {
  std::vector<TeeKind> accept;
  Ed25519PublicKey owner{};
  uint64_t min_bundle_version = 0;
  int64_t max_age_seconds = 3600;
  struct Simulated {
    std::vector<Sha256Digest> measurements;
  } simulated;
};
// INVALID_ARGUMENT with the line for unknown keys, a missing owner, an empty accept list, "simulated" beside another
// TEE.
StatusOr<Policy> ParsePolicy(std::string_view toml, std::string_view file_name);
StatusOr<Policy> LoadPolicy(const std::string& path);

// One line of an appraisal: what was looked at, what was found, what was wanted, whether it passed.
struct Finding {
  std::string what, found, wanted;
  bool passed = false;
};
struct Appraisal {
  std::vector<Finding> findings;
  Status verdict;  // OK, or PERMISSION_DENIED naming the first finding that failed
  // Valid when the verdict is OK.
  KeyConfig key_config;
  Manifest manifest;
};
// Everything a client checks before it seals (design §5): evidence against policy, report data against key
// configuration and nonce, the manifest's digest, its signature against the policy's owner, its version and its TEE
// class. Pure.
Appraisal Appraise(const GetEvidenceReply& reply, const std::optional<Nonce>& nonce, const Policy& policy);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_POLICY_H_
