// The certificate table that a host hands to its SEV-SNP guests with a report: entries of GUID, offset and length up to
// a zero one, then the certificates. configfs-tsm shows it as `auxblob`; behind a report it makes an extended report.
// Nothing in it is signed: each certificate has to prove itself.
//
// Source: AMD, SEV-ES Guest-Hypervisor Communication Block Standardization (publication 56421), section 4.1.8.1.
#ifndef INFENCLAVE_ATTESTATION_ABI_SNP_CERTIFICATES_H_
#define INFENCLAVE_ATTESTATION_ABI_SNP_CERTIFICATES_H_

#include "base/bytes.h"

namespace infenclave {

// Borrowed from the table; empty where it has none.
struct SnpCertificates {
  ByteSpan vcek, vlek;
  ByteSpan crl;
};

// Kinds that are not needed here (ASK, ARK, a cloud's own) are skipped. An empty table has no certificates;
// INVALID_ARGUMENT for an entry that reaches outside of the table, or a kind that is there twice.
StatusOr<SnpCertificates> DecodeSnpCertificates(ByteSpan table);
Bytes EncodeSnpCertificates(const SnpCertificates& certificates);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_ABI_SNP_CERTIFICATES_H_
