#include "tee/gramine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"

namespace infenclave {
namespace {

namespace fs = std::filesystem;

// Gramine's pseudo-files as plain ones: a replayed quote does not depend on what was written, so the two are looked at
// apart.
class Gramine : public testing::Test {
 protected:
  void SetUp() override {
    std::string quote = std::string(INFENCLAVE_SHARED_DIR) + "/vectors/attestation/sgx-v3.quote.bin";
    if (!fs::exists(quote)) GTEST_SKIP() << "no attestation vectors in " INFENCLAVE_SHARED_DIR;
    folder_ = testing::TempDir() + "/infenclave_gramine_" + std::to_string(::getpid());
    fs::create_directories(folder_);
    quote_ = *ReadFile(quote, 1 << 20);
    Put("quote", AsText(quote_));
    Put("user_report_data", std::string(64, '\0'));
    Put("attestation_type", "dcap");
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }
  void Put(const std::string& name, std::string_view text) {
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/" + name, AsBytes(text)).ok());
  }

  std::string folder_;
  Bytes quote_;
};

TEST_F(Gramine, WritesTheReportDataAndReturnsTheQuote) {
  auto maker = MakeGramineEvidenceMaker(folder_);
  ASSERT_TRUE(maker.ok()) << maker.status();
  EXPECT_EQ((*maker)->kind(), TeeKind::kSgx);
  ReportData data = RandomArray<64>();
  EXPECT_EQ(*(*maker)->Make(data), quote_);
  EXPECT_EQ(*ReadFile(folder_ + "/user_report_data", 64), Bytes(data.begin(), data.end()));
}

TEST_F(Gramine, WithoutDcapOrWithoutGramineItSaysWhatToDo) {
  Put("attestation_type", "none");
  EXPECT_EQ(MakeGramineEvidenceMaker(folder_).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(MakeGramineEvidenceMaker("/nonexistent").status().code(), StatusCode::kNotFound);
}

TEST_F(Gramine, AQuoteBeyondTheLimitIsRefused) {
  Put("quote", std::string(17 << 10, 'q'));
  auto maker = MakeGramineEvidenceMaker(folder_);
  ASSERT_TRUE(maker.ok()) << maker.status();
  EXPECT_EQ((*maker)->Make({}).status().code(), StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace infenclave
