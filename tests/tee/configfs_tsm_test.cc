#include "tee/configfs_tsm.h"

#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "base/file.h"

namespace infenclave {
namespace {

namespace fs = std::filesystem;

std::string Vector(const std::string& name) {
  return std::string(INFENCLAVE_SHARED_DIR) + "/vectors/attestation/" + name;
}

// configfs-tsm as tests/tee/tsm_fuse.cc plays it, mounted while this lives.
class FakeTsm {
 public:
  FakeTsm(const std::string& provider, const std::string& report, int interlopers, const std::string& auxblob = "") {
    path_ = testing::TempDir() + "/infenclave_tsm_XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) return;
    std::string program = std::string(INFENCLAVE_BINARY_DIR) + "/tsm_fuse", count = std::to_string(interlopers);
    std::string arguments[] = {program, path_, provider, report, count, auxblob};
    char* argv[] = {arguments[0].data(),
                    arguments[1].data(),
                    arguments[2].data(),
                    arguments[3].data(),
                    arguments[4].data(),
                    auxblob.empty() ? nullptr : arguments[5].data(),
                    nullptr};
    if (::posix_spawn(&child_, program.c_str(), nullptr, nullptr, argv, environ) != 0) child_ = -1;
    for (int i = 0; i < 200 && !Mounted(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ~FakeTsm() {
    ::umount2(path_.c_str(), MNT_DETACH);
    if (child_ > 0) {
      ::kill(child_, SIGTERM);
      ::waitpid(child_, nullptr, 0);
    }
    ::rmdir(path_.c_str());
  }
  bool Mounted() const {
    struct stat here {
    }, above{};
    return ::stat(path_.c_str(), &here) == 0 && ::stat(testing::TempDir().c_str(), &above) == 0 &&
           here.st_dev != above.st_dev;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  pid_t child_ = -1;
};

class ConfigfsTsm : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(Vector("index.json"))) GTEST_SKIP() << "no attestation vectors in " INFENCLAVE_SHARED_DIR;
    if (::geteuid() != 0 || ::access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "needs root and /dev/fuse";
    if (!FakeTsm("tdx_guest", Vector("tdx-v4-a.quote.bin"), 0).Mounted()) GTEST_SKIP() << "cannot mount by FUSE here";
  }
};

TEST_F(ConfigfsTsm, WritesTheReportDataAndReturnsTheReportOfEitherTee) {
  struct Case {
    const char *provider, *report;
    TeeKind kind;
  };
  for (const Case& c : {Case{"tdx_guest", "tdx-v4-a.quote.bin", TeeKind::kTdx},
                        Case{"sev_guest", "snp-vcek-milan.report.bin", TeeKind::kSevSnp}}) {
    FakeTsm tsm(c.provider, Vector(c.report), 0);
    StatusOr<std::unique_ptr<EvidenceMaker>> maker = MakeConfigfsTsmEvidenceMaker(tsm.path());
    ASSERT_TRUE(maker.ok()) << maker.status();
    EXPECT_EQ((*maker)->kind(), c.kind);
    for (int round = 0; round < 3; ++round) {
      StatusOr<Bytes> report = (*maker)->Make(RandomArray<64>());
      ASSERT_TRUE(report.ok()) << report.status();
      EXPECT_EQ(*report, *ReadFile(Vector(c.report), 1 << 20));
    }
    EXPECT_FALSE(fs::is_empty(tsm.path()));
    maker->reset();
    EXPECT_TRUE(fs::is_empty(tsm.path())) << "the entry is left behind";
  }
}

TEST_F(ConfigfsTsm, TheHostsCertificatesComeBehindAnSnpReport) {
  FakeTsm tsm("sev_guest", Vector("snp-vlek.report.bin"), 0, Vector("snp-vlek.vek.der"));
  StatusOr<std::unique_ptr<EvidenceMaker>> maker = MakeConfigfsTsmEvidenceMaker(tsm.path());
  ASSERT_TRUE(maker.ok()) << maker.status();
  Bytes expected = *ReadFile(Vector("snp-vlek.report.bin"), 1 << 20);
  const Bytes certificates = *ReadFile(Vector("snp-vlek.vek.der"), 1 << 20);  // the maker does not look into them
  expected.insert(expected.end(), certificates.begin(), certificates.end());
  EXPECT_EQ(*(*maker)->Make(RandomArray<64>()), expected);
}

TEST_F(ConfigfsTsm, AForeignWriteInBetweenIsNoticedAndTheReportAskedForAgain) {
  FakeTsm twice("tdx_guest", Vector("tdx-v4-a.quote.bin"), 2), always("tdx_guest", Vector("tdx-v4-a.quote.bin"), 1000);
  StatusOr<std::unique_ptr<EvidenceMaker>> maker = MakeConfigfsTsmEvidenceMaker(twice.path());
  ASSERT_TRUE(maker.ok()) << maker.status();
  EXPECT_TRUE((*maker)->Make({}).ok());
  maker = MakeConfigfsTsmEvidenceMaker(always.path());
  ASSERT_TRUE(maker.ok()) << maker.status();
  EXPECT_EQ((*maker)->Make({}).status().code(), StatusCode::kUnavailable);
}

TEST_F(ConfigfsTsm, AnotherProviderIsRefusedAndItsEntryRemoved) {
  FakeTsm tsm("arm_cca_guest", Vector("tdx-v4-a.quote.bin"), 0);
  StatusOr<std::unique_ptr<EvidenceMaker>> maker = MakeConfigfsTsmEvidenceMaker(tsm.path());
  EXPECT_EQ(maker.status().code(), StatusCode::kUnimplemented);
  EXPECT_TRUE(fs::is_empty(tsm.path()));
}

TEST(ConfigfsTsmAbsent, SaysWhatWouldHaveIt) {
  Status status = MakeConfigfsTsmEvidenceMaker("/nonexistent/tsm/report").status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_NE(MessageOf(status).find("Linux 6.7"), std::string::npos) << status;
}

}  // namespace
}  // namespace infenclave
