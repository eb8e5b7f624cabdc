// Whole verifications, whose formats have targets of their own (the first byte picks one): evidence of any TEE, a
// report of fixed length with its certificates from the input, and loading collateral.
#include "attestation/claims.h"

using namespace infenclave;  // NOLINT(google-build-using-namespace): a program of one function

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const ByteSpan in(data + 1, size - 1);
  constexpr int64_t kAt = 1751624655;  // 2025-07-04
  switch (data[0] % 3) {
    case 0: {
      const auto tee = RecognizeEvidence(in);
      if (tee.ok()) (void)VerifyEvidence(*tee, in, {}, kAt);
      break;
    }
    case 1:
      if (in.size() < kSnpReportBytes) break;
      (void)VerifyEvidence(TeeKind::kSevSnp, in.first(kSnpReportBytes), in.subspan(kSnpReportBytes), kAt);
      break;
    case 2: {
      const auto text = ParseIntelCollateral(AsText(in));
      if (text.ok()) (void)IntelCollateral::Load(*text);
      break;
    }
  }
  return 0;
}
