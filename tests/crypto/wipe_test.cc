// OpenSSL's heap never gets a block back that still holds one of our secrets: every free is looked at while a whole
// HPKE exchange and an Ed25519 signature run on known keys (RFC 9180's vector, RFC 8032's test 1).
#include <gtest/gtest.h>
#include <malloc.h>
#include <openssl/crypto.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "crypto/hpke.h"

namespace infenclave {
namespace {

struct Watched {
  std::string name;
  Bytes value;
};
std::vector<Watched>* watched = nullptr;
std::vector<std::string>* found = nullptr;
size_t blocks_seen = 0;

void Look(void* block) {
  if (block == nullptr || watched == nullptr) return;
  ++blocks_seen;
  const std::string_view content(static_cast<char*>(block), malloc_usable_size(block));
  for (const Watched& w : *watched) {
    if (content.find(AsText(w.value)) != content.npos) found->push_back(w.name);
  }
}

void* Malloc(size_t size, const char*, int) { return std::malloc(size); }
void* Realloc(void* block, size_t size, const char*, int) {
  Look(block);  // the old place may be left behind as it is
  return std::realloc(block, size);
}
void Free(void* block, const char*, int) {
  Look(block);
  std::free(block);
}

// Before anything else touches OpenSSL.
const bool hooked = CRYPTO_set_mem_functions(Malloc, Realloc, Free) == 1;

class Wiping : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(hooked);
    std::ifstream in(INFENCLAVE_SHARED_DIR "/vectors/hpke.json");
    if (!in) GTEST_SKIP() << "SKIPPED: no " INFENCLAVE_SHARED_DIR "/vectors/hpke.json: wiping was not tested";
    vector_ = nlohmann::json::parse(in);
    for (const char* name : {"skEm", "skRm", "dh", "shared_secret", "secret", "key", "base_nonce", "exporter_secret"}) {
      secrets_.push_back({name, *HexDecode(vector_[name].get<std::string>())});
    }
    secrets_.push_back({"seed", *HexDecode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")});
    secrets_.push_back({"plaintext", ToBytes(AsBytes("sixteen bytes of a photograph, and more of them"))});
    watched = &secrets_;
    found = &leaks_;
  }
  void TearDown() override { watched = nullptr; }
  ByteSpan Secret(size_t i) const { return secrets_[i].value; }

  nlohmann::json vector_;
  std::vector<Watched> secrets_;
  std::vector<std::string> leaks_;
};

TEST_F(Wiping, TheHookSeesWhatIsNotWiped) {
  void* block = OPENSSL_malloc(100);
  std::memcpy(static_cast<char*>(block) + 7, Secret(0).data(), 32);
  OPENSSL_free(block);
  EXPECT_EQ(leaks_, std::vector<std::string>{"skEm"});
}

TEST_F(Wiping, NothingOfAnHpkeExchangeIsLeftBehind) {
  blocks_seen = 0;
  const Bytes info = *HexDecode(vector_["info"].get<std::string>());
  {
    const X25519KeyPair ephemeral = *X25519KeyPair::FromPrivate(Secret(0));
    const X25519KeyPair recipient = *X25519KeyPair::FromPrivate(Secret(1));
    HpkeContext sender = *HpkeContext::EncapsulateWith(ephemeral, recipient.public_key, info);
    const Bytes sealed = *sender.Seal({}, secrets_.back().value);
    HpkeContext receiver = *HpkeContext::Decapsulate(recipient, sender.enc(), info);
    ASSERT_TRUE(receiver.Open({}, sealed).ok());
    ASSERT_EQ(receiver.Export(AsBytes("answer"), 32).size(), 32u);
  }
  EXPECT_GT(blocks_seen, 20u);
  EXPECT_EQ(leaks_, std::vector<std::string>{});
}

TEST_F(Wiping, NothingOfAnOwnerKeyIsLeftBehind) {
  blocks_seen = 0;
  const Ed25519PrivateKey key = *Ed25519PrivateKey::FromSeed(Secret(8));
  const Ed25519PrivateKey again = *Ed25519PrivateKey::FromPem(AsText(key.ToPem().span()));
  EXPECT_TRUE(Ed25519Verify(key.public_key(), {}, again.Sign({})));
  EXPECT_GT(blocks_seen, 5u);
  EXPECT_EQ(leaks_, std::vector<std::string>{});
}

}  // namespace
}  // namespace infenclave
