// Intel's TCB info.
#include "attestation/verify/intel_collateral.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const infenclave::ByteSpan in(data, size);
  const auto info = infenclave::ParseTcbInfo(infenclave::AsText(in));
  if (info.ok()) INFENCLAVE_CHECK(info->tdx == info->module.has_value());
  return 0;
}
