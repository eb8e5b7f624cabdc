// Intel's collateral as a file and as the service answers it.
#include "attestation/verify/intel_collateral.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const infenclave::ByteSpan in(data, size);
  (void)infenclave::ParseIntelCollateral(infenclave::AsText(in));
  const auto parts = infenclave::SplitSigned(infenclave::AsText(in), "tcbInfo");
  if (parts.ok()) INFENCLAVE_CHECK(parts->first.size() + parts->second.size() < size);
  return 0;
}
