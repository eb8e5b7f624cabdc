#include <algorithm>

#include "crypto/openssl_internal.h"
#include "crypto/primitives.h"

namespace infenclave {
namespace {

constexpr std::string_view kPemBegin = "-----BEGIN PRIVATE KEY-----", kPemEnd = "-----END PRIVATE KEY-----";

// PKCS#8 of an Ed25519 key without attributes (RFC 8410 §7): the same 16 bytes for every key, then the seed.
constexpr std::array<uint8_t, 16> kPkcs8Prefix = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
                                                  0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};
constexpr size_t kPkcs8Bytes = kPkcs8Prefix.size() + 32, kBase64Bytes = kPkcs8Bytes / 3 * 4;

}  // namespace

Ed25519PrivateKey Ed25519PrivateKey::Generate() {
  SecretBytes seed(32);
  RandomBytes(seed.mutable_span());
  return *FromSeed(seed.span());
}

StatusOr<Ed25519PrivateKey> Ed25519PrivateKey::FromSeed(ByteSpan seed) {
  if (seed.size() != 32) return InvalidArgument("Ed25519 seed has ", seed.size(), " bytes, expected 32");
  internal::PkeyPtr pkey = internal::PrivateKey("ED25519", seed);
  INFENCLAVE_CHECK(pkey != nullptr);
  Ed25519PrivateKey key;
  key.seed_ = SecretBytes::CopyOf(seed);
  key.public_key_ = internal::PublicHalf(pkey.get());
  return key;
}

// Read here rather than by OpenSSL's decoders: one shape is all we write, and no copy is left outside secret memory.
StatusOr<Ed25519PrivateKey> Ed25519PrivateKey::FromPem(std::string_view pem) {
  const size_t begin = pem.find(kPemBegin);
  const size_t end = pem.find(kPemEnd);
  if (begin == pem.npos || end == pem.npos || end < begin) {
    if (pem.find("-----BEGIN ENCRYPTED PRIVATE KEY-----") != pem.npos) {
      return InvalidArgument("the private key is encrypted; `openssl pkey -in KEY -out KEY.pem` decrypts it");
    }
    return InvalidArgument("not a PEM private key: expected '", kPemBegin, "'");
  }
  SecretBytes base64(kBase64Bytes), der(kPkcs8Bytes);
  size_t n = 0;
  for (char c : pem.substr(begin + kPemBegin.size(), end - begin - kPemBegin.size())) {
    if (c == '\n' || c == '\r' || c == ' ') continue;
    if (n < kBase64Bytes) base64.data()[n] = static_cast<uint8_t>(c);
    ++n;
  }
  if (n != kBase64Bytes || EVP_DecodeBlock(der.data(), base64.data(), kBase64Bytes) != kPkcs8Bytes ||
      !std::equal(kPkcs8Prefix.begin(), kPkcs8Prefix.end(), der.data())) {
    return InvalidArgument("not an Ed25519 private key in plain PKCS#8; `infenclave keygen` makes one");
  }
  return FromSeed(der.span().subspan(kPkcs8Prefix.size()));
}

SecretBytes Ed25519PrivateKey::ToPem() const {
  SecretBytes der(kPkcs8Bytes), base64(kBase64Bytes + 1);  // EVP_EncodeBlock ends with a NUL
  std::copy(kPkcs8Prefix.begin(), kPkcs8Prefix.end(), der.data());
  std::copy(seed_.data(), seed_.data() + seed_.size(), der.data() + kPkcs8Prefix.size());
  INFENCLAVE_CHECK(EVP_EncodeBlock(base64.data(), der.data(), kPkcs8Bytes) == kBase64Bytes);
  SecretBytes pem(kPemBegin.size() + kBase64Bytes + kPemEnd.size() + 3);
  uint8_t* at = pem.data();
  for (ByteSpan line : {AsBytes(kPemBegin), base64.span().first(kBase64Bytes), AsBytes(kPemEnd)}) {
    at = std::copy(line.begin(), line.end(), at);
    *at++ = '\n';
  }
  return pem;
}

Ed25519Signature Ed25519PrivateKey::Sign(ByteSpan message) const {
  internal::PkeyPtr pkey = internal::PrivateKey("ED25519", seed_.span());
  internal::MdCtxPtr ctx(EVP_MD_CTX_new());
  INFENCLAVE_CHECK(pkey != nullptr && ctx != nullptr);
  Ed25519Signature out{};
  size_t size = out.size();
  internal::MustSucceed(
      EVP_DigestSignInit_ex(ctx.get(), nullptr, nullptr, internal::OpenSsl().context, nullptr, pkey.get(), nullptr));
  internal::MustSucceed(EVP_DigestSign(ctx.get(), out.data(), &size, message.data(), message.size()));
  INFENCLAVE_CHECK(size == out.size());
  return out;
}

bool Ed25519Verify(const Ed25519PublicKey& key, ByteSpan message, ByteSpan signature) {
  internal::PkeyPtr pkey = internal::PublicKey("ED25519", key);
  internal::MdCtxPtr ctx(EVP_MD_CTX_new());
  if (pkey == nullptr || ctx == nullptr || signature.size() != 64) return false;
  return EVP_DigestVerifyInit_ex(ctx.get(), nullptr, nullptr, internal::OpenSsl().context, nullptr, pkey.get(),
                                 nullptr) == 1 &&
         EVP_DigestVerify(ctx.get(), signature.data(), signature.size(), message.data(), message.size()) == 1;
}

}  // namespace infenclave
