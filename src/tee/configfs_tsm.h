// Evidence of a TDX or SEV-SNP guest, by Linux's configfs-tsm (kernel 6.7 and later,
// Documentation/ABI/testing/configfs-tsm): write the report data to `inblob`, read the quote or report from `outblob`.
//
// The kernel counts writes in `generation`. A count that is not what our own write makes it means that somebody else
// wrote to the entry in between, and that the report may be for their data: it is thrown away and asked for again.
//
// Behind an SEV-SNP report comes the host's certificate table (`auxblob`), where there is one: nobody trusts it, but it
// saves asking AMD for the key's certificate.
#ifndef INFENCLAVE_TEE_CONFIGFS_TSM_H_
#define INFENCLAVE_TEE_CONFIGFS_TSM_H_

#include <memory>
#include <string>

#include "tee/evidence.h"

namespace infenclave {

inline constexpr char kConfigfsTsmReports[] = "/sys/kernel/config/tsm/report";

// Creates an entry of its own under `reports` (removed at the end) and keeps it open by descriptor: a sandbox must
// allow opening files beneath it. The kind follows the entry's `provider`: tdx_guest or sev_guest, anything else is
// UNIMPLEMENTED. NOT_FOUND where the kernel has no configfs-tsm.
StatusOr<std::unique_ptr<EvidenceMaker>> MakeConfigfsTsmEvidenceMaker(const std::string& reports = kConfigfsTsmReports);

}  // namespace infenclave

#endif  // INFENCLAVE_TEE_CONFIGFS_TSM_H_
