// The formats that evidence and its collateral come in (the first byte picks one). What is accepted must encode to the
// same bytes again, where there is an encoder.
#include "attestation/claims.h"
#include "attestation/verify/intel_collateral.h"

using namespace infenclave;  // NOLINT(google-build-using-namespace): a program of one function

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const ByteSpan in(data + 1, size - 1);
  constexpr int64_t kAt = 1751624655;  // 2025-07-04
  switch (data[0] % 9) {
    case 0: {
      const auto quote = DecodeIntelQuote(in);
      if (quote.ok()) INFENCLAVE_CHECK(EncodeIntelQuote(*quote) == ToBytes(in.first(quote->size)));
      break;
    }
    case 1: {
      const auto report = DecodeSnpReport(in);
      if (report.ok()) INFENCLAVE_CHECK(EncodeSnpReport(*report) == ToBytes(in));
      break;
    }
    case 2:
      (void)ParseTcbInfo(AsText(in));
      break;
    case 3:
      (void)ParseQeIdentity(AsText(in));
      break;
    case 4: {
      const auto text = ParseIntelCollateral(AsText(in));
      if (text.ok()) (void)IntelCollateral::Load(*text);
      break;
    }
    case 5: {
      const auto certificate = Certificate::FromDerOrPem(in);
      if (certificate.ok()) (void)ReadPckInfo(*certificate);
      break;
    }
    case 6:
      (void)RevocationList::Parse(in);
      break;
    case 7: {
      const auto tee = RecognizeEvidence(in);
      if (tee.ok()) (void)VerifyEvidence(*tee, in, {}, kAt);
      break;
    }
    case 8: {
      // A report of fixed bytes with a VEK from the input.
      if (in.size() < kSnpReportBytes) break;
      (void)VerifyEvidence(TeeKind::kSevSnp, in.first(kSnpReportBytes), in.subspan(kSnpReportBytes), kAt);
      break;
    }
  }
  return 0;
}
