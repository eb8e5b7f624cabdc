// The owner's side: giving an attested enclave the keys to its bundle.
#ifndef INFENCLAVE_CLIENT_PROVISION_H_
#define INFENCLAVE_CLIENT_PROVISION_H_

#include "attestation/policy.h"
#include "bundle/bundle.h"
#include "client/attest.h"

namespace infenclave {

// Evidence of the enclave that the keys are for: the one that waits for its keys if it holds their bundle, else the one
// in use, whatever that holds.
StatusOr<GetEvidenceReply> FetchEvidenceFor(const ServerConnection& server, const BundleKeys& keys,
                                            const std::optional<Nonce>& nonce, std::chrono::milliseconds timeout);

// Attests the enclave by `policy` with a fresh nonce and seals the part keys to it. PERMISSION_DENIED if the policy
// refuses, or if the bundle is not the one that the keys are for. Gives the appraisal of the enclave that holds them
// now.
struct ProvisionOptions {
  Policy policy;
  uint64_t lease = 0;
  const SeenVersions* seen_versions = nullptr;  // where there is a memory of them
};
StatusOr<Appraisal> ProvisionEnclave(const ServerConnection& server, const BundleKeys& keys,
                                     const ProvisionOptions& options);

}  // namespace infenclave

#endif  // INFENCLAVE_CLIENT_PROVISION_H_
