#include "client/release_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "base/file.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

class ReleaseLogTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/releases-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = folder_ + "/keys.log";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  static Release Of(uint64_t lease) {
    return {.time = "2027-01-15T08:00:00Z",
            .server = "127.0.0.1:8001",
            .tee = "tdx",
            .measurement = "ab",
            .key_id = "cd",
            .bundle_id = "ef",
            .manifest_digest = "01",
            .model = "net \"quoted\"",
            .version = 3,
            .lease = lease};
  }
  std::string Text() const { return std::string(AsText(*ReadFile(path_, 1 << 20))); }
  std::string Read(const std::string& text) {
    EXPECT_TRUE(WriteFileAtomic(path_, AsBytes(text)).ok());
    return MessageOf(ReadReleaseLog(path_).status());
  }
  std::string folder_, path_;
};

TEST_F(ReleaseLogTest, EveryReleaseIsALineAfterTheOneBefore) {
  EXPECT_TRUE(ReadReleaseLog(path_)->releases.empty());
  for (uint64_t lease : {1, 2, 3}) ASSERT_TRUE(AppendRelease(path_, Of(lease)).ok());
  const auto log = ReadReleaseLog(path_);
  ASSERT_TRUE(log.ok()) << log.status();
  ASSERT_EQ(log->releases.size(), 3u);
  EXPECT_EQ(log->releases[2].lease, 3u);
  EXPECT_EQ(log->releases[1].model, "net \"quoted\"");
  const std::string text = Text();
  const size_t last = text.rfind('\n', text.size() - 2) + 1;
  EXPECT_EQ(log->head, Sha256(AsBytes(text.substr(last, text.size() - 1 - last)))) << "as sha256sum says of the line";
}

TEST_F(ReleaseLogTest, TamperingBreaksTheChain) {
  for (uint64_t lease : {1, 2, 3}) ASSERT_TRUE(AppendRelease(path_, Of(lease)).ok());
  const std::string whole = Text();
  const Sha256Digest head = ReadReleaseLog(path_)->head;
  std::vector<std::string> lines;
  for (size_t at = 0; at < whole.size(); at = whole.find('\n', at) + 1) {
    lines.push_back(whole.substr(at, whole.find('\n', at) + 1 - at));
  }
  ASSERT_EQ(lines.size(), 3u);
  // Any byte of any line but the last: the next line does not follow it. Of the last, the head shows it.
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string altered = whole;
    altered[i] ^= 1;
    ASSERT_TRUE(WriteFileAtomic(path_, AsBytes(altered)).ok());
    const auto log = ReadReleaseLog(path_);
    EXPECT_TRUE(!log.ok() || log->head != head) << "byte " << i;
    if (i < lines[0].size() + lines[1].size()) {
      EXPECT_EQ(log.status().code(), StatusCode::kDataLoss) << "byte " << i;
    }
  }
  EXPECT_THAT(Read(lines[0] + lines[2]), HasSubstr("line 2: the line before it is not the one"));
  EXPECT_THAT(Read(lines[1] + lines[2]), HasSubstr("line 1: the line before it is not the one"));
  EXPECT_THAT(Read(lines[1] + lines[0]), HasSubstr("line 1"));
  EXPECT_THAT(Read(lines[0] + lines[0]), HasSubstr("line 2"));
  EXPECT_THAT(Read(whole.substr(0, whole.size() - 1)), HasSubstr("line 3: cut off"));
  EXPECT_THAT(Read("\n"), HasSubstr("line 1: no entry"));
  EXPECT_THAT(Read("{}\n"), HasSubstr("line 1: no entry"));
  EXPECT_EQ(AppendRelease(path_, Of(4)).code(), StatusCode::kDataLoss) << "nothing is added to a broken log";
  EXPECT_EQ(Text(), "{}\n");
  // Cut off at its end it is a shorter log, which its head tells.
  EXPECT_EQ(Read(lines[0] + lines[1]), "");
  EXPECT_NE(ReadReleaseLog(path_)->head, head);
}

TEST_F(ReleaseLogTest, WritersAtOnceMakeOneChain) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this] {
      for (uint64_t lease = 0; lease < 10; ++lease) EXPECT_TRUE(AppendRelease(path_, Of(lease)).ok());
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(ReadReleaseLog(path_)->releases.size(), 40u);
}

// A file size limit stands for the full disk, at every byte of the line.
TEST_F(ReleaseLogTest, WhatDoesNotFitIsNotThereAtAll) {
  ASSERT_TRUE(AppendRelease(path_, Of(1)).ok());
  const std::string before = Text();
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (size_t room = 0; room < before.size(); ++room) {
    const rlimit small{before.size() + room, old.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    const Status status = AppendRelease(path_, Of(2));
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    ASSERT_EQ(status.code(), StatusCode::kResourceExhausted) << room << " bytes of room: " << status;
    ASSERT_THAT(MessageOf(status), AllOf(HasSubstr(path_), HasSubstr("File too large")));
    ASSERT_EQ(Text(), before) << room << " bytes of room";
  }
  std::signal(SIGXFSZ, handler);
  ASSERT_TRUE(AppendRelease(path_, Of(2)).ok());
  EXPECT_EQ(ReadReleaseLog(path_)->releases.size(), 2u);
}

}  // namespace
}  // namespace infenclave
