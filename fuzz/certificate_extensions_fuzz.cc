// The extensions that are read of certificates: the SGX one of PCKs, numbers and names of VEKs. (certificate_fuzz takes
// them out of whole certificates, which is slow.)
#include "attestation/verify/der.h"
#include "attestation/verify/intel.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const infenclave::ByteSpan in(data, size);
  const auto info = infenclave::ParsePckExtension(in);
  if (info.has_value()) INFENCLAVE_CHECK(in.size() > 16);
  if (infenclave::DerUnsigned(in).has_value()) INFENCLAVE_CHECK(in.size() <= 7);
  const auto name = infenclave::OnlyDer(in, infenclave::kDerIa5String);
  if (name.has_value()) INFENCLAVE_CHECK(name->size() < in.size());
  return 0;
}
