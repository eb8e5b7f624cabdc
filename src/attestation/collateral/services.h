// What to ask of which service for one piece of evidence. For this folder's own use.
#ifndef INFENCLAVE_ATTESTATION_COLLATERAL_SERVICES_H_
#define INFENCLAVE_ATTESTATION_COLLATERAL_SERVICES_H_

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "protocol/key_config.h"

namespace infenclave {

inline constexpr char kOnline[] = "online";

// The collateral of a piece of evidence is its parts, one after the other.
struct CollateralPart {
  std::string name;      // of its file; the same for all evidence that it serves
  bool forever = false;  // it does not change
  std::function<StatusOr<Bytes>(std::chrono::milliseconds timeout)> fetch;
  std::function<Status(ByteSpan, int64_t at)> check;  // that it is the manufacturer's, and valid
};
// `where` is a URL or kOnline. INVALID_ARGUMENT for evidence that does not say what it needs.
StatusOr<std::vector<CollateralPart>> PartsFor(TeeKind tee, ByteSpan evidence, const std::string& where);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_COLLATERAL_SERVICES_H_
