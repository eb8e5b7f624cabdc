// Revocation lists in DER, PEM and hexadecimal.
#include "attestation/verify/certificate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const infenclave::ByteSpan in(data, size);
  const auto list = infenclave::RevocationList::Parse(in);
  if (list.ok()) (void)list->CheckValidAt(0, "list");
  return 0;
}
