// Projections and noise at a cut, on networks of which it is known what matters.
#include "assessment/defence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/compiled_network.h"
#include "graph/cuts.h"
#include "graph/passes.h"
#include "tests/graph/build_graph.h"

namespace infenclave {
namespace {

using ::testing::HasSubstr;

constexpr int kSide = 8, kPhotographs = 12, kChannels = 4;
const std::function<void(double)> kQuiet = [](double) {};

std::vector<float> Normals(size_t count, double scale, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(scale * random.Normal());
  return values;
}

// image -> "cut", of four channels, the first with a hundred times the variance of the others -> 1x1 convolution that
// reads one direction of the last three, and not the first -> scores of 5 classes.
Graph Network() {
  GraphBuilder b;
  std::vector<float> first = Normals(4 * 3 * 3 * 3, 0.2, 1);
  for (int i = 0; i < 3 * 3 * 3; ++i) first[i] *= 10;
  ValueId x = b.Input("image", {1, 3, kSide, kSide});
  x = b.Op("Conv", {x, b.Floats("w1", {4, 3, 3, 3}, first), b.Floats("b1", {4}, {3, -1, 0, 2})}, "cut",
           {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  x = b.Op("Conv", {x, b.Floats("w2", {2, 4, 1, 1}, {0, 1, -2, .5f, 0, -2, 4, -1}), b.Floats("b2", {2}, {.1f, .2f})},
           "read");
  x = b.Op("Flatten", {x}, "flat");
  x = b.Op("Gemm", {x, b.Floats("w3", {2 * kSide * kSide, 5}, Normals(2 * kSide * kSide * 5, 0.1, 2))}, "scores");
  StatusOr<Graph> graph = InferShapes(b.Build({x}));
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

Status Load(int i, std::span<float> input) {
  Random random(static_cast<uint64_t>(i) + 1);
  for (float& v : input) v = static_cast<float>(random.Normal());
  return OkStatus();
}

std::vector<float> ScoresOf(const Graph& graph, int photograph) {
  CompiledNetwork network = CompiledNetwork::Compile(graph, {}).value();
  Tensor input(DType::kF32, network.input_shapes()[0]), output(DType::kF32, network.output_shapes()[0]);
  EXPECT_TRUE(Load(photograph, input.as<float>()).ok());
  const TensorView inputs[] = {input.view()};
  const MutableTensorView outputs[] = {output.mutable_view()};
  EXPECT_TRUE(network.Run(inputs, outputs).ok());
  const auto values = output.as<float>();
  return {values.begin(), values.end()};
}

StatusOr<Projection> Fit(const Graph& graph, int rank, const std::string& cut = "cut") {
  return FitProjection(graph, FindCut(graph, cut).value(), {.rank = rank, .photographs = kPhotographs}, Load, kQuiet);
}

Graph Narrowed(int rank) {
  Graph graph = Network();
  const auto projection = Fit(graph, rank);
  EXPECT_TRUE(projection.ok()) << projection.status();
  auto narrowed = InsertProjection(graph.Clone(), FindCut(graph, "cut").value(), *projection);
  EXPECT_TRUE(narrowed.ok()) << narrowed.status();
  return *std::move(narrowed);
}

// How far the scores of photographs that the projection has not seen are from those of the network as it was.
double ChangeOfScores(const Graph& defended) {
  double change = 0;
  for (int photograph = 100; photograph < 104; ++photograph) {
    const std::vector<float> before = ScoresOf(Network(), photograph), after = ScoresOf(defended, photograph);
    for (size_t i = 0; i < before.size(); ++i) change = std::max<double>(change, std::abs(before[i] - after[i]));
  }
  return change;
}

TEST(Defence, AllChannelsChangeNothing) {
  EXPECT_LT(ChangeOfScores(Narrowed(0)), 1e-4);
  EXPECT_LT(ChangeOfScores(Narrowed(kChannels)), 1e-3);
}

TEST(Defence, OneChannelIsEnoughForABackNetThatReadsOne) {
  const auto projection = Fit(Network(), 1);
  ASSERT_TRUE(projection.ok());
  EXPECT_GT(projection->kept, 0.999);
  const Graph narrowed = Narrowed(1);
  EXPECT_EQ(narrowed.value(FindCut(narrowed, NarrowedName("cut")).value()).shape, (Shape{1, 1, kSide, kSide}));
  // The three other directions, the one with nearly all of the variance among them, do not cross any more.
  EXPECT_LT(ChangeOfScores(narrowed), 0.02);
}

TEST(Defence, NarrowedChannelsHaveUnitDeviationAndMeanZero) {
  for (int rank : {0, 1, 3, kChannels}) {
    Graph graph = Narrowed(rank);
    graph.outputs = {FindCut(graph, NarrowedName("cut")).value()};
    const Graph front = RemoveDead(std::move(graph)).value();
    const int channels = static_cast<int>(front.value(front.outputs[0]).shape[1]), places = kSide * kSide;
    std::vector<double> sum(channels), square(channels);
    for (int photograph = 0; photograph < kPhotographs; ++photograph) {
      const std::vector<float> ir = ScoresOf(front, photograph);
      for (size_t i = 0; i < ir.size(); ++i) {
        sum[i / places] += ir[i];
        square[i / places] += static_cast<double>(ir[i]) * ir[i];
      }
    }
    for (int c = 0; c < channels; ++c) {
      EXPECT_NEAR(sum[c] / (kPhotographs * places), 0, 1e-3) << rank << ' ' << c;
      EXPECT_NEAR(square[c] / (kPhotographs * places), 1, 2e-3) << rank << ' ' << c;
    }
  }
}

StatusOr<IrCodes> CodesFor(const Graph& narrowed, int largest) {
  return FitCodes(narrowed, FindCut(narrowed, NarrowedName("cut")).value(), largest, kPhotographs, 1, 1, Load, kQuiet);
}

// The channels here are Gaussian. Of 16 levels at equal distances none lose less of one than those 0.3352 deviations
// apart, which lose 0.01154 of its square; of 256, 0.03076 apart (Max, Quantizing for Minimum Distortion, 1960; the
// latter by the same equations).
TEST(Defence, CodesLoseHardlyMoreThanTheBestWould) {
  const auto four = CodesFor(Narrowed(0), 15), eight = CodesFor(Narrowed(0), 255);
  ASSERT_TRUE(four.ok() && eight.ok()) << four.status() << eight.status();
  EXPECT_NEAR(four->step, 0.3352, 0.1);
  EXPECT_GT(four->error, 0.9 * std::sqrt(0.01154));
  EXPECT_LT(four->error, 1.25 * std::sqrt(0.01154));
  EXPECT_NEAR(eight->step, 0.03076, 0.01);
  EXPECT_LT(eight->error, 0.013);
}

TEST(Defence, RoundingIsToTheNearestCodeAndTiesAreEven) {
  const IrCodes codes{15, 0.5f, {}, 0};
  const std::pair<float, float> cases[] = {{0, 0},       {0.3f, 0.5f}, {0.25f, 0}, {0.75f, 1},
                                           {7.4f, 7.5f}, {99, 7.5f},   {-1, 0}};
  for (const auto& [value, rounded] : cases) EXPECT_EQ(Rounded(codes, value), rounded) << value;
}

TEST(Defence, ChannelsMovedToZeroChangeNothingAndCodesLittle) {
  const Graph graph = Network();
  const ValueId cut = FindCut(graph, "cut").value();
  for (int rank : {0, 3, kChannels}) {
    SCOPED_TRACE(rank);
    const Projection projection = Fit(graph, rank).value();
    const IrCodes codes = CodesFor(InsertProjection(graph.Clone(), cut, projection).value(), 255).value();
    const Graph moved = InsertProjection(graph.Clone(), cut, WithLowestAtZero(projection, codes.lowest)).value();
    const ValueId narrowed = FindCut(moved, NarrowedName("cut")).value();
    const double before = ChangeOfScores(InsertProjection(graph.Clone(), cut, projection).value());
    EXPECT_NEAR(ChangeOfScores(moved), before, 1e-3);
    const Graph rounding = InsertRounding(moved.Clone(), narrowed, codes).value();
    const Graph exact_front = UpTo(moved, narrowed).value();
    const Graph rounded_front = UpTo(rounding, FindCut(rounding, NarrowedName("cut")).value()).value();
    const std::vector<float> exact = ScoresOf(exact_front, 100), rounded = ScoresOf(rounded_front, 100);
    ASSERT_EQ(exact.size(), rounded.size());
    size_t below = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_NEAR(rounded[i], Rounded(codes, exact[i]), 1e-5);
      below += exact[i] < -codes.step;
    }
    EXPECT_LT(below, exact.size() / 8);  // most of what there is has a code
    EXPECT_LT(ChangeOfScores(rounding), before + 0.3);
    EXPECT_GT(ChangeOfScores(rounding), before);
  }
}

TEST(Defence, ItsPriceIsPaired) {
  const Graph graph = Network(), narrowed = Narrowed(0);
  std::vector<int64_t> truth;
  for (int i = 0; i < 200; ++i) {
    const std::vector<float> scores = ScoresOf(graph, i);
    truth.push_back(i % 4 == 0 ? -1 : std::max_element(scores.begin(), scores.end()) - scores.begin());
  }
  const auto free = PriceDefence(graph, narrowed, NarrowedName("cut"), 0, nullptr, truth, 1, 1, Load, kQuiet);
  ASSERT_TRUE(free.ok()) << free.status();
  EXPECT_EQ(free->same_top1.value, 1);
  EXPECT_EQ(free->labelled, 150);
  EXPECT_EQ(free->loss.value, 0);
  EXPECT_GT(free->loss.upper, 0);  // nothing was seen of 150
  const auto noisy = PriceDefence(graph, narrowed, NarrowedName("cut"), 2, nullptr, truth, 1, 1, Load, kQuiet);
  ASSERT_TRUE(noisy.ok()) << noisy.status();
  EXPECT_LT(noisy->same_top1.upper, 1);
  EXPECT_GT(noisy->loss.lower, 0);
  const IrCodes coarse{1, 1, {}, 0};  // one bit
  const auto rounded = PriceDefence(graph, narrowed, NarrowedName("cut"), 0, &coarse, truth, 1, 1, Load, kQuiet);
  ASSERT_TRUE(rounded.ok()) << rounded.status();
  EXPECT_GT(rounded->loss.lower, 0);
  EXPECT_DOUBLE_EQ(noisy->loss.value, noisy->before.value - noisy->after.value);
}

TEST(Defence, SaysWhatCannotBeNarrowed) {
  const Graph graph = Network();
  EXPECT_THAT(Fit(graph, 5).status().ToString(), HasSubstr("'cut' has 4 channels"));
  EXPECT_THAT(Fit(graph, 1, "flat").status().ToString(), HasSubstr("maps [1,C,H,W] can be narrowed"));
}

}  // namespace
}  // namespace infenclave
