// The owner's side: giving an attested enclave the keys to its bundle.
#ifndef INFENCLAVE_CLIENT_PROVISION_H_
#define INFENCLAVE_CLIENT_PROVISION_H_

#include "attestation/policy.h"
#include "bundle/bundle.h"
#include "client/attest.h"
#include "client/seen_versions.h"

namespace infenclave {

// Evidence of the enclave that the keys are for: the one that waits for its keys if it holds their bundle, else the one
// in use, whatever that holds.
StatusOr<GetEvidenceReply> FetchEvidenceFor(const ServerConnection& server, const BundleKeys& keys,
                                            const std::optional<Nonce>& nonce, std::chrono::milliseconds timeout);

struct ProvisionOptions {
  Policy policy;
  uint64_t lease = 0;                           // requests
  const Ed25519Signer* release_key = nullptr;   // null: the one that lies with the keys
  const SeenVersions* seen_versions = nullptr;  // null: none are remembered
  CollateralSource* collateral = nullptr;       // null: what the server sends along is all there is
  std::string log = {};                         // of releases (client/release_log.h); "": none
};

// Attests the enclave by the policy with a fresh nonce and seals the part keys to it. PERMISSION_DENIED if the policy
// refuses, or if the bundle is not the one that the keys are for. The release is in the log before the keys are sent,
// so that none goes without. Gives the appraisal of the enclave that holds them now.
StatusOr<Appraisal> ProvisionEnclave(const ServerConnection& server, const BundleKeys& keys,
                                     const ProvisionOptions& options);

}  // namespace infenclave

#endif  // INFENCLAVE_CLIENT_PROVISION_H_
