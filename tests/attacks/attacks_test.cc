// Whole jobs, on pictures and FrontNets of which it is known what can be recovered.
#include <gmock/gmock.h>

#include <cstdlib>
#include <stdexcept>

#include "tests/attacks/small_job.h"
#include "tests/engine/one_node.h"

namespace infenclave {
namespace {

using testing::AddFrontNet;
using testing::Ignore;
using testing::MakeJob;
using testing::ReconstructionOf;
using testing::ResultOf;
using testing::SmallJob;
using testing::WorstPsnr;

const Shape kIdentityShape = {3, kPictureSide, kPictureSide}, kCoarseShape = {3, 7, 7};

Graph IdentityFront() {
  testing::GraphBuilder builder;
  const ValueId input = builder.Input({1, 3, kPictureSide, kPictureSide});
  const ValueId weights = builder.Constant({3, 3, 1, 1}, {1, 0, 0, 0, 1, 0, 0, 0, 1});
  return builder.Build({builder.Add("Conv", {input, weights})});
}

TEST(Patch, InvertsAnIdentity) {
  const SmallJob job = MakeJob("patch_identity", {.attack = "patch", .cut = "c"}, kIdentityShape, testing::Identity);
  ASSERT_TRUE(RunJob(job.path, Ignore).ok());
  EXPECT_GT(WorstPsnr(job), 45);
  const AttackResult result = ResultOf(job);
  EXPECT_EQ(result.attack, "patch");
  EXPECT_EQ(result.cut, "c");
  EXPECT_TRUE(result.converged);
  EXPECT_EQ(result.attacker_photographs, 24);
}

TEST(Decoder, InvertsAnIdentity) {
  const SmallJob job = MakeJob("decoder_identity", {.attack = "decoder", .cut = "c", .max_steps = 2}, kIdentityShape,
                               testing::Identity, 24, 4, DType::kBf16);
  ASSERT_TRUE(RunJob(job.path, Ignore).ok());
  EXPECT_GT(WorstPsnr(job), 40);
  EXPECT_FALSE(ResultOf(job).converged);
  EXPECT_EQ(ResultOf(job).steps, 2);
}

TEST(Whitebox, InvertsAnIdentity) {
  const SmallJob job =
      MakeJob("whitebox_identity", {.attack = "whitebox", .cut = "c"}, kIdentityShape, testing::Identity, 10, 2);
  AddFrontNet(job, IdentityFront());
  ASSERT_TRUE(RunJob(job.path, Ignore).ok());
  EXPECT_GT(WorstPsnr(job), 35);
}

// What no picture changes tells nothing: every attack answers with one picture, the mean of the attacker's.
TEST(EveryAttack, GivesTheMeanForAConstantIr) {
  testing::GraphBuilder builder;
  const ValueId input = builder.Input({1, 3, kPictureSide, kPictureSide});
  const ValueId pooled = builder.Add("GlobalAveragePool", {input});
  const Graph front = builder.Build({builder.Add("Mul", {pooled, builder.Constant({1, 1, 1, 1}, {0})})});
  std::vector<float> mean(testing::kPicture);
  for (uint32_t i = 0; i < 24; ++i) {
    const Bytes picture = testing::Blobs(i);
    for (size_t k = 0; k < mean.size(); ++k) mean[k] += static_cast<float>(picture[k]) / 24;
  }
  for (const char* attack : {"patch", "decoder", "whitebox"}) {
    SCOPED_TRACE(attack);
    const bool closed_form = std::string_view(attack) == "patch";
    const SmallJob job = MakeJob(Concat("constant_", attack), {.attack = attack, .cut = "c", .max_steps = 30},
                                 {3, 1, 1}, [](const Bytes&) { return std::vector<float>(3, 0.0f); });
    AddFrontNet(job, front);
    ASSERT_TRUE(RunJob(job.path, Ignore).ok());
    const std::vector<float> made = ReconstructionOf(job);
    ASSERT_EQ(made.size(), 4 * testing::kPicture);
    for (size_t i = 0; i < made.size(); ++i) {
      ASSERT_TRUE(std::isfinite(made[i]));
      ASSERT_EQ(made[i], made[i % testing::kPicture]) << "a target that differs";
      if (closed_form) {
        ASSERT_NEAR(made[i], mean[i % testing::kPicture], 0.1);
      }
    }
  }
}

TEST(Decoder, LearnsMoreThanTheClosedForm) {
  const SmallJob closed = MakeJob("coarse_patch", {.attack = "patch", .cut = "c"}, kCoarseShape, testing::Coarse, 40);
  ASSERT_TRUE(RunJob(closed.path, Ignore).ok());
  const SmallJob trained =
      MakeJob("coarse_decoder", {.attack = "decoder", .cut = "c", .max_steps = 12}, kCoarseShape, testing::Coarse, 40);
  ASSERT_TRUE(RunJob(trained.path, Ignore).ok());
  const AttackResult result = ResultOf(trained);
  ASSERT_GE(result.validation.size(), 5u);
  EXPECT_EQ(result.validation.front().first, 0);
  EXPECT_LT(result.validation.back().second, result.validation.front().second);
}

TEST(Decoder, CountsFeaturesWhereANetworkIsGiven) {
  const AttackJob job = {.attack = "decoder", .cut = "c", .max_steps = 1};
  const SmallJob pixels = MakeJob("pixels", job, kCoarseShape, testing::Coarse, 10, 1),
                 features = MakeJob("features", job, kCoarseShape, testing::Coarse, 10, 1);
  const auto encoded = EncodeGraph(IdentityFront());
  ASSERT_TRUE(encoded.ok());
  ASSERT_TRUE(WriteFileAtomic(features.File("features.graph"), *encoded).ok());
  ASSERT_TRUE(WriteFileAtomic(features.File("features.json"), AsBytes(testing::kPreprocessing)).ok());
  ASSERT_TRUE(RunJob(pixels.path, Ignore).ok());
  ASSERT_TRUE(RunJob(features.path, Ignore).ok());
  EXPECT_GT(ResultOf(features).validation.front().second, ResultOf(pixels).validation.front().second + 0.01);

  std::filesystem::remove(features.File("result.json"));
  std::filesystem::remove(features.File("features.json"));
  EXPECT_THAT(MessageOf(RunJob(features.path, Ignore)), ::testing::HasSubstr("features.json"));
}

// More values than can be decomposed are mixed, and what they tell is found again.
TEST(Patch, FindsAPictureInAVeryLongVector) {
  const auto repeat = [](const Bytes& rgb) {
    const std::vector<float> coarse = testing::Coarse(rgb);
    std::vector<float> values(40 * coarse.size());
    for (size_t i = 0; i < values.size(); ++i) values[i] = coarse[i % coarse.size()] * (i % 3 == 0 ? 1.0f : -2.0f);
    return values;
  };
  const AttackJob job = {.attack = "patch", .cut = "c"};
  const SmallJob grid = MakeJob("grid", job, kCoarseShape, testing::Coarse, 60, 6),
                 vector = MakeJob("vector", job, {40 * 147}, repeat, 60, 6);
  ASSERT_TRUE(RunJob(grid.path, Ignore).ok());
  ASSERT_TRUE(RunJob(vector.path, Ignore).ok());
  EXPECT_LT(ResultOf(vector).validation[0].second, 4 * ResultOf(grid).validation[0].second);
}

TEST(EveryAttack, GoesOnWhereItWasInterrupted) {
  struct Interrupted : std::runtime_error {
    Interrupted() : std::runtime_error("killed") {}
  };
  testing::GraphBuilder builder;
  const ValueId input = builder.Input({1, 3, kPictureSide, kPictureSide});
  const Graph front = builder.Build(
      {builder.Add("AveragePool", {input},
                   {{"kernel_shape", std::vector<int64_t>{16, 16}}, {"strides", std::vector<int64_t>{16, 16}}})});
  const Shape ir = kCoarseShape;
  const auto encode = [](const Bytes& rgb) {
    std::vector<float> values = testing::Coarse(rgb);
    for (float& v : values) v = (v - 127) / 128;
    return values;
  };
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (const AttackJob& job : {AttackJob{.attack = "decoder", .cut = "c", .max_steps = 4},
                               AttackJob{.attack = "whitebox", .cut = "c", .max_steps = 25}}) {
    SCOPED_TRACE(job.attack);
    const SmallJob whole = MakeJob("whole_" + job.attack, job, ir, encode, 12, 2),
                   parts = MakeJob("parts_" + job.attack, job, ir, encode, 12, 2);
    AddFrontNet(whole, front);
    AddFrontNet(parts, front);
    ASSERT_TRUE(RunJob(whole.path, Ignore).ok());
    int reports = 0, sittings = 0;
    Status status;
    do {
      int now = 0;
      status = RunJob(parts.path, [&](const AttackProgress&) {
        ++reports;
        if (++now == 3) throw Interrupted();
      });
      ASSERT_LT(++sittings, 20);
    } while (!status.ok());
    EXPECT_GT(sittings, 1);
    EXPECT_EQ(ReconstructionOf(parts), ReconstructionOf(whole));
    EXPECT_EQ(ResultOf(parts).validation, ResultOf(whole).validation);
    EXPECT_EQ(ResultOf(parts).steps, ResultOf(whole).steps);
  }
  at::set_num_threads(threads);
}

TEST(Job, OfAShareOfThePhotographsUsesThatMany) {
  const SmallJob job =
      MakeJob("share", {.attack = "patch", .cut = "c", .attacker_photographs = 6}, kCoarseShape, testing::Coarse);
  ASSERT_TRUE(RunJob(job.path, Ignore).ok());
  EXPECT_EQ(ResultOf(job).attacker_photographs, 6);
}

TEST(Job, ThatIsDoneIsLeftAlone) {
  const SmallJob job = MakeJob("done", {.attack = "patch", .cut = "c"}, kCoarseShape, testing::Coarse);
  ASSERT_TRUE(RunJob(job.path, Ignore).ok());
  const auto before = std::filesystem::last_write_time(job.File("reconstruction.npy"));
  ASSERT_TRUE(RunJob(job.path, [](const AttackProgress&) { FAIL() << "works again"; }).ok());
  EXPECT_EQ(std::filesystem::last_write_time(job.File("reconstruction.npy")), before);
}

struct Spoiled {
  const char* what;
  std::function<void(const SmallJob&)> spoil;
  const char* message;
};

TEST(Job, ThatIsMalformedIsRefusedInOneLine) {
  const auto npy = [](const char* name, DType dtype, Shape shape) {
    return [=](const SmallJob& job) {
      ASSERT_TRUE(WriteFileAtomic(job.File(name), EncodeNpy(Tensor(dtype, shape).view())).ok());
    };
  };
  const auto text = [](const char* name, std::string content) {
    return [=](const SmallJob& job) { ASSERT_TRUE(WriteFileAtomic(job.File(name), AsBytes(content)).ok()); };
  };
  const auto filled = [](const char* name, Shape shape, float value) {
    return [=](const SmallJob& job) {
      Tensor tensor(DType::kF32, shape);
      tensor.as<float>().back() = value;
      ASSERT_TRUE(WriteFileAtomic(job.File(name), EncodeNpy(tensor.view())).ok());
    };
  };
  const Spoiled cases[] = {
      {"no job", [](const SmallJob& job) { std::filesystem::remove(job.File("job.json")); }, "job.json: No such file"},
      {"a job of nothing", text("job.json", "nonsense"), "not a JSON object"},
      {"no IRs", [](const SmallJob& job) { std::filesystem::remove(job.File("target.ir.npy")); }, "No such file"},
      {"IRs cut short",
       [](const SmallJob& job) {
         std::filesystem::resize_file(job.File("attacker.ir.npy"),
                                      std::filesystem::file_size(job.File("attacker.ir.npy")) - 1);
       },
       "bytes of data, the file has"},
      {"huge dimensions",
       [](const SmallJob& job) {
         const Bytes header = EncodeNpyHeader(DType::kF32, {int64_t{1} << 20, int64_t{1} << 20});
         ASSERT_TRUE(WriteFileAtomic(job.File("attacker.ir.npy"), header).ok());
       },
       "bytes of data, the file has 0"},
      {"IRs of rank 3", npy("attacker.ir.npy", DType::kF32, {24, 3, 7}), "is not f32 or bf16 [N,C,H,W] or [N,C]"},
      {"IRs of nothing", npy("attacker.ir.npy", DType::kF32, {24, 0, 7, 7}), "is not a tensor with elements"},
      {"IRs of integers", npy("attacker.ir.npy", DType::kI32, {24, 3}), "is not f32 or bf16"},
      {"other targets", npy("target.ir.npy", DType::kF32, {4, 3, 7, 6}),
       "IRs of [3,7,6], but the attacker's are [3,7,7]"},
      {"a picture too few", npy("attacker.rgb.npy", DType::kU8, {23, 112, 112, 3}), "is not u8[24,112,112,3]"},
      {"small pictures", npy("attacker.rgb.npy", DType::kU8, {24, 64, 64, 3}), "is not u8[24,112,112,3]"},
      {"photographs unknown", npy("attacker.photograph.npy", DType::kF32, {24}), "is not i32[24]"},
      {"one photograph only", npy("attacker.photograph.npy", DType::kI32, {24}),
       "1 photographs; at least 2 are needed"},
      {"NaN", filled("attacker.ir.npy", {24, 3, 7, 7}, std::nanf("")), "the IR of row 23 is not finite"},
      {"infinity", filled("target.ir.npy", {4, 3, 7, 7}, HUGE_VALF), "the IR of row 3 is not finite"},
      {"another network", [](const SmallJob& job) { AddFrontNet(job, IdentityFront()); },
       "output [3,112,112], but the IRs are [3,7,7]"},
      {"no network", text("frontnet.graph", "nonsense"), "frontnet.graph: "},
  };
  for (const Spoiled& spoiled : cases) {
    SCOPED_TRACE(spoiled.what);
    const SmallJob job = MakeJob("spoiled", {.attack = "whitebox", .cut = "c"}, kCoarseShape, testing::Coarse);
    spoiled.spoil(job);
    const Status status = RunJob(job.path, Ignore);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(MessageOf(status), ::testing::HasSubstr(spoiled.message));
    EXPECT_THAT(MessageOf(status), ::testing::HasSubstr(job.path));
    EXPECT_THAT(MessageOf(status), ::testing::Not(::testing::HasSubstr("\n")));
    EXPECT_FALSE(std::filesystem::exists(job.File("result.json")));
  }
}

TEST(Executable, LinksNoOneDnnOfItsOwn) {
  const std::string command =
      Concat("readelf -d ", INFENCLAVE_BINARY_DIR, "/infenclave-attacks | grep -q 'NEEDED.*dnnl'");
  EXPECT_NE(std::system(command.c_str()), 0);
}

TEST(Executable, SaysWhyAndFails) {
  const SmallJob job = MakeJob("executable", {.attack = "patch", .cut = "c"}, kCoarseShape, testing::Coarse);
  const std::string program = Concat(INFENCLAVE_BINARY_DIR, "/infenclave-attacks ");
  EXPECT_EQ(std::system(Concat(program, job.path, " --threads 1 >", job.File("log")).c_str()), 0);
  EXPECT_TRUE(std::filesystem::exists(job.File("result.json")));
  const auto log = ReadFile(job.File("log"), 1 << 20);
  ASSERT_TRUE(log.ok());
  EXPECT_TRUE(ParseAttackProgress(AsText(*log).substr(0, AsText(*log).find('\n'))).has_value());
  const auto exit_status = [&](const std::string& arguments) {
    return WEXITSTATUS(std::system(Concat(program, arguments, " 2>", job.File("errors")).c_str()));
  };
  EXPECT_EQ(exit_status(job.path + "/nowhere"), 1);
  const auto errors = ReadFile(job.File("errors"), 1 << 20);
  ASSERT_TRUE(errors.ok());
  EXPECT_THAT(std::string(AsText(*errors)), ::testing::MatchesRegex("infenclave-attacks: .*No such file[^\n]*\n"));
  EXPECT_EQ(exit_status(""), 2);
  EXPECT_EQ(exit_status(job.path + " --threads many"), 2);
}

}  // namespace
}  // namespace infenclave
