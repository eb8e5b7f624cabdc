// The highest bundle version seen of each owner's models: what keeps a host from serving an older bundle again.
//
// A small text file, one line a model: "ed25519:<owner> <model> <version>". To accept an older version after all,
// remove its line.
#ifndef INFENCLAVE_CLIENT_SEEN_VERSIONS_H_
#define INFENCLAVE_CLIENT_SEEN_VERSIONS_H_

#include <string>

#include "base/status.h"
#include "protocol/manifest.h"

namespace infenclave {

// $XDG_STATE_HOME/infenclave/versions, else ~/.local/state/infenclave/versions; FAILED_PRECONDITION if neither is set.
StatusOr<std::string> DefaultSeenVersionsPath();

class SeenVersions {
 public:
  // The file and its folder are made when there is something to write.
  explicit SeenVersions(std::string path) : path_(std::move(path)) {}
  // PERMISSION_DENIED if a higher version was seen; a higher one than before is written down, by one process at a time.
  Status CheckAndRecord(const Ed25519PublicKey& owner, const std::string& model, uint64_t version) const;

 private:
  std::string path_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_CLIENT_SEEN_VERSIONS_H_
