// OpenSSL as this module uses it. Not for other modules.
#ifndef INFENCLAVE_CRYPTO_OPENSSL_INTERNAL_H_
#define INFENCLAVE_CRYPTO_OPENSSL_INTERNAL_H_

#include <openssl/evp.h>

#include <array>
#include <memory>

#include "base/bytes.h"
#include "crypto/secret.h"

namespace infenclave::internal {

template <auto Free>
struct OpenSslDeleter {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using PkeyPtr = std::unique_ptr<EVP_PKEY, OpenSslDeleter<EVP_PKEY_free>>;
using PkeyCtxPtr = std::unique_ptr<EVP_PKEY_CTX, OpenSslDeleter<EVP_PKEY_CTX_free>>;
using CipherCtxPtr = std::unique_ptr<EVP_CIPHER_CTX, OpenSslDeleter<EVP_CIPHER_CTX_free>>;
using MdCtxPtr = std::unique_ptr<EVP_MD_CTX, OpenSslDeleter<EVP_MD_CTX_free>>;
using MacCtxPtr = std::unique_ptr<EVP_MAC_CTX, OpenSslDeleter<EVP_MAC_CTX_free>>;

// Fetched once, from a library context of our own with the built-in provider alone.
struct Algorithms {
  OSSL_LIB_CTX* context;
  EVP_MD *sha256, *sha512;
  EVP_MAC_CTX* hmac_sha256;  // without a key: to be duplicated, which spares looking SHA-256 up by its name
  EVP_CIPHER* aes256gcm;
};
const Algorithms& OpenSsl();

// `type` is "X25519" or "ED25519". Null if the key is not accepted.
PkeyPtr PrivateKey(const char* type, ByteSpan raw);
PkeyPtr PublicKey(const char* type, ByteSpan raw);
// Both halves are given: a private half alone would have its public one computed again, which takes as long as a
// key exchange.
PkeyPtr KeyPair(const char* type, ByteSpan raw, ByteSpan raw_public);
// The 32 bytes of the public half.
std::array<uint8_t, 32> PublicHalf(EVP_PKEY* key);

// OpenSSL calls that fail only without memory or by a programming error.
inline void MustSucceed(int result) { INFENCLAVE_CHECK(result == 1); }

}  // namespace infenclave::internal

#endif  // INFENCLAVE_CRYPTO_OPENSSL_INTERNAL_H_
