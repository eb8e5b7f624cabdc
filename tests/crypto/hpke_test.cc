// RFC 9180 appendix A's vector of our suite, with every intermediate value, from INFENCLAVE_SHARED_DIR.
#include "crypto/hpke.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "crypto/hpke_internal.h"

namespace infenclave {
namespace {

using internal::kHpkeSuite;
using internal::kKemSuite;

class HpkeVector : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream in(INFENCLAVE_SHARED_DIR "/vectors/hpke.json");
    if (!in)
      GTEST_SKIP() << "SKIPPED: no " INFENCLAVE_SHARED_DIR "/vectors/hpke.json: HPKE was not compared with RFC 9180";
    vector_ = nlohmann::json::parse(in);
    info_ = Get("info");
    sender_ = *X25519KeyPair::FromPrivate(Get("skEm"));
    recipient_ = *X25519KeyPair::FromPrivate(Get("skRm"));
    schedule_ = internal::MakeKeySchedule(Get("shared_secret"), info_);
  }
  Bytes Get(const char* name) const { return *HexDecode(vector_.at(name).get<std::string>()); }
  std::string Text(const char* name) const { return vector_.at(name).get<std::string>(); }

  nlohmann::json vector_;
  Bytes info_;
  X25519KeyPair sender_, recipient_;
  internal::KeySchedule schedule_;
};

// §7.1.3 DeriveKeyPair, which we do not offer, from the labelled functions, which we do use.
TEST_F(HpkeVector, LabelledFunctionsDeriveTheKeys) {
  for (auto [ikm, sk] : {std::pair{"ikmE", "skEm"}, std::pair{"ikmR", "skRm"}}) {
    const SecretBytes prk = internal::LabeledExtract(kKemSuite, {}, "dkp_prk", Get(ikm));
    EXPECT_EQ(HexEncode(internal::LabeledExpand(kKemSuite, prk.span(), "sk", {}, 32).span()), Text(sk));
  }
}

TEST_F(HpkeVector, EveryIntermediateValue) {
  EXPECT_EQ(HexEncode(sender_.public_key), Text("enc"));
  EXPECT_EQ(HexEncode(recipient_.public_key), Text("pkRm"));
  const auto at_sender = internal::Dh(sender_, recipient_.public_key);
  const auto at_recipient = internal::Dh(recipient_, sender_.public_key);
  ASSERT_TRUE(at_sender.ok() && at_recipient.ok());
  EXPECT_EQ(HexEncode(at_sender->span()), Text("dh"));
  EXPECT_EQ(HexEncode(at_recipient->span()), Text("dh"));
  const SecretBytes shared = internal::ExtractAndExpand(at_sender->span(), Get("enc"), Get("pkRm"));
  EXPECT_EQ(HexEncode(shared.span()), Text("shared_secret"));
  EXPECT_EQ(HexEncode(schedule_.context), Text("key_schedule_context"));
  EXPECT_EQ(HexEncode(schedule_.secret.span()), Text("secret"));
  EXPECT_EQ(HexEncode(schedule_.key.span()), Text("key"));
  EXPECT_EQ(HexEncode(schedule_.base_nonce.span()), Text("base_nonce"));
  EXPECT_EQ(HexEncode(schedule_.exporter_secret.span()), Text("exporter_secret"));
}

TEST_F(HpkeVector, ListedEncryptions) {
  for (const auto& e : vector_["encryptions"]) {
    const Bytes aad = *HexDecode(e["aad"].get<std::string>()), pt = *HexDecode(e["pt"].get<std::string>());
    const auto nonce = internal::ComputeNonce(schedule_.base_nonce.span(), e["seq"].get<uint64_t>());
    EXPECT_EQ(HexEncode(*AeadSeal(schedule_.key.span(), nonce, aad, pt)), e["ct"].get<std::string>());
  }
}

TEST_F(HpkeVector, ContextSealsOpensAndExports) {
  const auto& first = vector_["encryptions"][0];
  const Bytes aad = *HexDecode(first["aad"].get<std::string>()), pt = *HexDecode(first["pt"].get<std::string>());
  auto sender = HpkeContext::EncapsulateWith(sender_, recipient_.public_key, info_);
  auto recipient = HpkeContext::Decapsulate(recipient_, Get("enc"), info_);
  ASSERT_TRUE(sender.ok() && recipient.ok());
  EXPECT_EQ(HexEncode(sender->enc()), Text("enc"));
  const Bytes sealed = *sender->Seal(aad, pt);
  EXPECT_EQ(HexEncode(sealed), first["ct"].get<std::string>());
  EXPECT_EQ(HexEncode(recipient->Open(aad, sealed)->span()), first["pt"].get<std::string>());
  for (const auto& e : vector_["exports"]) {
    const Bytes label = *HexDecode(e["context"].get<std::string>());
    const size_t length = e["length"].get<size_t>();
    EXPECT_EQ(HexEncode(sender->Export(label, length).span()), e["value"].get<std::string>());
    EXPECT_EQ(HexEncode(recipient->Export(label, length).span()), e["value"].get<std::string>());
  }
}

// The published accumulated values (Go's crypto/hpke): inputs drawn from SHAKE128 of nothing, a length byte and as many
// bytes each, outputs absorbed by another SHAKE128, of which 16 bytes are read.
class Shake {
 public:
  Shake() : ctx_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(ctx_, EVP_shake128(), nullptr); }
  ~Shake() { EVP_MD_CTX_free(ctx_); }
  void Absorb(ByteSpan bytes) { EVP_DigestUpdate(ctx_, bytes.data(), bytes.size()); }
  std::string Read(size_t n) {
    std::string out(n, 0);
    EVP_DigestFinalXOF(ctx_, reinterpret_cast<unsigned char*>(out.data()), n);
    return out;
  }

 private:
  EVP_MD_CTX* ctx_;
};

class Draws {
 public:
  Draws() : stream_(Shake().Read(1 << 20)) {}
  Bytes Next() {
    const size_t n = static_cast<uint8_t>(stream_.at(at_));
    at_ += 1 + n;
    return ToBytes(AsBytes(stream_).subspan(at_ - n, n));
  }

 private:
  std::string stream_;
  size_t at_ = 0;
};

TEST_F(HpkeVector, AccumulatedEncryptions) {
  Draws draws;
  Shake sink;
  for (uint64_t sequence = 0; sequence < 1000; ++sequence) {
    const Bytes aad = draws.Next(), pt = draws.Next();
    const auto nonce = internal::ComputeNonce(schedule_.base_nonce.span(), sequence);
    const Bytes ct = *AeadSeal(schedule_.key.span(), nonce, aad, pt);
    EXPECT_EQ(ToBytes(AeadOpen(schedule_.key.span(), nonce, aad, ct)->span()), pt);
    sink.Absorb(ct);
  }
  EXPECT_EQ(HexEncode(AsBytes(sink.Read(16))), Text("encryptions_accumulated"));
}

TEST_F(HpkeVector, AccumulatedExports) {
  auto context = HpkeContext::Decapsulate(recipient_, Get("enc"), info_);
  ASSERT_TRUE(context.ok());
  Draws draws;
  Shake sink;
  for (size_t length = 0; length < 1000; ++length) sink.Absorb(context->Export(draws.Next(), length).span());
  EXPECT_EQ(HexEncode(AsBytes(sink.Read(16))), Text("exports_accumulated"));
}

TEST(Hpke, FreshEphemeralKeyEachTime) {
  const X25519KeyPair recipient = X25519KeyPair::Generate();
  const auto a = HpkeContext::Encapsulate(recipient.public_key, {}),
             b = HpkeContext::Encapsulate(recipient.public_key, {});
  EXPECT_NE(a->enc(), b->enc());
}

// RFC 9180 §7.1.4; the points are those of order 1, 2, 4 and 8 and their non-canonical forms (cr.yp.to/ecdh.html).
TEST(Hpke, RefusesPointsOfSmallOrder) {
  const char* kSmall[] = {"0000000000000000000000000000000000000000000000000000000000000000",
                          "0100000000000000000000000000000000000000000000000000000000000000",
                          "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                          "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
                          "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                          "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                          "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"};
  const X25519KeyPair recipient = X25519KeyPair::Generate();
  for (const char* point : kSmall) {
    const Bytes enc = *HexDecode(point);
    EXPECT_EQ(HpkeContext::Decapsulate(recipient, enc, {}).status().code(), StatusCode::kInvalidArgument) << point;
    X25519PublicKey key;
    std::copy(enc.begin(), enc.end(), key.begin());
    EXPECT_EQ(HpkeContext::Encapsulate(key, {}).status().code(), StatusCode::kInvalidArgument) << point;
  }
}

TEST(Hpke, RefusesEncapsulatedKeysOfAnotherLength) {
  const X25519KeyPair recipient = X25519KeyPair::Generate();
  for (size_t size : {0, 31, 33, 64}) {
    EXPECT_EQ(HpkeContext::Decapsulate(recipient, Bytes(size, 9), {}).status().code(), StatusCode::kInvalidArgument);
  }
}

TEST(HpkeDeathTest, AContextSealsOnce) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";  // secret memory does not survive fork()
  auto context = *HpkeContext::Encapsulate(X25519KeyPair::Generate().public_key, {});
  ASSERT_TRUE(context.Seal({}, {}).ok());
  EXPECT_DEATH((void)context.Seal({}, {}), "check failed: !used_");
}

}  // namespace
}  // namespace infenclave
