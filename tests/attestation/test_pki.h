// Keys, certificates, revocation lists and signatures of our own making, for formats and failures that no hardware-made
// vector shows. What they sign is synthetic and says nothing about real hardware.
#ifndef INFENCLAVE_TESTS_ATTESTATION_TEST_PKI_H_
#define INFENCLAVE_TESTS_ATTESTATION_TEST_PKI_H_

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attestation/verify/certificate.h"

namespace infenclave {

using TestKey = std::shared_ptr<EVP_PKEY>;  // shared by the certificate's owner and whoever it issues

inline TestKey NewKey(const char* curve) { return TestKey(EVP_EC_gen(curve), EVP_PKEY_free); }

struct CertSpec {
  std::string subject;
  bool ca = false;
  int64_t not_before = 1700000000, not_after = 1900000000;
  long serial = 1;
  std::vector<std::pair<std::string, Bytes>> extensions;  // object identifier, content
};

struct TestCert {
  TestKey key;
  std::string subject;
  Bytes der;
  Certificate cert() const { return *Certificate::FromDer(der); }
};

inline X509_NAME* MakeName(const std::string& cn) {
  X509_NAME* name = X509_NAME_new();
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(cn.c_str()), -1, -1, 0);
  return name;
}

// Issued by `issuer`, or by itself if that is null.
inline TestCert Issue(const CertSpec& spec, const TestKey& key, const TestCert* issuer,
                      const EVP_MD* md = EVP_sha256()) {
  X509* x = X509_new();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), spec.serial);
  X509_NAME *subject = MakeName(spec.subject), *from = MakeName(issuer != nullptr ? issuer->subject : spec.subject);
  X509_set_subject_name(x, subject);
  X509_set_issuer_name(x, from);
  X509_NAME_free(subject);
  X509_NAME_free(from);
  ASN1_TIME_set(X509_getm_notBefore(x), spec.not_before);
  ASN1_TIME_set(X509_getm_notAfter(x), spec.not_after);
  X509_set_pubkey(x, key.get());
  auto add = [x](int nid, const char* value) {
    X509_EXTENSION* e = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
  };
  add(NID_basic_constraints, spec.ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
  add(NID_key_usage, spec.ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
  for (const auto& [oid, content] : spec.extensions) {
    ASN1_OBJECT* object = OBJ_txt2obj(oid.c_str(), 1);
    ASN1_OCTET_STRING* data = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(data, content.data(), static_cast<int>(content.size()));
    X509_EXTENSION* e = X509_EXTENSION_create_by_OBJ(nullptr, object, 0, data);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    ASN1_OCTET_STRING_free(data);
    ASN1_OBJECT_free(object);
  }
  X509_sign(x, issuer != nullptr ? issuer->key.get() : key.get(), md);
  unsigned char* der = nullptr;
  const int n = i2d_X509(x, &der);
  TestCert out{key, spec.subject, Bytes(der, der + n)};
  OPENSSL_free(der);
  X509_free(x);
  return out;
}

inline Bytes IssueCrl(const TestCert& issuer, int64_t this_update, int64_t next_update,
                      const std::vector<long>& revoked) {
  X509_CRL* crl = X509_CRL_new();
  X509_CRL_set_version(crl, 1);
  X509_NAME* name = MakeName(issuer.subject);
  X509_CRL_set_issuer_name(crl, name);
  X509_NAME_free(name);
  ASN1_TIME* time = ASN1_TIME_set(nullptr, this_update);
  X509_CRL_set1_lastUpdate(crl, time);
  ASN1_TIME_set(time, next_update);
  X509_CRL_set1_nextUpdate(crl, time);
  ASN1_TIME_set(time, this_update);
  for (long serial : revoked) {
    X509_REVOKED* entry = X509_REVOKED_new();
    ASN1_INTEGER* number = ASN1_INTEGER_new();
    ASN1_INTEGER_set(number, serial);
    X509_REVOKED_set_serialNumber(entry, number);
    X509_REVOKED_set_revocationDate(entry, time);
    X509_CRL_add0_revoked(crl, entry);
    ASN1_INTEGER_free(number);
  }
  ASN1_TIME_free(time);
  X509_CRL_sort(crl);
  X509_CRL_sign(crl, issuer.key.get(), EVP_sha256());
  unsigned char* der = nullptr;
  const int n = i2d_X509_CRL(crl, &der);
  Bytes out(der, der + n);
  OPENSSL_free(der);
  X509_CRL_free(crl);
  return out;
}

inline std::string Pem(const std::vector<const TestCert*>& chain) {
  std::string out;
  for (const TestCert* c : chain) {
    Bytes base64(c->der.size() * 2 + 8);
    const int n = EVP_EncodeBlock(base64.data(), c->der.data(), static_cast<int>(c->der.size()));
    out += "-----BEGIN CERTIFICATE-----\n";
    for (int at = 0; at < n; at += 64) {
      out += std::string(
                 AsText(base64).substr(static_cast<size_t>(at), std::min<size_t>(64, static_cast<size_t>(n - at)))) +
             "\n";
    }
    out += "-----END CERTIFICATE-----\n";
  }
  return out;
}

// r and s, big-endian, each of `width` bytes.
inline std::pair<Bytes, Bytes> EcdsaSign(const TestKey& key, const EVP_MD* md, ByteSpan message, int width) {
  EVP_MD_CTX* ctx = EVP_MD_CTX_new();
  Bytes der(256);
  size_t size = der.size();
  EVP_DigestSignInit(ctx, nullptr, md, nullptr, key.get());
  EVP_DigestSign(ctx, der.data(), &size, message.data(), message.size());
  EVP_MD_CTX_free(ctx);
  const unsigned char* at = der.data();
  ECDSA_SIG* sig = d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(size));
  Bytes r(static_cast<size_t>(width)), s(static_cast<size_t>(width));
  BN_bn2binpad(ECDSA_SIG_get0_r(sig), r.data(), width);
  BN_bn2binpad(ECDSA_SIG_get0_s(sig), s.data(), width);
  ECDSA_SIG_free(sig);
  return {r, s};
}

// DER of a small whole number, and of anything with a tag.
inline Bytes Der(uint8_t tag, ByteSpan content) {
  Bytes out = {tag};
  if (content.size() >= 0x80) {
    out.push_back(0x82);
    out.push_back(static_cast<uint8_t>(content.size() >> 8));
  }
  out.push_back(static_cast<uint8_t>(content.size()));
  out.insert(out.end(), content.begin(), content.end());
  return out;
}
inline Bytes DerInt(uint32_t v) {
  Bytes content;
  for (int shift = 24; shift >= 0; shift -= 8) {
    if (!content.empty() || (v >> shift) != 0 || shift == 0) content.push_back(static_cast<uint8_t>(v >> shift));
  }
  if (content[0] & 0x80) content.insert(content.begin(), 0);
  return Der(0x02, content);
}

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_ATTESTATION_TEST_PKI_H_
