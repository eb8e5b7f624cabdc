// What a user or an owner accepts: the appraisal policy, one small TOML file (design §9), and the appraisal itself.
//
//   accept = ["sgx", "tdx", "sev-snp"]  # any of these; or ["simulated"] alone
//   owner = "ed25519:<64 hex digits>"
//   min_bundle_version = 1
//   bundle_id = "<32 hex digits>"       # this bundle and no other; `infenclave attest --pin` writes it
//   max_age = "1h"
//   measurements = "measurements.json"  # the owner's signed list (attestation/measurements.h), added to those below;
//   min_measurements_version = 3        # a path relative to the policy
//
//   [sgx]                        # by measurement, or by signer with product and least version
//   mrenclave = ["<64 hex digits>"]
//   mrsigner = ["<64 hex digits>"]
//   product_id = 1
//   min_svn = 2
//   tcb_status = "UpToDate"      # the worst that is accepted; below UpToDate, each advisory must be allowed by name
//   allow_advisories = ["INTEL-SA-00615"]
//   min_tcb_evaluation = 17      # Intel's tcbEvaluationDataNumber
//
//   [tdx]                        # and tcb_status, allow_advisories, min_tcb_evaluation as above
//   mrtd = ["<96 hex digits>"]
//   rtmr0 = ["<96 hex digits>"]  # rtmr0, rtmr1, rtmr2 are required with mrtd; ["any"] says that any will do
//   rtmr1 = ["<96 hex digits>"]
//   rtmr2 = ["<96 hex digits>"]
//   service_tds = []             # MRSERVICETD of migration TDs; without any, a TD must not be migratable
//
//   [sev-snp]                    # by measurement, or by the key that signed the launch, with least version
//   measurements = ["<96 hex digits>"]
//   id_key_digests = ["<96 hex digits>"]
//   min_guest_svn = 1
//   min_tcb = { boot_loader = 4, tee = 0, snp = 22, microcode = 213 }
//   max_vmpl = 0
//   allow_vlek = false           # keys of a cloud provider instead of the chip's
//   allow_migration_agent = false
//   allow_cxl = false            # memory behind CXL
//   guest_policy = ["no-smt"]    # what the guest's policy must ask of the platform: abi/snp_report.h
//   require_crl = false          # whether AMD's revocation list must have been looked at
//
//   [simulated]
//   measurements = ["<64 hex digits>"]
//
// Debug enclaves and guests are never accepted, and neither is a TD without SEPT_VE_DISABLE or with PKS, key locker or
// unknown attributes.
#ifndef INFENCLAVE_ATTESTATION_POLICY_H_
#define INFENCLAVE_ATTESTATION_POLICY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "attestation/abi/snp_report.h"
#include "attestation/abi/tcb_status.h"
#include "base/bytes.h"
#include "protocol/calls.h"
#include "protocol/key_config.h"
#include "protocol/manifest.h"

namespace infenclave {

struct Claims;  // attestation/claims.h

struct IntelTcbPolicy {
  TcbStatus worst = TcbStatus::kUpToDate;
  std::vector<std::string> allow_advisories;
  uint64_t min_evaluation = 0;
};

struct Policy {
  using Digest48 = std::array<uint8_t, 48>;
  // One of a list, or anything where the policy says "any".
  struct Rtmr {
    bool any = false;
    std::vector<Digest48> accepted;
  };

  std::vector<TeeKind> accept;
  Ed25519PublicKey owner{};
  uint64_t min_bundle_version = 0;
  std::optional<BundleId> bundle_id;  // this bundle alone
  int64_t max_age_seconds = 3600;
  std::string measurements_file;  // "" if there is none
  uint64_t min_measurements_version = 0;
  uint64_t measurements_version = 0;  // of the file that was added; 0: none
  struct Simulated {
    std::vector<Sha256Digest> measurements;
  } simulated;
  struct Sgx {
    std::vector<Sha256Digest> mrenclave, mrsigner;
    uint64_t product_id = 0, min_svn = 0;  // of mrsigner
    IntelTcbPolicy tcb;
  } sgx;
  struct Tdx {
    std::vector<Digest48> mrtd;
    std::array<Rtmr, 4> rtmr;
    std::vector<Digest48> service_tds;
    IntelTcbPolicy tcb;
  } tdx;
  struct Snp {
    std::vector<Digest48> measurements, id_key_digests;
    uint64_t min_guest_svn = 0;  // of id_key_digests
    std::optional<SnpTcb> min_tcb;
    uint64_t max_vmpl = 0;
    bool allow_vlek = false, allow_migration_agent = false, allow_cxl = false, require_crl = false;
    std::vector<SnpGuestDemand> guest_policy;
  } snp;
};
// INVALID_ARGUMENT with the line for unknown keys, a missing owner, an empty accept list, "simulated" beside another
// TEE.
StatusOr<Policy> ParsePolicy(std::string_view toml, std::string_view file_name);
// With the measurements that it names. PERMISSION_DENIED if they are not the owner's, or older than it wants.
StatusOr<Policy> LoadPolicy(const std::string& path);
// Adds the owner's measurements to a policy, from the content of the file.
Status AddMeasurements(std::string_view file, Policy& policy);

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
  TeeKind tee = TeeKind::kSimulated;
  std::vector<std::pair<std::string, std::string>> measurements;  // by name, hexadecimal
  // Of Intel's collateral: "sgx:<FMSPC>" or "tdx:<FMSPC>", and its tcbEvaluationDataNumber.
  std::optional<std::pair<std::string, uint32_t>> tcb_evaluation;
};
// Everything a client checks before it seals (design §5): evidence against policy, report data against key
// configuration and nonce, the manifest's digest, its signature against the policy's owner, its version and its TEE
// class. Pure, but for the time where `at` (seconds since 1970) is not given.
Appraisal Appraise(const GetEvidenceReply& reply, const std::optional<Nonce>& nonce, const Policy& policy,
                   std::optional<int64_t> at = std::nullopt);

// The evidence alone, for `infenclave verify`: against the policy, or against what every policy refuses (debugging, a
// TD whose attributes weaken it).
Appraisal AppraiseClaims(const Claims& claims, const Policy& policy);
Appraisal AppraiseWithoutPolicy(const Claims& claims);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_POLICY_H_
