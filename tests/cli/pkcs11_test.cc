// Keys in tokens, played by SoftHSM.
#include "cli/pkcs11.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "attestation/measurements.h"
#include "base/file.h"
#include "cli/model_files.h"
#include "protocol/manifest.h"
#include "protocol/sealed.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

std::string SoftHsm() {
  for (const char* path : {"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
                           "/usr/lib64/pkcs11/libsofthsm2.so"}) {
    if (std::filesystem::exists(path)) return path;
  }
  return "";
}

class Pkcs11 : public testing::Test {
 protected:
  void SetUp() override {
    if (SoftHsm().empty() || std::system("command -v softhsm2-util >/dev/null") != 0) {
      GTEST_SKIP() << "SKIPPED: no SoftHSM (package softhsm2): keys in tokens were not tested";
    }
    std::string pattern = testing::TempDir() + "/token-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    std::filesystem::create_directory(folder_ + "/tokens");
    const std::string conf = "directories.tokendir = " + folder_ + "/tokens\nobjectstore.backend = file\n";
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/softhsm2.conf", AsBytes(conf)).ok());
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/pin", AsBytes("1234\n")).ok());
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/wrong", AsBytes("4321\n")).ok());
    setenv("SOFTHSM2_CONF", (folder_ + "/softhsm2.conf").c_str(), 1);
    ASSERT_EQ(std::system("softhsm2-util --init-token --free --label owners --pin 1234 --so-pin 5678 >/dev/null"), 0);
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }
  std::string Uri(const std::string& object, const std::string& pin = "pin") const {
    return Concat("pkcs11:token=owners;object=", object, "?module-path=", SoftHsm(), "&pin-source=file:", folder_, "/",
                  pin);
  }
  std::string folder_;
};

TEST_F(Pkcs11, AKeyIsMadeAndSignsWhatOwnersSign) {
  const auto made = MakePkcs11Key(Uri("owner"));
  ASSERT_TRUE(made.ok()) << made.status();
  const auto opened = LoadSigner(Uri("owner"));
  ASSERT_TRUE(opened.ok()) << opened.status();
  const Ed25519Signer& owner = **opened;
  EXPECT_EQ(owner.public_key(), (*made)->public_key());
  const Bytes manifest(1000, 7);
  const auto signature = SignManifest(owner, manifest);
  ASSERT_TRUE(signature.ok()) << signature.status();
  EXPECT_TRUE(VerifyManifest(manifest, *signature, owner.public_key()).ok());
  EXPECT_TRUE(MakeCredential(owner, "alice", 1, 2).ok());
  Measurements measurements;
  measurements.version = 1;
  const std::string member = MeasurementsMember(measurements);
  EXPECT_TRUE(
      OpenMeasurements(MeasurementsFile(member, *owner.TrySign(MeasurementsToSign(member))), owner.public_key()).ok());
  // And a release key seals a grant.
  KeyConfig config;
  config.public_key = X25519KeyPair::Generate().public_key;
  const Grant grant{SecretBytes::CopyOf(RandomArray<32>()), SecretBytes::CopyOf(RandomArray<32>()), 5};
  const auto sealed = SealGrant(config, owner, grant);
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  EXPECT_EQ(sealed->release_key, owner.public_key());
  EXPECT_EQ(MakePkcs11Key(Uri("owner")).status().code(), StatusCode::kAlreadyExists);
}

TEST_F(Pkcs11, EachMistakeIsNamed) {
  ASSERT_TRUE(MakePkcs11Key(Uri("owner")).ok());
  ASSERT_TRUE(MakePkcs11Key(Uri("release")).ok());
  auto error = [](const std::string& uri) { return MessageOf(OpenPkcs11Key(uri).status()); };
  EXPECT_THAT(error(Uri("nobody")), HasSubstr("the token has no Ed25519 key pair such as the URI names"));
  EXPECT_THAT(error(Uri("owner", "wrong")), HasSubstr("cannot log in: "));
  EXPECT_THAT(error(Uri("owner", "missing")), HasSubstr("missing"));
  EXPECT_THAT(error("pkcs11:token=strangers?module-path=" + SoftHsm()), HasSubstr("no token such as the URI names"));
  EXPECT_THAT(error("pkcs11:token=owners;object=owner?module-path=" + SoftHsm()), HasSubstr("wants a PIN"));
  EXPECT_THAT(error("pkcs11:token=owners?module-path=" + SoftHsm() + "&pin-value=1234"), HasSubstr("more than one"));
  EXPECT_THAT(error("pkcs11:object=owner?module-path=/nonexistent.so"), HasSubstr("cannot load /nonexistent.so"));
  EXPECT_EQ(error("pkcs11:=?pin-value=1234"),
            "'pkcs11:=' is no PKCS#11 URI such as pkcs11:token=infenclave;object=owner");
}

}  // namespace
}  // namespace infenclave
