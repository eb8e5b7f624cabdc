// The certificate table of SEV-SNP hosts. What is found in it survives another table.
#include "attestation/abi/snp_certificates.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const infenclave::ByteSpan in(data, size);
  const auto found = infenclave::DecodeSnpCertificates(in);
  if (found.ok()) {
    const infenclave::Bytes table = infenclave::EncodeSnpCertificates(*found);
    const auto again = infenclave::DecodeSnpCertificates(table);
    INFENCLAVE_CHECK(again.ok() && std::ranges::equal(again->vcek, found->vcek) &&
                     std::ranges::equal(again->vlek, found->vlek) && std::ranges::equal(again->crl, found->crl));
  }
  return 0;
}
