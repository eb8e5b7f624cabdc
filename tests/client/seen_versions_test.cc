#include "client/seen_versions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include "base/file.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

class SeenVersionsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/seen-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = folder_ + "/state/infenclave/versions";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Status Record(const Ed25519PublicKey& owner, const std::string& model, uint64_t version) const {
    Policy policy;
    policy.owner = owner;
    return SeenVersions(path_).CheckAndRecord(policy, Of(model, version));
  }
  static Appraisal Of(const std::string& model, uint64_t version) {
    Appraisal accepted;
    accepted.manifest.model_name = model;
    accepted.manifest.model_version = version;
    return accepted;
  }

  std::string folder_, path_;
  Ed25519PublicKey owner_{1}, other_{2};
};

TEST_F(SeenVersionsTest, RefusesALowerVersion) {
  EXPECT_TRUE(Record(owner_, "m", 3).ok());
  EXPECT_TRUE(Record(owner_, "m", 3).ok());
  const Status status = Record(owner_, "m", 2);
  EXPECT_EQ(status.code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(MessageOf(status), HasSubstr("version 3 of model 'm' was seen before"));
  EXPECT_THAT(MessageOf(status), HasSubstr(path_));
  EXPECT_TRUE(Record(owner_, "m", 4).ok());
  EXPECT_FALSE(Record(owner_, "m", 3).ok());
}

TEST_F(SeenVersionsTest, OwnersAndModelsDoNotMix) {
  EXPECT_TRUE(Record(owner_, "m", 9).ok());
  EXPECT_TRUE(Record(other_, "m", 1).ok());
  EXPECT_TRUE(Record(owner_, "n", 1).ok());
}

TEST_F(SeenVersionsTest, MeasurementsAndCollateralAreRememberedToo) {
  Policy policy;
  policy.owner = owner_;
  Appraisal accepted = Of("m", 1);
  auto check = [&](uint64_t measurements, const char* platform, uint32_t evaluation) {
    policy.measurements_version = measurements;
    accepted.tcb_evaluation = {platform, evaluation};
    return MessageOf(SeenVersions(path_).CheckAndRecord(policy, accepted));
  };
  EXPECT_EQ(check(5, "tdx:b0c06f000000", 17), "");
  EXPECT_THAT(check(4, "tdx:b0c06f000000", 18), HasSubstr("version 5 of the owner's measurements was seen before, and "
                                                          "this is version 4"));
  EXPECT_EQ(check(5, "tdx:b0c06f000000", 17), "") << "nothing of what was refused was written down";
  EXPECT_THAT(check(6, "tdx:b0c06f000000", 16),
              HasSubstr("version 17 of Intel's TCB evaluation for tdx:b0c06f000000 was seen before"));
  EXPECT_EQ(check(5, "tdx:90c06f000000", 16), "") << "another platform";
  EXPECT_EQ(check(0, "sgx:b0c06f000000", 1), "") << "a policy without measurements of the owner's";
}

TEST_F(SeenVersionsTest, ABrokenFileIsNotReadAsEmpty) {
  ASSERT_TRUE(Record(owner_, "m", 9).ok());
  for (const char* broken : {"ed25519:00 m\n", "ed25519:00 m x\n", "ed25519:00 m 1 2\n", "\n"}) {
    ASSERT_TRUE(WriteFileAtomic(path_, AsBytes(broken)).ok());
    const Status status = Record(owner_, "m", 1);
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << broken;
    EXPECT_THAT(MessageOf(status), HasSubstr("line 1"));
  }
}

TEST_F(SeenVersionsTest, AFolderThatCannotBeMadeIsAnError) {
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/state", AsBytes("a file")).ok());
  const Status status = Record(owner_, "m", 1);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(MessageOf(status), HasSubstr("cannot remember versions"));
}

TEST_F(SeenVersionsTest, WritersAtOnceLoseNothing) {
  std::vector<std::thread> writers;
  for (int i = 0; i < 8; ++i) {
    writers.emplace_back([&, i] {
      for (uint64_t version = 1; version <= 5; ++version) {
        EXPECT_TRUE(Record(owner_, Concat("model-", i), version).ok());
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  for (int i = 0; i < 8; ++i) EXPECT_FALSE(Record(owner_, Concat("model-", i), 4).ok());
}

TEST(DefaultSeenVersionsPath, FollowsTheBaseDirectorySpecification) {
  const std::string home = std::getenv("HOME") != nullptr ? std::getenv("HOME") : "";
  setenv("HOME", "/home/u", 1);
  setenv("XDG_STATE_HOME", "/state", 1);
  EXPECT_EQ(DefaultSeenVersionsPath().value(), "/state/infenclave/versions");
  setenv("XDG_STATE_HOME", "relative/is/ignored", 1);
  EXPECT_EQ(DefaultSeenVersionsPath().value(), "/home/u/.local/state/infenclave/versions");
  unsetenv("XDG_STATE_HOME");
  unsetenv("HOME");
  EXPECT_EQ(DefaultSeenVersionsPath().status().code(), StatusCode::kFailedPrecondition);
  if (!home.empty()) setenv("HOME", home.c_str(), 1);
}

}  // namespace
}  // namespace infenclave
