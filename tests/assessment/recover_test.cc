// Attacks that recover pictures and classes, from photographs to verdicts, on toys of which the outcome is known.
#include "assessment/recover.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "assessment/assessment_json.h"
#include "assessment/attack_runner.h"
#include "nlohmann/json.hpp"
#include "tests/assessment/toy.h"

namespace infenclave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kViews = 4;

const ProgressFn kQuiet = [](std::string_view, int64_t, int64_t) {};

// Twenty photographs under attack by twenty others, in a folder of its own.
class ToyRecovery {
 public:
  explicit ToyRecovery(const std::string& name, std::vector<std::string> attacks, int photographs = 40) {
    root_ = ::testing::TempDir() + "/recover-test-" + name;
    std::filesystem::remove_all(root_);
    WriteToyPhotographs(root_ + "/images", photographs);
    for (const char* file : {"/model", "/oracle"}) EXPECT_TRUE(WriteFileAtomic(root_ + file, AsBytes(file)).ok());
    options.model_path = root_ + "/model";
    options.oracle_path = root_ + "/oracle";
    options.images = root_ + "/images";
    options.out = root_ + "/out";
    options.preprocessing = options.oracle_preprocessing = ToyPreprocessing(kToySide);
    options.threads = 2;
    options.attacks = std::move(attacks);
    options.views = kViews;
  }
  StatusOr<std::optional<AssessResult>> Run() {
    options.model = &model;
    options.oracle = oracle;
    return Assess(options, kQuiet);
  }
  Assessment Result() {
    auto result = Run();
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() && result->has_value() ? std::move((*result)->assessment) : Assessment();
  }
  std::string root_;
  Graph model = ToyModel(), oracle = ToyOracle(10, 0.3f);
  AssessOptions options;
};

const AttackRun* Find(const Assessment& a, int cut, const std::string& attack) {
  for (const AttackRun& run : a.cuts[cut].attacks) {
    if (run.attack == attack) return &run;
  }
  return nullptr;
}

TEST(Recover, SplitsThePhotographsInHalves) {
  ToyRecovery toy("split", {"nearest"});
  const Assessment a = toy.Result();
  EXPECT_EQ(a.photographs.size(), 20u);
  EXPECT_EQ(a.attacker_photographs, 20);
  EXPECT_EQ(a.attacker_pictures, 20 * kViews + 20 * kViews / 4);
  EXPECT_EQ(a.targets.size(), 20u);
  EXPECT_EQ(std::set<int>(a.targets.begin(), a.targets.end()).size(), 20u);
  const auto plan =
      nlohmann::json::parse(std::string(AsText(*ReadFile(toy.options.out + "/state/plan.json", 1 << 20))));
  std::set<std::string> both(plan["photographs"].begin(), plan["photographs"].end());
  for (const auto& file : plan["attacker's photographs"]) EXPECT_TRUE(both.insert(file).second);
  EXPECT_EQ(both.size(), 40u);
}

TEST(Recover, AConstantTensorHasAnAucOfExactlyOneHalfAndIsSafe) {
  ToyRecovery toy("constant", {"nearest"});
  const Assessment a = toy.Result();
  ASSERT_EQ(a.cuts[2].name, "nothing");
  const AttackRun* run = Find(a, 2, "nearest");
  ASSERT_NE(run, nullptr);
  EXPECT_EQ(run->scores.auc.value, 0.5);
  EXPECT_EQ(run->scores.auc.lower, 0.5);
  EXPECT_EQ(run->scores.auc.upper, 0.5);
  for (const Score& score : run->differences) EXPECT_LE(score.estimate.upper, score.margin) << score.name;
  EXPECT_EQ(a.cuts[2].verdict.safety, Safety::kSafe);
  EXPECT_NEAR(*run->match, 1.0 / 20, 1e-6);  // all IRs are equal
}

TEST(Recover, KeepsPicturesOfTheFirstPhotographsForTheReport) {
  ToyRecovery toy("gallery", {"nearest"});
  const auto result = toy.Run();
  ASSERT_TRUE(result.ok() && result->has_value()) << result.status();
  const Gallery& gallery = (*result)->gallery;
  const Assessment& a = (*result)->assessment;
  EXPECT_EQ(gallery.photographs, std::vector<int>(a.targets.begin(), a.targets.begin() + 5));
  ASSERT_EQ(gallery.originals.size(), 5u);
  ASSERT_EQ(gallery.recovered.size(), 1 + a.cuts.size());  // the scores alone, then every cut
  for (size_t i = 0; i < gallery.recovered.size(); ++i) {
    const Recovered& recovered = gallery.recovered[i];
    EXPECT_EQ(recovered.cut, static_cast<int>(i) - 1);
    ASSERT_EQ(recovered.items.size(), 5u);
    const auto picture = DecodeImage(recovered.items[0].picture.bytes);
    ASSERT_TRUE(picture.ok());
    EXPECT_EQ(picture->width, static_cast<uint32_t>(kPictureSide));
  }
  // Pictures that somebody has removed leave the rest of the report as it is.
  for (const auto& entry : std::filesystem::recursive_directory_iterator(toy.options.out + "/attacks")) {
    if (entry.path().filename() == "reconstruction.npy") std::filesystem::remove(entry.path());
  }
  const auto again = toy.Run();
  ASSERT_TRUE(again.ok() && again->has_value()) << again.status();
  EXPECT_TRUE((*again)->gallery.recovered.empty());
}

TEST(Recover, TheMatchOfAnIrSucceedsWhereverIrsDiffer) {
  ToyRecovery toy("match", {"nearest"});
  const Assessment a = toy.Result();
  EXPECT_EQ(*Find(a, 0, "nearest")->match, 1);
  EXPECT_EQ(*Find(a, 1, "nearest")->match, 1);
}

TEST(Recover, AnAttackerWhoHasTheSamePicturesIsCaughtAndLeftOut) {
  ToyRecovery toy("same", {"nearest"}, 20);
  toy.options.attacker_images = toy.options.images;
  const auto result = toy.Run();
  EXPECT_THAT(MessageOf(result.status()), HasSubstr("no photograph is left for the attacker"));
}

// With noise nobody confirms a guess, and who averages views undoes it.
TEST(Recover, NoiseHindersAndViewsUndoIt) {
  const auto nearest = [](const std::string& name, double noise, int views) {
    ToyRecovery toy(name, {"nearest"});
    toy.options.ir_noise = noise;
    toy.options.ir_views = views;
    return toy.Result();
  };
  const Assessment clean = nearest("noise-0", 0, 1), noisy = nearest("noise-3", 3, 1),
                   many = nearest("noise-3-views", 3, 1'000'000);
  EXPECT_TRUE(Find(clean, 0, "nearest")->match.has_value());
  EXPECT_FALSE(Find(noisy, 0, "nearest")->match.has_value());
  EXPECT_NE(Find(noisy, 0, "nearest")->scores.ssim.value, Find(clean, 0, "nearest")->scores.ssim.value);
  EXPECT_NEAR(Find(many, 0, "nearest")->scores.ssim.value, Find(clean, 0, "nearest")->scores.ssim.value, 0.01);
  EXPECT_EQ(Find(noisy, 2, "nearest")->scores.auc.value, 0.5);  // a constant channel has no deviation

  ToyRecovery with_kl("noise-kl", {"kl", "nearest"});
  with_kl.options.ir_noise = 1;
  EXPECT_THAT(with_kl.Run().status().ToString(), HasSubstr("leave kl out"));
}

TEST(Recover, SaysWhatIsWrong) {
  const struct {
    std::string name, want;
    std::function<void(ToyRecovery&)> spoil;
  } kCases[] = {
      {"nowhere", "--attacker-images names a folder of photographs",
       [](ToyRecovery& t) { t.options.attacker_images = t.root_ + "/none"; }},
      {"no-pictures", "the attacker has 0 readable photographs of 1 files",
       [](ToyRecovery& t) {
         t.options.attacker_images = t.root_ + "/others";
         std::filesystem::create_directories(t.options.attacker_images);
         EXPECT_TRUE(WriteFileAtomic(t.options.attacker_images + "/a.txt", AsBytes("no picture")).ok());
       }},
      {"nan", "the model gives NaN or infinity at cut 'scores'",
       [](ToyRecovery& t) {
         t.model = ToyModel(INFINITY);
         t.options.cuts = {"pooled"};
       }},
      {"program", "/infenclave-attacks: No such file or directory",
       [](ToyRecovery& t) {
         t.options.attacks = {"patch"};
         t.options.attack_program = t.root_ + "/infenclave-attacks";
       }},
  };
  for (const auto& c : kCases) {
    ToyRecovery toy("wrong-" + c.name, {"nearest"});
    c.spoil(toy);
    const auto result = toy.Run();
    EXPECT_THAT(MessageOf(result.status()), HasSubstr(c.want)) << c.name;
  }
}

TEST(Recover, SkipsTheAttackersBadFilesByName) {
  ToyRecovery toy("skips", {"nearest"});
  toy.options.attacker_images = toy.root_ + "/others";
  WriteToyPhotographs(toy.options.attacker_images, 12, 7);
  EXPECT_TRUE(WriteFileAtomic(toy.options.attacker_images + "/bomb.png", AsBytes("\x89PNG\r\n\x1a\n")).ok());
  const Assessment a = toy.Result();
  EXPECT_EQ(a.photographs.size(), 40u);
  EXPECT_EQ(a.attacker_photographs, 12);
  ASSERT_EQ(a.skipped.size(), 1u);
  EXPECT_THAT(a.skipped[0].file, HasSubstr("bomb.png"));
}

// What a run keeps is what the next one starts from: its figures are the same, and nothing is computed twice.
TEST(Recover, GoesOnFromWhatIsThere) {
  ToyRecovery toy("again", {"nearest"});
  const Assessment first = toy.Result();
  const std::string picture = toy.options.out + "/attacks/001-same/nearest/reconstruction.npy";
  const auto made = std::filesystem::last_write_time(picture);
  std::filesystem::remove_all(toy.options.out + "/attacks/002-negative");
  const Assessment second = toy.Result();
  EXPECT_EQ(std::filesystem::last_write_time(picture), made);
  for (int cut = 0; cut < 5; ++cut) {
    EXPECT_EQ(Find(first, cut, "nearest")->scores.auc.lower, Find(second, cut, "nearest")->scores.auc.lower);
    EXPECT_EQ(Find(first, cut, "nearest")->scores.ssim.value, Find(second, cut, "nearest")->scores.ssim.value);
  }
}

TEST(Recover, AddingAnAttackKeepsWhatTheOthersFound) {
  ToyRecovery toy("more", {"nearest"});
  const Assessment without = toy.Result();
  EXPECT_FALSE(without.cuts[0].kl.has_value());
  toy.options.attacks = {"kl", "nearest", "label"};
  const Assessment with = toy.Result();
  ASSERT_TRUE(with.cuts[0].kl.has_value());
  EXPECT_EQ(with.cuts[0].kl->auc.value, 1);
  EXPECT_THAT(AttacksNotRun(with), ElementsAre("patch", "decoder", "whitebox"));
  ASSERT_TRUE(with.label.has_value());
  EXPECT_THAT(with.label->not_applicable, HasSubstr("the model has 4 classes, the public network 10"));
}

TEST(Recover, ShardsMergeToTheWhole) {
  ToyRecovery whole("whole", {"kl", "nearest"}), parts("parts", {"kl", "nearest"});
  parts.options.model_path = whole.options.model_path;
  parts.options.oracle_path = whole.options.oracle_path;
  const Assessment want = whole.Result();
  for (int i = 0; i < 3; ++i) {
    parts.options.shard = {i, 3};
    const auto part = parts.Run();
    ASSERT_TRUE(part.ok()) << part.status();
    EXPECT_FALSE(part->has_value());
  }
  parts.options.shard = {};
  parts.options.merge = true;
  const Assessment got = parts.Result();
  ASSERT_EQ(got.cuts.size(), want.cuts.size());
  for (size_t cut = 0; cut < want.cuts.size(); ++cut) {
    const AttackRun *a = Find(want, static_cast<int>(cut), "nearest"), *b = Find(got, static_cast<int>(cut), "nearest");
    ASSERT_TRUE(a != nullptr && b != nullptr);
    EXPECT_EQ(a->scores.psnr.value, b->scores.psnr.value);
    EXPECT_EQ(a->scores.auc.upper, b->scores.auc.upper);
  }
}

// The program is built where libtorch is; the folder is the build's.
std::string AttackProgram() {
  const std::string path = INFENCLAVE_BINARY_DIR "/infenclave-attacks";
  return ::access(path.c_str(), X_OK) == 0 ? path : "";
}

// Minutes of training: with INFENCLAVE_SLOW_TESTS set every attack, else those that need none.
TEST(Recover, EveryAttackOfImagesCallsTheIdentityUnsafeAndAConstantSafe) {
  const bool slow = std::getenv("INFENCLAVE_SLOW_TESTS") != nullptr;
  const std::vector<std::string> all = {"nearest", "patch", "decoder", "whitebox"}, cheap = {"nearest", "patch"};
  ToyRecovery toy("every", slow ? all : cheap);
  toy.options.attack_program = AttackProgram();
  if (toy.options.attack_program.empty()) GTEST_SKIP() << "infenclave-attacks is not built: libtorch is missing";
  toy.options.cuts = {"same", "nothing"};
  toy.options.exhaustive = true;
  toy.options.attack_steps = 20;
  toy.options.whitebox_images = 20;
  const Assessment a = toy.Result();
  ASSERT_EQ(a.cuts.size(), 2u);
  ASSERT_EQ(a.cuts[0].attacks.size(), toy.options.attacks.size());
  ASSERT_EQ(a.cuts[1].attacks.size(), toy.options.attacks.size());
  for (const AttackRun& run : a.cuts[0].attacks) {
    bool unsafe = false;
    for (const Score& score : run.differences) unsafe |= Judge(score) == Safety::kUnsafe;
    EXPECT_TRUE(unsafe) << run.attack;
  }
  for (const AttackRun& run : a.cuts[1].attacks) {
    EXPECT_EQ(run.scores.auc.value, 0.5) << run.attack;
    for (const Score& score : run.differences) {
      EXPECT_LE(score.estimate.upper, score.margin) << run.attack << ' ' << score.name;
    }
  }
  EXPECT_EQ(a.cuts[0].verdict.safety, Safety::kUnsafe);
  EXPECT_EQ(a.cuts[1].verdict.safety, Safety::kSafe);
  EXPECT_EQ(a.recommended, 1);
}

}  // namespace
}  // namespace infenclave
