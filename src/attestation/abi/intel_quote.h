// Intel DCAP quotes as structs: SGX quotes version 3, TDX quotes versions 4 and 5. Knows no trust: see verify/intel.h.
//
// Source: Intel, SGX ECDSA Quote Library Reference (quote version 3) and TDX DCAP Quoting Library API (4 and 5).
#ifndef INFENCLAVE_ATTESTATION_ABI_INTEL_QUOTE_H_
#define INFENCLAVE_ATTESTATION_ABI_INTEL_QUOTE_H_

#include <array>
#include <cstdint>
#include <variant>

#include "base/bytes.h"

namespace infenclave {

inline constexpr size_t kMaxQuoteBytes = 64 << 10;

struct QuoteHeader {
  uint16_t version = 0;
  uint16_t att_key_type = 0;      // 2: ECDSA on P-256
  uint32_t tee_type = 0;          // 0: SGX, 0x81: TDX. Version 3 has zeros here.
  std::array<uint8_t, 4> svns{};  // version 3: QE and PCE SVN; else reserved
  std::array<uint8_t, 16> qe_vendor_id{};
  std::array<uint8_t, 20> user_data{};
};

// An enclave's report: the body of an SGX quote, and what the quoting enclave says of itself in every quote.
struct SgxReport {
  std::array<uint8_t, 16> cpu_svn{};
  uint32_t misc_select = 0;
  std::array<uint8_t, 12> reserved1{};
  std::array<uint8_t, 16> isv_ext_prod_id{};
  std::array<uint8_t, 16> attributes{};
  std::array<uint8_t, 32> mrenclave{};
  std::array<uint8_t, 32> reserved2{};
  std::array<uint8_t, 32> mrsigner{};
  std::array<uint8_t, 32> reserved3{};
  std::array<uint8_t, 64> config_id{};
  uint16_t isv_prod_id = 0, isv_svn = 0, config_svn = 0;
  std::array<uint8_t, 42> reserved4{};
  std::array<uint8_t, 16> isv_family_id{};
  std::array<uint8_t, 64> report_data{};

  bool debug() const { return attributes[0] >> 1 & 1; }
};

// A trust domain's report, TD 1.0 or 1.5.
struct TdReport {
  bool v15 = false;
  std::array<uint8_t, 16> tee_tcb_svn{};
  std::array<uint8_t, 48> mrseam{}, mrsignerseam{};
  std::array<uint8_t, 8> seam_attributes{};
  uint64_t td_attributes = 0, xfam = 0;
  std::array<uint8_t, 48> mrtd{}, mrconfigid{}, mrowner{}, mrownerconfig{};
  std::array<std::array<uint8_t, 48>, 4> rtmr{};
  std::array<uint8_t, 64> report_data{};
  // TD 1.5 only, else zero.
  std::array<uint8_t, 16> tee_tcb_svn2{};
  std::array<uint8_t, 48> mrservicetd{};

  bool debug() const { return (td_attributes & 0xff) != 0; }  // TUD: any of these bits makes the TD untrusted
  // Bits without a meaning in the TDX 1.5 module's ABI, which a verifier must refuse.
  bool reserved_attributes() const { return (td_attributes & 0x3fffffff0780ff8e) != 0; }
  bool service_td_extension() const { return td_attributes >> 17 & 1; }
  bool protection_keys() const { return td_attributes >> 30 & 1; }
  bool key_locker() const { return td_attributes >> 31 & 1; }
  bool sept_ve_disable() const { return td_attributes >> 28 & 1; }
  bool migratable() const { return td_attributes >> 29 & 1; }
};

struct IntelQuote {
  QuoteHeader header;
  std::variant<SgxReport, TdReport> body;

  size_t signed_bytes = 0;                    // how many of the quote's first bytes its signature covers
  std::array<uint8_t, 64> signature{};        // r and s, big-endian
  std::array<uint8_t, 64> attestation_key{};  // x and y
  SgxReport qe_report;
  std::array<uint8_t, 384> qe_report_bytes{};
  std::array<uint8_t, 64> qe_report_signature{};
  Bytes qe_auth_data;
  std::string pck_chain;  // PEM, leaf first (certification data of type 5)
  size_t size = 0;        // of the quote itself; a TEE may hand out a larger buffer
};

// UNIMPLEMENTED for another version, TEE, body or kind of key; INVALID_ARGUMENT where lengths do not fit. Bytes after
// the quote are allowed and not looked at, for quoting services pad.
StatusOr<IntelQuote> DecodeIntelQuote(ByteSpan bytes);
// The same bytes again, up to IntelQuote::size.
Bytes EncodeIntelQuote(const IntelQuote& quote);

StatusOr<SgxReport> DecodeSgxReport(ByteSpan bytes);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_ABI_INTEL_QUOTE_H_
