// The manufacturers' certificates that everything else is checked against, compiled in.
//
// Intel's is https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer. AMD's are
// the cert_chain of https://kdsintf.amd.com/vcek/v1/LINE and /vlek/v1/LINE: for each line of processors a root (ARK)
// and the two keys that sign for it (ASK for keys per chip, ASVK for keys per cloud provider).
#ifndef INFENCLAVE_ATTESTATION_VERIFY_ROOTS_H_
#define INFENCLAVE_ATTESTATION_VERIFY_ROOTS_H_

#include "attestation/verify/certificate.h"

namespace infenclave {

const Certificate& IntelSgxRoot();

struct AmdRoots {
  std::string line;        // "Milan", "Genoa", "Turin": how a VEK's product name begins
  bool turin_tcb = false;  // the layout of TCB versions
  Certificate ark, ask, asvk;
};
const std::vector<AmdRoots>& AmdRootsPinned();

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_VERIFY_ROOTS_H_
