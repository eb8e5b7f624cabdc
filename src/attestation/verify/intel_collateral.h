// Intel's collateral: what the Provisioning Certification Service says of processors, TDX modules and quoting enclaves.
//
// Signatures and chains are verified once, when it is loaded; a quote is then judged without verifying them again, only
// the dates are looked at each time. Formats: Intel PCS API version 4 (TCB info version 3, enclave identity version 2).
#ifndef INFENCLAVE_ATTESTATION_VERIFY_INTEL_COLLATERAL_H_
#define INFENCLAVE_ATTESTATION_VERIFY_INTEL_COLLATERAL_H_

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attestation/abi/tcb_status.h"
#include "attestation/verify/certificate.h"
#include "attestation/verify/roots.h"

namespace infenclave {

inline constexpr size_t kMaxIntelCollateralBytes = 1 << 20;

struct IsvLevel {
  uint32_t isv_svn = 0;
  TcbStatus status = TcbStatus::kRevoked;
  std::vector<std::string> advisories;
};

struct TcbInfo {
  struct Module {
    std::string id;  // "TDX_01"; empty for the one that is meant where the TD names no version
    std::array<uint8_t, 48> mrsigner{};
    std::array<uint8_t, 8> attributes{}, attributes_mask{};
    std::vector<IsvLevel> levels;
  };
  struct Level {
    std::array<uint8_t, 16> sgx{}, tdx{};
    uint16_t pce_svn = 0;
    TcbStatus status = TcbStatus::kRevoked;
    std::vector<std::string> advisories;
  };
  bool tdx = false;
  int64_t issue_date = 0, next_update = 0;
  std::array<uint8_t, 6> fmspc{};
  std::array<uint8_t, 2> pce_id{};
  uint32_t evaluation_number = 0;
  std::optional<Module> module;  // TDX only
  std::vector<Module> modules;   // TDX only
  std::vector<Level> levels;     // the first that fits counts
};

struct QeIdentity {
  bool tdx = false;  // TD_QE
  int64_t issue_date = 0, next_update = 0;
  uint32_t evaluation_number = 0;
  std::array<uint8_t, 4> misc_select{}, misc_select_mask{};
  std::array<uint8_t, 16> attributes{}, attributes_mask{};
  std::array<uint8_t, 32> mrsigner{};
  uint16_t isv_prod_id = 0;
  std::vector<IsvLevel> levels;
};

// The JSON of the signed member alone, as it was signed.
StatusOr<TcbInfo> ParseTcbInfo(std::string_view json);
StatusOr<QeIdentity> ParseQeIdentity(std::string_view json);

// As it comes from the service or from a file; nothing is checked yet.
struct IntelCollateralText {
  std::string tcb_info, qe_identity;                            // the signed JSON
  std::string tcb_info_signature, qe_identity_signature;        // hexadecimal, r and s
  std::string tcb_info_issuer_chain, qe_identity_issuer_chain;  // PEM
  std::string root_ca_crl, pck_crl;                             // DER, PEM or hexadecimal
  std::string pck_crl_issuer_chain;                             // PEM
};
// A JSON object with these members, as dcap-qvl and others write it.
StatusOr<IntelCollateralText> ParseIntelCollateral(std::string_view json);
std::string EncodeIntelCollateral(const IntelCollateralText& text);
// The signed member and the signature of the service's answer {"tcbInfo":{…},"signature":"…"}, byte for byte.
StatusOr<std::pair<std::string, std::string>> SplitSigned(std::string_view json, std::string_view member);

class IntelCollateral {
 public:
  // PERMISSION_DENIED with the first part that is not Intel's. `root` other than the pinned one is for tests.
  static StatusOr<IntelCollateral> Load(const IntelCollateralText& text, const Certificate& root = IntelSgxRoot());

  // From the JSON of ParseIntelCollateral. Whoever judges many quotes hands over the same collateral each time, so the
  // last few that Intel's root has signed are remembered by their SHA-256, and neither parsed nor verified again.
  // Shared between that memory and callers; never changed.
  static StatusOr<std::shared_ptr<const IntelCollateral>> LoadRemembered(std::string_view json);

  // PERMISSION_DENIED naming the part that is expired or from the future at this time.
  Status CheckValidAt(int64_t at) const;
  // The same for the certificate chain of a quote's PCK: revocation, by the lists of its issuers.
  Status CheckNotRevoked(const std::vector<Certificate>& pck_chain) const;

  // The PCK's certificate authority and the root, checked: most quotes of the platform carry the same.
  std::span<const Certificate> pck_authorities() const { return crl_chain_; }
  const TcbInfo& tcb_info() const { return tcb_info_; }
  const QeIdentity& qe_identity() const { return qe_identity_; }

 private:
  IntelCollateral(RevocationList root_crl, RevocationList pck_crl)
      : root_crl_(std::move(root_crl)), pck_crl_(std::move(pck_crl)) {}
  TcbInfo tcb_info_;
  QeIdentity qe_identity_;
  std::vector<Certificate> tcb_chain_, qe_chain_, crl_chain_;
  RevocationList root_crl_, pck_crl_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_VERIFY_INTEL_COLLATERAL_H_
