#include "crypto/primitives.h"

#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/file.h"

namespace infenclave {
namespace {

Bytes Hex(std::string_view hex) { return *HexDecode(hex); }

// FIPS 180-2, appendices B.1 and C.1.
TEST(Digest, KnownAnswers) {
  EXPECT_EQ(HexEncode(Sha256(AsBytes("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HexEncode(Sha256({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(HexEncode(Sha512(AsBytes("abc"))),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
}

// RFC 5869, appendix A, cases 1 to 3 (SHA-256).
TEST(Hkdf, Rfc5869) {
  struct Case {
    Bytes ikm, salt, info;
    size_t length;
    std::string prk, okm;
  };
  Bytes ikm2(80), salt2(80), info2(80);
  for (uint8_t i = 0; i < 80; ++i) ikm2[i] = i, salt2[i] = 0x60 + i, info2[i] = 0xb0 + i;
  const Case cases[] = {
      {Bytes(22, 0x0b), Hex("000102030405060708090a0b0c"), Hex("f0f1f2f3f4f5f6f7f8f9"), 42,
       "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
       "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
      {ikm2, salt2, info2, 82, "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
       "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b"
       "8"
       "367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"},
      {Bytes(22, 0x0b),
       {},
       {},
       42,
       "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
       "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
  };
  for (const Case& c : cases) {
    const SecretBytes prk = HkdfExtract(c.salt, c.ikm);
    EXPECT_EQ(HexEncode(prk.span()), c.prk);
    EXPECT_EQ(HexEncode(HkdfExpand(prk.span(), c.info, c.length).span()), c.okm);
  }
  EXPECT_TRUE(HkdfExpand(Bytes(32), {}, 0).empty());
}

// McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 13, 14 and 16.
TEST(Aead, KnownAnswers) {
  EXPECT_EQ(HexEncode(*AeadSeal(Bytes(32), Bytes(12), {}, {})), "530f8afbc74536b9a963b4f1c4cb738b");
  EXPECT_EQ(HexEncode(*AeadSeal(Bytes(32), Bytes(12), {}, Bytes(16))),
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
  EXPECT_EQ(HexEncode(*AeadSeal(Hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"),
                                Hex("cafebabefacedbaddecaf888"), Hex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
                                Hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                                    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"))),
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
            "76fc6ece0f4e1768cddf8853bb2d551b");
}

TEST(Aead, PartsAreSealedAsTheWhole) {
  const Bytes key(32, 1), nonce(12, 2), text(100, 3);
  const ByteSpan whole = text;
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    Bytes sealed(text.size() + kAeadTagBytes);
    ASSERT_TRUE(AeadSealInto(key, nonce, {}, {whole.first(cut), whole.subspan(cut)}, sealed).ok());
    EXPECT_EQ(sealed, *AeadSeal(key, nonce, {}, text)) << cut;
  }
  Bytes small(text.size());
  EXPECT_DEATH((void)AeadSealInto(key, nonce, {}, {whole}, small), "check failed");
}

TEST(Aead, EveryAlteredBitIsRefused) {
  const Bytes key(32, 1), nonce(12, 2), aad = ToBytes(AsBytes("header")), text = ToBytes(AsBytes("a photograph"));
  const Bytes sealed = *AeadSeal(key, nonce, aad, text);
  EXPECT_EQ(ToBytes(AeadOpen(key, nonce, aad, sealed)->span()), text);
  auto refused = [](const StatusOr<SecretBytes>& r) { return r.status().code() == StatusCode::kPermissionDenied; };
  auto each_bit = [](Bytes in, auto check) {
    for (size_t bit = 0; bit < in.size() * 8; ++bit) {
      in[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      EXPECT_TRUE(check(in)) << "bit " << bit;
      in[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    }
  };
  each_bit(sealed, [&](const Bytes& x) { return refused(AeadOpen(key, nonce, aad, x)); });
  each_bit(key, [&](const Bytes& x) { return refused(AeadOpen(x, nonce, aad, sealed)); });
  each_bit(nonce, [&](const Bytes& x) { return refused(AeadOpen(key, x, aad, sealed)); });
  each_bit(aad, [&](const Bytes& x) { return refused(AeadOpen(key, nonce, x, sealed)); });
  for (size_t n = 0; n < sealed.size(); ++n) EXPECT_TRUE(refused(AeadOpen(key, nonce, aad, ByteSpan(sealed).first(n))));
  EXPECT_TRUE(refused(AeadOpen(key, nonce, {}, sealed)));
}

TEST(Aead, WrongKeyOrNonceLength) {
  EXPECT_EQ(AeadSeal(Bytes(16), Bytes(12), {}, {}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(AeadOpen(Bytes(32), Bytes(16), {}, Bytes(16)).status().code(), StatusCode::kInvalidArgument);
}

// RFC 8032 §7.1, tests 1, 2 and 3.
TEST(Ed25519, Rfc8032) {
  const char* cases[][4] = {
      {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
       "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
       "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2"
       "4655141438e7a100b"},
      {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
       "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
       "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302ae"
       "eb00d291612bb0c00"},
      {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
       "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
       "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28"
       "dc027beceea1ec40a"},
  };
  for (auto& [seed, public_key, message, signature] : cases) {
    const auto key = Ed25519PrivateKey::FromSeed(Hex(seed));
    EXPECT_EQ(HexEncode(key->public_key()), public_key);
    EXPECT_EQ(HexEncode(key->Sign(Hex(message))), signature);
    EXPECT_TRUE(Ed25519Verify(key->public_key(), Hex(message), Hex(signature)));
    Bytes longer = Hex(message);
    longer.push_back(0);
    EXPECT_FALSE(Ed25519Verify(key->public_key(), longer, Hex(signature)));
  }
}

TEST(Ed25519, EveryAlteredByteOfTheSignatureIsRefused) {
  const Ed25519PrivateKey key = Ed25519PrivateKey::Generate();
  const Bytes message = ToBytes(AsBytes("manifest"));
  Ed25519Signature signature = key.Sign(message);
  for (uint8_t& byte : signature) {
    byte ^= 0x10;
    EXPECT_FALSE(Ed25519Verify(key.public_key(), message, signature));
    byte ^= 0x10;
  }
  EXPECT_TRUE(Ed25519Verify(key.public_key(), message, signature));
  EXPECT_FALSE(Ed25519Verify(key.public_key(), message, ByteSpan(signature).first(63)));
  EXPECT_FALSE(Ed25519Verify(Ed25519PrivateKey::Generate().public_key(), message, signature));
}

// RFC 8410 §10.3, and what `openssl genpkey -algorithm ed25519` writes.
constexpr char kPem[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
    "-----END PRIVATE KEY-----\n";

TEST(Ed25519, Pem) {
  const auto key = Ed25519PrivateKey::FromPem(kPem);
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(HexEncode(key->seed().span()), "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842");
  EXPECT_EQ(HexEncode(key->public_key()), "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
  EXPECT_EQ(AsText(key->ToPem().span()), kPem);
  std::string crlf = "owner's key\r\n";
  for (char c : std::string(kPem)) crlf += c == '\n' ? std::string("\r\n") : std::string(1, c);
  EXPECT_TRUE(Ed25519PrivateKey::FromPem(crlf).ok());
}

TEST(Ed25519, PemThatIsNoKeySaysWhy) {
  auto message = [](std::string_view pem) { return MessageOf(Ed25519PrivateKey::FromPem(pem).status()); };
  EXPECT_EQ(message(""), "not a PEM private key: expected '-----BEGIN PRIVATE KEY-----'");
  EXPECT_EQ(message("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
            "the private key is encrypted; `openssl pkey -in KEY -out KEY.pem` decrypts it");
  const std::string other = "not an Ed25519 private key in plain PKCS#8; `infenclave keygen` makes one";
  std::string x25519 = kPem;  // object identifier 1.3.101.110 for 1.3.101.112
  x25519.replace(x25519.find("K2Vw"), 4, "K2Vu");
  EXPECT_EQ(message(x25519), other);
  for (size_t n = 28; n < sizeof(kPem) - 28; ++n) {  // every truncation of the body
    EXPECT_EQ(message(std::string(kPem, n) + "\n-----END PRIVATE KEY-----\n"), n >= 92 ? "" : other) << n;
  }
  for (size_t i = 29; i < 92; ++i) {
    std::string bad = kPem;
    bad[i] = '%';
    EXPECT_EQ(message(bad), other) << i;
  }
}

TEST(Random, DiffersAndFillsEveryByte) {
  std::array<uint8_t, 48> seen{};
  for (int i = 0; i < 64; ++i) {
    const auto bytes = RandomArray<48>();
    for (size_t k = 0; k < seen.size(); ++k) seen[k] |= bytes[k];
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 0xff), 48);
  EXPECT_NE((RandomArray<32>()), (RandomArray<32>()));
}

// The host's configuration file can name code to load, so the enclave must not read it.
TEST(Primitives, OpenSslReadsNoConfigurationFile) {
  const std::string path = testing::TempDir() + "/infenclave-openssl.cnf";
  ASSERT_TRUE(WriteFileAtomic(path, AsBytes("[default]\n")).ok());
  UniqueFd watch(inotify_init1(IN_NONBLOCK));
  ASSERT_GE(inotify_add_watch(watch.get(), path.c_str(), IN_OPEN), 0);
  const std::string own = "/proc/self/exe";
  const std::string run = "OPENSSL_CONF=" + path + " " + std::filesystem::read_symlink(own).string() +
                          " --gtest_filter=-*ConfigurationFile >/dev/null";
  ASSERT_EQ(std::system(run.c_str()), 0);
  char event[4096];
  EXPECT_EQ(read(watch.get(), event, sizeof(event)), -1) << "somebody opened it";
  // The watch works: reading the file is seen.
  ASSERT_TRUE(ReadFile(path, 100).ok());
  EXPECT_GT(read(watch.get(), event, sizeof(event)), 0);
}

TEST(Primitives, ManyThreads) {
  const Ed25519PrivateKey key = Ed25519PrivateKey::Generate();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&key, t] {
      for (int i = 0; i < 50; ++i) {
        const Bytes text(1000 + t, static_cast<uint8_t>(i)), secret(32, static_cast<uint8_t>(t)), nonce(12);
        EXPECT_EQ(ToBytes(AeadOpen(secret, nonce, {}, *AeadSeal(secret, nonce, {}, text))->span()), text);
        EXPECT_TRUE(Ed25519Verify(key.public_key(), text, key.Sign(text)));
      }
    });
  }
  for (auto& t : threads) t.join();
}

}  // namespace
}  // namespace infenclave
