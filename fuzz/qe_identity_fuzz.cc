// Intel's identities of quoting enclaves.
#include "attestation/verify/intel_collateral.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const infenclave::ByteSpan in(data, size);
  (void)infenclave::ParseQeIdentity(infenclave::AsText(in));
  return 0;
}
