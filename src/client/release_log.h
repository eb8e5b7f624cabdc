// Which enclave was given which keys: a file that only grows, one line of JSON for each release, each with the hash of
// the line before it. Changing or removing a line breaks the chain; the last hash, noted elsewhere, shows whether lines
// are missing at the end.
#ifndef INFENCLAVE_CLIENT_RELEASE_LOG_H_
#define INFENCLAVE_CLIENT_RELEASE_LOG_H_

#include <string>
#include <vector>

#include "crypto/primitives.h"

namespace infenclave {

struct Release {
  std::string time;                                                          // 2025-07-19T10:01:18Z
  std::string server, tee, measurement, key_id, bundle_id, manifest_digest;  // the last four hexadecimal
  std::string model;
  uint64_t version = 0, lease = 0;
};

struct ReleaseLog {
  std::vector<Release> releases;
  Sha256Digest head{};  // of the last line; zeros if there is none
};
// DATA_LOSS naming the line where the chain breaks, or that is none. No file is an empty log.
StatusOr<ReleaseLog> ReadReleaseLog(const std::string& path);
// On disk when it returns; by one process at a time. Nothing is added to a log whose chain is broken.
Status AppendRelease(const std::string& path, const Release& release);

}  // namespace infenclave

#endif  // INFENCLAVE_CLIENT_RELEASE_LOG_H_
