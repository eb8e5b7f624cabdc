// The contract of CompiledNetwork itself: memory, threads, errors, subnormals.
#include "engine/compiled_network.h"

#include <map>
#include <sstream>
#include <thread>

#include "tests/engine/counting_memory.h"
#include "tests/engine/one_node.h"

namespace infenclave {
namespace {

using testing::CompileAndRun;
using testing::Count;
using testing::CountingMemory;
using testing::ExpectNear;
using testing::GraphBuilder;
using testing::Random;
using testing::RunNetwork;
using Ints = std::vector<int64_t>;

// A few layers of every kind a MobileNet has.
Graph SmallNetwork() {
  GraphBuilder g;
  FusedActivation relu6{FusedActivation::Kind::kClip, 0, 6};
  ValueId x = g.Add("Conv", {g.Input({1, 3, 32, 32}), g.Constant({16, 3, 3, 3}, Random(16 * 27, 1))},
                    {{"strides", Ints{2, 2}}, {"pads", Ints{0, 0, 1, 1}}}, relu6);
  ValueId y = g.Add("Conv", {x, g.Constant({48, 16, 1, 1}, Random(48 * 16, 2))}, {}, relu6);
  y = g.Add("Conv", {y, g.Constant({48, 1, 3, 3}, Random(48 * 9, 3))},
            {{"group", int64_t{48}}, {"pads", Ints{1, 1, 1, 1}}}, relu6);
  y = g.Add("Conv", {y, g.Constant({16, 48, 1, 1}, Random(16 * 48, 4))});
  x = g.Add("Add", {x, y});
  x = g.Add("Flatten", {g.Add("GlobalAveragePool", {x})});
  x = g.Add("Gemm", {x, g.Constant({10, 16}, Random(160, 5)), g.Constant({10}, Random(10, 6))},
            {{"transB", int64_t{1}}});
  return g.Build({x});
}

TEST(CompiledNetwork, TakesAllItsMemoryFromTheResourceAndGivesItBack) {
  CountingMemory memory;
  {
    StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(SmallNetwork(), {.memory = &memory});
    ASSERT_TRUE(network.ok()) << network.status();
    EXPECT_EQ(memory.live, network->arena_bytes() + network->weight_bytes());
    EXPECT_GE(network->weight_bytes(), 4 * (16 * 27 + 48 * 16 + 48 * 9 + 16 * 48 + 160 + 10));
    const size_t calls = memory.calls;
    RunNetwork(*network, {Random(3 * 32 * 32, 7)});
    EXPECT_EQ(memory.calls, calls) << "Run allocates";
  }
  EXPECT_EQ(memory.live, 0u);
}

TEST(CompiledNetwork, TooLittleMemoryIsAnError) {
  CountingMemory memory;
  memory.limit = 4096;
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(SmallNetwork(), {.memory = &memory});
  EXPECT_EQ(network.status().code(), StatusCode::kResourceExhausted) << network.status();
  EXPECT_EQ(memory.live, 0u);
}

TEST(CompiledNetwork, ABatchIsItsImagesOneByOne) {
  const Graph graph = SmallNetwork();
  const size_t in = 3 * 32 * 32, out = 10;
  std::vector<float> batch = Random(3 * in, 8), one_by_one;
  for (size_t i = 0; i < 3; ++i) {
    std::vector<float> image(batch.begin() + static_cast<std::ptrdiff_t>(i * in),
                             batch.begin() + static_cast<std::ptrdiff_t>((i + 1) * in));
    std::vector<float> scores = CompileAndRun(graph, {image})[0];
    ASSERT_EQ(scores.size(), out);
    one_by_one.insert(one_by_one.end(), scores.begin(), scores.end());
  }
  ExpectNear(CompileAndRun(graph, {batch}, {.batch = 3})[0], one_by_one, 1e-6, "batch of 3");
}

TEST(CompiledNetwork, TheGraphMayGoAway) {
  std::vector<float> x = Random(3 * 32 * 32, 9), expected = CompileAndRun(SmallNetwork(), {x})[0];
  auto graph = std::make_unique<Graph>(SmallNetwork());
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(*graph, {});
  graph.reset();
  CompiledNetwork moved = std::move(network).value();
  EXPECT_EQ(RunNetwork(moved, {x})[0], expected);
}

TEST(PackedWeights, LieInMemoryOnceForEveryLane) {
  const Graph graph = SmallNetwork();
  const std::vector<float> x = Random(3 * 32 * 32, 9), expected = CompileAndRun(graph, {x})[0];
  CountingMemory memory;
  {
    auto weights = std::make_shared<PackedWeights>();
    EngineOptions options{.memory = &memory, .weights = weights};
    auto first = std::make_unique<CompiledNetwork>(CompiledNetwork::Compile(graph, options).value());
    const size_t packed = first->weight_bytes();
    EXPECT_EQ(weights->bytes(), packed);
    EXPECT_EQ(weights->saved_bytes(), 0u);
    CompiledNetwork second = CompiledNetwork::Compile(graph, options).value();
    EXPECT_EQ(second.weight_bytes(), packed);
    EXPECT_EQ(weights->bytes(), packed);
    EXPECT_EQ(weights->saved_bytes(), packed);
    EXPECT_EQ(memory.live, packed + 2 * second.arena_bytes());
    // Whoever packed them may go.
    weights.reset(), options.weights.reset(), first.reset();
    EXPECT_EQ(memory.live, packed + second.arena_bytes());
    EXPECT_EQ(RunNetwork(second, {x})[0], expected);
  }
  EXPECT_EQ(memory.live, 0u);
}

TEST(PackedWeights, BatchesAndPrecisionsShareOnlyWhatIsAlike) {
  const Graph graph = SmallNetwork();
  const std::vector<float> x = Random(3 * 32 * 32, 9), xx = Random(2 * 3 * 32 * 32, 10);
  auto weights = std::make_shared<PackedWeights>();
  for (Precision precision : {Precision::kF32, Precision::kBf16, Precision::kF32}) {
    for (const std::vector<float>& in : {x, xx}) {
      EngineOptions options{.precision = precision, .batch = static_cast<int>(in.size() / x.size())};
      const std::vector<float> alone = CompileAndRun(graph, {in}, options)[0];
      options.weights = weights;
      EXPECT_EQ(CompileAndRun(graph, {in}, options)[0], alone) << NameOf(precision) << " " << options.batch;
    }
  }
  EXPECT_GT(weights->saved_bytes(), weights->bytes()) << "six networks, of which three or more are alike";
}

TEST(PackedWeights, AreCompleteOrAbsentWhenMemoryRunsOut) {
  const Graph graph = SmallNetwork();
  const std::vector<float> x = Random(3 * 32 * 32, 9), expected = CompileAndRun(graph, {x})[0];
  CountingMemory memory;
  memory.limit = 4096;
  EngineOptions options{.memory = &memory, .weights = std::make_shared<PackedWeights>()};
  EXPECT_EQ(CompiledNetwork::Compile(graph, options).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(options.weights->bytes(), 0u);
  memory.limit = SIZE_MAX;
  EXPECT_EQ(CompileAndRun(graph, {x}, options)[0], expected);
}

TEST(CompiledNetwork, MeasuresLayersOnceAProcess) {
  const Graph graph = SmallNetwork();
  const std::vector<float> x = Random(3 * 32 * 32, 9), expected = CompileAndRun(graph, {x})[0];
  ExpectNear(CompileAndRun(graph, {x}, {.measuring = std::chrono::seconds(1)})[0], expected, 1e-5, "measured");
  const std::string choices = LayerChoices();
  CompileAndRun(graph, {x}, {.measuring = std::chrono::seconds(1)});
  EXPECT_EQ(LayerChoices(), choices);
}

TEST(LayerChoices, HostileTextIsIgnored) {
  const std::string before = LayerChoices();
  AddLayerChoices("");
  AddLayerChoices("\n\n\t");
  AddLayerChoices("no tab");
  AddLayerChoices(std::string(10000, 'x') + "\t" + std::string(10000, 'y') + "\n");
  AddLayerChoices(std::string("a\0b\tc", 5));
  // An empty layer, and one of no network.
  EXPECT_LE(LayerChoices().size(), before.size() + 10);
  const std::vector<float> x = Random(3 * 32 * 32, 9);
  CompileAndRun(SmallNetwork(), {x}, {.measuring = std::chrono::seconds(1)});
  // Names that no layer has do not keep the layer from being computed.
  std::string wrong;
  std::istringstream lines(LayerChoices());
  for (std::string line; std::getline(lines, line);) wrong += line.substr(0, line.find('\t')) + "\tref:any\n";
  const std::string good = LayerChoices();
  AddLayerChoices(wrong);
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(SmallNetwork(), {.measuring = std::chrono::seconds(1)});
  ASSERT_TRUE(network.ok()) << network.status();
  for (const CompiledNetwork::Layer& layer : network->layers()) EXPECT_FALSE(layer.implementation.starts_with("ref"));
  AddLayerChoices(good);
}

TEST(CompiledNetwork, NetworksOfOneThreadEachRunSideBySide) {
  const Graph graph = SmallNetwork();
  std::vector<float> x = Random(3 * 32 * 32, 10), expected = CompileAndRun(graph, {x})[0];
  const auto weights = std::make_shared<PackedWeights>();
  std::vector<std::thread> threads;
  std::vector<std::vector<float>> results(4);
  for (auto& result : results) {
    threads.emplace_back([&] {
      StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(graph, {.weights = weights});
      for (int i = 0; i < 50 && network.ok(); ++i) result = RunNetwork(*network, {x})[0];
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

// The weight 2^-130 is subnormal, and so is 2^-126 x 2^-4: both count as zero on every thread, in the caller's as
// little as in OpenMP's. The caller's own arithmetic is as before afterwards.
TEST(CompiledNetwork, FlushesSubnormals) {
  for (int threads : {1, 2}) {
    const float tiny = std::ldexp(1.0f, -130), small = std::ldexp(1.0f, -126);
    GraphBuilder g;
    ValueId x = g.Input({1, 16, 64, 64});
    std::vector<float> identity(256, 0);
    for (size_t i = 0; i < 16; ++i) identity[i * 17] = std::ldexp(1.0f, -4);
    ValueId y = g.Add("Conv", {x, g.Constant({16, 16, 1, 1}, std::vector<float>(256, tiny))});
    ValueId z = g.Add("Conv", {x, g.Constant({16, 16, 1, 1}, identity)});
    Graph graph = g.Build({y, z});
    auto large = CompileAndRun(graph, {std::vector<float>(16 * 4096, std::ldexp(1.0f, 20))}, {.threads = threads});
    auto little = CompileAndRun(graph, {std::vector<float>(16 * 4096, small)}, {.threads = threads});
    EXPECT_EQ(large[0], std::vector<float>(16 * 4096, 0)) << threads;
    EXPECT_EQ(little[1], std::vector<float>(16 * 4096, 0)) << threads;
    volatile float v = small;
    EXPECT_NE(v / 16, 0) << "the caller's mode was changed";
  }
}

TEST(CompiledNetwork, InputsMayBeOutputsAndOutputsMayBeReadOrRepeated) {
  GraphBuilder g;
  ValueId in = g.Input({1, 4});
  ValueId r = g.Add("Relu", {in});
  ValueId s = g.Add("Sigmoid", {r});
  std::vector<float> x = {-1, 0, 1, 2}, relu = {0, 0, 1, 2}, sigmoid;
  for (float v : relu) sigmoid.push_back(1 / (1 + std::exp(-v)));
  auto out = CompileAndRun(g.Build({in, r, s, r, g.Constant({2}, {7, 8})}), {x});
  EXPECT_EQ(out[0], x);
  EXPECT_EQ(out[1], relu);
  ExpectNear(out[2], sigmoid, 1e-6, "sigmoid");
  EXPECT_EQ(out[3], relu);
  EXPECT_EQ(out[4], (std::vector<float>{7, 8}));
}

TEST(CompiledNetwork, RefusesOtherTensors) {
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(SmallNetwork(), {});
  ASSERT_TRUE(network.ok());
  std::vector<float> x(3 * 32 * 32), y(10);
  const TensorView in{DType::kF32, {1, 3, 32, 32}, x.data()};
  const MutableTensorView out{DType::kF32, {1, 10}, y.data()};
  auto run = [&](TensorView i, MutableTensorView o) { return network->Run({&i, 1}, {&o, 1}); };
  EXPECT_TRUE(run(in, out).ok());
  EXPECT_EQ(MessageOf(run({DType::kF32, {3, 32, 32}, x.data()}, out)),
            "input 0 is f32[3,32,32], expected f32[1,3,32,32]");
  EXPECT_EQ(MessageOf(run({DType::kU8, {1, 3, 32, 32}, x.data()}, out)),
            "input 0 is u8[1,3,32,32], expected f32[1,3,32,32]");
  EXPECT_EQ(MessageOf(run(in, {DType::kF32, {1, 10}, nullptr})),
            "output 0 is f32[1,10] without data, expected f32[1,10]");
  EXPECT_EQ(network->Run({}, {&out, 1}).code(), StatusCode::kInvalidArgument);
}

TEST(CompiledNetwork, SaysWhatItCannotCompute) {
  GraphBuilder g;
  ValueId y = g.Add("Frobnicate", {g.Input({1, 4})});
  Graph graph = g.Build({y});
  EXPECT_EQ(MessageOf(CompiledNetwork::Compile(graph, {}).status()),
            "Frobnicate 'n0': the engine does not compute this operator");
  EXPECT_EQ(MessageOf(CompiledNetwork::Compile(SmallNetwork(), {.precision = Precision::kInt8}).status()),
            "precision int8 needs a quantised network; `infenclave quantize` makes one");
  EXPECT_EQ(CompiledNetwork::Compile(SmallNetwork(), {.batch = 0}).status().code(), StatusCode::kInvalidArgument);
}

TEST(CompiledNetwork, ReportsWhatItBuilt) {
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(SmallNetwork(), {});
  ASSERT_TRUE(network.ok());
  EXPECT_EQ(network->path(), EffectiveIsa() + "/f32");
  // 2 per multiply-add of the convolutions and the Gemm, and some for bias, activation and pooling.
  const double macs = 16 * 27 * 256 + 2 * 48 * 16 * 256 + 48 * 9 * 256 + 160;
  EXPECT_GT(network->flops(), 2 * macs);
  EXPECT_LT(network->flops(), 2.3 * macs);
  for (const CompiledNetwork::Layer& layer : network->layers()) {
    EXPECT_NE(layer.op, "Add") << "the residual was not fused";
    EXPECT_FALSE(layer.implementation.starts_with("ref")) << layer.node << " " << layer.implementation;
  }
  StatusOr<CompiledNetwork> bf16 = CompiledNetwork::Compile(SmallNetwork(), {.precision = Precision::kBf16});
  ASSERT_TRUE(bf16.ok());
  EXPECT_EQ(bf16->path(), EffectiveIsa() + (HasBf16() ? "/bf16" : "/f32 (no bf16 here)"));
}

TEST(Precision, NamesAreReadBack) {
  for (Precision p : {Precision::kF32, Precision::kBf16, Precision::kInt8}) {
    EXPECT_EQ(ParsePrecision(NameOf(p)).value(), p);
  }
  EXPECT_EQ(MessageOf(ParsePrecision("f16").status()), "precision 'f16' is none of f32, bf16, int8");
}

}  // namespace
}  // namespace infenclave
