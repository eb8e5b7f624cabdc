#include "crypto/primitives.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

#include <algorithm>
#include <climits>

#include "crypto/openssl_internal.h"

namespace infenclave {
namespace internal {

const Algorithms& OpenSsl() {
  static const Algorithms algorithms = [] {
    // The configuration file is the host's and could name a provider or an engine, which is code. It is never read by a
    // process that came here first; a context of our own is not enough, since the engine tables ask for the file.
    MustSucceed(OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr));
    Algorithms a{};
    a.context = OSSL_LIB_CTX_new();
    INFENCLAVE_CHECK(a.context != nullptr && OSSL_PROVIDER_load(a.context, "default") != nullptr);
    a.sha256 = EVP_MD_fetch(a.context, "SHA256", nullptr);
    a.sha512 = EVP_MD_fetch(a.context, "SHA512", nullptr);
    a.aes256gcm = EVP_CIPHER_fetch(a.context, "AES-256-GCM", nullptr);
    INFENCLAVE_CHECK(a.sha256 != nullptr && a.sha512 != nullptr && a.aes256gcm != nullptr);
    EVP_MAC* hmac = EVP_MAC_fetch(a.context, "HMAC", nullptr);
    INFENCLAVE_CHECK(hmac != nullptr);
    a.hmac_sha256 = EVP_MAC_CTX_new(hmac);
    EVP_MAC_free(hmac);  // the context has a reference of its own
    INFENCLAVE_CHECK(a.hmac_sha256 != nullptr);
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                 OSSL_PARAM_construct_end()};
    MustSucceed(EVP_MAC_CTX_set_params(a.hmac_sha256, params));
    return a;
  }();
  return algorithms;
}

PkeyPtr PrivateKey(const char* type, ByteSpan raw) {
  return PkeyPtr(EVP_PKEY_new_raw_private_key_ex(OpenSsl().context, type, nullptr, raw.data(), raw.size()));
}

PkeyPtr PublicKey(const char* type, ByteSpan raw) {
  return PkeyPtr(EVP_PKEY_new_raw_public_key_ex(OpenSsl().context, type, nullptr, raw.data(), raw.size()));
}

PkeyPtr KeyPair(const char* type, ByteSpan raw, ByteSpan raw_public) {
  PkeyCtxPtr ctx(EVP_PKEY_CTX_new_from_name(OpenSsl().context, type, nullptr));
  INFENCLAVE_CHECK(ctx != nullptr);
  // OSSL_PARAM has no constant data, but what is imported is only read.
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_octet_string("priv", const_cast<uint8_t*>(raw.data()), raw.size()),
      OSSL_PARAM_construct_octet_string("pub", const_cast<uint8_t*>(raw_public.data()), raw_public.size()),
      OSSL_PARAM_construct_end()};
  EVP_PKEY* key = nullptr;
  MustSucceed(EVP_PKEY_fromdata_init(ctx.get()));
  return PkeyPtr(EVP_PKEY_fromdata(ctx.get(), &key, EVP_PKEY_KEYPAIR, params) == 1 ? key : nullptr);
}

std::array<uint8_t, 32> PublicHalf(EVP_PKEY* key) {
  std::array<uint8_t, 32> out{};
  size_t size = out.size();
  MustSucceed(EVP_PKEY_get_raw_public_key(key, out.data(), &size));
  INFENCLAVE_CHECK(size == out.size());
  return out;
}

}  // namespace internal

using internal::MustSucceed;
using internal::OpenSsl;

namespace {

template <size_t N>
std::array<uint8_t, N> Digest(const EVP_MD* md, ByteSpan data) {
  std::array<uint8_t, N> out;
  MustSucceed(EVP_Digest(data.data(), data.size(), out.data(), nullptr, md, nullptr));
  return out;
}

// HMAC-SHA256 over the parts one after another. An empty key is RFC 2104's key of zeros.
void Hmac(ByteSpan key, std::initializer_list<ByteSpan> parts, MutableByteSpan out) {
  static constexpr uint8_t kEmptyKey = 0;
  internal::MacCtxPtr ctx(EVP_MAC_CTX_dup(OpenSsl().hmac_sha256));
  INFENCLAVE_CHECK(ctx != nullptr);
  MustSucceed(EVP_MAC_init(ctx.get(), key.empty() ? &kEmptyKey : key.data(), key.size(), nullptr));
  for (ByteSpan part : parts) MustSucceed(EVP_MAC_update(ctx.get(), part.data(), part.size()));
  size_t size = 0;
  MustSucceed(EVP_MAC_final(ctx.get(), out.data(), &size, out.size()));
}

}  // namespace

Sha256Digest Sha256(ByteSpan data) { return Digest<32>(OpenSsl().sha256, data); }
Sha512Digest Sha512(ByteSpan data) { return Digest<64>(OpenSsl().sha512, data); }

void RandomBytes(MutableByteSpan out) {
  if (!out.empty()) MustSucceed(RAND_priv_bytes_ex(OpenSsl().context, out.data(), out.size(), 0));
}

SecretBytes HkdfExtract(ByteSpan salt, ByteSpan ikm) {
  SecretBytes prk(32);
  Hmac(salt, {ikm}, prk.mutable_span());
  return prk;
}

SecretBytes HkdfExpand(ByteSpan prk, ByteSpan info, size_t length) {
  INFENCLAVE_CHECK(length <= 255 * 32);
  SecretBytes out((length + 31) / 32 * 32);
  ByteSpan previous;
  for (size_t at = 0; at < length; at += 32) {
    const uint8_t counter = static_cast<uint8_t>(at / 32 + 1);
    Hmac(prk, {previous, info, {&counter, 1}}, out.mutable_span().subspan(at, 32));
    previous = out.span().subspan(at, 32);
  }
  out.Truncate(length);
  return out;
}

namespace {

Status CheckAead(ByteSpan key, ByteSpan nonce, ByteSpan aad, size_t size) {
  if (key.size() != kAeadKeyBytes) return InvalidArgument("AEAD key has ", key.size(), " bytes, expected 32");
  if (nonce.size() != kAeadNonceBytes) return InvalidArgument("AEAD nonce has ", nonce.size(), " bytes, expected 12");
  if (size > INT_MAX || aad.size() > INT_MAX) return InvalidArgument("AEAD input of ", size, " bytes is too long");
  return OkStatus();
}

}  // namespace

StatusOr<Bytes> AeadSeal(ByteSpan key, ByteSpan nonce, ByteSpan aad, ByteSpan plaintext) {
  Bytes out(plaintext.size() + kAeadTagBytes);
  INFENCLAVE_RETURN_IF_ERROR(AeadSealInto(key, nonce, aad, {plaintext}, out));
  return out;
}

Status AeadSealInto(ByteSpan key, ByteSpan nonce, ByteSpan aad, std::initializer_list<ByteSpan> plaintext,
                    MutableByteSpan out) {
  INFENCLAVE_RETURN_IF_ERROR(CheckAead(key, nonce, aad, out.size()));
  internal::CipherCtxPtr ctx(EVP_CIPHER_CTX_new());
  INFENCLAVE_CHECK(ctx != nullptr);
  MustSucceed(EVP_EncryptInit_ex2(ctx.get(), OpenSsl().aes256gcm, key.data(), nonce.data(), nullptr));
  int n = 0;
  if (!aad.empty()) MustSucceed(EVP_EncryptUpdate(ctx.get(), nullptr, &n, aad.data(), static_cast<int>(aad.size())));
  for (ByteSpan part : plaintext) {
    if (part.empty()) continue;
    INFENCLAVE_CHECK(part.size() + kAeadTagBytes <= out.size());
    MustSucceed(EVP_EncryptUpdate(ctx.get(), out.data(), &n, part.data(), static_cast<int>(part.size())));
    out = out.subspan(part.size());
  }
  INFENCLAVE_CHECK(out.size() == kAeadTagBytes);
  MustSucceed(EVP_EncryptFinal_ex(ctx.get(), out.data(), &n));
  MustSucceed(EVP_CIPHER_CTX_ctrl(ctx.get(), EVP_CTRL_AEAD_GET_TAG, kAeadTagBytes, out.data()));
  return OkStatus();
}

StatusOr<SecretBytes> AeadOpen(ByteSpan key, ByteSpan nonce, ByteSpan aad, ByteSpan ciphertext) {
  INFENCLAVE_RETURN_IF_ERROR(CheckAead(key, nonce, aad, ciphertext.size()));
  if (ciphertext.size() < kAeadTagBytes) return PermissionDenied("sealed bytes are shorter than their tag");
  const size_t size = ciphertext.size() - kAeadTagBytes;
  internal::CipherCtxPtr ctx(EVP_CIPHER_CTX_new());
  INFENCLAVE_CHECK(ctx != nullptr);
  MustSucceed(EVP_DecryptInit_ex2(ctx.get(), OpenSsl().aes256gcm, key.data(), nonce.data(), nullptr));
  int n = 0;
  if (!aad.empty()) MustSucceed(EVP_DecryptUpdate(ctx.get(), nullptr, &n, aad.data(), static_cast<int>(aad.size())));
  SecretBytes out(size);
  if (size != 0) MustSucceed(EVP_DecryptUpdate(ctx.get(), out.data(), &n, ciphertext.data(), static_cast<int>(size)));
  std::array<uint8_t, kAeadTagBytes> tag;
  std::copy(ciphertext.begin() + static_cast<ptrdiff_t>(size), ciphertext.end(), tag.begin());
  MustSucceed(EVP_CIPHER_CTX_ctrl(ctx.get(), EVP_CTRL_AEAD_SET_TAG, kAeadTagBytes, tag.data()));
  uint8_t none;
  if (EVP_DecryptFinal_ex(ctx.get(), &none, &n) != 1) {
    return PermissionDenied("sealed bytes were altered, or sealed under another key or for another purpose");
  }
  return out;
}

}  // namespace infenclave
