// The highest versions seen: what keeps a host from serving an older bundle again, or collateral from before its
// platform's holes were known, and anybody from handing out an older list of measurements.
//
// A small text file, one line for each: "ed25519:<owner> <model> <version>", "measurements ed25519:<owner> <version>",
// "tcb-evaluation sgx:<FMSPC> <number>". To accept an older version after all, remove its line.
#ifndef INFENCLAVE_CLIENT_SEEN_VERSIONS_H_
#define INFENCLAVE_CLIENT_SEEN_VERSIONS_H_

#include <string>

#include "attestation/policy.h"

namespace infenclave {

// $XDG_STATE_HOME/infenclave/versions, else ~/.local/state/infenclave/versions; FAILED_PRECONDITION if neither is set.
StatusOr<std::string> DefaultSeenVersionsPath();

class SeenVersions {
 public:
  // The file and its folder are made when there is something to write.
  explicit SeenVersions(std::string path) : path_(std::move(path)) {}
  // Of what the policy has just accepted. PERMISSION_DENIED if a higher version was seen, with nothing written down; a
  // higher one than before is, by one process at a time.
  Status CheckAndRecord(const Policy& policy, const Appraisal& accepted) const;

 private:
  std::string path_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_CLIENT_SEEN_VERSIONS_H_
