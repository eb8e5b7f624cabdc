// Built from X25519, HMAC and AES-GCM on every OpenSSL. OSSL_HPKE_CTX (OpenSSL 3.2) is not used where it exists: it
// keeps the exporter secret, from which the keys of answers come, in ordinary memory, and one construction is tested
// once.
#include "crypto/hpke.h"

#include <algorithm>

#include "crypto/hpke_internal.h"
#include "crypto/openssl_internal.h"

namespace infenclave {
namespace internal {
namespace {

// The parts one after another, in secret memory.
SecretBytes Join(std::initializer_list<ByteSpan> parts) {
  size_t size = 0;
  for (ByteSpan part : parts) size += part.size();
  SecretBytes out(size);
  uint8_t* at = out.data();
  for (ByteSpan part : parts) at = std::copy(part.begin(), part.end(), at);
  return out;
}

}  // namespace

SecretBytes LabeledExtract(ByteSpan suite, ByteSpan salt, std::string_view label, ByteSpan ikm) {
  return HkdfExtract(salt, Join({AsBytes("HPKE-v1"), suite, AsBytes(label), ikm}).span());
}

SecretBytes LabeledExpand(ByteSpan suite, ByteSpan prk, std::string_view label, ByteSpan info, size_t length) {
  const uint8_t size[] = {static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
  return HkdfExpand(prk, Join({size, AsBytes("HPKE-v1"), suite, AsBytes(label), info}).span(), length);
}

StatusOr<SecretBytes> Dh(const X25519KeyPair& own, const X25519PublicKey& peer) {
  PkeyPtr own_key = KeyPair("X25519", own.private_key.span(), own.public_key);
  PkeyPtr peer_key = PublicKey("X25519", peer);
  INFENCLAVE_CHECK(own_key != nullptr && peer_key != nullptr);
  PkeyCtxPtr ctx(EVP_PKEY_CTX_new_from_pkey(OpenSsl().context, own_key.get(), nullptr));
  INFENCLAVE_CHECK(ctx != nullptr);
  MustSucceed(EVP_PKEY_derive_init(ctx.get()));
  // Not validated: there is nothing to it on this curve but what derivation refuses.
  MustSucceed(EVP_PKEY_derive_set_peer_ex(ctx.get(), peer_key.get(), 0));
  SecretBytes out(32);
  size_t size = out.size();
  // OpenSSL refuses a point of small order by the all-zero result.
  if (EVP_PKEY_derive(ctx.get(), out.data(), &size) != 1 || size != out.size()) {
    return InvalidArgument("X25519 public key is of small order");
  }
  return out;
}

SecretBytes ExtractAndExpand(ByteSpan dh, ByteSpan enc, ByteSpan recipient) {
  const SecretBytes eae_prk = LabeledExtract(kKemSuite, {}, "eae_prk", dh);
  return LabeledExpand(kKemSuite, eae_prk.span(), "shared_secret", Join({enc, recipient}).span(), 32);
}

KeySchedule MakeKeySchedule(ByteSpan shared_secret, ByteSpan info) {
  KeySchedule out;
  constexpr uint8_t kModeBase = 0;
  const SecretBytes psk_id_hash = LabeledExtract(kHpkeSuite, {}, "psk_id_hash", {});
  const SecretBytes info_hash = LabeledExtract(kHpkeSuite, {}, "info_hash", info);
  out.context = ToBytes(Join({{&kModeBase, 1}, psk_id_hash.span(), info_hash.span()}).span());
  out.secret = LabeledExtract(kHpkeSuite, shared_secret, "secret", {});
  out.key = LabeledExpand(kHpkeSuite, out.secret.span(), "key", out.context, kAeadKeyBytes);
  out.base_nonce = LabeledExpand(kHpkeSuite, out.secret.span(), "base_nonce", out.context, kAeadNonceBytes);
  out.exporter_secret = LabeledExpand(kHpkeSuite, out.secret.span(), "exp", out.context, 32);
  return out;
}

std::array<uint8_t, kAeadNonceBytes> ComputeNonce(ByteSpan base_nonce, uint64_t sequence) {
  std::array<uint8_t, kAeadNonceBytes> out;
  std::copy(base_nonce.begin(), base_nonce.end(), out.begin());
  for (size_t i = 0; i < 8; ++i) out[out.size() - 1 - i] ^= static_cast<uint8_t>(sequence >> (8 * i));
  return out;
}

}  // namespace internal

X25519KeyPair X25519KeyPair::Generate() {
  SecretBytes key(32);
  RandomBytes(key.mutable_span());
  return *FromPrivate(key.span());
}

StatusOr<X25519KeyPair> X25519KeyPair::FromPrivate(ByteSpan private_key) {
  if (private_key.size() != 32) return InvalidArgument("X25519 key has ", private_key.size(), " bytes, expected 32");
  internal::PkeyPtr key = internal::PrivateKey("X25519", private_key);
  INFENCLAVE_CHECK(key != nullptr);
  return X25519KeyPair{SecretBytes::CopyOf(private_key), internal::PublicHalf(key.get())};
}

HpkeContext HpkeContext::Make(ByteSpan dh, ByteSpan enc, ByteSpan recipient, ByteSpan info) {
  internal::KeySchedule schedule =
      internal::MakeKeySchedule(internal::ExtractAndExpand(dh, enc, recipient).span(), info);
  HpkeContext out;
  std::copy(enc.begin(), enc.end(), out.enc_.begin());
  out.key_ = std::move(schedule.key);
  out.base_nonce_ = std::move(schedule.base_nonce);
  out.exporter_secret_ = std::move(schedule.exporter_secret);
  return out;
}

StatusOr<HpkeContext> HpkeContext::Encapsulate(const X25519PublicKey& recipient, ByteSpan info) {
  return EncapsulateWith(X25519KeyPair::Generate(), recipient, info);
}

StatusOr<HpkeContext> HpkeContext::EncapsulateWith(const X25519KeyPair& ephemeral, const X25519PublicKey& recipient,
                                                   ByteSpan info) {
  INFENCLAVE_ASSIGN_OR_RETURN(const SecretBytes dh, internal::Dh(ephemeral, recipient));
  return Make(dh.span(), ephemeral.public_key, recipient, info);
}

StatusOr<HpkeContext> HpkeContext::Decapsulate(const X25519KeyPair& recipient, ByteSpan enc, ByteSpan info) {
  X25519PublicKey peer;
  if (enc.size() != peer.size()) return InvalidArgument("encapsulated key has ", enc.size(), " bytes, expected 32");
  std::copy(enc.begin(), enc.end(), peer.begin());
  INFENCLAVE_ASSIGN_OR_RETURN(const SecretBytes dh, internal::Dh(recipient, peer));
  return Make(dh.span(), enc, recipient.public_key, info);
}

StatusOr<Bytes> HpkeContext::Seal(ByteSpan aad, ByteSpan plaintext) {
  INFENCLAVE_CHECK(!used_);
  used_ = true;
  return AeadSeal(key_.span(), base_nonce_.span(), aad, plaintext);  // sequence number 0
}

Status HpkeContext::SealInto(ByteSpan aad, std::initializer_list<ByteSpan> plaintext, MutableByteSpan out) {
  INFENCLAVE_CHECK(!used_);
  used_ = true;
  return AeadSealInto(key_.span(), base_nonce_.span(), aad, plaintext, out);
}

StatusOr<SecretBytes> HpkeContext::Open(ByteSpan aad, ByteSpan ciphertext) {
  INFENCLAVE_CHECK(!used_);
  used_ = true;
  return AeadOpen(key_.span(), base_nonce_.span(), aad, ciphertext);
}

SecretBytes HpkeContext::Export(ByteSpan exporter_context, size_t length) const {
  return internal::LabeledExpand(internal::kHpkeSuite, exporter_secret_.span(), "sec", exporter_context, length);
}

}  // namespace infenclave
