// Where collateral comes from when evidence does not bring it: a file, or the manufacturers' services by URL.
//
// What a service answers is verified before it is used or kept. It is kept on disk, used as long as it is valid, and
// asked for again once a day, long before it expires; while the service is down, what is kept goes on being used. The
// certificate of an AMD chip's key never changes and is asked for once. What cannot be kept, on a full disk, is asked
// for again.
//
// Intel: the Provisioning Certification Service's API version 4, or a caching service (PCCS) that speaks it. AMD: the
// Key Distribution Service (publication 57230); the certificates above a VEK are compiled in (verify/roots.h).
#ifndef INFENCLAVE_ATTESTATION_COLLATERAL_COLLATERAL_SOURCE_H_
#define INFENCLAVE_ATTESTATION_COLLATERAL_COLLATERAL_SOURCE_H_

#include <memory>
#include <mutex>
#include <string>

#include "attestation/collateral/http.h"
#include "protocol/manifest.h"

namespace infenclave {

// $XDG_CACHE_HOME/infenclave, else ~/.cache/infenclave; FAILED_PRECONDITION if neither is set.
StatusOr<std::string> DefaultCacheFolder();

class CollateralSource {
 public:
  struct Options {
    std::string where;  // a file, the URL of a service, or "online": the manufacturers' own
    std::string cache;  // a folder; made when there is something to keep
    std::chrono::milliseconds timeout = std::chrono::seconds(10);  // of each answer
    int64_t refresh_seconds = 24 * 3600;
  };
  explicit CollateralSource(Options options) : options_(std::move(options)) {}

  // For this evidence at this time, as VerifyEvidence takes it. For simulated evidence: none. UNAVAILABLE where there
  // is nothing valid to be had; PERMISSION_DENIED for an answer that is not the manufacturer's. Thread-safe.
  StatusOr<Bytes> For(TeeKind tee, ByteSpan evidence, int64_t at);

 private:
  Options options_;
  std::mutex mutex_;        // one asks, the others wait for it
  int64_t not_before_ = 0;  // after a failure the service is left alone for a while
};

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_COLLATERAL_COLLATERAL_SOURCE_H_
