// SEV-SNP reports. What is accepted encodes to the same bytes again.
#include "attestation/abi/snp_report.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const infenclave::ByteSpan in(data, size);
  const auto report = infenclave::DecodeSnpReport(in);
  if (report.ok()) INFENCLAVE_CHECK(std::ranges::equal(infenclave::EncodeSnpReport(*report), in));
  return 0;
}
