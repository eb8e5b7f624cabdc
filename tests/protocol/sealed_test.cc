// What is sealed or signed opens for the right key, manifest and purpose, and for nothing else.
#include "protocol/sealed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/protocol/samples.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

StatusCode Code(const Status& s) { return s.code(); }

// Every byte of `bytes` with its low and its high bit flipped: `status(mutant)` must be one of `codes`.
template <typename F>
void ExpectRefusedWhereverAltered(const Bytes& bytes, F status, std::vector<StatusCode> codes) {
  Bytes mutant = bytes;
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (uint8_t flip : {0x01, 0x80}) {
      mutant[i] = bytes[i] ^ flip;
      EXPECT_THAT(codes, testing::Contains(Code(status(mutant)))) << "byte " << i << ": " << status(mutant);
    }
    mutant[i] = bytes[i];
  }
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(status(ToBytes(ByteSpan(bytes).first(n))).ok()) << "cut to " << n;
  }
}

constexpr auto kDenied = StatusCode::kPermissionDenied;
constexpr auto kInvalid = StatusCode::kInvalidArgument;

// ---- manifest and parts ---------------------------------------------------------------------------------------------

TEST(ManifestSignature, OnlyTheOwnersOverExactlyThoseBytes) {
  const auto owner = Ed25519PrivateKey::Generate(), other = Ed25519PrivateKey::Generate();
  const Bytes manifest = EncodeManifest(SampleManifest());
  const ManifestSignature signature = *SignManifest(owner, manifest);
  EXPECT_TRUE(VerifyManifest(manifest, signature).ok());
  EXPECT_TRUE(VerifyManifest(manifest, signature, owner.public_key()).ok());
  const Status foreign = VerifyManifest(manifest, signature, other.public_key());
  EXPECT_EQ(Code(foreign), kDenied);
  EXPECT_THAT(MessageOf(foreign), HasSubstr(HexEncode(owner.public_key())));
  EXPECT_THAT(MessageOf(foreign), HasSubstr(HexEncode(other.public_key())));
  ExpectRefusedWhereverAltered(manifest, [&](const Bytes& m) { return VerifyManifest(m, signature); }, {kDenied});
  ExpectRefusedWhereverAltered(EncodeManifestSignature(signature),
                               [&](const Bytes& s) {
                                 const auto decoded = DecodeManifestSignature(s);
                                 return decoded.ok() ? VerifyManifest(manifest, *decoded) : decoded.status();
                               },
                               {kDenied});
  // A signature over the bare bytes, or over another kind of statement, is none over the manifest.
  EXPECT_EQ(Code(VerifyManifest(manifest, {owner.public_key(), owner.Sign(manifest)})), kDenied);
}

TEST(Part, OpensOnlyAsItself) {
  const Bytes key(32, 7), plaintext(1000, 0x42);
  const BundleId id = Filled<16>(1);
  const Bytes sealed = SealPart(key, id, "frontnet", plaintext);
  EXPECT_EQ(ToBytes(OpenPart(key, id, "frontnet", sealed)->span()), plaintext);
  EXPECT_EQ(Code(OpenPart(key, id, "mapping", sealed).status()), kDenied);
  EXPECT_EQ(Code(OpenPart(key, Filled<16>(2), "frontnet", sealed).status()), kDenied);
  EXPECT_EQ(Code(OpenPart(Bytes(32, 8), id, "frontnet", sealed).status()), kDenied);
  ExpectRefusedWhereverAltered(sealed, [&](const Bytes& s) { return OpenPart(key, id, "frontnet", s).status(); },
                               {kDenied});
  EXPECT_THAT(MessageOf(OpenPart(Bytes(32), id, "frontnet", sealed).status()), HasSubstr("sealed part 'frontnet': "));
  EXPECT_NE(SealPart(key, id, "frontnet", plaintext), sealed) << "the nonce must differ each time";
}

// ---- credentials ----------------------------------------------------------------------------------------------------

TEST(Credential, OnlyTheOwnersForThoseVersions) {
  const auto owner = Ed25519PrivateKey::Generate(), other = Ed25519PrivateKey::Generate();
  const Credential c = *MakeCredential(owner, "alice", 3, 5);
  for (uint64_t v : {3, 4, 5}) EXPECT_TRUE(VerifyCredential(c, owner.public_key(), v).ok());
  for (uint64_t v : {0, 2, 6}) EXPECT_EQ(Code(VerifyCredential(c, owner.public_key(), v)), kDenied);
  EXPECT_EQ(Code(VerifyCredential(c, other.public_key(), 4)), kDenied);
  ExpectRefusedWhereverAltered(EncodeCredential(c),
                               [&](const Bytes& bytes) {
                                 const auto decoded = DecodeCredential(bytes);
                                 return decoded.ok() ? VerifyCredential(*decoded, owner.public_key(), 4)
                                                     : decoded.status();
                               },
                               {kDenied, kInvalid});
}

TEST(Credential, Limits) {
  const auto owner = Ed25519PrivateKey::Generate();
  auto decode = [&](std::string_view user, uint64_t first, uint64_t last) {
    return MessageOf(DecodeCredential(EncodeCredential(*MakeCredential(owner, user, first, last))).status());
  };
  EXPECT_EQ(decode(std::string(128, 'u'), 1, 1), "");
  EXPECT_THAT(decode(std::string(129, 'u'), 1, 1), HasSubstr("limit of 128"));
  EXPECT_THAT(decode("", 1, 1), HasSubstr("no user name"));
  EXPECT_THAT(decode("u", 2, 1), HasSubstr("first version 2 is above the last, 1"));
}

// ---- requests and answers -------------------------------------------------------------------------------------------

class Sealed : public testing::Test {
 protected:
  Sealed() : key_(X25519KeyPair::Generate()), manifest_(SampleManifest()), rgb_(5 * 4 * 3, 0x33) {
    config_.key_id = Filled<8>(9);
    config_.public_key = key_.public_key;
    request_.credential = ToBytes(AsBytes("a credential"));
    request_.height = 5;
    request_.width = 4;
    request_.rgb = rgb_;
  }
  SealedRequest Seal() const { return *SealRequest(config_, request_); }
  Status OpenStatus(ByteSpan sealed) const { return OpenRequest(config_, key_, sealed).status(); }

  X25519KeyPair key_;
  KeyConfig config_;
  Manifest manifest_;
  Bytes rgb_;
  RequestPlaintext request_;
};

TEST_F(Sealed, RequestRoundTrips) {
  const SealedRequest sealed = Seal();
  const auto header = PeekRequestHeader(sealed.sealed);
  EXPECT_EQ(header->version, kProtocolVersion);
  EXPECT_EQ(header->key_id, config_.key_id);
  EXPECT_EQ(*PeekEnc(sealed.sealed), sealed.context.enc());
  const auto opened = OpenRequest(config_, key_, sealed.sealed);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->plaintext.credential, request_.credential);
  EXPECT_EQ(opened->plaintext.height, 5u);
  EXPECT_EQ(opened->plaintext.width, 4u);
  EXPECT_EQ(ToBytes(opened->plaintext.rgb), rgb_);
}

TEST_F(Sealed, RequestThatWasAlteredIsRefused) {
  // Version and key id say so themselves; the encapsulated key and all else fail to open.
  ExpectRefusedWhereverAltered(Seal().sealed, [&](const Bytes& s) { return OpenStatus(s); },
                               {kDenied, StatusCode::kUnimplemented, StatusCode::kFailedPrecondition});
}

TEST_F(Sealed, RequestIsForOneKeyConfiguration) {
  const Bytes sealed = Seal().sealed;
  EXPECT_EQ(Code(OpenRequest(config_, X25519KeyPair::Generate(), sealed).status()), kDenied);
  KeyConfig other = config_;
  other.manifest_digest[0] ^= 1;
  EXPECT_EQ(Code(OpenRequest(other, key_, sealed).status()), kDenied);
  other = config_;
  other.key_id[0] ^= 1;
  EXPECT_EQ(Code(OpenRequest(other, key_, sealed).status()), StatusCode::kFailedPrecondition);
}

TEST_F(Sealed, RequestLimits) {
  auto seal = [this] { return MessageOf(SealRequest(config_, request_).status()); };
  request_.height = 0;
  EXPECT_THAT(seal(), HasSubstr("picture of 4x0"));
  request_.height = 4097;
  EXPECT_THAT(seal(), HasSubstr("expected 1 to 4096"));
  request_.height = 6;
  EXPECT_THAT(seal(), HasSubstr("60 bytes of pixels for a picture of 4x6"));
  request_.height = 5;
  request_.credential = Bytes(kMaxCredentialBytes + 1);
  EXPECT_THAT(seal(), HasSubstr("at most 1024"));
  EXPECT_EQ(Code(PeekRequestHeader(Bytes(kMaxSealedRequestBytes + 1)).status()), kInvalid);
  config_.public_key = {};
  request_.credential.clear();
  EXPECT_EQ(Code(SealRequest(config_, request_).status()), kInvalid) << "a public key of small order";
}

// What opens and is no request: sealed rightly by a client that means harm.
TEST_F(Sealed, HostilePlaintextsAreRefused) {
  auto open = [&](const Bytes& plaintext) {
    ByteWriter header;
    header.U16(kProtocolVersion);
    header.Raw(config_.key_id);
    HpkeContext context = *HpkeContext::Encapsulate(config_.public_key, DigestOf(config_));
    ByteWriter sealed;
    sealed.Raw(header.bytes());
    sealed.Raw(context.enc());
    sealed.Raw(*context.Seal(header.bytes(), plaintext));
    return OpenStatus(sealed.bytes());
  };
  ByteWriter good;
  good.Block(request_.credential);
  good.U32(5);
  good.U32(4);
  good.Raw(rgb_);
  EXPECT_TRUE(open(good.bytes()).ok());
  for (size_t n = 0; n < good.bytes().size(); ++n)
    EXPECT_EQ(Code(open(ToBytes(ByteSpan(good.bytes()).first(n)))), kInvalid);
  for (auto [height, width] :
       {std::pair{0u, 4u}, {5u, 0u}, {4u, 4u}, {0x40000000u, 4u}, {4096u, 4096u}, {1u, 20u << 27}}) {
    ByteWriter bad;
    bad.Block({});
    bad.U32(height);
    bad.U32(width);
    bad.Raw(rgb_);
    EXPECT_EQ(Code(open(bad.bytes())), kInvalid) << height << "x" << width;
  }
}

TEST_F(Sealed, AnswerRoundTrips) {
  const SealedRequest request = Seal();
  auto opened = OpenRequest(config_, key_, request.sealed);
  Answer answer;
  answer.classes = {{"tench, Tinca tinca", 0.75f}, {"goldfish", 0.25f}};
  answer.audited = answer.audit_passed = true;
  const Bytes sealed = *opened->answer.Seal(manifest_, answer);
  EXPECT_FALSE(opened->answer.Seal(manifest_, answer).ok()) << "two answers under one nonce";
  const auto got = OpenAnswer(request.context, sealed);
  ASSERT_TRUE(got.ok()) << got.status();
  ASSERT_EQ(got->classes.size(), 2u);
  EXPECT_EQ(got->classes[0].label, "tench, Tinca tinca");
  EXPECT_EQ(got->classes[1].probability, 0.25f);
  EXPECT_TRUE(got->audited && got->audit_passed);
  ExpectRefusedWhereverAltered(sealed, [&](const Bytes& s) { return OpenAnswer(request.context, s).status(); },
                               {kDenied});
  // The answer to one request is no answer to another.
  EXPECT_EQ(Code(OpenAnswer(Seal().context, sealed).status()), kDenied);
}

TEST_F(Sealed, AnswersHaveOneLengthWhateverTheySay) {
  const SealedRequest request = Seal();
  const size_t size = SealedAnswerBytes(manifest_);
  const std::vector<Answer> answers = {
      {StatusCode::kOk, "", {}, false, false},
      {StatusCode::kOk, "", {{"", 1}}, false, false},
      {StatusCode::kOk,
       "",
       {{std::string(40, 'x'), 1}, {std::string(40, 'y'), 0}, {std::string(40, 'z'), 0}},
       true,
       true},
      {StatusCode::kPermissionDenied, "no", {}, false, false},
      {StatusCode::kInternal, std::string(5000, 'm'), {}, true, false}};
  for (const Answer& answer : answers) {
    const auto sealed = AnswerSealer(request.context).Seal(manifest_, answer);
    ASSERT_TRUE(sealed.ok()) << sealed.status();
    EXPECT_EQ(sealed->size(), size);
    const auto got = OpenAnswer(request.context, *sealed);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(got->code, answer.code);
    EXPECT_EQ(got->message, answer.message.substr(0, kMaxAnswerMessageBytes));
    EXPECT_EQ(got->classes.size(), answer.classes.size());
  }
}

TEST_F(Sealed, AnswersThatContradictThemselvesAreNotSealed) {
  const SealedRequest request = Seal();
  for (const Answer& answer : std::vector<Answer>{{StatusCode::kOk, "message", {}, false, false},
                                                  {StatusCode::kInternal, "", {}, false, false},
                                                  {StatusCode::kInternal, "m", {{"a", 1}}, false, false},
                                                  {StatusCode::kOk, "", {}, false, true},
                                                  {StatusCode::kOk, "", std::vector<AnswerClass>(4), false, false},
                                                  {StatusCode::kOk, "", {{std::string(41, 'x'), 1}}, false, false}}) {
    EXPECT_EQ(Code(AnswerSealer(request.context).Seal(manifest_, answer).status()), kInvalid);
  }
}

// ---- grants ---------------------------------------------------------------------------------------------------------

class Grants : public Sealed {
 protected:
  Grants() : release_(Ed25519PrivateKey::Generate()) {
    manifest_.release_keys = {{Filled<32>(1), 100}, {release_.public_key(), manifest_.model_version}};
    grant_.frontnet_key = SecretBytes::CopyOf(Bytes(32, 1));
    grant_.mapping_key = SecretBytes::CopyOf(Bytes(32, 2));
    grant_.lease = 500;
    sealed_ = *SealGrant(config_, release_, grant_);
  }
  Status Open(const SealedGrant& sealed) const { return OpenGrant(config_, key_, manifest_, sealed).status(); }

  Ed25519PrivateKey release_;
  Grant grant_;
  SealedGrant sealed_;
};

TEST_F(Grants, RoundTrips) {
  const auto opened = OpenGrant(config_, key_, manifest_, *DecodeSealedGrant(EncodeSealedGrant(sealed_)));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(ToBytes(opened->frontnet_key.span()), Bytes(32, 1));
  EXPECT_EQ(ToBytes(opened->mapping_key.span()), Bytes(32, 2));
  EXPECT_EQ(opened->lease, 500u);
}

TEST_F(Grants, AlteredOnesAreRefused) {
  ExpectRefusedWhereverAltered(EncodeSealedGrant(sealed_),
                               [&](const Bytes& bytes) {
                                 const auto decoded = DecodeSealedGrant(bytes);
                                 return decoded.ok() ? Open(*decoded) : decoded.status();
                               },
                               {kDenied, kInvalid});
}

TEST_F(Grants, OnlyByAReleaseKeyOfTheManifest) {
  const auto stranger = Ed25519PrivateKey::Generate();
  EXPECT_THAT(MessageOf(Open(*SealGrant(config_, stranger, grant_))), HasSubstr("the manifest names no release key"));
  // Somebody else's grant under the release key's name.
  SealedGrant forged = *SealGrant(config_, stranger, grant_);
  forged.release_key = release_.public_key();
  EXPECT_EQ(Code(Open(forged)), kDenied);
  manifest_.model_version += 1;
  EXPECT_EQ(Code(Open(sealed_)), kDenied);
  EXPECT_THAT(MessageOf(Open(sealed_)), HasSubstr("good up to version 3 of the model, this is 4"));
}

TEST_F(Grants, OnlyForThisEnclaveKeyAndBundle) {
  KeyConfig other = config_;
  other.manifest_digest[3] ^= 1;
  EXPECT_EQ(Code(OpenGrant(other, key_, manifest_, sealed_).status()), kDenied);
  EXPECT_EQ(Code(OpenGrant(config_, X25519KeyPair::Generate(), manifest_, sealed_).status()), kDenied);
}

TEST_F(Grants, AGrantIsNoRequestAndARequestNoGrant) {
  ByteWriter as_request;
  as_request.U16(kProtocolVersion);
  as_request.Raw(config_.key_id);
  as_request.Raw(sealed_.enc);
  as_request.Raw(sealed_.ciphertext);
  EXPECT_EQ(Code(OpenStatus(as_request.bytes())), kDenied);
}

TEST_F(Grants, KeysAndLeaseAreChecked) {
  grant_.lease = 0;
  EXPECT_EQ(Code(SealGrant(config_, release_, grant_).status()), kInvalid);
  grant_.lease = 1;
  grant_.mapping_key = SecretBytes(16);
  EXPECT_EQ(Code(SealGrant(config_, release_, grant_).status()), kInvalid);
}

}  // namespace
}  // namespace infenclave
