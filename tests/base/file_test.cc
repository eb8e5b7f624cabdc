#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace infenclave {
namespace {

namespace fs = std::filesystem;

TEST(File, WritesAtomicallyWithModeAndReadsBack) {
  std::string path = testing::TempDir() + "/infenclave_file_test";
  ASSERT_TRUE(WriteFileAtomic(path, AsBytes("secret"), 0600).ok());
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(AsText(*ReadFile(path, 6)), "secret");
  EXPECT_EQ(ReadFile(path, 5).status().code(), StatusCode::kInvalidArgument);
  fs::remove(path);
}

TEST(File, AFailedWriteLeavesNothingBehind) {
  std::string dir = testing::TempDir() + "/infenclave_file_dir";
  fs::create_directories(dir + "/target/occupied");
  EXPECT_FALSE(WriteFileAtomic(dir + "/target", AsBytes("x")).ok());  // a directory is in the way
  size_t entries = 0;
  for (auto& entry : fs::directory_iterator(dir)) entries += entry.exists();
  EXPECT_EQ(entries, 1u);
  fs::remove_all(dir);
}

TEST(File, MissingAndDirectoryAreErrorsWithThePath) {
  EXPECT_EQ(ReadFile("/nonexistent/file", 10).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadFile("/", 10).status().code(), StatusCode::kInvalidArgument);
}

TEST(File, ErrnosBecomeCodesThatSayWhoIsAtFault) {
  const struct {
    int error;
    StatusCode code;
  } kCases[] = {{ENOENT, StatusCode::kNotFound},
                {EEXIST, StatusCode::kAlreadyExists},
                {EACCES, StatusCode::kFailedPrecondition},
                {EADDRINUSE, StatusCode::kFailedPrecondition},
                {ENOSPC, StatusCode::kResourceExhausted},
                {EMFILE, StatusCode::kResourceExhausted},
                {ECONNREFUSED, StatusCode::kUnavailable},
                {EPIPE, StatusCode::kUnavailable},
                {EBADF, StatusCode::kInternal}};
  for (const auto& c : kCases) {
    errno = c.error;
    const Status status = ErrnoStatus("there");
    EXPECT_EQ(status.code(), c.code) << c.error;
    EXPECT_EQ(MessageOf(status), Concat("there: ", std::strerror(c.error)));
  }
}

}  // namespace
}  // namespace infenclave
