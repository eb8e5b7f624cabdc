#include "assessment/assess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "assessment/assessment_json.h"
#include "assessment/remote_model.h"
#include "engine/compiled_network.h"
#include "nlohmann/json.hpp"
#include "oip/grpc_server.h"
#include "oip/infer.h"
#include "oip/service.h"
#include "tests/assessment/toy.h"

namespace infenclave {
namespace {

using ::testing::HasSubstr;

const ProgressFn kQuiet = [](std::string_view, int64_t, int64_t) {};

// One assessment of toys in a folder of its own.
class ToyAssessment {
 public:
  explicit ToyAssessment(const std::string& name, int photographs = 24) {
    root_ = ::testing::TempDir() + "/assess-test-" + name;
    std::filesystem::remove_all(root_);
    WriteToyPhotographs(root_ + "/images", photographs);
    for (const char* file : {"/model", "/oracle"}) EXPECT_TRUE(WriteFileAtomic(root_ + file, AsBytes(file)).ok());
    options.model_path = root_ + "/model";
    options.oracle_path = root_ + "/oracle";
    options.images = root_ + "/images";
    options.out = root_ + "/out";
    options.preprocessing = options.oracle_preprocessing = ToyPreprocessing(kToySide);
    options.threads = 2;
  }
  StatusOr<std::optional<AssessResult>> Run(const ProgressFn& progress = kQuiet) {
    options.model = &model;
    options.oracle = oracle;
    return Assess(options, progress);
  }
  AssessResult Result() {
    auto result = Run();
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(result.ok() && result->has_value());
    return result.ok() && result->has_value() ? **std::move(result) : AssessResult();
  }

  std::string root_;
  Graph model = ToyModel(), oracle = ToyOracle(10, 0.3f);
  AssessOptions options;
};

// assessment.json without what a clock or a thread count changes.
std::string Lasting(const Assessment& a) {
  auto json = nlohmann::json::parse(AssessmentToJson(a));
  json.erase("run");
  for (auto& cut : json["cuts"]) {
    cut["cost"]["frontnet"].erase("ms");
    cut["cost"]["backnet"].erase("ms");
  }
  return json.dump(1);
}

std::string MessageOfRun(ToyAssessment& toy) {
  const auto result = toy.Run();
  return result.ok() ? "OK" : std::string(result.status().message());
}

// V of a grey picture in [0,255], straight from the oracle's weights.
std::vector<double> AnswerTo(const Graph& oracle, const std::vector<double>& grey) {
  const auto w = oracle.constant(oracle.Find("w")).as<float>();
  const size_t classes = w.size() / (3 * grey.size());
  std::vector<double> p(classes);
  double sum = 0;
  for (size_t c = 0; c < classes; ++c) {
    double z = 0;
    for (size_t i = 0; i < 3 * grey.size(); ++i) z += grey[i % grey.size()] / 255 * w[i * classes + c];
    sum += p[c] = std::exp(z);
  }
  for (double& v : p) v /= sum;
  return p;
}

double Kl(const std::vector<double>& p, const std::vector<double>& q) {
  double kl = 0;
  for (size_t c = 0; c < p.size(); ++c) kl += p[c] * std::log(p[c] / q[c]);
  return kl;
}

TEST(Assess, DivergencesAreThoseWorkedOutByHand) {
  ToyAssessment toy("by-hand");
  const Assessment a = toy.Result().assessment;
  const int n = 24;
  ASSERT_EQ(static_cast<int>(a.photographs.size()), n);
  std::vector<std::vector<double>> answers, negatives;
  for (const Photograph& p : a.photographs) {
    const Image image = LoadImage(toy.options.images + "/" + p.file).value();
    std::vector<double> grey, negative;
    for (size_t i = 0; i < image.rgb.size(); i += 3) {
      grey.push_back(image.rgb[i]);
      negative.push_back(255 - image.rgb[i]);
    }
    answers.push_back(AnswerTo(toy.oracle, grey));
    negatives.push_back(AnswerTo(toy.oracle, negative));
  }
  const std::vector<double> uniform(10, 0.1);
  const std::vector<double> plain = AnswerTo(toy.oracle, std::vector<double>(kToySide * kToySide, 127.5));
  double hits = 0;
  for (int x = 0; x < n; ++x) {
    EXPECT_NEAR(a.photographs[x].bound, Kl(answers[x], uniform), 1e-5);
    EXPECT_NEAR(a.photographs[x].grey, Kl(answers[x], plain), 1e-5 * (1 + a.photographs[x].grey));
    EXPECT_NEAR(a.cuts[0].kl->photographs[x].d, 0, 1e-5);
    const double own = Kl(answers[x], negatives[x]);
    EXPECT_NEAR(a.cuts[1].kl->photographs[x].d, own, 1e-5 * (1 + own));
    for (int y = 0; y < n; ++y) hits += x != y && own < Kl(answers[x], negatives[y]);
  }
  EXPECT_NEAR(a.cuts[1].kl->auc.value, hits / (n * (n - 1)), 1e-12);
  // Three equal maps a photograph are shown once, maps without contrast once in all, photographs on top.
  EXPECT_EQ(a.cuts[0].kl->repeated, 2 * n);
  EXPECT_EQ(a.cuts[2].kl->constant, 3 * n);
  EXPECT_EQ(a.run.evaluations, 2 * n);
}

TEST(Assess, IdentityIsUnsafeAndAConstantIsSafe) {
  ToyAssessment toy("verdicts");
  const Assessment a = toy.Result().assessment;
  ASSERT_EQ(a.cuts.size(), 5u);
  EXPECT_EQ(a.cuts[0].name, "same");
  EXPECT_EQ(a.cuts[0].kl->auc.value, 1);
  EXPECT_EQ(a.cuts[0].kl->top1.value, 1);
  EXPECT_EQ(a.cuts[0].verdict.safety, Safety::kUnsafe);
  EXPECT_EQ(a.cuts[2].name, "nothing");
  EXPECT_EQ(a.cuts[2].kl->auc.value, 0.5);
  EXPECT_EQ(a.cuts[2].kl->auc.upper, 0.5);
  EXPECT_EQ(a.cuts[2].verdict.safety, Safety::kSafe);
  for (int vector : {3, 4}) {
    EXPECT_FALSE(a.cuts[vector].kl.has_value());
    EXPECT_EQ(a.cuts[vector].verdict.safety, Safety::kNotApplicable);
  }
  EXPECT_TRUE(a.provisional);
  ASSERT_GE(a.recommended, 1);
  EXPECT_EQ(a.cuts[a.recommended].verdict.safety, Safety::kSafe);
  const auto summary = ParseAssessmentSummary(AsBytes(AssessmentToJson(a)));
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->cut, a.cuts[a.recommended].name);
  EXPECT_EQ(summary->cuts[0].verdict, "unsafe");
  EXPECT_EQ(summary->cuts[4].verdict, "not applicable");
}

TEST(Assess, RepeatsWhateverTheNumberOfThreads) {
  ToyAssessment one("one-thread"), three("three-threads");
  one.options.threads = 1;
  three.options.threads = 3;
  three.options.model_path = one.options.model_path;
  three.options.oracle_path = one.options.oracle_path;
  EXPECT_EQ(Lasting(one.Result().assessment), Lasting(three.Result().assessment));
}

TEST(Assess, GoesOnAfterAnInterruptionWithTheSameResult) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  ToyAssessment whole("uninterrupted"), killed("killed");
  killed.options.model_path = whole.options.model_path;
  killed.options.oracle_path = whole.options.oracle_path;
  EXPECT_EXIT(killed
                  .Run([](std::string_view stage, int64_t done, int64_t total) {
                    if (stage == "maps" && done > total / 2) ::_exit(9);
                  })
                  .IgnoreError(),
              ::testing::ExitedWithCode(9), "");
  int records = 0;
  for (const auto& entry : std::filesystem::directory_iterator(killed.options.out + "/state/kl")) {
    records += entry.path().extension() == ".bin";
  }
  EXPECT_GT(records, 0);
  EXPECT_LT(records, 24);
  EXPECT_EQ(Lasting(killed.Result().assessment), Lasting(whole.Result().assessment));
}

TEST(Assess, ShardsMergeToTheWhole) {
  ToyAssessment whole("whole", 13), sharded("sharded", 13);
  sharded.options.model_path = whole.options.model_path;
  sharded.options.oracle_path = whole.options.oracle_path;
  sharded.options.merge = true;
  EXPECT_THAT(MessageOfRun(sharded), HasSubstr("has not been scored"));
  sharded.options.merge = false;
  for (int i = 0; i < 3; ++i) {
    sharded.options.shard = {i, 3};
    const auto part = sharded.Run();
    ASSERT_TRUE(part.ok()) << part.status();
    EXPECT_FALSE(part->has_value());
  }
  sharded.options.shard = {};
  sharded.options.merge = true;
  EXPECT_EQ(Lasting(sharded.Result().assessment), Lasting(whole.Result().assessment));
}

// The toys' oracle behind the Open Inference Protocol, as a server with an accelerator would be.
class OracleServer final : public OipModel {
 public:
  explicit OracleServer(const Graph& oracle, int64_t batch = -1)
      : info_{"judge",
              "3",
              "test",
              {{"image", "FP32", {batch, 3, kToySide, kToySide}}},
              {{"scores", "FP32", {batch, 10}}},
              {}},
        network_(CompiledNetwork::Compile(oracle, {}).value()) {
    auto server = GrpcServer::Start("127.0.0.1:0", {&service_}, 1 << 22);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  ~OracleServer() override { server_->Shutdown(std::chrono::seconds(1)); }
  const ModelInfo& info() const override { return info_; }
  bool ready() const override { return true; }
  void Infer(InferCall* call) override {
    const auto input = ReadInput(call->request(), "image", DType::kF32);
    if (!input.ok()) return call->Finish(input.status());
    const int64_t n = input->shape[0];
    std::vector<float> pictures(input->data.size() / sizeof(float)), scores(n * 10);
    std::memcpy(pictures.data(), input->data.data(), input->data.size());
    const std::lock_guard lock(mutex_);
    asked_ += n;
    for (int64_t i = 0; i < n; ++i) {
      const TensorView inputs[] = {{DType::kF32, {1, 3, kToySide, kToySide}, &pictures[i * 3 * kToySide * kToySide]}};
      const MutableTensorView outputs[] = {{DType::kF32, {1, 10}, &scores[i * 10]}};
      if (const Status status = network_.Run(inputs, outputs); !status.ok()) return call->Finish(status);
    }
    AddF32Output(call->response(), "scores", {n, 10},
                 {reinterpret_cast<const uint8_t*>(scores.data()), scores.size() * sizeof(float)},
                 FormOf(call->request()));
    call->Finish(OkStatus());
  }
  std::string Url() const { return Concat("grpc://", server_->address(), "/judge"); }
  int64_t asked() const { return asked_; }

 private:
  const ModelInfo info_;
  std::mutex mutex_;
  CompiledNetwork network_;
  int64_t asked_ = 0;
  OipService service_{"test", this};
  std::unique_ptr<GrpcServer> server_;
};

TEST(Assess, AnOracleOnAServerJudgesAsItDoesHere) {
  ToyAssessment here("oracle-here", 8);
  const Assessment want = here.Result().assessment;
  for (int64_t batch : {-1, 1}) {  // any, or one at a time
    const OracleServer server(here.oracle, batch);
    const auto remote = RemoteModel::Connect(server.Url());
    ASSERT_TRUE(remote.ok()) << remote.status();
    ToyAssessment there(Concat("oracle-there", batch), 8);
    there.options.model = &there.model;
    there.options.oracle = **remote;
    there.options.oracle_path = server.Url();
    const auto result = Assess(there.options, kQuiet);
    ASSERT_TRUE(result.ok()) << result.status();
    const Assessment& got = (*result)->assessment;
    EXPECT_GT(server.asked(), 8);
    for (size_t cut = 0; cut < want.cuts.size(); ++cut) {
      ASSERT_EQ(got.cuts[cut].kl.has_value(), want.cuts[cut].kl.has_value());
      if (!want.cuts[cut].kl) continue;
      EXPECT_NEAR(got.cuts[cut].kl->auc.value, want.cuts[cut].kl->auc.value, 1e-9);
      EXPECT_NEAR(got.cuts[cut].kl->ratio_median, want.cuts[cut].kl->ratio_median, 1e-4);
    }
  }
}

TEST(Assess, SaysWhatIsWrongWithAnOracleOnAServer) {
  const Graph oracle = ToyOracle(10, 0.3f);
  const OracleServer server(oracle);
  EXPECT_THAT(RemoteModel::Connect(server.Url() + "s").status().ToString(), HasSubstr("judges"));
  EXPECT_THAT(RemoteModel::Connect("grpc://127.0.0.1:1/judge").status().ToString(), HasSubstr("grpc://127.0.0.1:1"));
  EXPECT_THAT(RemoteModel::Connect("grpc://nowhere").status().ToString(), HasSubstr("is not grpc://HOST:PORT/MODEL"));
  const auto remote = RemoteModel::Connect(server.Url());
  ASSERT_TRUE(remote.ok()) << remote.status();
  EXPECT_THAT(Oracle::Create(**remote, ToyPreprocessing(16), 1).status().ToString(),
              HasSubstr("choose it with --oracle-preprocessing"));
}

TEST(Assess, SamplesMapsBySeedAndSaysSo) {
  const Value cut{"cut", DType::kF32, {1, 100, 4, 4}};
  const MapChoice a = ChooseMaps(cut, 8, 1), b = ChooseMaps(cut, 8, 1), c = ChooseMaps(cut, 8, 2);
  EXPECT_EQ(a.chosen.size(), 8u);
  EXPECT_EQ(a.chosen, b.chosen);
  EXPECT_NE(a.chosen, c.chosen);
  EXPECT_EQ(ChooseMaps(cut, 0, 1).chosen.size(), 100u);
  ToyAssessment toy("sample", 4);
  toy.options.maps = 1;
  const Assessment assessment = toy.Result().assessment;
  EXPECT_EQ(assessment.cuts[0].kl->scored, 1);
  EXPECT_EQ(assessment.cuts[0].kl->maps, 3);
}

TEST(Assess, ShowsTheMapsThatWereRecognisedMost) {
  ToyAssessment toy("exhibits", 6);
  const AssessResult result = toy.Result();
  ASSERT_EQ(result.exhibits.size(), 12u);  // four at each of three cuts
  for (const Exhibit& exhibit : result.exhibits) {
    const auto map = DecodeImage(exhibit.map_picture.bytes), photograph = DecodeImage(exhibit.photograph_picture.bytes);
    ASSERT_TRUE(map.ok() && photograph.ok());
    EXPECT_EQ(map->width, static_cast<uint32_t>(kToySide));
    EXPECT_EQ(exhibit.constant, exhibit.cut == 2);
    if (exhibit.cut != 0) continue;  // "same": the map is the photograph
    const Image image =
        LoadImage(toy.options.images + "/" + result.assessment.photographs[exhibit.photograph].file).value();
    EXPECT_EQ(map->rgb, image.rgb);
  }
}

TEST(Assess, SkipsWhatIsNoPhotographByName) {
  ToyAssessment toy("skips", 5);
  ASSERT_TRUE(WriteFileAtomic(toy.options.images + "/notes.txt", AsBytes("no picture")).ok());
  ASSERT_TRUE(WriteFileAtomic(toy.options.images + "/cut-short.png", AsBytes("\x89PNG\r\n\x1a\n")).ok());
  const Assessment a = toy.Result().assessment;
  EXPECT_EQ(a.photographs.size(), 5u);
  ASSERT_EQ(a.skipped.size(), 2u);
  EXPECT_EQ(a.skipped[0].file, "cut-short.png");
  EXPECT_EQ(a.skipped[1].file, "notes.txt");
  for (const Skipped& s : a.skipped) EXPECT_FALSE(s.reason.empty());
  EXPECT_EQ(a.cuts[2].kl->auc.value, 0.5);
}

TEST(Assess, SaysWhatIsWrong) {
  const struct {
    std::string name;
    int photographs;
    std::function<void(ToyAssessment&)> spoil;
    std::string want;
  } kCases[] = {
      {"empty", 0, [](ToyAssessment&) {}, "no files; --images names a folder of photographs"},
      {"one", 1, [](ToyAssessment&) {}, "1 of 1 files are photographs; at least 2 are needed"},
      {"nowhere", 2, [](ToyAssessment& t) { t.options.images += "/none"; }, "--images names a folder of photographs"},
      {"no-cut", 2, [](ToyAssessment& t) { t.options.cuts = {"sane"}; }, "sane"},
      {"labels", 2,
       [](ToyAssessment& t) {
         t.options.oracle_labels = {"a", "b"};
       },
       "the oracle has 10 classes, its labels are 2"},
      {"size", 2, [](ToyAssessment& t) { t.options.oracle_preprocessing = ToyPreprocessing(9); },
       "the oracle's input is [1,3,8,8], its preprocessing makes [1,3,9,9]"},
      {"front-size", 2, [](ToyAssessment& t) { t.options.preprocessing = ToyPreprocessing(9); },
       "the model's input is not the [1,3,9,9]"},
      {"model-nan", 2, [](ToyAssessment& t) { t.model = ToyModel(INFINITY); }, "NaN or infinity at cut 'same', map 0"},
      {"oracle-nan", 2, [](ToyAssessment& t) { t.oracle = ToyOracle(10, 1e38f); },
       "the oracle answers with NaN or infinity"},
  };
  for (const auto& c : kCases) {
    ToyAssessment toy("wrong-" + c.name, c.photographs);
    c.spoil(toy);
    EXPECT_THAT(MessageOfRun(toy), HasSubstr(c.want)) << c.name;
  }
}

// A disk that fills: here, files may not grow beyond a few bytes. What was computed stays, and the run goes on later.
TEST(Assess, KeepsWhatItHasWhenTheDiskIsFull) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  ToyAssessment toy("full", 8);
  const auto run_out_of_disk = [&toy] {
    std::signal(SIGXFSZ, SIG_IGN);
    std::atomic<bool> full = false;
    const auto result = toy.Run([&full](std::string_view stage, int64_t done, int64_t) {
      if (stage != "maps" || done < 20 || full.exchange(true)) return;
      const rlimit limit{16, 16};
      ::setrlimit(RLIMIT_FSIZE, &limit);
    });
    const std::string message = result.ok() ? "OK" : std::string(result.status().message());
    ::_exit(message.find("what was computed is kept in") != std::string::npos ? 7 : 1);
  };
  EXPECT_EXIT(run_out_of_disk(), ::testing::ExitedWithCode(7), "");
  for (const auto& entry : std::filesystem::directory_iterator(toy.options.out + "/state/kl")) {
    EXPECT_EQ(entry.path().extension(), ".bin") << "half-written: " << entry.path();
  }
  EXPECT_EQ(toy.Result().assessment.photographs.size(), 8u);
}

}  // namespace
}  // namespace infenclave
