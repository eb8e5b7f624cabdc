// What quantize makes of a graph, and that it computes nearly the same; int8_test.py compares quantised networks with
// ONNX Runtime's.
#include "import/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/compiled_network.h"
#include "graph/cuts.h"
#include "graph/operators.h"
#include "graph/serialize.h"
#include "import/model.h"
#include "tests/import/onnx_builder.h"

namespace infenclave {
namespace {

std::vector<float> Random(size_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, 0.2f);
  std::vector<float> out(n);
  for (float& v : out) v = normal(rng);
  return out;
}

// Stem, a residual block, a pooled classifier, a Softmax that stays in f32.
Graph SmallNetwork() {
  OnnxBuilder b;
  b.Input("x", {1, 3, 16, 16}).Output("y");
  b.Floats("w1", {32, 3, 3, 3}, Random(32 * 27, 1));
  b.Floats("b1", {32}, Random(32, 2));
  b.Node("Conv", {"x", "w1", "b1"}, {"c1"});
  b.Node("Relu", {"c1"}, {"stem"});
  b.Floats("w2", {32, 32, 1, 1}, Random(32 * 32, 3));
  b.Node("Conv", {"stem", "w2"}, {"c2"});
  b.Node("Add", {"stem", "c2"}, {"sum"});
  OnnxBuilder::Set(b.Node("MaxPool", {"sum"}, {"pooled"}), "kernel_shape", std::vector<int64_t>{2, 2});
  b.Node("GlobalAveragePool", {"pooled"}, {"mean"});
  b.Node("Flatten", {"mean"}, {"flat"});
  b.Floats("w3", {32, 5}, Random(32 * 5, 4));
  b.Floats("b3", {5}, Random(5, 5));
  b.Node("Gemm", {"flat", "w3", "b3"}, {"scores"});
  b.Node("Softmax", {"scores"}, {"y"});
  StatusOr<ImportedModel> model = ImportOnnx(b.Encode(), "");
  EXPECT_TRUE(model.ok()) << model.status();
  return std::move(model->graph);
}

std::vector<float> ScoresOf(const Graph& graph) {
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(graph, {});
  EXPECT_TRUE(network.ok()) << network.status();
  const std::vector<float> x = Random(3 * 16 * 16, 9);
  std::vector<float> y(5);
  const TensorView in{DType::kF32, {1, 3, 16, 16}, x.data()};
  const MutableTensorView out{DType::kF32, {1, 5}, y.data()};
  EXPECT_TRUE(network->Run({&in, 1}, {&out, 1}).ok());
  return y;
}

std::map<ValueId, Range> AllRanges(const Graph& graph, Range range = {-4, 4}) {
  std::map<ValueId, Range> ranges;
  const StatusOr<std::vector<ValueId>> values = QuantizedValues(graph);
  EXPECT_TRUE(values.ok()) << values.status();
  for (ValueId id : *values) ranges[id] = range;
  return ranges;
}

std::vector<std::string> NamesOf(const Graph& graph, const std::vector<ValueId>& ids) {
  std::vector<std::string> names;
  for (ValueId id : ids) names.push_back(graph.value(id).name);
  return names;
}

const Node* Producing(const Graph& graph, std::string_view value) {
  const int producer = Producers(graph)[static_cast<size_t>(graph.Find(value))];
  return producer < 0 ? nullptr : &graph.nodes[static_cast<size_t>(producer)];
}

TEST(Quantize, TakesWhatLayersReadAndNothingElse) {
  const Graph graph = SmallNetwork();
  EXPECT_EQ(NamesOf(graph, QuantizedValues(graph).value()),
            (std::vector<std::string>{"x", "stem", "c2", "sum", "pooled", "mean", "flat"}));
}

TEST(Quantize, NetworkComputesNearlyTheSameInAQuarterOfTheBytes) {
  const Graph graph = SmallNetwork();
  StatusOr<Graph> quantized = Quantize(graph.Clone(), AllRanges(graph));
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  const std::vector<float> before = ScoresOf(graph), after = ScoresOf(*quantized);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before[i], after[i], 0.02) << i;
  EXPECT_NE(before, after) << "nothing was quantised";
  auto weights = [](const Graph& g) {
    size_t bytes = 0;
    for (const auto& [id, tensor] : g.constants) bytes += tensor->elements() >= 100 ? tensor->bytes() : 0;
    return bytes;
  };
  EXPECT_EQ(weights(*quantized) * 4, weights(graph));
}

TEST(Quantize, CutPointsKeepTheirNamesAndPartsComputeTheWhole) {
  const Graph graph = SmallNetwork();
  StatusOr<Graph> quantized = Quantize(graph.Clone(), AllRanges(graph));
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  StatusOr<std::vector<ValueId>> cuts = CutPoints(*quantized);
  ASSERT_TRUE(cuts.ok());
  EXPECT_EQ(NamesOf(*quantized, *cuts), NamesOf(graph, CutPoints(graph).value()));
  EXPECT_NE(MessageOf(FindCut(*quantized, "stem/dequantized").status()).find("it is cut before it is quantised"),
            std::string::npos)
      << FindCut(*quantized, "stem/dequantized").status();
  for (ValueId cut : *cuts) {
    StatusOr<Partition> parts = SplitAt(*quantized, cut);
    ASSERT_TRUE(parts.ok());
    for (Graph* part : {&parts->front, &parts->back}) {
      StatusOr<Bytes> stored = EncodeGraph(*part);
      ASSERT_TRUE(stored.ok()) << stored.status();
      EXPECT_TRUE(DecodeGraph(*stored).ok()) << DecodeGraph(*stored).status();
    }
  }
}

TEST(Quantize, RangesDecideTypesAndZeroPoints) {
  const Graph graph = SmallNetwork();
  struct {
    Range range;
    DType dtype;
    float scale;
    int zero;
  } cases[] = {{{0, 51}, DType::kU8, 0.2f, 0},    {{-12.7f, 10}, DType::kI8, 0.1f, 0}, {{-1, 50}, DType::kU8, 0.2f, 5},
               {{-50, 1}, DType::kU8, 0.2f, 250}, {{2, 25.5f}, DType::kU8, 0.1f, 0},   {{0, 0}, DType::kU8, 1e-12f, 0}};
  for (const auto& c : cases) {
    std::map<ValueId, Range> ranges = AllRanges(graph);
    ranges[graph.Find("stem")] = c.range;
    StatusOr<Graph> quantized = Quantize(graph.Clone(), ranges);
    ASSERT_TRUE(quantized.ok()) << quantized.status();
    StatusOr<QuantizationParameters> q = QuantizationOf({*quantized, *Producing(*quantized, "stem/quantized")});
    ASSERT_TRUE(q.ok()) << q.status();
    EXPECT_EQ(q->dtype, c.dtype) << c.range.low << " to " << c.range.high;
    EXPECT_EQ(q->zero, c.zero) << c.range.low << " to " << c.range.high;
    EXPECT_FLOAT_EQ(q->scales[0], c.scale);
  }
}

TEST(Quantize, PoolsAndViewsKeepTheScaleOfWhatTheyCarry) {
  const Graph graph = SmallNetwork();
  std::map<ValueId, Range> ranges = AllRanges(graph, {0, 2});
  ranges[graph.Find("pooled")] = {0, 3};
  ranges[graph.Find("flat")] = {-0.5f, 1};
  StatusOr<Graph> quantized = Quantize(graph.Clone(), ranges);
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  auto of = [&](const char* value) {
    return QuantizationOf({*quantized, *Producing(*quantized, std::string(value) + "/quantized")}).value();
  };
  EXPECT_FLOAT_EQ(of("sum").scales[0], 3.0f / 255);
  EXPECT_EQ(of("sum").scales, of("pooled").scales);
  EXPECT_EQ(of("mean").scales, of("flat").scales);
  EXPECT_NE(of("pooled").scales, of("mean").scales);
}

TEST(Quantize, SaysWhatIsInTheWay) {
  const Graph graph = SmallNetwork();
  std::map<ValueId, Range> ranges = AllRanges(graph);
  ranges.erase(graph.Find("c2"));
  EXPECT_EQ(MessageOf(Quantize(graph.Clone(), ranges).status()), "no range was observed for 'c2'");
  StatusOr<Graph> quantized = Quantize(graph.Clone(), AllRanges(graph));
  ASSERT_TRUE(quantized.ok());
  EXPECT_EQ(MessageOf(QuantizedValues(*quantized).status()),
            "QuantizeLinear 'x/quantized': the network is quantised already");
  OnnxBuilder b;
  b.Input("x", {1, 3, 4, 4}).Output("y").Node("Relu", {"x"}, {"y"});
  EXPECT_NE(MessageOf(QuantizedValues(ImportOnnx(b.Encode(), "")->graph).status()).find("to quantise"),
            std::string::npos);
}

TEST(RangeObserver, LeavesAFewOutliersOut) {
  std::vector<float> values(100000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1000) / 1000;
  values[17] = 50;
  values[18] = -1;
  values[19] = std::nanf("");
  RangeObserver observer;
  observer.ObserveExtremes(values);
  observer.ObserveHistogram(values);
  const Range range = observer.Choose();
  EXPECT_NEAR(range.high, 1, 0.03);
  EXPECT_NEAR(range.low, 0, 0.03);
}

}  // namespace
}  // namespace infenclave
