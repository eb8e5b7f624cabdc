#include "graph/operators.h"

#include <gtest/gtest.h>

#include <cctype>
#include <cmath>
#include <fstream>
#include <set>

#include "graph/passes.h"
#include "tests/graph/build_graph.h"

namespace infenclave {
namespace {

using I = std::vector<int64_t>;

struct ShapeCase {
  std::string op;
  std::vector<Shape> inputs;  // f32 inputs of the graph
  std::vector<I> lists;       // constant i64 lists after them
  Attributes attributes;
  std::string expected;  // the output's shape, or the error after "Op 'y': "
};

// The types of one node's outputs, or the error.
StatusOr<Graph> InferOne(const ShapeCase& c, size_t outputs = 1) {
  GraphBuilder b;
  std::vector<ValueId> inputs;
  for (const Shape& shape : c.inputs) inputs.push_back(b.Input(Concat("x", inputs.size()), shape));
  for (const I& list : c.lists) inputs.push_back(b.Ints(Concat("c", inputs.size()), list));
  std::vector<std::string> names = {"y"};
  for (size_t i = 1; i < outputs; ++i) names.push_back(Concat("y", i));
  return InferShapes(b.Build(b.Ops(c.op, inputs, names, c.attributes)));
}

std::string Outcome(const ShapeCase& c) {
  StatusOr<Graph> graph = InferOne(c);
  if (graph.ok()) return ToString(graph->value(graph->Find("y")).shape);
  std::string prefix = Concat(c.op, " 'y': "), message = MessageOf(graph.status());
  EXPECT_EQ(message.substr(0, prefix.size()), prefix);
  return message.substr(prefix.size());
}

class ShapeRules : public testing::Test {
 protected:
  void Expect(const std::vector<ShapeCase>& cases) {
    for (size_t i = 0; i < cases.size(); ++i) EXPECT_EQ(Outcome(cases[i]), cases[i].expected) << "case " << i;
  }
};

TEST_F(ShapeRules, Conv) {
  Shape image = {1, 3, 224, 224};
  Expect({
      {"Conv", {image, {32, 3, 3, 3}}, {}, {{"strides", I{2, 2}}, {"pads", I{0, 0, 1, 1}}}, "[1,32,112,112]"},
      {"Conv", {image, {32, 3, 3, 3}}, {}, {{"strides", I{2, 2}}, {"auto_pad", "SAME_UPPER"}}, "[1,32,112,112]"},
      {"Conv", {image, {32, 3, 3, 3}}, {}, {{"strides", I{2, 2}}, {"auto_pad", "VALID"}}, "[1,32,111,111]"},
      {"Conv", {{2, 8, 9, 9}, {8, 1, 5, 5}, {8}}, {}, {{"group", int64_t{8}}, {"pads", I{2, 2, 2, 2}}}, "[2,8,9,9]"},
      {"Conv", {{1, 8, 9, 9}, {6, 4, 3, 3}}, {}, {{"group", int64_t{2}}, {"dilations", I{2, 2}}}, "[1,6,5,5]"},
      {"Conv", {{1, 4, 10}, {2, 4, 3}}, {}, {}, "[1,2,8]"},
      {"Conv", {{1, 4, 5, 6, 7}, {2, 4, 1, 2, 3}}, {}, {}, "[1,2,5,5,5]"},
      {"Conv", {{1, 3, 1, 1}, {4, 3, 5, 5}}, {}, {{"pads", I{1, 1, 1, 1}}}, "kernel 5x5 exceeds padded input 3x3"},
      {"Conv", {{1, 3, 8, 8}, {4, 4, 3, 3}}, {}, {}, "weights [4,4,3,3] in 1 groups do not fit the input [1,3,8,8]"},
      {"Conv", {{1, 3, 8, 8}, {4, 3, 3, 3}, {3}}, {}, {}, "bias [3] is not [4]"},
      {"Conv",
       {{1, 3, 8, 8}, {4, 3, 3, 3}},
       {},
       {{"kernel_shape", I{5, 5}}},
       "kernel_shape 5x5 contradicts the weights [4,3,3,3]"},
      {"Conv",
       {{1, 3, 8, 8}, {4, 3, 3, 3}},
       {},
       {{"strides", I{0, 1}}},
       "attribute 'strides' has the entry 0, expected 1 to 1048576"},
      {"Conv", {{1, 3, 8, 8}, {4, 3, 3, 3}}, {}, {{"pads", I{1, 1}}}, "attribute 'pads' has 2 entries, expected 4"},
      {"Conv", {{1, 3, 8, 8}, {4, 3, 3, 3}}, {}, {{"winograd", int64_t{1}}}, "attribute 'winograd' is not supported"},
      {"Conv", {{1, 3, 8, 8}}, {}, {}, "has 1 inputs, expected 2 to 3"},
      {"Conv", {{1, 3, 8, 8}}, {{1, 2}}, {}, "input 1 is i64, expected f32"},
  });
}

// The cases of ceil_mode are those of PyTorch's documentation of its output size: a last window that would start in the
// padding does not count.
TEST_F(ShapeRules, Pooling) {
  auto pool = [](I kernel, I strides, I pads, int64_t ceil) -> Attributes {
    return {{"kernel_shape", kernel}, {"strides", strides}, {"pads", pads}, {"ceil_mode", ceil}};
  };
  Expect({
      {"MaxPool", {{1, 64, 112, 112}}, {}, pool({3, 3}, {2, 2}, {1, 1, 1, 1}, 0), "[1,64,56,56]"},
      {"MaxPool", {{1, 64, 111, 111}}, {}, pool({3, 3}, {2, 2}, {0, 0, 0, 0}, 0), "[1,64,55,55]"},
      {"MaxPool", {{1, 64, 112, 112}}, {}, pool({3, 3}, {2, 2}, {0, 0, 0, 0}, 1), "[1,64,56,56]"},
      {"AveragePool", {{1, 1, 2, 2}}, {}, pool({1, 1}, {2, 2}, {0, 0, 0, 0}, 1), "[1,1,1,1]"},
      {"AveragePool", {{1, 1, 4, 4}}, {}, pool({2, 2}, {3, 3}, {1, 1, 1, 1}, 1), "[1,1,2,2]"},
      {"MaxPool", {{1, 1, 5, 5}}, {}, {{"kernel_shape", I{2, 2}}, {"auto_pad", "SAME_LOWER"}}, "[1,1,5,5]"},
      {"MaxPool",
       {{1, 1, 5, 5}},
       {},
       pool({2, 2}, {1, 1}, {2, 2, 2, 2}, 0),
       "padding 2 is not smaller than the kernel's 2"},
      {"MaxPool", {{1, 1, 5, 5}}, {}, {}, "attribute 'kernel_shape' has 0 entries, expected 2"},
      {"GlobalAveragePool", {{8, 1280, 7, 7}}, {}, {}, "[8,1280,1,1]"},
      {"GlobalAveragePool", {{8, 1280}}, {}, {}, "input [8,1280] has no spatial dimension"},
  });
}

TEST_F(ShapeRules, MatricesAndReductions) {
  int64_t one = 1;
  Expect({
      {"Gemm", {{2, 5}, {3, 5}, {3}}, {}, {{"transB", one}}, "[2,3]"},
      {"Gemm", {{5, 2}, {5, 3}}, {}, {{"transA", one}}, "[2,3]"},
      {"Gemm", {{2, 5}, {3, 5}}, {}, {}, "inputs [2,5] and [3,5] do not multiply"},
      {"Gemm", {{2, 5}, {5, 3}, {2}}, {}, {}, "bias [2] does not broadcast to [2,3]"},
      {"MatMul", {{4, 1, 2, 5}, {3, 5, 7}}, {}, {}, "[4,3,2,7]"},
      {"MatMul", {{5}, {5, 7}}, {}, {}, "[7]"},
      {"MatMul", {{2, 5}, {5}}, {}, {}, "[2]"},
      {"ReduceMean", {{1, 8, 7, 7}}, {{-1, 2}}, {}, "[1,8,1,1]"},
      {"ReduceMean", {{1, 8, 7, 7}}, {}, {{"axes", I{2, 3}}, {"keepdims", int64_t{0}}}, "[1,8]"},
      {"ReduceMean", {{1, 8, 7, 7}}, {{2, -2}}, {}, "an axis is named twice"},
      {"ReduceSum", {{2, 3}}, {}, {}, "[1,1]"},
      {"Softmax", {{2, 3}}, {}, {{"axis", int64_t{2}}}, "axis 2 is out of range for rank 2"},
  });
}

TEST_F(ShapeRules, Broadcasting) {
  Expect({
      {"Add", {{1, 8, 7, 7}, {8, 1, 1}}, {}, {}, "[1,8,7,7]"},
      {"Mul", {{2, 1}, {1, 3}}, {}, {}, "[2,3]"},
      {"Add", {{1, 8, 7, 7}, {8}}, {}, {}, "shapes [1,8,7,7] and [8] do not broadcast"},
      {"Add", {{2}}, {{1, 2}}, {}, "inputs are f32 and i64"},
      {"PRelu", {{1, 8, 7, 7}, {8, 1, 1}}, {}, {}, "[1,8,7,7]"},
      {"PRelu", {{8, 1, 1}, {1, 8, 7, 7}}, {}, {}, "slope [1,8,7,7] does not broadcast to the input [8,1,1]"},
      {"BatchNormalization", {{1, 8, 7, 7}, {8}, {8}, {8}, {7}}, {}, {}, "input 4 is [7], expected [8]"},
  });
}

TEST_F(ShapeRules, Layout) {
  int64_t max = std::numeric_limits<int64_t>::max(), min = std::numeric_limits<int64_t>::min();
  Expect({
      {"Reshape", {{2, 8, 7, 7}}, {{0, -1}}, {}, "[2,392]"},
      {"Reshape", {{2, 6}}, {{2, 2, 3}}, {}, "[2,2,3]"},
      {"Reshape", {{2, 6}}, {{2, 5}}, {}, "cannot reshape [2,6] to [2,5]"},
      {"Reshape", {{2, 6}}, {{-1, -1}}, {}, "cannot reshape [2,6] to [-1,-1]"},
      {"Flatten", {{2, 8, 7, 7}}, {}, {}, "[2,392]"},
      {"Flatten", {{2, 8, 7, 7}}, {}, {{"axis", int64_t{-1}}}, "[112,7]"},
      {"Squeeze", {{2, 8, 1, 1}}, {{2, 3}}, {}, "[2,8]"},
      {"Squeeze", {{1, 8, 1, 2}}, {}, {}, "[8,2]"},
      {"Squeeze", {{2, 8, 1, 2}}, {{3}}, {}, "cannot squeeze axis 3 of [2,8,1,2]"},
      {"Unsqueeze", {{2, 8}}, {{-1, 0}}, {}, "[1,2,8,1]"},
      {"Unsqueeze", {{2, 8}}, {{2, 3, 4, 5, 6, 7, 8}}, {}, "rank 9 exceeds 8"},
      {"Reshape", {{2, 8}}, {I(17, 1)}, {}, "'c1' has 17 entries, expected at most 16"},
      {"Transpose", {{1, 224, 224, 3}}, {}, {{"perm", I{0, 3, 1, 2}}}, "[1,3,224,224]"},
      {"Transpose", {{2, 3}}, {}, {}, "[3,2]"},
      {"Transpose", {{2, 3}}, {}, {{"perm", I{0, 0}}}, "perm [0,0] does not permute [2,3]"},
      {"Concat", {{1, 2, 7}, {1, 3, 7}}, {}, {{"axis", int64_t{1}}}, "[1,5,7]"},
      {"Concat",
       {{1, 2, 7}, {1, 3, 8}},
       {},
       {{"axis", int64_t{1}}},
       "inputs [1,2,7] and [1,3,8] differ outside axis 1"},
      {"Pad", {{1, 3, 8, 8}}, {{0, 0, 1, 2, 0, 0, 3, 4}}, {}, "[1,3,12,14]"},
      {"Pad", {{1, 3, 8, 8}}, {{0, 1}}, {}, "pads has 2 entries, expected 8"},
      {"Pad",
       {{1, 3, 8, 8}},
       {{0, 0, 8, 0, 0, 0, 0, 0}},
       {{"mode", "reflect"}},
       "cannot pad [1,3,8,8] by 8 and 0 on axis 2 in mode reflect"},
      {"Slice", {{1, 10, 8}}, {{1}, {max}, {1}}, {}, "[1,9,8]"},
      {"Slice", {{1, 10, 8}}, {{-1}, {min}, {1}, {-3}}, {}, "[1,4,8]"},
      {"Slice", {{1, 10, 8}}, {{5}, {5}, {1}}, {}, "[1,0,8]"},
      {"Slice", {{1, 10, 8}}, {{0}, {5}, {1}, {0}}, {}, "step is 0"},
      {"Gather", {{5, 4}}, {{0, 2, 4}}, {{"axis", int64_t{0}}}, "[3,4]"},
      {"Expand", {{3, 1}}, {{2, 1, 6}}, {}, "[2,3,6]"},
      {"Expand", {{3, 1}}, {{1 << 20, 3, 1 << 20}}, {}, "shape [1048576,3,1048576] has more than 2^40 elements"},
      {"Expand", {{1}}, {{1 << 20, 1 << 12}}, {}, "shape [1048576,4096] has more than 2^31 elements"},
      {"Reshape", {{2, 6}, {2}}, {}, {}, "input 1, 'x1', depends on the image"},
  });
}

TEST_F(ShapeRules, NormalisationBlocksAndResize) {
  Expect({
      {"LRN", {{1, 8, 7, 7}}, {}, {{"size", int64_t{5}}}, "[1,8,7,7]"},
      {"LRN", {{1, 8, 7, 7}}, {}, {}, "size is 0, expected at least 1"},
      {"InstanceNormalization", {{1, 8, 7, 7}, {8}, {7}}, {}, {}, "input 2 is [7], expected [8]"},
      {"LayerNormalization", {{1, 49, 96}, {96}, {96}}, {}, {}, "[1,49,96]"},
      {"LayerNormalization", {{1, 49, 96}, {49}}, {}, {}, "input 1 is [49], expected [96]"},
      {"GroupNormalization",
       {{1, 8, 7, 7}, {8}, {8}},
       {},
       {{"num_groups", int64_t{3}}},
       "channels of [1,8,7,7] do not divide into 3 groups"},
      {"DepthToSpace", {{1, 8, 2, 3}}, {}, {{"blocksize", int64_t{2}}}, "[1,2,4,6]"},
      {"SpaceToDepth", {{1, 2, 4, 6}}, {}, {{"blocksize", int64_t{2}}}, "[1,8,2,3]"},
      {"SpaceToDepth",
       {{1, 2, 5, 6}},
       {},
       {{"blocksize", int64_t{2}}},
       "blocksize 2 does not divide the input [1,2,5,6]"},
      {"Tile", {{1, 2}}, {{3, 2}}, {}, "[3,4]"},
      {"Gelu", {{1, 4}}, {}, {{"approximate", "sigmoid"}}, "approximate is 'sigmoid', expected none or tanh"},
      {"Resize", {{1, 2, 4, 6}}, {}, {}, "neither scales nor sizes are constant"},
  });
}

TEST(ShapeRulesOfResize, ScalesAndSizesAgreeAndABatchSizeInSizesIsNone) {
  for (bool sized : {false, true}) {
    GraphBuilder b;
    ValueId x = b.Input("x", {1, 2, 4, 6});
    ValueId scales = sized ? kNoValue : b.Floats("scales", {4}, {1, 1, 2, 1.5f});
    ValueId y = b.Op("Resize", {x, kNoValue, scales, sized ? b.Ints("sizes", {1, 2, 8, 9}) : kNoValue}, "y");
    StatusOr<Graph> graph = WithBatch(b.Build({y}), 3);
    ASSERT_TRUE(graph.ok()) << graph.status();
    EXPECT_EQ(graph->value(graph->Find("y")).shape, (Shape{3, 2, 8, 9}));
  }
}

TEST(ShapeRulesOfSeveralOutputs, SplitDividesEvenlyOrAsTold) {
  StatusOr<Graph> even = InferOne({"Split", {{1, 7}}, {}, {{"axis", int64_t{1}}, {"num_outputs", int64_t{2}}}, ""}, 2);
  ASSERT_TRUE(even.ok()) << even.status();
  EXPECT_EQ(even->value(even->Find("y")).shape, (Shape{1, 4}));
  EXPECT_EQ(even->value(even->Find("y1")).shape, (Shape{1, 3}));
  StatusOr<Graph> told = InferOne({"Split", {{1, 7}}, {{2, 5}}, {{"axis", int64_t{1}}}, ""}, 2);
  ASSERT_TRUE(told.ok()) << told.status();
  EXPECT_EQ(told->value(told->Find("y1")).shape, (Shape{1, 5}));
  EXPECT_EQ(MessageOf(InferOne({"Split", {{1, 7}}, {{2, 6}}, {{"axis", int64_t{1}}}, ""}, 2).status()),
            "Split 'y': the parts do not add up to 7");
}

TEST(ShapeRulesOfSeveralOutputs, AnUnsupportedOutputIsAnErrorOnlyIfItIsRead) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 3, 8, 8});
  std::vector<ValueId> out = b.Ops("MaxPool", {x}, {"y", "indices"}, {{"kernel_shape", I{2, 2}}});
  Graph graph = b.Build({out[0]}), reads_both = graph.Clone();
  StatusOr<Graph> inferred = InferShapes(std::move(graph));
  ASSERT_TRUE(inferred.ok()) << inferred.status();
  EXPECT_EQ(inferred->nodes[0].outputs[1], kNoValue);
  reads_both.outputs.push_back(out[1]);
  EXPECT_EQ(MessageOf(InferShapes(std::move(reads_both)).status()),
            "MaxPool 'y': output 1, 'indices', is not supported");
}

TEST(OperatorTable, IsSortedWithoutDuplicatesAndEveryRowHasAShapeRule) {
  std::vector<std::string_view> names = OperatorNames();
  EXPECT_TRUE(std::adjacent_find(names.begin(), names.end(), std::greater_equal<>()) == names.end());
  for (std::string_view name : names) EXPECT_NE(FindOperator("", name)->infer, nullptr) << name;
  EXPECT_EQ(FindOperator("", "Attention"), nullptr);
  EXPECT_EQ(FindOperator("com.microsoft", "Conv"), nullptr);
}

// The second column of the tables of docs/models.md, down to Darknet's part.
TEST(Operators, AreThoseThatTheDocumentationLists) {
  std::ifstream file(std::string(INFENCLAVE_SOURCE_DIR) + "/docs/models.md");
  ASSERT_TRUE(file.good());
  std::set<std::string> listed;
  for (std::string line; std::getline(file, line) && line != "## Darknet";) {
    const size_t first = line.find('|', 1);
    if (!line.starts_with('|') || first == std::string::npos) continue;
    std::string word;
    for (char c : line.substr(first)) {
      if (std::isalnum(static_cast<unsigned char>(c))) {
        word += c;
        continue;
      }
      if (!word.empty() && std::isupper(static_cast<unsigned char>(word[0]))) listed.insert(word);
      word.clear();
    }
  }
  std::set<std::string> known = {"Swish", "Upsample"};  // a spelling, and the old name of Resize
  for (std::string_view name : OperatorNames()) known.emplace(name);
  EXPECT_EQ(listed, known);
}

// Python's math module on the formulas of ONNX's documentation, in double.
TEST(ScalarFunctions, AgreeWithTheirFormulasInDouble) {
  struct Case {
    std::string op;
    float at_minus_1_5, at_0_75;
  } cases[] = {
      {"Relu", 0, 0.75f},
      {"LeakyRelu", -0.015f, 0.75f},
      {"Elu", -0.77686984f, 0.75f},
      {"Selu", -1.36581435f, 0.788025741f},
      {"Sigmoid", 0.182425524f, 0.679178699f},
      {"Tanh", -0.905148254f, 0.635148952f},
      {"HardSwish", -0.375f, 0.46875f},
      {"Mish", -0.298099742f, 0.610018335f},
      {"Softplus", 0.201413278f, 1.13687101f},
      {"Erf", -0.966105146f, 0.711155634f},
      {"Softsign", -0.6f, 0.428571429f},
      {"HardSigmoid", 0.2f, 0.65f},
      {"Gelu", -0.100210804f, 0.580029714f},
      {"Celu", -0.77686984f, 0.75f},
  };
  for (const Case& c : cases) {
    const ScalarFunction& s = FindOperator("", c.op)->scalar;
    EXPECT_NEAR(s.f(-1.5f, s.alpha, s.beta), c.at_minus_1_5, 2e-6) << c.op;
    EXPECT_NEAR(s.f(0.75f, s.alpha, s.beta), c.at_0_75, 2e-6) << c.op;
  }
}

TEST(Flops, OfAConvolutionAreTwicePerWeightAndOutputPixel) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 8, 14, 14});
  ValueId y = b.Op("Conv", {x, b.Weights("w", {16, 4, 3, 3})}, "y", {{"group", int64_t{2}}, {"pads", I{1, 1, 1, 1}}});
  StatusOr<Graph> graph = InferShapes(b.Build({y}));
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(FlopsOf({*graph, graph->nodes[0]}), 2.0 * 16 * 4 * 9 * 14 * 14);
}

}  // namespace
}  // namespace infenclave
