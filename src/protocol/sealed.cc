#include "protocol/sealed.h"

#include <algorithm>
#include <cmath>

#include "protocol/secret_writer.h"

namespace infenclave {
namespace {

constexpr std::string_view kCredentialContext = "infenclave credential v1";
constexpr std::string_view kAnswerLabel = "infenclave answer v1";
constexpr std::string_view kGrantContext = "infenclave grant v1";
constexpr size_t kHeaderBytes = 10, kGrantBytes = 72;
constexpr size_t kPictureHeaderBytes = 12;  // the credential's length, height and width

// ---- credentials ----------------------------------------------------------------------------------------------------

Bytes SignedCredential(const Credential& c) {
  ByteWriter out;
  out.Raw(AsBytes(kCredentialContext));
  out.Text(c.user);
  out.U64(c.first_version);
  out.U64(c.last_version);
  return out.Take();
}

}  // namespace

StatusOr<Credential> MakeCredential(const Ed25519Signer& owner, std::string_view user, uint64_t first_version,
                                    uint64_t last_version) {
  Credential c{std::string(user), first_version, last_version, {}};
  INFENCLAVE_ASSIGN_OR_RETURN(c.signature, owner.TrySign(SignedCredential(c)));
  return c;
}

Bytes EncodeCredential(const Credential& c) {
  ByteWriter out;
  out.Text(c.user);
  out.U64(c.first_version);
  out.U64(c.last_version);
  out.Raw(c.signature);
  return out.Take();
}

StatusOr<Credential> DecodeCredential(ByteSpan bytes) {
  ByteReader in(bytes, "credential");
  Credential c;
  c.user = in.Text(kMaxUserBytes);
  if (in.ok() && c.user.empty()) in.Fail("no user name");
  c.first_version = in.U64();
  c.last_version = in.U64();
  if (in.ok() && c.first_version > c.last_version) {
    in.Fail(Concat("first version ", c.first_version, " is above the last, ", c.last_version));
  }
  c.signature = in.Array<64>();
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return c;
}

Status VerifyCredential(const Credential& c, const Ed25519PublicKey& owner, uint64_t model_version) {
  if (!Ed25519Verify(owner, SignedCredential(c), c.signature)) {
    return PermissionDenied("credential: not signed by this model's owner");
  }
  if (model_version < c.first_version || model_version > c.last_version) {
    return PermissionDenied("credential: good for versions ", c.first_version, " to ", c.last_version,
                            " of the model, this is ", model_version);
  }
  return OkStatus();
}

// ---- requests -------------------------------------------------------------------------------------------------------

namespace {

Bytes EncodeHeader(const KeyId& key_id) {
  ByteWriter out;
  out.U16(kProtocolVersion);
  out.Raw(key_id);
  return out.Take();
}

Status CheckPixels(const RequestPlaintext& r) {
  if (r.height < 1 || r.height > kMaxImageSide || r.width < 1 || r.width > kMaxImageSide) {
    return InvalidArgument("request: picture of ", r.width, "x", r.height, ", expected 1 to ", kMaxImageSide,
                           " on each side");
  }
  if (r.rgb.size() != size_t{3} * r.height * r.width) {
    return InvalidArgument("request: ", r.rgb.size(), " bytes of pixels for a picture of ", r.width, "x", r.height);
  }
  return OkStatus();
}

StatusOr<RequestPlaintext> DecodePlaintext(ByteSpan bytes) {
  ByteReader in(bytes, "request");
  RequestPlaintext out;
  out.credential = ToBytes(in.Block(kMaxCredentialBytes));
  out.height = in.U32();
  out.width = in.U32();
  out.rgb = in.Raw(in.remaining());
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  INFENCLAVE_RETURN_IF_ERROR(CheckPixels(out));
  return out;
}

}  // namespace

StatusOr<SealedRequestHeader> PeekRequestHeader(ByteSpan sealed) {
  if (sealed.size() > kMaxSealedRequestBytes) {
    return InvalidArgument("sealed request: ", sealed.size(), " bytes, at most ", kMaxSealedRequestBytes,
                           " are allowed");
  }
  if (sealed.size() < kHeaderBytes + kHpkeEncBytes + kAeadTagBytes) {
    return InvalidArgument("sealed request: ", sealed.size(), " bytes are too few");
  }
  ByteReader in(sealed, "sealed request");
  SealedRequestHeader header{in.U16(), in.Array<8>()};
  if (header.version != kProtocolVersion) {
    return Unimplemented("sealed request: protocol version ", header.version, ", this is version ", kProtocolVersion);
  }
  return header;
}

StatusOr<std::array<uint8_t, kHpkeEncBytes>> PeekEnc(ByteSpan sealed) {
  INFENCLAVE_RETURN_IF_ERROR(PeekRequestHeader(sealed).status());
  std::array<uint8_t, kHpkeEncBytes> enc;
  std::copy_n(sealed.begin() + kHeaderBytes, enc.size(), enc.begin());
  return enc;
}

size_t SealedRequestBytes(const RequestPlaintext& request) {
  return kHeaderBytes + kHpkeEncBytes + kPictureHeaderBytes + request.credential.size() + request.rgb.size() +
         kAeadTagBytes;
}

StatusOr<HpkeContext> EncapsulateFor(const KeyConfig& config) {
  return HpkeContext::Encapsulate(config.public_key, DigestOf(config));
}

Status SealRequestInto(const KeyConfig& config, const RequestPlaintext& request, HpkeContext& context,
                       MutableByteSpan out) {
  INFENCLAVE_RETURN_IF_ERROR(CheckPixels(request));
  if (request.credential.size() > kMaxCredentialBytes) {
    return InvalidArgument("credential of ", request.credential.size(), " bytes, at most ", kMaxCredentialBytes,
                           " are allowed");
  }
  INFENCLAVE_CHECK(out.size() == SealedRequestBytes(request));
  internal::SecretWriter before_pixels(kPictureHeaderBytes + request.credential.size());
  before_pixels.Block(request.credential);
  before_pixels.U32(request.height);
  before_pixels.U32(request.width);
  const Bytes header = EncodeHeader(config.key_id);
  std::copy(header.begin(), header.end(), out.begin());
  std::copy(context.enc().begin(), context.enc().end(), out.begin() + kHeaderBytes);
  return context.SealInto(header, {before_pixels.Take().span(), request.rgb},
                          out.subspan(kHeaderBytes + kHpkeEncBytes));
}

StatusOr<SealedRequest> SealRequest(const KeyConfig& config, const RequestPlaintext& request) {
  Bytes sealed(SealedRequestBytes(request));
  INFENCLAVE_ASSIGN_OR_RETURN(HpkeContext context, EncapsulateFor(config));
  INFENCLAVE_RETURN_IF_ERROR(SealRequestInto(config, request, context, sealed));
  return SealedRequest{std::move(sealed), std::move(context)};
}

StatusOr<OpenedRequest> OpenRequest(const KeyConfig& config, const X25519KeyPair& key, ByteSpan sealed) {
  INFENCLAVE_ASSIGN_OR_RETURN(const SealedRequestHeader header, PeekRequestHeader(sealed));
  if (header.key_id != config.key_id) {
    return FailedPrecondition("sealed request: sealed to key ", HexEncode(header.key_id), ", this is key ",
                              HexEncode(config.key_id), "; attest again and seal to that");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(
      HpkeContext context,
      HpkeContext::Decapsulate(key, sealed.subspan(kHeaderBytes, kHpkeEncBytes), DigestOf(config)));
  auto buffer = context.Open(sealed.first(kHeaderBytes), sealed.subspan(kHeaderBytes + kHpkeEncBytes));
  if (!buffer.ok()) return Annotate(buffer.status(), "sealed request");
  INFENCLAVE_ASSIGN_OR_RETURN(RequestPlaintext plaintext, DecodePlaintext(buffer->span()));
  return OpenedRequest{*std::move(buffer), std::move(plaintext), AnswerSealer(context)};
}

// ---- answers --------------------------------------------------------------------------------------------------------

namespace {

// code, message, classes, two booleans; then zeros up to this, whatever they were.
size_t AnswerBytes(const Manifest& m) {
  return 1 + 4 + kMaxAnswerMessageBytes + 4 + size_t{m.answer_classes} * (4 + m.label_bytes + 4) + 2;
}

StatusOr<SecretBytes> EncodeAnswer(const Manifest& manifest, const Answer& answer) {
  if (answer.classes.size() > manifest.answer_classes) {
    return InvalidArgument("answer: ", answer.classes.size(), " classes, the manifest allows ",
                           manifest.answer_classes);
  }
  const bool ok = answer.code == StatusCode::kOk;
  if (ok != answer.message.empty() || (!ok && !answer.classes.empty()) || (answer.audit_passed && !answer.audited)) {
    return InvalidArgument("answer: code, message, classes and audit contradict each other");
  }
  internal::SecretWriter out(AnswerBytes(manifest));
  out.U8(static_cast<uint8_t>(answer.code));
  out.Block(AsBytes(answer.message).first(std::min(answer.message.size(), kMaxAnswerMessageBytes)));
  out.U32(static_cast<uint32_t>(answer.classes.size()));
  for (const AnswerClass& c : answer.classes) {
    if (c.label.size() > manifest.label_bytes) {
      return InvalidArgument("answer: a label is longer than the manifest allows");
    }
    out.Block(AsBytes(c.label));
    out.F32(c.probability);
  }
  out.U8(answer.audited);
  out.U8(answer.audit_passed);
  return out.Take();
}

StatusOr<Answer> DecodeAnswer(ByteSpan bytes) {
  ByteReader in(bytes, "answer");
  Answer out;
  const uint8_t code = in.U8();
  if (code > static_cast<uint8_t>(StatusCode::kUnauthenticated)) in.Fail(Concat("status code ", int{code}));
  out.code = static_cast<StatusCode>(code);
  out.message = in.Text(kMaxAnswerMessageBytes);
  out.classes.resize(in.Count(std::min<size_t>(kMaxAnswerClasses, bytes.size() / 8)));
  for (AnswerClass& c : out.classes) {
    c.label = in.Text(kMaxLabelBytes);
    c.label.resize(c.label.find_last_not_of('\0') + 1);  // the enclave pads, and does not tell its length
    c.probability = in.F32();
    if (!(c.probability >= 0 && c.probability <= 1)) in.Fail(Concat("probability ", c.probability));
  }
  out.audited = in.Bool();
  out.audit_passed = in.Bool();
  const bool ok = code == 0;
  if (ok != out.message.empty() || (!ok && !out.classes.empty()) || (out.audit_passed && !out.audited)) {
    in.Fail("code, message, classes and audit contradict each other");
  }
  const ByteSpan padding = in.Raw(in.remaining());
  if (std::any_of(padding.begin(), padding.end(), [](uint8_t b) { return b != 0; })) in.Fail("padding is not zero");
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

// RFC 9458 §4.4, with a label of ours and nothing else changed.
struct AnswerKeys {
  SecretBytes key, nonce;
};
constexpr size_t kAnswerNonceBytes = std::max(kAeadKeyBytes, kAeadNonceBytes);
AnswerKeys DeriveAnswerKeys(const HpkeContext& request, ByteSpan response_nonce) {
  const SecretBytes secret = request.Export(AsBytes(kAnswerLabel), kAnswerNonceBytes);
  ByteWriter salt;
  salt.Raw(request.enc());
  salt.Raw(response_nonce);
  const SecretBytes prk = HkdfExtract(salt.bytes(), secret.span());
  return {HkdfExpand(prk.span(), AsBytes("key"), kAeadKeyBytes),
          HkdfExpand(prk.span(), AsBytes("nonce"), kAeadNonceBytes)};
}

}  // namespace

size_t SealedAnswerBytes(const Manifest& manifest) { return kAnswerNonceBytes + AnswerBytes(manifest) + kAeadTagBytes; }

static_assert(kAnswerNonceBytes == kAeadKeyBytes);
AnswerSealer::AnswerSealer(const HpkeContext& request) : response_nonce_(RandomArray<kAnswerNonceBytes>()) {
  AnswerKeys keys = DeriveAnswerKeys(request, response_nonce_);
  key_ = std::move(keys.key);
  nonce_ = std::move(keys.nonce);
}

StatusOr<Bytes> AnswerSealer::Seal(const Manifest& manifest, const Answer& answer) {
  INFENCLAVE_ASSIGN_OR_RETURN(const SecretBytes plaintext, EncodeAnswer(manifest, answer));
  Bytes out(SealedAnswerBytes(manifest));
  std::ranges::copy(response_nonce_, out.begin());
  const SecretBytes key = std::move(key_);
  INFENCLAVE_RETURN_IF_ERROR(AeadSealInto(key.span(), nonce_.span(), {}, {plaintext.span()},
                                          MutableByteSpan(out).subspan(response_nonce_.size())));
  return out;
}

StatusOr<Answer> OpenAnswer(const HpkeContext& request, ByteSpan sealed) {
  if (sealed.size() < kAnswerNonceBytes + kAeadTagBytes) {
    return PermissionDenied("sealed answer: ", sealed.size(), " bytes are too few");
  }
  const AnswerKeys keys = DeriveAnswerKeys(request, sealed.first(kAnswerNonceBytes));
  auto plaintext = AeadOpen(keys.key.span(), keys.nonce.span(), {}, sealed.subspan(kAnswerNonceBytes));
  if (!plaintext.ok()) return Annotate(plaintext.status(), "sealed answer");
  return DecodeAnswer(plaintext->span());
}

// ---- the owner's grant ----------------------------------------------------------------------------------------------

namespace {

Bytes SignedGrant(const KeyConfig& config, const SealedGrant& grant) {
  ByteWriter out;
  out.Raw(AsBytes(kGrantContext));
  out.Raw(DigestOf(config));
  out.Raw(grant.enc);
  out.Block(grant.ciphertext);
  return out.Take();
}

// The header of a request is shorter, so that neither opens as the other.
Bytes GrantAad(const Ed25519PublicKey& release_key) {
  ByteWriter out;
  out.Raw(AsBytes(kGrantContext));
  out.Raw(release_key);
  return out.Take();
}

}  // namespace

StatusOr<SealedGrant> SealGrant(const KeyConfig& config, const Ed25519Signer& release_key, const Grant& grant) {
  if (grant.frontnet_key.size() != kAeadKeyBytes || grant.mapping_key.size() != kAeadKeyBytes || grant.lease == 0) {
    return InvalidArgument("grant: expected two keys of 32 bytes and a lease of at least 1");
  }
  internal::SecretWriter plaintext(kGrantBytes);
  plaintext.Raw(grant.frontnet_key.span());
  plaintext.Raw(grant.mapping_key.span());
  plaintext.U64(grant.lease);
  INFENCLAVE_ASSIGN_OR_RETURN(HpkeContext context, HpkeContext::Encapsulate(config.public_key, DigestOf(config)));
  SealedGrant out;
  out.enc = context.enc();
  out.release_key = release_key.public_key();
  INFENCLAVE_ASSIGN_OR_RETURN(out.ciphertext, context.Seal(GrantAad(out.release_key), plaintext.Take().span()));
  INFENCLAVE_ASSIGN_OR_RETURN(out.signature, release_key.TrySign(SignedGrant(config, out)));
  return out;
}

StatusOr<Grant> OpenGrant(const KeyConfig& config, const X25519KeyPair& key, const Manifest& manifest,
                          const SealedGrant& sealed) {
  const auto named = std::find_if(manifest.release_keys.begin(), manifest.release_keys.end(),
                                  [&](const Manifest::ReleaseKey& k) { return k.key == sealed.release_key; });
  if (named == manifest.release_keys.end()) {
    return PermissionDenied("grant: the manifest names no release key ed25519:", HexEncode(sealed.release_key));
  }
  if (manifest.model_version > named->last_version) {
    return PermissionDenied("grant: its release key is good up to version ", named->last_version,
                            " of the model, this is ", manifest.model_version);
  }
  if (!Ed25519Verify(sealed.release_key, SignedGrant(config, sealed), sealed.signature)) {
    return PermissionDenied("grant: its signature is not that of the release key over a grant for this enclave key");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(HpkeContext context, HpkeContext::Decapsulate(key, sealed.enc, DigestOf(config)));
  auto plaintext = context.Open(GrantAad(sealed.release_key), sealed.ciphertext);
  if (!plaintext.ok()) return Annotate(plaintext.status(), "grant");
  ByteReader in(plaintext->span(), "grant");
  Grant out;
  out.frontnet_key = SecretBytes::CopyOf(in.Raw(kAeadKeyBytes));
  out.mapping_key = SecretBytes::CopyOf(in.Raw(kAeadKeyBytes));
  out.lease = in.U64();
  if (in.ok() && out.lease == 0) in.Fail("lease is 0");
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

Bytes EncodeSealedGrant(const SealedGrant& grant) {
  ByteWriter out;
  out.Raw(grant.enc);
  out.Block(grant.ciphertext);
  out.Raw(grant.release_key);
  out.Raw(grant.signature);
  return out.Take();
}

StatusOr<SealedGrant> DecodeSealedGrant(ByteSpan bytes) {
  ByteReader in(bytes, "grant");
  SealedGrant out;
  out.enc = in.Array<kHpkeEncBytes>();
  out.ciphertext = ToBytes(in.Block(kGrantBytes + kAeadTagBytes));
  out.release_key = in.Array<32>();
  out.signature = in.Array<64>();
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

}  // namespace infenclave
