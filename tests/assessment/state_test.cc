#include "assessment/state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "assessment/assessment_json.h"

namespace infenclave {
namespace {

using ::testing::HasSubstr;

KlRecord Example() {
  KlRecord record;
  record.file = 17;
  record.answer = {3, 0.25};
  record.bound = 5.5;
  record.grey = 4.25;
  record.evaluations = 9;
  record.seconds = 1.5;
  record.cuts.resize(2);
  record.cuts[0] = {{0.125, 7, {4, 0.5}}, 2, 1, {1.0f, NAN, 0.5f}};
  return record;
}

std::string Fresh(const std::string& name) {
  const std::string folder = ::testing::TempDir() + "/state-test-" + name;
  std::filesystem::remove_all(folder);
  return folder;
}

Plan ExamplePlan() {
  Plan plan;
  plan.model_sha256 = "aa";
  plan.files = {"a.jpg", "b.jpg"};
  plan.cuts = {"stem"};
  plan.control = {0, 1};
  return plan;
}

TEST(KlRecord, ComesBackWhole) {
  const Bytes digest(32, 5);
  const KlRecord in = Example();
  const auto out = DecodeKlRecord(EncodeKlRecord(in, digest), digest);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->file, in.file);
  EXPECT_EQ(out->answer.label, 3);
  EXPECT_EQ(out->bound, 5.5);
  EXPECT_EQ(out->grey, 4.25);
  EXPECT_EQ(out->evaluations, 9u);
  ASSERT_EQ(out->cuts.size(), 2u);
  EXPECT_EQ(out->cuts[0].own.d, 0.125);
  EXPECT_EQ(out->cuts[0].own.map, 7);
  EXPECT_EQ(out->cuts[0].own.answer.label, 4);
  ASSERT_EQ(out->cuts[0].against.size(), 3u);
  EXPECT_TRUE(std::isnan(out->cuts[0].against[1]));
  EXPECT_EQ(out->cuts[0].against[2], 0.5f);
  EXPECT_TRUE(out->cuts[1].against.empty());
}

TEST(KlRecord, EveryDamageIsFound) {
  const Bytes digest(32, 5), other(32, 6), good = EncodeKlRecord(Example(), digest);
  EXPECT_FALSE(DecodeKlRecord(good, other).ok());
  for (size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] ^= 1;
    EXPECT_FALSE(DecodeKlRecord(bad, digest).ok()) << i;
    EXPECT_FALSE(DecodeKlRecord(ByteSpan(good).first(i), digest).ok()) << i;
  }
}

TEST(StateFolder, KeepsRecordsAndRemakesDamagedOnes) {
  const std::string out = Fresh("keeps");
  const auto state = StateFolder::Open(out, ExamplePlan(), Shard());
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_FALSE(state->Load(17).has_value());
  ASSERT_TRUE(state->Save(Example()).ok());
  EXPECT_TRUE(state->Load(17).has_value());
  const std::string path = out + "/state/kl/000017.bin";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  EXPECT_FALSE(state->Load(17).has_value());
}

TEST(StateFolder, RefusesAnotherAssessmentAndSaysWhatDiffers) {
  const std::string out = Fresh("other");
  ASSERT_TRUE(StateFolder::Open(out, ExamplePlan(), Shard()).ok());
  Plan other = ExamplePlan();
  other.maps_limit = 16;
  const auto refused = StateFolder::Open(out, other, Shard());
  EXPECT_EQ(refused.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("its maps was 0 and is now 16"));
  EXPECT_TRUE(StateFolder::Open(out, ExamplePlan(), Shard()).ok());
}

TEST(StateFolder, OneProcessPerShard) {
  const std::string out = Fresh("lock");
  const auto first = StateFolder::Open(out, ExamplePlan(), {0, 2});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_FALSE(StateFolder::Open(out, ExamplePlan(), {0, 2}).ok());
  EXPECT_TRUE(StateFolder::Open(out, ExamplePlan(), {1, 2}).ok());
}

TEST(StateFolder, RemovesTheTemporariesOfItsOwnShardOnly) {
  const std::string out = Fresh("temporaries");
  std::filesystem::create_directories(out + "/state/kl");
  const std::string own = out + "/state/kl/000002.bin.abcdef", foreign = out + "/state/kl/000003.bin.abcdef";
  ASSERT_TRUE(WriteFileAtomic(own, AsBytes("x")).ok() && WriteFileAtomic(foreign, AsBytes("x")).ok());
  ASSERT_TRUE(StateFolder::Open(out, ExamplePlan(), {0, 2}).ok());
  EXPECT_FALSE(std::filesystem::exists(own));
  EXPECT_TRUE(std::filesystem::exists(foreign));
}

TEST(AssessmentSummary, SaysWhichFieldIsWrong) {
  const struct {
    std::string json, want;
  } kCases[] = {
      {"", "not JSON"},
      {"[1]", "'format'"},
      {R"({"format":"infenclave.assessment/1"})", "model_sha256"},
      {R"({"format":1})", "'format'"},
      {std::string(100000, '['), "not JSON"},
      {R"({"format":"infenclave.assessment/1","model_sha256":"a","attacks_run":["kl"],"recommended":{"cut":3,"why":"",)"
       R"("provisional":true},"cuts":[]})",
       "string"}};
  for (const auto& c : kCases) {
    const auto summary = ParseAssessmentSummary(AsBytes(c.json));
    EXPECT_EQ(summary.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(summary.status().message()), HasSubstr(c.want));
  }
}

}  // namespace
}  // namespace infenclave
