#include "attestation/measurements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "attestation/policy.h"
#include "base/file.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

Measurements Example() {
  Measurements m;
  m.version = 3;
  m.mrenclave = {Sha256Digest{1}};
  m.mrtd = {{2}, {3}};
  for (size_t i = 0; i < 3; ++i) m.rtmr[i] = {{static_cast<uint8_t>(4 + i)}};
  m.snp = {{8}};
  m.simulated = {Sha256Digest{9}};
  return m;
}

std::string Signed(const Ed25519PrivateKey& owner, std::string_view member) {
  return MeasurementsFile(member, owner.Sign(MeasurementsToSign(member)));
}

TEST(Measurements, WhatIsSignedComesBack) {
  const auto owner = Ed25519PrivateKey::Generate();
  const std::string file = Signed(owner, MeasurementsMember(Example()));
  EXPECT_THAT(file, testing::StartsWith("{\"measurements\":{\n  \"version\": 3,"));
  const auto opened = OpenMeasurements(file, owner.public_key());
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(*opened, Example());
  EXPECT_THAT(MessageOf(OpenMeasurements(file, Ed25519PrivateKey::Generate().public_key()).status()),
              HasSubstr("not signed by ed25519:"));
}

TEST(Measurements, EveryAlteredByteIsRefused) {
  const auto owner = Ed25519PrivateKey::Generate();
  std::string file = Signed(owner, MeasurementsMember(Example()));
  for (size_t i = 0; i + 1 < file.size(); ++i) {
    const char before = file[i];
    file[i] = static_cast<char>(before ^ (before >= 'a' && before <= 'f' ? 0x40 : 1));
    EXPECT_FALSE(OpenMeasurements(file, owner.public_key()).ok()) << i;
    file[i] = before;
  }
  for (size_t n = 0; n + 1 < file.size(); n += 13)
    EXPECT_FALSE(OpenMeasurements(file.substr(0, n), owner.public_key()).ok());
}

TEST(Measurements, EachMistakeByName) {
  const auto owner = Ed25519PrivateKey::Generate();
  const std::pair<const char*, const char*> cases[] = {
      {"{}", "measurements: 'version' is missing, or 0"},
      {"{\"version\":0}", "measurements: 'version' is missing, or 0"},
      {"{\"version\":-1}", "measurements: 'version' is no whole number in range"},
      {"{\"version\":1,\"sgz\":{}}", "measurements: 'sgz' is no TEE known here"},
      {"{\"version\":1,\"sgx\":[]}", "measurements: 'sgx' is no object"},
      {"{\"version\":1,\"sgx\":{\"mrenclave\":[\"00\"]}}", "measurements: 'mrenclave' is not 64 hexadecimal digits"},
      {"{\"version\":1,\"tdx\":{\"mrtd\":\"00\"}}", "measurements: 'mrtd' is no list of at most 256 texts"},
      {"[1]", "measurements: not a JSON object"},
  };
  for (const auto& [member, message] : cases) {
    EXPECT_EQ(MessageOf(OpenMeasurements(Signed(owner, member), owner.public_key()).status()), message) << member;
  }
  // A signature for something else of the owner's does not count.
  const std::string member = MeasurementsMember(Example());
  EXPECT_FALSE(OpenMeasurements(MeasurementsFile(member, owner.Sign(AsBytes(member))), owner.public_key()).ok());
}

TEST(Measurements, APolicyNamesThem) {
  std::string folder = testing::TempDir() + "/measurements-XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const auto owner = Ed25519PrivateKey::Generate();
  const std::string text =
      Concat("accept = [\"sgx\", \"tdx\", \"sev-snp\"]\nowner = \"ed25519:", HexEncode(owner.public_key()),
             "\"\nmeasurements = \"m.json\"\n");
  auto load = [&](const std::string& more, std::string_view measurements) {
    EXPECT_TRUE(WriteFileAtomic(folder + "/p.toml", AsBytes(text + more)).ok());
    EXPECT_TRUE(WriteFileAtomic(folder + "/m.json", AsBytes(measurements)).ok());
    return LoadPolicy(folder + "/p.toml");
  };
  const std::string file = Signed(owner, MeasurementsMember(Example()));
  const auto policy =
      load("min_measurements_version = 3\n[sgx]\nmrenclave = [\"" + std::string(64, 'a') + "\"]\n", file);
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->sgx.mrenclave.size(), 2u);
  EXPECT_EQ(policy->tdx.mrtd, Example().mrtd);
  EXPECT_EQ(policy->tdx.rtmr[1].accepted, Example().rtmr[1]);
  EXPECT_EQ(policy->snp.measurements, Example().snp);
  EXPECT_EQ(policy->simulated.measurements, Example().simulated);
  EXPECT_EQ(policy->measurements_version, 3u);
  const Status older = load("min_measurements_version = 4\n", file).status();
  EXPECT_EQ(older.code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(MessageOf(older), HasSubstr("m.json: measurements: version 3; wanted: at least 4"));
  const Status foreign = load("", Signed(Ed25519PrivateKey::Generate(), MeasurementsMember(Example()))).status();
  EXPECT_EQ(foreign.code(), StatusCode::kPermissionDenied);
  std::filesystem::remove(folder + "/m.json");
  EXPECT_EQ(LoadPolicy(folder + "/p.toml").status().code(), StatusCode::kNotFound);
  std::filesystem::remove_all(folder);
}

TEST(Measurements, OfEvidence) {
  const std::string vectors = INFENCLAVE_SHARED_DIR "/vectors/attestation/";
  if (!ReadFile(vectors + "index.json", 1 << 20).ok()) GTEST_SKIP() << "SKIPPED: no " << vectors;
  Measurements all;
  for (const char* name : {"sgx-v3.quote.bin", "tdx-v4-a.quote.bin", "snp-vlek.report.bin", "tdx-v4-a.quote.bin"}) {
    const auto found = MeasurementsOfEvidence(*ReadFile(vectors + name, 1 << 20));
    ASSERT_TRUE(found.ok()) << name << found.status();
    all.Add(*found);
  }
  EXPECT_EQ(HexEncode(all.mrenclave.at(0)), "33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb");
  EXPECT_EQ(all.mrtd.size(), 1u);
  EXPECT_EQ(HexEncode(all.rtmr[0].at(0)).substr(0, 8), "44c0197b");
  EXPECT_EQ(all.snp.size(), 1u);
  EXPECT_FALSE(MeasurementsOfEvidence(AsBytes("nothing")).ok());
}

}  // namespace
}  // namespace infenclave
