#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

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

}  // namespace
}  // namespace infenclave
