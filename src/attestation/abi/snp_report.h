// The AMD SEV-SNP attestation report, versions 2 to 5, as a struct. Knows no trust: see verify/snp.h.
//
// Source: AMD, SEV Secure Nested Paging Firmware ABI Specification (publication 56860), ATTESTATION_REPORT.
#ifndef INFENCLAVE_ATTESTATION_ABI_SNP_REPORT_H_
#define INFENCLAVE_ATTESTATION_ABI_SNP_REPORT_H_

#include <array>
#include <cstdint>

#include "base/bytes.h"

namespace infenclave {

inline constexpr size_t kSnpReportBytes = 1184, kSnpSignedBytes = 672;
// signature_algo: ECDSA on P-384 with SHA-384.
inline constexpr uint32_t kSnpEcdsaP384 = 1;

struct SnpReport {
  enum SigningKey : uint32_t { kVcek = 0, kVlek = 1, kNoKey = 7 };

  uint32_t version = 0, guest_svn = 0;
  uint64_t policy = 0;
  std::array<uint8_t, 16> family_id{}, image_id{};
  uint32_t vmpl = 0, signature_algo = 0;
  std::array<uint8_t, 8> current_tcb{};  // in the order of the processor's generation: see DecodeTcb
  uint64_t platform_info = 0;
  uint32_t key_info = 0;
  std::array<uint8_t, 64> report_data{};
  std::array<uint8_t, 48> measurement{};
  std::array<uint8_t, 32> host_data{};
  std::array<uint8_t, 48> id_key_digest{}, author_key_digest{};
  std::array<uint8_t, 32> report_id{}, report_id_ma{};
  std::array<uint8_t, 8> reported_tcb{};
  uint8_t cpuid_family = 0, cpuid_model = 0, cpuid_stepping = 0;  // from version 3, else 0
  std::array<uint8_t, 64> chip_id{};
  std::array<uint8_t, 8> committed_tcb{};
  std::array<uint8_t, 3> current_version{}, committed_version{};  // build, minor, major
  std::array<uint8_t, 8> launch_tcb{};
  uint64_t launch_mit_vector = 0, current_mit_vector = 0;  // from version 5, else 0
  std::array<uint8_t, 72> r{}, s{};                        // little-endian; of P-384, the upper 24 bytes are zero

  bool author_key_enabled() const { return key_info & 1; }
  bool chip_key_masked() const { return key_info >> 1 & 1; }
  uint32_t signing_key() const { return key_info >> 2 & 7; }
  bool migration_agent_allowed() const { return policy >> 18 & 1; }
  bool debug_allowed() const { return policy >> 19 & 1; }
  bool cxl_allowed() const { return policy >> 21 & 1; }
  // Bit 17 is always set, and those from 26 on have no meaning yet, which a verifier must refuse.
  bool reserved_policy() const { return (policy >> 17 & 1) == 0 || policy >> 26 != 0; }
};

// What a guest's policy can ask of the platform: a bit of POLICY, set or clear. The firmware starts no guest whose
// policy the platform does not meet.
struct SnpGuestDemand {
  std::string_view name;
  int bit;
  bool set;
};
inline constexpr SnpGuestDemand kSnpGuestDemands[] = {{"no-smt", 16, false},           {"single-socket", 20, true},
                                                      {"aes-256-xts", 22, true},       {"no-rapl", 23, true},
                                                      {"ciphertext-hiding", 24, true}, {"no-page-swap", 25, true}};

// Another size is INVALID_ARGUMENT, another version UNIMPLEMENTED. Reserved bytes must be zero, so that what is
// accepted has one encoding.
StatusOr<SnpReport> DecodeSnpReport(ByteSpan bytes);
Bytes EncodeSnpReport(const SnpReport& report);

// Security patch levels of the parts of the trusted base.
struct SnpTcb {
  uint8_t fmc = 0;  // Turin only
  uint8_t boot_loader = 0, tee = 0, snp = 0, microcode = 0;
  bool operator==(const SnpTcb&) const = default;
  // Every part is at least that of `other`.
  bool AtLeast(const SnpTcb& other) const;
};
std::string ToString(const SnpTcb& tcb);
// Turin has the parts in another order than Milan and Genoa.
SnpTcb DecodeTcb(const std::array<uint8_t, 8>& bytes, bool turin);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_ABI_SNP_REPORT_H_
