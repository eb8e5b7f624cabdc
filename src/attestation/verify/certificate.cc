#include "attestation/verify/certificate.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>

namespace infenclave {
namespace {

struct BioDeleter {
  void operator()(BIO* p) const { BIO_free(p); }
};
using BioPtr = std::unique_ptr<BIO, BioDeleter>;

int64_t ToUnix(const ASN1_TIME* time) {
  std::tm tm{};
  return time != nullptr && ASN1_TIME_to_tm(time, &tm) == 1 ? timegm(&tm) : 0;
}

std::string CommonNameOf(const X509_NAME* name) {
  char text[128] = {};
  const int n = X509_NAME_get_text_by_NID(const_cast<X509_NAME*>(name), NID_commonName, text, sizeof(text));
  if (n <= 0) return "without a name";
  std::replace_if(
      text, text + n, [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return std::string(text, static_cast<size_t>(n));
}

template <typename T>
Bytes ToDer(T* object, int (*encode)(const T*, unsigned char**)) {
  unsigned char* out = nullptr;
  const int n = encode(object, &out);
  Bytes der(out, out + std::max(n, 0));
  OPENSSL_free(out);
  return der;
}

template <typename T>
std::string ToPemText(T* object, int (*write)(BIO*, const T*)) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  INFENCLAVE_CHECK(write(bio.get(), object) == 1);
  const char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, static_cast<size_t>(size));
}

}  // namespace

// ---- certificates ---------------------------------------------------------------------------------------------------

Certificate::Certificate(std::unique_ptr<X509, X509Deleter> cert, ByteSpan der)
    : cert_(std::move(cert)),
      der_(ToBytes(der)),
      not_before_(ToUnix(X509_get0_notBefore(cert_.get()))),
      not_after_(ToUnix(X509_get0_notAfter(cert_.get()))) {}

StatusOr<Certificate> Certificate::FromDer(ByteSpan der) {
  if (der.empty() || der.size() > kMaxCertificateBytes) {
    return InvalidArgument("certificate: ", der.size(), " bytes, expected at most ", kMaxCertificateBytes);
  }
  const uint8_t* at = der.data();
  std::unique_ptr<X509, X509Deleter> cert(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  ERR_clear_error();
  if (cert == nullptr || at != der.data() + der.size() || ToDer(cert.get(), i2d_X509) != ToBytes(der)) {
    return InvalidArgument("certificate: not one X.509 certificate in DER");
  }
  return Certificate(std::move(cert), der);
}

Certificate Certificate::Share() const {
  X509_up_ref(cert_.get());
  return Certificate(std::unique_ptr<X509, X509Deleter>(cert_.get()), der_);
}

StatusOr<Certificate> Certificate::FromDerOrPem(ByteSpan bytes) {
  if (AsText(bytes).find("-----BEGIN CERTIFICATE-----") == std::string_view::npos) return FromDer(bytes);
  INFENCLAVE_ASSIGN_OR_RETURN(auto chain, ChainFromPem(AsText(bytes)));
  return std::move(chain.front());
}

StatusOr<std::vector<Certificate>> Certificate::ChainFromPem(std::string_view pem, std::span<const Certificate> known) {
  if (pem.size() > kMaxChain * 2 * kMaxCertificateBytes) {
    return InvalidArgument("certificate chain: ", pem.size(), " bytes are too many");
  }
  std::vector<Certificate> chain;
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  while (true) {
    char *name = nullptr, *header = nullptr;
    unsigned char* data = nullptr;
    long size = 0;
    const bool read = PEM_read_bio(bio.get(), &name, &header, &data, &size) == 1;
    ERR_clear_error();
    if (!read) break;
    const bool is_certificate = std::string_view(name) == "CERTIFICATE";
    const ByteSpan der(data, static_cast<size_t>(size));
    const auto same =
        std::ranges::find_if(known, [der](const Certificate& c) { return std::ranges::equal(c.der_, der); });
    auto cert = same != known.end() ? StatusOr<Certificate>(same->Share()) : FromDer(der);
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(data);
    if (!is_certificate || chain.size() == kMaxChain) {
      return InvalidArgument("certificate chain: expected at most ", kMaxChain, " certificates and nothing else");
    }
    INFENCLAVE_RETURN_IF_ERROR(cert.status());
    chain.push_back(*std::move(cert));
  }
  if (chain.empty()) return InvalidArgument("certificate chain: no PEM certificate in it");
  return chain;
}

std::string Certificate::CommonName() const { return CommonNameOf(X509_get_subject_name(cert_.get())); }

std::string Certificate::ToPem() const { return ToPemText(cert_.get(), PEM_write_bio_X509); }

Bytes Certificate::EcPoint() const {
  EVP_PKEY* key = X509_get0_pubkey(cert_.get());
  Bytes out(133);
  size_t size = 0;
  if (key == nullptr || EVP_PKEY_is_a(key, "EC") != 1 ||
      EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, out.data(), out.size(), &size) != 1) {
    ERR_clear_error();
    return {};
  }
  out.resize(size);
  return out;
}

Bytes Certificate::PublicKeyInfo() const { return ToDer(X509_get_X509_PUBKEY(cert_.get()), i2d_X509_PUBKEY); }

std::optional<Bytes> Certificate::Extension(const char* oid) const {
  ASN1_OBJECT* object = OBJ_txt2obj(oid, 1);
  INFENCLAVE_CHECK(object != nullptr);
  const int index = X509_get_ext_by_OBJ(cert_.get(), object, -1);
  ASN1_OBJECT_free(object);
  if (index < 0) return std::nullopt;
  const ASN1_OCTET_STRING* value = X509_EXTENSION_get_data(X509_get_ext(cert_.get(), index));
  const uint8_t* data = ASN1_STRING_get0_data(value);
  return Bytes(data, data + ASN1_STRING_length(value));
}

Status Certificate::CheckIssuedBy(const Certificate& issuer) const {
  if ((X509_get_extension_flags(cert_.get()) & (EXFLAG_CRITICAL | EXFLAG_INVALID)) != 0) {
    return PermissionDenied("certificate '", CommonName(), "' has an extension that must be understood and is not");
  }
  if (X509_NAME_cmp(X509_get_issuer_name(cert_.get()), X509_get_subject_name(issuer.get())) != 0) {
    return PermissionDenied("certificate '", CommonName(), "' names the issuer '",
                            CommonNameOf(X509_get_issuer_name(cert_.get())), "', not '", issuer.CommonName(), "'");
  }
  if (X509_check_ca(issuer.get()) != 1 || (X509_get_key_usage(issuer.get()) & KU_KEY_CERT_SIGN) == 0) {
    return PermissionDenied("certificate '", issuer.CommonName(), "' is no certificate authority");
  }
  const bool valid = X509_verify(cert_.get(), X509_get0_pubkey(issuer.get())) == 1;
  ERR_clear_error();
  if (!valid) {
    return PermissionDenied("certificate '", CommonName(), "' is not signed by '", issuer.CommonName(), "'");
  }
  return OkStatus();
}

Status Certificate::CheckValidAt(int64_t at) const {
  if (at < not_before_) {
    return PermissionDenied("certificate '", CommonName(), "' is valid from ", FormatTime(not_before_), ", and it is ",
                            FormatTime(at));
  }
  if (at > not_after_) {
    return PermissionDenied("certificate '", CommonName(), "' expired ", FormatTime(not_after_), ", and it is ",
                            FormatTime(at));
  }
  return OkStatus();
}

Status CheckChain(const std::vector<Certificate>& chain, const Certificate& root, std::string_view what,
                  std::span<const Certificate> checked) {
  INFENCLAVE_CHECK(!chain.empty());
  const Certificate& last = chain.back();
  if (last.PublicKeyInfo() != root.PublicKeyInfo()) {
    return PermissionDenied(what, ": ends in '", last.CommonName(), "', whose key is not that of the pinned root '",
                            root.CommonName(), "'");
  }
  // From the root down: how many of the last certificates are those of `checked`.
  size_t shared = 0;
  while (shared < std::min(chain.size(), checked.size()) &&
         chain[chain.size() - 1 - shared].get() == checked[checked.size() - 1 - shared].get()) {
    ++shared;
  }
  for (size_t i = 0; i + 1 < chain.size() && chain.size() - i > shared; ++i) {
    INFENCLAVE_RETURN_IF_ERROR(Annotate(chain[i].CheckIssuedBy(chain[i + 1]), what));
  }
  // Where it is the pinned certificate to the byte, its own signature proves nothing more.
  if (X509_cmp(last.get(), root.get()) != 0) INFENCLAVE_RETURN_IF_ERROR(Annotate(last.CheckIssuedBy(root), what));
  return OkStatus();
}

Status CheckChainValidAt(const std::vector<Certificate>& chain, int64_t at, std::string_view what) {
  for (const Certificate& c : chain) INFENCLAVE_RETURN_IF_ERROR(Annotate(c.CheckValidAt(at), what));
  return OkStatus();
}

// ---- revocation lists -----------------------------------------------------------------------------------------------

StatusOr<RevocationList> RevocationList::Parse(ByteSpan bytes) {
  if (bytes.empty() || bytes.size() > 2 * kMaxCrlBytes) {
    return InvalidArgument("revocation list: ", bytes.size(), " bytes, expected at most ", 2 * kMaxCrlBytes);
  }
  Bytes der = ToBytes(bytes);
  if (bytes[0] == '-') {
    const BioPtr bio(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
    std::unique_ptr<X509_CRL, X509Deleter> crl(PEM_read_bio_X509_CRL(bio.get(), nullptr, nullptr, nullptr));
    der = crl == nullptr ? Bytes{} : ToDer(crl.get(), i2d_X509_CRL);
  } else if (auto hex = HexDecode(AsText(bytes)); hex.ok()) {
    der = *std::move(hex);
  }
  const uint8_t* at = der.data();
  std::unique_ptr<X509_CRL, X509Deleter> crl(der.empty() ? nullptr
                                                         : d2i_X509_CRL(nullptr, &at, static_cast<long>(der.size())));
  ERR_clear_error();
  if (crl == nullptr || at != der.data() + der.size() || ToDer(crl.get(), i2d_X509_CRL) != der) {
    return InvalidArgument("revocation list: not one X.509 revocation list in DER, PEM or hexadecimal");
  }
  RevocationList out(std::move(crl));
  out.this_update_ = ToUnix(X509_CRL_get0_lastUpdate(out.crl_.get()));
  out.next_update_ = ToUnix(X509_CRL_get0_nextUpdate(out.crl_.get()));
  return out;
}

std::string RevocationList::ToPem() const { return ToPemText(crl_.get(), PEM_write_bio_X509_CRL); }

Status RevocationList::CheckIssuedBy(const Certificate& issuer, std::string_view what) const {
  const std::string from = CommonNameOf(X509_CRL_get_issuer(crl_.get()));
  if (X509_NAME_cmp(X509_CRL_get_issuer(crl_.get()), X509_get_subject_name(issuer.get())) != 0) {
    return PermissionDenied(what, ": issued by '", from, "', not by '", issuer.CommonName(), "'");
  }
  const bool valid = X509_CRL_verify(crl_.get(), X509_get0_pubkey(issuer.get())) == 1;
  ERR_clear_error();
  if (!valid) return PermissionDenied(what, ": not signed by '", issuer.CommonName(), "'");
  return OkStatus();
}

Status RevocationList::CheckValidAt(int64_t at, std::string_view what) const {
  if (at < this_update_) {
    return PermissionDenied(what, ": issued ", FormatTime(this_update_), ", and it is ", FormatTime(at));
  }
  if (at > next_update_) {
    return PermissionDenied(what, ": expired ", FormatTime(next_update_), ", and it is ", FormatTime(at));
  }
  return OkStatus();
}

Status RevocationList::CheckNotRevoked(const Certificate& certificate) const {
  X509_REVOKED* entry = nullptr;
  if (X509_CRL_get0_by_cert(crl_.get(), &entry, certificate.get()) != 0) {
    return PermissionDenied("certificate '", certificate.CommonName(), "' was revoked by '",
                            CommonNameOf(X509_CRL_get_issuer(crl_.get())), "'");
  }
  return OkStatus();
}

// ---- signatures -----------------------------------------------------------------------------------------------------

namespace {

std::unique_ptr<EVP_PKEY, X509Deleter> EcKey(const char* curve, ByteSpan point) {
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, const_cast<char*>(curve), 0),
      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, const_cast<uint8_t*>(point.data()), point.size()),
      OSSL_PARAM_construct_end()};
  EVP_PKEY_CTX* ctx = EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr);
  EVP_PKEY* key = nullptr;
  if (EVP_PKEY_fromdata_init(ctx) != 1 ||
      EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, const_cast<OSSL_PARAM*>(params)) != 1) {
    key = nullptr;
  }
  EVP_PKEY_CTX_free(ctx);
  return std::unique_ptr<EVP_PKEY, X509Deleter>(key);
}

bool VerifyWith(EVP_PKEY* key, const EVP_MD* digest, ByteSpan message, ByteSpan r, ByteSpan s) {
  ECDSA_SIG* signature = ECDSA_SIG_new();
  INFENCLAVE_CHECK(ECDSA_SIG_set0(signature, BN_bin2bn(r.data(), static_cast<int>(r.size()), nullptr),
                                  BN_bin2bn(s.data(), static_cast<int>(s.size()), nullptr)) == 1);
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(signature, &der);
  ECDSA_SIG_free(signature);
  EVP_MD_CTX* ctx = EVP_MD_CTX_new();
  const bool valid = key != nullptr && size > 0 && EVP_DigestVerifyInit(ctx, nullptr, digest, nullptr, key) == 1 &&
                     EVP_DigestVerify(ctx, der, static_cast<size_t>(size), message.data(), message.size()) == 1;
  EVP_MD_CTX_free(ctx);
  OPENSSL_free(der);
  ERR_clear_error();
  return valid;
}

const EVP_MD* DigestOf(EcdsaCurve curve) { return curve == EcdsaCurve::kP256Sha256 ? EVP_sha256() : EVP_sha384(); }

}  // namespace

bool Certificate::HasSigned(EcdsaCurve curve, ByteSpan message, ByteSpan r, ByteSpan s) const {
  EVP_PKEY* key = X509_get0_pubkey(cert_.get());
  char group[32] = {};
  const bool on_curve = key != nullptr && EVP_PKEY_is_a(key, "EC") == 1 &&
                        EVP_PKEY_get_group_name(key, group, sizeof(group), nullptr) == 1 &&
                        std::string_view(group) == (curve == EcdsaCurve::kP256Sha256 ? "prime256v1" : "secp384r1");
  if (!on_curve) ERR_clear_error();
  return on_curve && VerifyWith(key, DigestOf(curve), message, r, s);
}

bool EcdsaVerify(EcdsaCurve curve, ByteSpan point, ByteSpan message, ByteSpan r, ByteSpan s) {
  const auto key = EcKey(curve == EcdsaCurve::kP256Sha256 ? "P-256" : "P-384", point);
  return VerifyWith(key.get(), DigestOf(curve), message, r, s);
}

// ---- times ----------------------------------------------------------------------------------------------------------

StatusOr<int64_t> ParseTime(std::string_view text) {
  std::tm tm{};
  const std::string copy(text);
  const char* end = strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%SZ", &tm);
  if (copy.size() != 20 || end == nullptr || *end != '\0') {
    return InvalidArgument("'", text, "' is no time such as 2025-07-19T10:01:18Z");
  }
  const int64_t at = timegm(&tm);
  if (FormatTime(at) != copy) return InvalidArgument("'", text, "' is no time of the calendar");
  return at;
}

std::string FormatTime(int64_t at) {
  const std::time_t time = at;
  std::tm tm{};
  char text[32] = {};
  if (gmtime_r(&time, &tm) == nullptr) return "no time";
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
  return text;
}

}  // namespace infenclave
