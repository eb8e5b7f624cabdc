// Certificates and the extensions that are read of them: PCK's and VEK's.
#include "attestation/verify/intel.h"
#include "attestation/verify/snp.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const infenclave::ByteSpan in(data, size);
  const auto certificate = infenclave::Certificate::FromDer(in);
  if (certificate.ok()) {
    (void)infenclave::ReadPckInfo(*certificate);
    for (bool turin : {false, true}) (void)infenclave::ReadVekTcb(*certificate, turin);
  }
  return 0;
}
