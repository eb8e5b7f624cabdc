#include "attestation/abi/intel_quote.h"

#include "attestation/abi/layout.h"

namespace infenclave {
namespace {

constexpr uint16_t kEcdsaP256 = 2;
constexpr uint32_t kSgx = 0, kTdx = 0x81;
constexpr uint16_t kCertPckChain = 5, kCertQeReport = 6;  // kinds of certification data
// Version 5 says what its body is.
constexpr uint16_t kBodySgx = 1, kBodyTd10 = 2, kBodyTd15 = 3;
constexpr size_t kSgxReportBytes = 384, kTd10Bytes = 584, kTd15Bytes = 648;

template <typename Header, typename Archive>
void VisitHeader(Header& h, Archive& a) {
  a(h.version);
  a(h.att_key_type);
  a(h.tee_type);
  a(h.svns);
  a(h.qe_vendor_id);
  a(h.user_data);
}

template <typename Report, typename Archive>
void VisitSgx(Report& r, Archive& a) {
  a(r.cpu_svn);
  a(r.misc_select);
  a(r.reserved1);
  a(r.isv_ext_prod_id);
  a(r.attributes);
  a(r.mrenclave);
  a(r.reserved2);
  a(r.mrsigner);
  a(r.reserved3);
  a(r.config_id);
  a(r.isv_prod_id);
  a(r.isv_svn);
  a(r.config_svn);
  a(r.reserved4);
  a(r.isv_family_id);
  a(r.report_data);
}

template <typename Report, typename Archive>
void VisitTd(Report& r, Archive& a) {
  a(r.tee_tcb_svn);
  a(r.mrseam);
  a(r.mrsignerseam);
  a(r.seam_attributes);
  a(r.td_attributes);
  a(r.xfam);
  a(r.mrtd);
  a(r.mrconfigid);
  a(r.mrowner);
  a(r.mrownerconfig);
  for (auto& rtmr : r.rtmr) a(rtmr);
  a(r.report_data);
  if (!r.v15) return;
  a(r.tee_tcb_svn2);
  a(r.mrservicetd);
}

// The kind of body, from the header (versions 3 and 4) or from what follows it (version 5).
StatusOr<uint16_t> ReadBodyKind(const QuoteHeader& h, LayoutReader& in) {
  if (h.version < 3 || h.version > 5) {
    return Unimplemented("quote: version ", h.version, " is not known here, only 3 to 5");
  }
  if (h.att_key_type != kEcdsaP256) {
    return Unimplemented("quote: attestation key of type ", h.att_key_type, ", expected 2 (ECDSA on P-256)");
  }
  const bool sgx = h.tee_type == kSgx && h.version == 3, tdx = h.tee_type == kTdx && h.version >= 4;
  if (!sgx && !tdx) {
    return Unimplemented("quote: TEE type 0x", HexEncode(Bytes{static_cast<uint8_t>(h.tee_type)}), " in version ",
                         h.version, " is not known here");
  }
  if (h.version < 5) return sgx ? kBodySgx : kBodyTd10;
  uint16_t kind = 0;
  uint32_t size = 0;
  in(kind);
  in(size);
  INFENCLAVE_RETURN_IF_ERROR(in.status());
  if ((kind != kBodyTd10 || size != kTd10Bytes) && (kind != kBodyTd15 || size != kTd15Bytes)) {
    return Unimplemented("quote: body of type ", kind, " and ", size, " bytes is not known here");
  }
  return kind;
}

void ReadBody(uint16_t kind, LayoutReader& in, IntelQuote& quote) {
  if (kind == kBodySgx) {
    VisitSgx(quote.body.emplace<SgxReport>(), in);
  } else {
    TdReport& td = quote.body.emplace<TdReport>();
    td.v15 = kind == kBodyTd15;
    VisitTd(td, in);
  }
}

// What the quoting enclave says of itself, and who certifies it.
void ReadQeAndChain(LayoutReader& in, IntelQuote& q) {
  in(q.qe_report_bytes);
  in(q.qe_report_signature);
  uint16_t auth_size = 0, kind = 0;
  uint32_t chain_size = 0;
  in(auth_size);
  q.qe_auth_data = ToBytes(in.Take(auth_size));
  in(kind);
  in(chain_size);
  if (in.ok() && kind != kCertPckChain) {
    in.Fail(Concat("certification data of type ", kind, ", expected 5 (PCK certificate chain)"));
  }
  q.pck_chain = std::string(AsText(in.Take(chain_size)));
  if (!in.ok()) return;
  LayoutReader qe(q.qe_report_bytes, "QE report");
  VisitSgx(q.qe_report, qe);
}

void ReadSignature(LayoutReader& in, IntelQuote& q) {
  in(q.signature);
  in(q.attestation_key);
  if (q.header.version == 3) {
    ReadQeAndChain(in, q);
    return;
  }
  uint16_t kind = 0;
  uint32_t size = 0;
  in(kind);
  in(size);
  if (in.ok() && kind != kCertQeReport) {
    in.Fail(Concat("certification data of type ", kind, ", expected 6 (QE report)"));
  }
  if (in.ok() && size != in.remaining())
    in.Fail(Concat("certification data of ", size, " bytes, has ", in.remaining()));
  ReadQeAndChain(in, q);
}

}  // namespace

StatusOr<SgxReport> DecodeSgxReport(ByteSpan bytes) {
  SgxReport report;
  LayoutReader in(bytes, "SGX report");
  VisitSgx(report, in);
  INFENCLAVE_RETURN_IF_ERROR(in.status());
  if (in.remaining() != 0) return InvalidArgument("SGX report: ", bytes.size(), " bytes, expected ", kSgxReportBytes);
  return report;
}

StatusOr<IntelQuote> DecodeIntelQuote(ByteSpan bytes) {
  if (bytes.size() > kMaxQuoteBytes) {
    return InvalidArgument("quote: ", bytes.size(), " bytes, at most ", kMaxQuoteBytes, " are allowed");
  }
  IntelQuote quote;
  LayoutReader in(bytes, "quote");
  VisitHeader(quote.header, in);
  INFENCLAVE_RETURN_IF_ERROR(in.status());
  INFENCLAVE_ASSIGN_OR_RETURN(const uint16_t kind, ReadBodyKind(quote.header, in));
  ReadBody(kind, in, quote);
  quote.signed_bytes = in.position();
  uint32_t signature_size = 0;
  in(signature_size);
  const ByteSpan signature = in.Take(signature_size);
  INFENCLAVE_RETURN_IF_ERROR(in.status());
  quote.size = in.position();
  LayoutReader tail(signature, "quote's signature data");
  ReadSignature(tail, quote);
  INFENCLAVE_RETURN_IF_ERROR(tail.status());
  if (tail.remaining() != 0) {
    return InvalidArgument("quote's signature data: ", tail.remaining(), " bytes left over");
  }
  return quote;
}

Bytes EncodeIntelQuote(const IntelQuote& q) {
  LayoutWriter qe;
  qe.Put(q.qe_report_bytes);
  qe.Put(q.qe_report_signature);
  qe(static_cast<uint16_t>(q.qe_auth_data.size()));
  qe.Put(q.qe_auth_data);
  qe(kCertPckChain);
  qe(static_cast<uint32_t>(q.pck_chain.size()));
  qe.Put(AsBytes(q.pck_chain));
  const Bytes certification = qe.Take();

  LayoutWriter signature;
  signature.Put(q.signature);
  signature.Put(q.attestation_key);
  if (q.header.version >= 4) {
    signature(kCertQeReport);
    signature(static_cast<uint32_t>(certification.size()));
  }
  signature.Put(certification);
  const Bytes tail = signature.Take();

  LayoutWriter out;
  VisitHeader(q.header, out);
  const TdReport* td = std::get_if<TdReport>(&q.body);
  if (q.header.version == 5) {
    INFENCLAVE_CHECK(td != nullptr);
    out(td->v15 ? kBodyTd15 : kBodyTd10);
    out(static_cast<uint32_t>(td->v15 ? kTd15Bytes : kTd10Bytes));
  }
  if (td != nullptr) {
    VisitTd(*td, out);
  } else {
    VisitSgx(std::get<SgxReport>(q.body), out);
  }
  out(static_cast<uint32_t>(tail.size()));
  out.Put(tail);
  return out.Take();
}

}  // namespace infenclave
