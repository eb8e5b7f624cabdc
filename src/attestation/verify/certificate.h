// X.509 certificates and revocation lists as attestation uses them: short chains, leaf first, to a pinned root.
//
// OpenSSL's own path building is not used: it looks for certificates and purposes that these chains do not have, and
// its errors do not say which certificate was wrong. Times are seconds since 1970.
#ifndef INFENCLAVE_ATTESTATION_VERIFY_CERTIFICATE_H_
#define INFENCLAVE_ATTESTATION_VERIFY_CERTIFICATE_H_

#include <openssl/x509.h>

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"

namespace infenclave {

inline constexpr size_t kMaxCertificateBytes = 16 << 10, kMaxChain = 4, kMaxCrlBytes = 1 << 20;

struct X509Deleter {
  void operator()(X509* p) const { X509_free(p); }
  void operator()(X509_CRL* p) const { X509_CRL_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
};

enum class EcdsaCurve { kP256Sha256, kP384Sha384 };

class Certificate {
 public:
  // Exactly one certificate in DER, without bytes before or after it that it does not account for.
  static StatusOr<Certificate> FromDer(ByteSpan der);
  // DER, or a PEM file whose first certificate is meant.
  static StatusOr<Certificate> FromDerOrPem(ByteSpan bytes);
  // The certificates of a PEM text, in its order: 1 to kMaxChain. Those that are in `known` to the byte are shared with
  // it rather than parsed again: OpenSSL takes longer to parse a key than to verify a signature with it.
  static StatusOr<std::vector<Certificate>> ChainFromPem(std::string_view pem, std::span<const Certificate> known = {});

  std::string CommonName() const;
  std::string ToPem() const;
  int64_t not_before() const { return not_before_; }
  int64_t not_after() const { return not_after_; }
  // The uncompressed point of an elliptic curve key, 0x04 first; empty for another kind of key.
  Bytes EcPoint() const;
  // Whether its key, which has to be on this curve, made the signature (big-endian r and s) over `message`.
  bool HasSigned(EcdsaCurve curve, ByteSpan message, ByteSpan r, ByteSpan s) const;
  // The public key as SubjectPublicKeyInfo.
  Bytes PublicKeyInfo() const;
  // The content of the extension with this object identifier ("1.2.840.113741.1.13.1"); nullopt if there is none.
  std::optional<Bytes> Extension(const char* oid) const;

  // PERMISSION_DENIED unless `issuer` is a certificate authority of the name that this one gives and signed it.
  Status CheckIssuedBy(const Certificate& issuer) const;
  // PERMISSION_DENIED naming the certificate and the date if `at` is before or after its validity.
  Status CheckValidAt(int64_t at) const;

  X509* get() const { return cert_.get(); }
  // Another handle of the same certificate.
  Certificate Share() const;

 private:
  Certificate(std::unique_ptr<X509, X509Deleter> cert, ByteSpan der);
  std::unique_ptr<X509, X509Deleter> cert_;
  Bytes der_;
  int64_t not_before_ = 0, not_after_ = 0;
};

class RevocationList {
 public:
  // DER, PEM or hexadecimal DER (as collateral files carry it).
  static StatusOr<RevocationList> Parse(ByteSpan bytes);

  std::string ToPem() const;
  int64_t this_update() const { return this_update_; }
  int64_t next_update() const { return next_update_; }
  // PERMISSION_DENIED, naming `what`, unless `issuer` signed it, or unless `at` lies between its updates.
  Status CheckIssuedBy(const Certificate& issuer, std::string_view what) const;
  Status CheckValidAt(int64_t at, std::string_view what) const;
  // PERMISSION_DENIED if it lists the certificate.
  Status CheckNotRevoked(const Certificate& certificate) const;

 private:
  explicit RevocationList(std::unique_ptr<X509_CRL, X509Deleter> crl) : crl_(std::move(crl)) {}
  std::unique_ptr<X509_CRL, X509Deleter> crl_;
  int64_t this_update_ = 0, next_update_ = 0;
};

// Every certificate issued by the next one; the last one is the pinned root, or issued by itself with the pinned root's
// name and key. `what` names the chain in errors. What the chain shares with the end of `checked`, which has passed
// this before, is not checked again. The second looks at the dates.
Status CheckChain(const std::vector<Certificate>& chain, const Certificate& root, std::string_view what,
                  std::span<const Certificate> checked = {});
Status CheckChainValidAt(const std::vector<Certificate>& chain, int64_t at, std::string_view what);

// The same for a key that is given as an uncompressed point.
bool EcdsaVerify(EcdsaCurve curve, ByteSpan point, ByteSpan message, ByteSpan r, ByteSpan s);

// "2025-07-19T10:01:18Z" and back. INVALID_ARGUMENT for any other form.
StatusOr<int64_t> ParseTime(std::string_view text);
std::string FormatTime(int64_t at);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_VERIFY_CERTIFICATE_H_
