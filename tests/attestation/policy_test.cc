#include "attestation/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace infenclave {
namespace {

constexpr char kOwner[] = "owner = \"ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"\n";

TEST(Policy, AllFields) {
  const auto policy = ParsePolicy(std::string("accept = [\"simulated\"]\n") + kOwner +
                                      "min_bundle_version = 7\nmax_age = \"15m\"\n[simulated]\nmeasurements = [\"" +
                                      std::string(64, 'a') + "\", \"" + std::string(64, '0') + "\"]\n",
                                  "p.toml");
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->accept, std::vector{TeeKind::kSimulated});
  EXPECT_EQ(policy->owner[0], 0xd7);
  EXPECT_EQ(policy->min_bundle_version, 7u);
  EXPECT_EQ(policy->max_age_seconds, 900);
  ASSERT_EQ(policy->simulated.measurements.size(), 2u);
  EXPECT_EQ(policy->simulated.measurements[0][31], 0xaa);
}

TEST(Policy, Defaults) {
  const auto policy = ParsePolicy(std::string("accept = [\"sgx\", \"sev-snp\"]\n") + kOwner, "p.toml");
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->min_bundle_version, 0u);
  EXPECT_EQ(policy->max_age_seconds, 3600);
  EXPECT_TRUE(policy->simulated.measurements.empty());
}

TEST(Policy, LettersOutsideAsciiAreForComments) {
  EXPECT_TRUE(ParsePolicy(std::string("# Größe, 政策\naccept = [\"simulated\"]  # é\n") + kOwner, "p.toml").ok());
  // Found by fuzzing: undefined behaviour in toml++.
  EXPECT_FALSE(ParsePolicy("accept =964073a0ee1>2f3d_bub1b0b0b\xd0\x93\xcf\x94"
                           "0b0b0\"]\n",
                           "p.toml")
                   .ok());
}

TEST(Policy, EveryMistakeIsNamedWithItsLine) {
  const std::string ok = std::string("accept = [\"simulated\"]\n") + kOwner;
  const std::pair<std::string, std::string> cases[] = {
      {kOwner, "p.toml:1: accept: name at least one of \"sgx\", \"tdx\", \"sev-snp\", \"simulated\""},
      {"accept = []\n", "p.toml:1: accept: name at least one of \"sgx\", \"tdx\", \"sev-snp\", \"simulated\""},
      {"accept = \"sgx\"\n", "p.toml:1: accept must be a list of at most 256 strings"},
      {"accept = [1]\n", "p.toml:1: accept must be a list of strings"},
      {"\naccept = [\"sgz\"]\n", "p.toml:2: accept: 'sgz' is no TEE; expected sgx, tdx, sev-snp or simulated"},
      {"accept = [\"sgx\", \"sgx\"]\n", "p.toml:1: accept: 'sgx' is there twice"},
      {"accept = [\"sgx\", \"simulated\"]\n",
       "p.toml:1: accept: \"simulated\" must stand alone, or a host could choose it, which proves nothing"},
      {"accept = [\"sgx\"]\n",
       "p.toml:1: owner: expected the key that signs the bundle, \"ed25519:<64 hexadecimal digits>\""},
      {"accept = [\"sgx\"]\nowner = \"d75a\"\n",
       "p.toml:2: owner: expected the key that signs the bundle, \"ed25519:<64 hexadecimal digits>\""},
      {"accept = [\"sgx\"]\nowner = 5\n", "p.toml:2: owner must be a string"},
      {ok + "min_bundle_version = -1\n", "p.toml:3: min_bundle_version must be a whole number from 0"},
      {ok + "min_bundle_version = 1.5\n", "p.toml:3: min_bundle_version must be a whole number from 0"},
      {ok + "max_age = \"1 hour\"\n",
       "p.toml:3: max_age: '1 hour' is no duration such as \"90s\", \"15m\", \"1h\" or \"7d\""},
      {ok + "max_age = \"0s\"\n", "p.toml:3: max_age: '0s' is no duration such as \"90s\", \"15m\", \"1h\" or \"7d\""},
      {ok + "max_age = \"99999d\"\n",
       "p.toml:3: max_age: '99999d' is no duration such as \"90s\", \"15m\", \"1h\" or \"7d\""},
      {ok + "min_bundel_version = 1\n", "p.toml:3: unknown key min_bundel_version"},
      {ok + "simulated = 1\n", "p.toml:3: simulated must be a table, [simulated]"},
      {ok + "[simulated]\nmeasurement = []\n", "p.toml:4: unknown key simulated.measurement"},
      {ok + "[simulated]\nmeasurements = [\"abc\"]\n",
       "p.toml:4: simulated.measurements: 'abc' is not 64 hexadecimal digits"},
  };
  for (const auto& [text, message] : cases) {
    const Status status = ParsePolicy(text, "p.toml").status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(MessageOf(status), message) << text;
  }
  EXPECT_THAT(MessageOf(ParsePolicy("accept = [", "p.toml").status()), testing::StartsWith("p.toml:1: "));
  EXPECT_FALSE(ParsePolicy(std::string(70000, '\n'), "p.toml").ok());
  EXPECT_EQ(LoadPolicy("/nonexistent/p.toml").status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace infenclave
