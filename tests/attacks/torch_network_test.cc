// The graph in libtorch against the graph in the engine.
#include "attacks/torch_network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "graph/cuts.h"
#include "import/model.h"
#include "tests/engine/one_node.h"

namespace infenclave {
namespace {

using testing::Count;
using testing::GraphBuilder;

constexpr double kTolerance = 1e-4;  // of the largest magnitude

std::vector<float> RunTorch(const TorchNetwork& network, const std::vector<float>& input) {
  at::Tensor in = at::empty(network.input_shape());
  std::memcpy(in.data_ptr(), input.data(), input.size() * sizeof(float));
  const at::Tensor out = network.Forward(in).contiguous();
  EXPECT_EQ(Shape(out.sizes().begin(), out.sizes().end()), network.output_shape());
  return {out.data_ptr<float>(), out.data_ptr<float>() + out.numel()};
}

void ExpectSame(const Graph& graph, const std::string& what, float low = -1, float high = 1) {
  const StatusOr<TorchNetwork> network = TorchNetwork::Create(graph);
  ASSERT_TRUE(network.ok()) << what << ": " << network.status();
  const std::vector<float> input = testing::Random(Count(network->input_shape()), 7, low, high);
  const auto expected = testing::CompileAndRun(graph, {input});
  ASSERT_EQ(expected.size(), 1u) << what;
  testing::ExpectNear(RunTorch(*network, input), expected[0], kTolerance, what);
}

using Attributes = decltype(Node::attributes);
using Ints = std::vector<int64_t>;

struct OneNode {
  std::string op;
  Attributes attributes;
  std::vector<Shape> constants = {};  // further f32 inputs
  std::vector<Ints> lists = {};       // and after them i64 ones
  Shape input = {1, 4, 9, 8};
  float low = -1;
};

TEST(TorchNetwork, AgreesWithTheEngineByOperator) {
  const std::vector<OneNode> cases = {
      {"Conv", {{"pads", Ints{1, 1, 1, 1}}}, {{6, 4, 3, 3}, {6}}},
      {"Conv", {{"auto_pad", std::string("SAME_UPPER")}, {"strides", Ints{2, 2}}}, {{6, 4, 3, 3}}},
      {"Conv", {{"group", int64_t{4}}, {"dilations", Ints{2, 2}}}, {{4, 1, 3, 3}}},
      {"MaxPool", {{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"pads", Ints{0, 1, 1, 0}}}},
      {"MaxPool", {{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"ceil_mode", int64_t{1}}}},
      {"AveragePool", {{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}}},
      {"AveragePool", {{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}, {"count_include_pad", int64_t{1}}}},
      {"AveragePool", {{"kernel_shape", Ints{2, 3}}, {"strides", Ints{2, 2}}, {"ceil_mode", int64_t{1}}}},
      {"GlobalAveragePool", {}},
      {"GlobalMaxPool", {}},
      {"LRN", {{"size", int64_t{3}}, {"alpha", 0.5f}, {"beta", 0.75f}, {"bias", 2.0f}}},
      {"InstanceNormalization", {}, {{4}, {4}}},
      {"LayerNormalization", {{"axis", int64_t{2}}}, {{9, 8}, {9, 8}}},
      {"GroupNormalization", {{"num_groups", int64_t{2}}}, {{4}, {4}}},
      {"Softmax", {{"axis", int64_t{1}}}},
      {"LogSoftmax", {{"axis", int64_t{1}}}},
      {"ReduceMean", {{"axes", Ints{2, 3}}, {"keepdims", int64_t{0}}}},
      {"ReduceMax", {{"axes", Ints{1}}}},
      {"ReduceL2", {{"axes", Ints{1}}}},
      {"Relu", {}},
      {"LeakyRelu", {{"alpha", 0.2f}}},
      {"Elu", {}},
      {"Selu", {}},
      {"Celu", {{"alpha", 0.7f}}},
      {"Sigmoid", {}},
      {"HardSigmoid", {}},
      {"HardSwish", {}},
      {"Tanh", {}},
      {"Softplus", {}},
      {"Softsign", {}},
      {"Mish", {}},
      {"Gelu", {}},
      {"Gelu", {{"approximate", std::string("tanh")}}},
      {"ThresholdedRelu", {{"alpha", 0.3f}}},
      {"Erf", {}},
      {"Exp", {}},
      {"Sqrt", {}, {}, {}, {1, 4, 9, 8}, 0.1f},
      {"Abs", {}},
      {"PRelu", {}, {{4, 1, 1}}},
      {"Add", {}, {{1, 4, 1, 1}}},
      {"Sub", {}, {{4, 9, 8}}},
      {"Mul", {}, {{1, 4, 1, 1}}},
      {"Min", {}, {{1, 4, 9, 8}}},
      {"Max", {}, {{1, 4, 9, 8}}},
      {"Gemm", {{"transB", int64_t{1}}, {"alpha", 0.5f}, {"beta", 2.0f}}, {{5, 8}, {5}}, {}, {1, 8}},
      {"MatMul", {}, {{8, 5}}},
      {"Flatten", {}},
      {"Reshape", {}, {}, {{1, 2, 2, 72}}},
      {"Transpose", {{"perm", Ints{0, 2, 3, 1}}}},
      {"Slice", {}, {}, {{1, 8}, {3, 0}, {1, 2}, {1, -2}}},
      {"SpaceToDepth", {{"blocksize", int64_t{2}}}, {}, {}, {1, 3, 6, 4}},
      {"DepthToSpace", {{"blocksize", int64_t{2}}}, {}, {}, {1, 8, 3, 2}},
      {"DepthToSpace", {{"blocksize", int64_t{2}}, {"mode", std::string("CRD")}}, {}, {}, {1, 8, 3, 2}},
  };
  for (const OneNode& c : cases) {
    GraphBuilder builder;
    std::vector<ValueId> inputs = {builder.Input(c.input)};
    uint32_t seed = 11;
    for (const Shape& shape : c.constants)
      inputs.push_back(builder.Constant(shape, testing::Random(Count(shape), ++seed)));
    for (const Ints& list : c.lists) inputs.push_back(builder.Ints(list));
    ExpectSame(builder.Build({builder.Add(c.op, inputs, c.attributes)}), c.op, c.low);
  }
}

TEST(TorchNetwork, FusesActivationsAsTheEngineDoes) {
  using Kind = FusedActivation::Kind;
  for (const FusedActivation activation :
       {FusedActivation{Kind::kRelu}, FusedActivation{Kind::kClip, -0.2f, 0.5f}, FusedActivation{Kind::kSwish},
        FusedActivation{Kind::kSigmoid}, FusedActivation{Kind::kLeakyRelu, 0.1f}, FusedActivation{Kind::kHardSwish},
        FusedActivation{Kind::kElu, 1.5f}, FusedActivation{Kind::kTanh}, FusedActivation{Kind::kGelu},
        FusedActivation{Kind::kGelu, 1}, FusedActivation{Kind::kMish}}) {
    GraphBuilder builder;
    const ValueId input = builder.Input({1, 3, 5, 5}),
                  weights = builder.Constant({4, 3, 3, 3}, testing::Random(108, 3));
    ExpectSame(builder.Build({builder.Add("Conv", {input, weights}, {}, activation)}),
               Concat("activation ", static_cast<int>(activation.kind)));
  }
}

TEST(TorchNetwork, NamesWhatItLacks) {
  GraphBuilder builder;
  const Graph graph = builder.Build({builder.Add("Sign", {builder.Input({1, 3, 4, 4})})});
  const auto network = TorchNetwork::Create(graph);
  ASSERT_FALSE(network.ok());
  EXPECT_EQ(network.status().code(), StatusCode::kUnimplemented);
  EXPECT_EQ(MessageOf(network.status()), "Sign 'n0': not mapped to libtorch");
}

class RealNetworks : public ::testing::TestWithParam<std::pair<const char*, std::vector<size_t>>> {};

TEST_P(RealNetworks, AgreeWithTheEngineAtSeveralCuts) {
  const auto& [name, depths] = GetParam();
  const char* models = std::getenv("INFENCLAVE_MODELS");
  const bool converted = std::string_view(name).starts_with("efficientnet");
  const std::string folder = !converted          ? std::string(INFENCLAVE_SHARED_DIR) + "/models"
                             : models == nullptr ? ""
                                                 : models;
  const std::string path = folder + "/" + name;
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "SKIPPED: there is no " << name << " (set INFENCLAVE_MODELS to the folder of converted networks)";
  }
  const StatusOr<ImportedModel> model = ImportModel(path);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto cuts = CutPoints(model->graph);
  ASSERT_TRUE(cuts.ok()) << cuts.status();
  for (const size_t percent : depths) {
    const ValueId cut = (*cuts)[(cuts->size() - 1) * percent / 100];
    auto parts = SplitAt(model->graph, cut);
    ASSERT_TRUE(parts.ok()) << parts.status();
    ExpectSame(parts->front, Concat(name, " at ", model->graph.value(cut).name));
  }
}

INSTANTIATE_TEST_SUITE_P(All, RealNetworks,
                         ::testing::Values(std::pair{"efficientnet-lite0.onnx", std::vector<size_t>{0, 20, 60, 100}},
                                           std::pair{"mobilenet_v2.onnx", std::vector<size_t>{0, 20, 60, 100}},
                                           std::pair{"squeezenet1.1-fp16.onnx", std::vector<size_t>{0, 40, 100}}),
                         [](const auto& test) {
                           std::string text = test.param.first;
                           std::ranges::replace_if(text, ::ispunct, '_');
                           return text;
                         });

}  // namespace
}  // namespace infenclave
