#include "bundle/class_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>

#include "engine/compiled_network.h"
#include "import/model.h"
#include "tests/import/onnx_builder.h"

namespace infenclave {
namespace {

constexpr int64_t kClasses = 6;
const std::vector<uint32_t> kOrder = {3, 0, 5, 4, 1, 2};

// Values that differ everywhere.
std::vector<float> Ramp(size_t n, float step) {
  std::vector<float> out(n);
  for (size_t i = 0; i < n; ++i) out[i] = step * static_cast<float>((i * 7) % 11) - 0.3f;
  return out;
}

std::vector<float> ScoresOf(const Graph& graph) {
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(graph, {});
  EXPECT_TRUE(network.ok()) << network.status();
  if (!network.ok()) return {};
  Tensor in(DType::kF32, network->input_shapes()[0]), out(DType::kF32, network->output_shapes()[0]);
  std::vector<float> values = Ramp(in.as<float>().size(), 0.17f);
  std::copy(values.begin(), values.end(), in.as<float>().begin());
  const TensorView inputs[] = {in.view()};
  const MutableTensorView outputs[] = {out.mutable_view()};
  EXPECT_TRUE(network->Run(inputs, outputs).ok());
  return {out.as<float>().begin(), out.as<float>().end()};
}

struct Case {
  std::string name;
  std::function<void(OnnxBuilder&)> build;  // from x [1,3,4,4] or v [1,7] to y
  std::string refusal = {};                 // part of the message; empty: accepted
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

Graph Build(const Case& c) {
  OnnxBuilder b;
  c.build(b);
  StatusOr<ImportedModel> model = ImportOnnx(b.Encode(), "");
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? std::move(model->graph) : Graph();
}

void Vector(OnnxBuilder& b) { b.Input("v", {1, 7}).Output("y"); }
void Picture(OnnxBuilder& b) { b.Input("x", {1, 3, 4, 4}).Output("y"); }
void Weights(OnnxBuilder& b, const Shape& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  b.Floats("w", shape, Ramp(static_cast<size_t>(n), 0.11f));
}
void Bias(OnnxBuilder& b, const Shape& shape = {kClasses}) { b.Floats("b", shape, Ramp(kClasses, 0.7f)); }
void ClassConv(OnnxBuilder& b, const std::string& out) {
  Picture(b);
  Weights(b, {kClasses, 3, 1, 1});
  Bias(b);
  b.Node("Conv", {"x", "w", "b"}, {out});
}
void ClassGemm(OnnxBuilder& b, const std::string& out) {
  Vector(b);
  Weights(b, {7, kClasses});
  Bias(b);
  b.Node("Gemm", {"v", "w", "b"}, {out});
}

// One of the scores' layers in integers: weights and bias with a scale per class, and what goes in and comes out.
void Quantized(OnnxBuilder& b, const std::string& op, const std::string& in, const Shape& weights, int64_t axis) {
  std::vector<int> integers;
  for (float v : Ramp(static_cast<size_t>(*NumElements(weights)), 9)) integers.push_back(static_cast<int>(v));
  b.Integers("w8", onnx::TensorProto::INT8, weights, integers);
  b.Integers("b32", onnx::TensorProto::INT32, {kClasses}, {100, -2000, 3000, 40, 5, -600});
  b.Floats("step", {}, {0.01f});
  b.Floats("ws", {kClasses}, {0.01f, 0.03f, 0.02f, 0.05f, 0.04f, 0.015f});
  b.Floats("bs", {kClasses}, {1e-4f, 3e-4f, 2e-4f, 5e-4f, 4e-4f, 1.5e-4f});
  b.Floats("score_step", {}, {0.02f});
  b.Integers("zero", onnx::TensorProto::INT8, {}, {0});
  b.Node("QuantizeLinear", {in, "step", "zero"}, {"q"});
  b.Node("DequantizeLinear", {"q", "step", "zero"}, {"d"});
  OnnxBuilder::Set(b.Node("DequantizeLinear", {"w8", "ws"}, {"w"}), "axis", axis);
  OnnxBuilder::Set(b.Node("DequantizeLinear", {"b32", "bs"}, {"b"}), "axis", int64_t{0});
  b.Node(op, {"d", "w", "b"}, {"scores"});
  b.Node("QuantizeLinear", {"scores", "score_step", "zero"}, {"scores8"});
  b.Node("DequantizeLinear", {"scores8", "score_step", "zero"}, {"y"});
}

class ClassOrder : public testing::TestWithParam<Case> {};

TEST_P(ClassOrder, ScoresComeOutInTheDrawnOrderOrTheModelIsRefused) {
  Graph graph = Build(GetParam());
  ASSERT_FALSE(graph.outputs.empty());
  Graph copy = graph.Clone();
  StatusOr<Graph> permuted = PermuteClasses(std::move(copy), kOrder);
  if (!GetParam().refusal.empty()) {
    ASSERT_FALSE(permuted.ok());
    EXPECT_NE(MessageOf(permuted.status()).find(GetParam().refusal), std::string::npos) << permuted.status();
    return;
  }
  ASSERT_TRUE(permuted.ok()) << permuted.status();
  ASSERT_TRUE(Validate(*permuted).ok()) << Validate(*permuted);
  std::vector<float> scores = ScoresOf(graph), secret = ScoresOf(*permuted);
  ASSERT_EQ(scores.size(), kOrder.size());
  ASSERT_EQ(secret.size(), kOrder.size());
  EXPECT_NE(scores, secret);
  for (size_t i = 0; i < kOrder.size(); ++i) EXPECT_NEAR(secret[i], scores[kOrder[i]], 1e-5) << i;
}

const Case kCases[] = {
    {"Gemm", [](OnnxBuilder& b) { ClassGemm(b, "y"); }},
    {"GemmTransposed",
     [](OnnxBuilder& b) {
       Vector(b);
       Weights(b, {kClasses, 7});
       Bias(b, {1, kClasses});
       OnnxBuilder::Set(b.Node("Gemm", {"v", "w", "b"}, {"y"}), "transB", int64_t{1});
     }},
    {"GemmScalarBias",
     [](OnnxBuilder& b) {
       Vector(b);
       Weights(b, {7, kClasses});
       b.Floats("b", {1}, {2});
       b.Node("Gemm", {"v", "w", "b"}, {"y"});
     }},
    {"GemmInIntegers",
     [](OnnxBuilder& b) {
       Vector(b);
       Quantized(b, "Gemm", "v", {7, kClasses}, 1);
     }},
    {"ConvInIntegers",
     [](OnnxBuilder& b) {
       b.Input("x", {1, 3, 1, 1}).Output("y");
       Quantized(b, "Conv", "x", {kClasses, 3, 1, 1}, 0);
     }},
    {"MatMulAndAdd",
     [](OnnxBuilder& b) {
       Vector(b);
       Weights(b, {7, kClasses});
       Bias(b);
       b.Node("MatMul", {"v", "w"}, {"m"});
       b.Node("Add", {"b", "m"}, {"y"});
     }},
    {"SqueezeNetsHead",
     [](OnnxBuilder& b) {
       ClassConv(b, "c");
       b.Node("Relu", {"c"}, {"r"});
       b.Node("GlobalAveragePool", {"r"}, {"p"});
       b.Ints("shape", {0, -1});
       b.Node("Reshape", {"p", "shape"}, {"f"});
       b.Node("Softmax", {"f"}, {"y"});
     }},
    {"ConvAndReduceMean",
     [](OnnxBuilder& b) {
       ClassConv(b, "c");
       onnx::NodeProto& mean = b.Node("ReduceMean", {"c"}, {"y"});
       OnnxBuilder::Set(mean, "axes", std::vector<int64_t>{2, 3});
       OnnxBuilder::Set(mean, "keepdims", int64_t{0});
     }},
    {"MaxPoolAndSqueeze",
     [](OnnxBuilder& b) {
       ClassConv(b, "c");
       OnnxBuilder::Set(b.Node("MaxPool", {"c"}, {"p"}), "kernel_shape", std::vector<int64_t>{4, 4});
       b.Ints("axes", {2, 3});
       b.Node("Squeeze", {"p", "axes"}, {"y"});
     }},
    {"PerClassScaleAndShift",
     [](OnnxBuilder& b) {
       ClassGemm(b, "g");
       b.Floats("scale", {1, kClasses}, {1, 2, 3, 4, 5, 6});
       b.Floats("limit", {}, {0.5f});
       b.Node("Mul", {"g", "scale"}, {"m"});
       b.Node("Max", {"m", "limit"}, {"n"});
       b.Node("Sigmoid", {"n"}, {"y"});
     }},
    {"TwoHeadsAdded",
     [](OnnxBuilder& b) {
       ClassGemm(b, "g");
       b.Floats("w2", {7, kClasses}, Ramp(42, 0.05f));
       b.Node("MatMul", {"v", "w2"}, {"h"});
       b.Node("Add", {"g", "h"}, {"y"});
     }},
    {"TheSameHeadTwice",
     [](OnnxBuilder& b) {
       ClassGemm(b, "g");
       b.Node("Tanh", {"g"}, {"t"});
       b.Node("Mul", {"g", "t"}, {"y"});
     }},
    {"DepthwiseBehindTheClasses",
     [](OnnxBuilder& b) {
       ClassConv(b, "c");
       b.Floats("d", {kClasses, 1, 4, 4}, Ramp(16 * kClasses, 0.2f));
       OnnxBuilder::Set(b.Node("Conv", {"c", "d"}, {"e"}), "group", kClasses);
       b.Node("Flatten", {"e"}, {"y"});
     }},
    {"WeightsThatAnotherLayerReads",
     [](OnnxBuilder& b) {
       b.Input("v", {1, kClasses}).Output("y");
       Weights(b, {kClasses, kClasses});
       b.Node("MatMul", {"v", "w"}, {"h"});
       b.Node("Relu", {"h"}, {"r"});
       b.Node("MatMul", {"r", "w"}, {"y"});
     }},

    {"GatherWouldPublishTheOrder",
     [](OnnxBuilder& b) {
       ClassGemm(b, "g");
       b.Ints("indices", {5, 4, 3, 2, 1, 0});
       OnnxBuilder::Set(b.Node("Gather", {"g", "indices"}, {"y"}), "axis", int64_t{1});
     },
     "Gather 'node_y' lies between the last linear layer and the scores and mixes or moves the classes"},
    {"HalvesConcatenated",
     [](OnnxBuilder& b) {
       Vector(b);
       b.Floats("w", {7, 3}, Ramp(21, 0.1f));
       b.Floats("u", {7, 3}, Ramp(21, 0.2f));
       b.Node("MatMul", {"v", "w"}, {"g"});
       b.Node("MatMul", {"v", "u"}, {"h"});
       OnnxBuilder::Set(b.Node("Concat", {"g", "h"}, {"y"}), "axis", int64_t{1});
     },
     "Concat 'node_y'"},
    {"NoLinearLayer",
     [](OnnxBuilder& b) {
       b.Input("v", {1, kClasses}).Output("y");
       b.Node("Tanh", {"v"}, {"y"});
     },
     "no linear layer"},
    {"WeightsFromTheImage",
     [](OnnxBuilder& b) {
       b.Input("v", {1, kClasses}).Output("y");
       Weights(b, {kClasses, kClasses});
       b.Node("Mul", {"w", "v"}, {"u"});
       b.Node("MatMul", {"v", "u"}, {"y"});
     },
     "its weights are not constant"},
    {"ScoresFedBack",
     [](OnnxBuilder& b) {
       ClassGemm(b, "g");
       b.Floats("w2", {kClasses, kClasses}, Ramp(36, 0.05f));
       b.Node("MatMul", {"g", "w2"}, {"h"});
       b.Node("Add", {"g", "h"}, {"y"});
     },
     "MatMul 'node_h' reads scores"},
    {"GroupsOfClasses",
     [](OnnxBuilder& b) {
       b.Input("x", {1, 2, 1, 1}).Output("y");
       Weights(b, {kClasses, 1, 1, 1});
       OnnxBuilder::Set(b.Node("Conv", {"x", "w"}, {"c"}), "group", int64_t{2});
       b.Node("Relu", {"c"}, {"y"});
     },
     "has groups of classes"},
    {"ShapeThatNobodyDeclares",
     [](OnnxBuilder& b) {
       ClassGemm(b, "g");
       b.graph().clear_output();
       b.Output("y", {1, kClasses});
       b.Node("Einsum", {"g"}, {"e"});
       b.Node("Tanh", {"e"}, {"y"});
     },
     "Tanh 'node_y' lies between the last linear layer and the scores and has an input whose shape the file does not "
     "declare (run onnx.shape_inference on it)"},
    {"UnknownOperator",
     [](OnnxBuilder& b) {
       ClassGemm(b, "g");
       b.graph().clear_output();
       b.Output("y", {1, kClasses});
       b.Node("Einsum", {"g"}, {"y"});
     },
     "Einsum 'node_y' lies between the last linear layer and the scores and is an operator that is not known"},
};

INSTANTIATE_TEST_SUITE_P(Heads, ClassOrder, testing::ValuesIn(kCases),
                         [](const auto& instance) { return instance.param.name; });

TEST(DrawClassOrder, EveryOrderIsEquallyLikely) {
  std::map<std::vector<uint32_t>, int> counts;
  for (int i = 0; i < 12'000; ++i) ++counts[DrawClassOrder(4)];
  ASSERT_EQ(counts.size(), 24u);
  // 500 of each are expected; chi-squared with 23 degrees of freedom exceeds 62 once in 50 000 runs.
  double chi_squared = 0;
  for (const auto& [order, count] : counts) chi_squared += (count - 500.0) * (count - 500.0) / 500.0;
  EXPECT_LT(chi_squared, 62);
}

TEST(DrawClassOrder, IsAPermutation) {
  for (uint32_t n : {1u, 2u, 1000u}) {
    std::vector<uint32_t> order = DrawClassOrder(n);
    std::sort(order.begin(), order.end());
    for (uint32_t i = 0; i < n; ++i) EXPECT_EQ(order[i], i);
  }
}

TEST(StripFinalSoftmax, LeavesTheScoresBeforeIt) {
  auto head = [](const std::string& softmax) {
    return Build({"", [&](OnnxBuilder& b) {
                    ClassConv(b, "c");
                    b.Node("GlobalAveragePool", {"c"}, {"p"});
                    if (softmax.empty()) {
                      b.Node("Flatten", {"p"}, {"y"});
                      return;
                    }
                    OnnxBuilder::Set(b.Node(softmax, {"p"}, {"s"}), "axis", int64_t{1});
                    b.Node("Flatten", {"s"}, {"y"});
                  }});
  };
  std::vector<float> scores = ScoresOf(head(""));
  for (const char* softmax : {"Softmax", "LogSoftmax"}) {
    Graph whole = head(softmax);
    EXPECT_NE(ScoresOf(whole), scores);
    StatusOr<Graph> stripped = StripFinalSoftmax(std::move(whole));
    ASSERT_TRUE(stripped.ok()) << stripped.status();
    EXPECT_EQ(ScoresOf(*stripped), scores);
  }
}

TEST(StripFinalSoftmax, LeavesOthersAlone) {
  Graph graph = Build({"", [](OnnxBuilder& b) {
                         ClassGemm(b, "g");
                         b.Node("Softmax", {"g"}, {"s"});
                         b.Node("Tanh", {"s"}, {"y"});
                       }});
  size_t nodes = graph.nodes.size();
  StatusOr<Graph> stripped = StripFinalSoftmax(std::move(graph));
  ASSERT_TRUE(stripped.ok()) << stripped.status();
  EXPECT_EQ(stripped->nodes.size(), nodes);
}

TEST(CountClasses, OnlyAVectorOfScoresIsAClassifier) {
  for (auto [shape, wanted] : {std::pair<Shape, uint32_t>{{1, 7}, 7}, {{1, 7, 1, 1}, 7}, {{1, 1, 1, 7}, 7}}) {
    OnnxBuilder b;
    b.Input("x", shape).Output("y");
    b.Node("Relu", {"x"}, {"y"});
    StatusOr<ImportedModel> model = ImportOnnx(b.Encode(), "");
    ASSERT_TRUE(model.ok()) << model.status();
    StatusOr<uint32_t> classes = CountClasses(model->graph);
    ASSERT_TRUE(classes.ok()) << classes.status();
    EXPECT_EQ(*classes, wanted);
  }
  Graph map = Build({"", [](OnnxBuilder& b) {
                       Picture(b);
                       b.Node("Relu", {"x"}, {"y"});
                     }});
  EXPECT_EQ(MessageOf(CountClasses(map).status()),
            "output 'y' has the shape [1,3,4,4], expected [1,classes] with two classes or more");
}

}  // namespace
}  // namespace infenclave
