#include "assessment/attack_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "import/npy.h"

namespace infenclave {
namespace {

using ::testing::HasSubstr;

std::string Temporary(const std::string& name) {
  const std::string folder = ::testing::TempDir() + "attack_job_test";
  std::filesystem::create_directories(folder);
  return folder + "/" + name;
}

TEST(AttackJob, SurvivesItsJson) {
  const AttackJob job = {.attack = "decoder",
                         .cut = "blocks/02",
                         .seed = 7,
                         .budget_seconds = 12.5,
                         .max_steps = 400,
                         .attacker_photographs = 50};
  const auto again = ParseAttackJob(AttackJobToJson(job));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(AttackJobToJson(*again), AttackJobToJson(job));
  EXPECT_EQ(again->budget_seconds, 12.5);
  EXPECT_EQ(again->attacker_photographs, 50);
}

TEST(AttackJob, SaysWhatIsWrong) {
  const std::string good = AttackJobToJson({.attack = "patch", .cut = "c"});
  const auto with = [&](std::string from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  const std::pair<std::string, std::string> cases[] = {
      {"", "not a JSON object"},
      {"[]", "not a JSON object"},
      {R"({"a":[[[[[[1]]]]]]})", "not a JSON object"},
      {with(R"("version": 1)", R"("version": 2)"), "version 2 is not 1"},
      {with(R"("size": 112)", R"("size": 64)"), "size 64 is not 112"},
      {with(R"("patch")", R"("guess")"), "attack 'guess' is not patch, decoder or whitebox"},
      {with(R"("seed": 1)", R"("seed": -1)"), "'seed' is not an integer of 0 to"},
      {with(R"("seed")", R"("sead")"), "'seed' is missing"},
      {with(R"("budget_seconds": 0.0)", R"("budget_seconds": "1")"), "'budget_seconds' is not a number"},
      {with(R"("cut": "c")", R"("cut": 3)"), "'cut' is not text"},
  };
  for (const auto& [text, message] : cases) {
    const auto job = ParseAttackJob(text);
    ASSERT_FALSE(job.ok()) << text;
    EXPECT_THAT(MessageOf(job.status()), HasSubstr(message));
  }
}

TEST(AttackResult, SurvivesItsJson) {
  const AttackResult result = {.attack = "decoder",
                               .cut = "c",
                               .seed = 3,
                               .steps = 200,
                               .converged = true,
                               .why = "no better",
                               .validation = {{0, 1.5}, {100, 0.25}},
                               .parameters = 12,
                               .seconds = 3.5,
                               .attacker_photographs = 9};
  const auto again = ParseAttackResult(AttackResultToJson(result));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(AttackResultToJson(*again), AttackResultToJson(result));
  EXPECT_EQ(again->validation, result.validation);
}

TEST(AttackProgress, OtherLinesAreNone) {
  const auto progress = ParseAttackProgress(AttackProgressToJson({.step = 3, .of = 9, .loss = 0.5, .seconds_left = 4}));
  ASSERT_TRUE(progress.has_value());
  EXPECT_EQ(progress->step, 3);
  EXPECT_EQ(progress->seconds_left, 4);
  EXPECT_FALSE(ParseAttackProgress("Warning: something").has_value());
  EXPECT_FALSE(ParseAttackProgress("{}").has_value());
}

TEST(RowWriter, WritesWhatRowFileReads) {
  const std::string path = Temporary("rows.npy");
  std::filesystem::remove(path);  // of an earlier run
  auto writer = RowWriter::Create(path, DType::kBf16, {3, 2});
  ASSERT_TRUE(writer.ok()) << writer.status();
  const float values[] = {1, 2, 3, 4, 5, 6};
  ASSERT_TRUE(writer->Append(Tensor::FromF32({2, 2}, {values, 4}).view()).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE(writer->Append(Tensor::FromF32({2}, {values + 4, 2}).view()).ok());
  ASSERT_TRUE(writer->Close().ok());

  const auto rows = RowFile::Open(path);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->rows(), 3);
  EXPECT_EQ(rows->shape(), (Shape{3, 2}));
  ASSERT_EQ(rows->Row(2).size(), 4u);
  uint16_t last = 0;
  std::memcpy(&last, rows->Row(2).data() + 2, 2);
  EXPECT_EQ(Bf16ToF32(last), 6.0f);
}

TEST(RowWriter, LeavesNothingUnfinished) {
  const std::string path = Temporary("unfinished.npy");
  {
    auto writer = RowWriter::Create(path, DType::kI32, {2});
    ASSERT_TRUE(writer.ok());
    EXPECT_THAT(MessageOf(writer->Append(Tensor(DType::kF32, {1}).view())), HasSubstr("rows of f32 in a file of i32"));
    EXPECT_THAT(MessageOf(writer->Append(Tensor(DType::kI32, {3}).view())), HasSubstr("more rows"));
  }
  {
    auto writer = RowWriter::Create(path, DType::kI32, {2});
    EXPECT_THAT(MessageOf(writer->Close()), HasSubstr("2 elements were not written"));
  }
  for (const auto& entry : std::filesystem::directory_iterator(Temporary(""))) {
    EXPECT_FALSE(entry.path().filename().string().starts_with("unfinished")) << entry.path();
  }
}

TEST(RowFile, RefusesAnotherSize) {
  const std::string path = Temporary("short.npy");
  Bytes file = EncodeNpy(Tensor(DType::kF32, {4, 2}).view());
  file.pop_back();
  ASSERT_TRUE(WriteFileAtomic(path, file).ok());
  EXPECT_THAT(MessageOf(RowFile::Open(path).status()), HasSubstr("needs 32 bytes of data, the file has 31"));
  ASSERT_TRUE(WriteFileAtomic(path, EncodeNpyHeader(DType::kF32, {int64_t{1} << 38, 2})).ok());
  EXPECT_THAT(MessageOf(RowFile::Open(path).status()), HasSubstr("bytes of data, the file has 0"));
  ASSERT_TRUE(WriteFileAtomic(path, {}).ok());
  EXPECT_THAT(MessageOf(RowFile::Open(path).status()), HasSubstr("not a .npy file"));
  EXPECT_THAT(MessageOf(RowFile::Open(Temporary("none.npy")).status()), HasSubstr("No such file"));
}

}  // namespace
}  // namespace infenclave
