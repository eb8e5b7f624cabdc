// Verifies an Intel DCAP quote (SGX or TDX): its signature, the quoting enclave that made it, that enclave's platform
// up to Intel's root, and, with collateral, whether all of them are up to date. Knows no policy.
#ifndef INFENCLAVE_ATTESTATION_VERIFY_INTEL_H_
#define INFENCLAVE_ATTESTATION_VERIFY_INTEL_H_

#include "attestation/abi/intel_quote.h"
#include "attestation/verify/intel_collateral.h"

namespace infenclave {

// What the PCK certificate says of the platform.
struct PckInfo {
  std::array<uint8_t, 6> fmspc{};
  std::array<uint8_t, 2> pce_id{};
  std::array<uint8_t, 16> tcb_components{};
  uint16_t pce_svn = 0;
};
StatusOr<PckInfo> ReadPckInfo(const Certificate& pck);
// From the content of its SGX extension; nullopt if that is not well formed.
std::optional<PckInfo> ParsePckExtension(ByteSpan extension);

struct VerifiedIntel {
  IntelQuote quote;
  PckInfo pck;
  // With collateral only: the worst of platform, TDX module and quoting enclave, as Intel's rules merge them.
  std::optional<TcbStatus> tcb_status;
  std::vector<std::string> advisories;  // of all three, sorted
  uint32_t evaluation_number = 0;       // the lower of TCB info and QE identity
};

// PERMISSION_DENIED with the first check that failed: a platform that is revoked or older than every level that the
// collateral knows included. INVALID_ARGUMENT or UNIMPLEMENTED for what cannot be parsed. Without collateral the TCB is
// not judged.
StatusOr<VerifiedIntel> VerifyIntel(ByteSpan quote, const IntelCollateral* collateral, int64_t at,
                                    const Certificate& root = IntelSgxRoot());

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_VERIFY_INTEL_H_
