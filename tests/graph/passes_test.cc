#include "graph/passes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/graph/build_graph.h"
#include "tests/graph/reference.h"

namespace infenclave {
namespace {

using I = std::vector<int64_t>;
using Kind = FusedActivation::Kind;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> Ops(const Graph& graph) {
  std::vector<std::string> ops;
  for (const Node& node : graph.nodes) ops.push_back(node.op);
  return ops;
}

// Simplifies, and holds the result to validity, idempotence and the function of the original.
Graph Simplified(const Graph& graph) {
  StatusOr<Graph> out = Simplify(graph.Clone());
  EXPECT_TRUE(out.ok()) << out.status();
  if (!out.ok()) return graph.Clone();
  EXPECT_TRUE(Validate(*out).ok()) << Validate(*out);
  ExpectSameFunction(graph, *out);
  StatusOr<Graph> again = Simplify(out->Clone());
  EXPECT_TRUE(again.ok() && Ops(*again) == Ops(*out)) << "simplifying twice differs";
  return *std::move(out);
}

// Scale, shift, mean and variance with no two channels alike.
std::vector<ValueId> BatchNormInputs(GraphBuilder& b, ValueId x, int64_t channels) {
  return {x, b.Weights("gamma", {channels}, 0.5f), b.Weights("beta", {channels}, -0.3f),
          b.Weights("mean", {channels}, -0.2f), b.Weights("variance", {channels}, 0.7f)};
}

const Attributes kSame3x3 = {{"pads", I{1, 1, 1, 1}}};

TEST(WithBatch, ChangesEveryShapeDownstream) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 3, 8, 8});
  ValueId a = b.Op("Conv", {x, b.Weights("w", {4, 3, 3, 3})}, "a");
  ValueId y = b.Op("Flatten", {b.Op("GlobalAveragePool", {a}, "pool")}, "y");
  StatusOr<Graph> graph = WithBatch(b.Build({y}), 5);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->value(graph->Find("a")).shape, (Shape{5, 4, 6, 6}));
  EXPECT_EQ(graph->value(graph->Find("y")).shape, (Shape{5, 4}));
}

TEST(WithBatch, IsRefusedBehindAnOperatorThatIsNotKnown) {
  GraphBuilder b;
  ValueId y = b.Op("Attention", {b.Input("x", {1, 4})}, "y");
  Graph graph = b.Build({y});
  EXPECT_TRUE(WithBatch(graph.Clone(), 1).ok());
  EXPECT_EQ(MessageOf(WithBatch(std::move(graph), 2).status()),
            "Attention 'y' is not a known operator: its batch size cannot change");
}

// What PyTorch exports for x.view(x.size(0), -1), and for a channel shuffle with the batch size written out.
TEST(WithBatch, WorksBehindAReshapeWhoseTargetHeldTheBatchSize) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 6, 2, 2});
  ValueId shuffled = b.Op("Reshape", {x, b.Ints("to5", {1, 2, 3, 2, 2})}, "r5");
  shuffled = b.Op("Transpose", {shuffled}, "t", {{"perm", I{0, 2, 1, 3, 4}}});
  shuffled = b.Op("Reshape", {shuffled, b.Ints("to4", {1, 6, 2, 2})}, "r4");
  ValueId zero = b.graph.AddConstant("zero", Tensor::FromI64({}, I{0}));
  ValueId batch = b.Op("Gather", {b.Op("Shape", {shuffled}, "shape"), zero}, "batch");
  ValueId batches = b.Op("Unsqueeze", {batch, b.Ints("axes", {0})}, "batches");
  ValueId target = b.Op("Concat", {batches, b.Ints("rest", {-1})}, "target", {{"axis", int64_t{0}}});
  ValueId y = b.Op("Reshape", {shuffled, target}, "y");
  Graph simple = Simplified(b.Build({y}));
  EXPECT_THAT(Ops(simple), ElementsAre("Reshape", "Transpose", "Reshape", "Reshape"));
  StatusOr<Graph> graph = WithBatch(std::move(simple), 3);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->value(graph->outputs[0]).shape, (Shape{3, 24}));
}

TEST(RemoveDead, KeepsInputsAndWhatOutputsNeed) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 4}), unused = b.Input("unused", {1, 4});
  ValueId y = b.Op("Add", {x, b.Weights("w", {4})}, "y");
  b.Op("Mul", {unused, b.Weights("dead", {4})}, "z");
  StatusOr<Graph> graph = RemoveDead(b.Build({y}));
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_TRUE(Validate(*graph).ok()) << Validate(*graph);
  EXPECT_EQ(graph->nodes.size(), 1u);
  EXPECT_EQ(graph->constants.size(), 1u);
  EXPECT_EQ(graph->inputs.size(), 2u);
  EXPECT_EQ(graph->Find("dead"), kNoValue);
}

// Expected values by hand from ONNX's definitions; integers wrap around on overflow, Div truncates, Mod floors.
TEST(FoldConstants, EvaluatesWhatIsConstant) {
  int64_t big = std::numeric_limits<int64_t>::max();
  struct Case {
    std::string op;
    std::vector<I> inputs;
    Attributes attributes;
    I expected;
  } cases[] = {
      {"Add", {{1, 2}, {10}}, {}, {11, 12}},
      {"Mul", {{big, 3}, {2, -4}}, {}, {-2, -12}},
      {"Div", {{7, -7}, {2, 2}}, {}, {3, -3}},
      {"Mod", {{7, -7}, {3, 3}}, {}, {1, 2}},
      {"Mod", {{7, -7}, {3, 3}}, {{"fmod", int64_t{1}}}, {1, -1}},
      {"Pow", {{2, -3, -1}, {10, 3, -3}}, {}, {1024, -27, -1}},
      {"Neg", {{5, -5}}, {}, {-5, 5}},
      {"Concat", {{1}, {}, {2, 3}}, {{"axis", int64_t{0}}}, {1, 2, 3}},
      {"Slice", {{0, 1, 2, 3, 4}, {1}, {big}}, {}, {1, 2, 3, 4}},
      {"Slice", {{0, 1, 2, 3, 4}, {-1}, {-6}, {0}, {-2}}, {}, {4, 2, 0}},
      {"Slice", {{0, 1, 2, 3, 4}, {1}, {3}, {0}, {7}}, {}, {1}},
      {"Gather", {{5, 6, 7}, {-1, 0}}, {}, {7, 5}},
      {"ReduceProd", {{2, 3, 4}}, {}, {24}},
      {"Max", {{1, 5, 2}, {3}}, {}, {3, 5, 3}},
      {"Expand", {{7}, {3}}, {}, {7, 7, 7}},
      {"ConstantOfShape", {{2}}, {{"value", int64_t{9}}}, {9, 9}},
      {"Constant", {}, {{"value_ints", I{4, 5}}}, {4, 5}},
      {"Cast", {{1, 2}}, {{"to", int64_t{7}}}, {1, 2}},
  };
  for (const Case& c : cases) {
    GraphBuilder b;
    std::vector<ValueId> inputs;
    for (const I& list : c.inputs) inputs.push_back(b.Ints(Concat("c", inputs.size()), list));
    StatusOr<Graph> graph = FoldConstants(b.Build({b.Op(c.op, inputs, "y", c.attributes)}));
    ASSERT_TRUE(graph.ok()) << c.op << graph.status();
    ASSERT_TRUE(graph->IsConstant(graph->outputs[0])) << c.op;
    auto values = graph->constant(graph->outputs[0]).as<int64_t>();
    EXPECT_EQ(I(values.begin(), values.end()), c.expected) << c.op;
  }
}

TEST(FoldConstants, TransposesWeights) {
  GraphBuilder b;
  ValueId w = b.Floats("w", {2, 3}, {1, 2, 3, 4, 5, 6});
  StatusOr<Graph> graph = FoldConstants(b.Build({b.Op("Transpose", {w}, "y")}));
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_THAT(graph->constant(graph->outputs[0]).as<float>(), ElementsAre(1, 4, 2, 5, 3, 6));
}

TEST(FoldConstants, RefusesNonsenseByName) {
  GraphBuilder b;
  Graph graph = b.Build({b.Op("Div", {b.Ints("a", {1}), b.Ints("b", {0})}, "y")});
  EXPECT_EQ(MessageOf(FoldConstants(std::move(graph)).status()), "Div 'y': division by zero");
  GraphBuilder c;
  graph = c.Build({c.Op("Gather", {c.Ints("a", {1}), c.Ints("b", {1})}, "y")});
  EXPECT_EQ(MessageOf(FoldConstants(std::move(graph)).status()), "Gather 'y': index 1 is out of range for 1");
}

TEST(FoldConstants, DoesNotLetASmallModelFillTheMemory) {
  GraphBuilder b;
  ValueId shape = b.Ints("shape", {1 << 15, 1 << 15});  // 4 GiB
  const ValueId wide = b.Op("Expand", {b.Floats("one", {1}, {1}), shape}, "y");
  const ValueId own = b.graph.AddConstant("own", Tensor(DType::kF32, {1 << 20}));
  Graph graph = b.Build({b.Op("Add", {wide, own}, "sum")});
  const Status status = FoldConstants(graph.Clone()).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(
      MessageOf(status),
      "Expand 'y': its result, f32[32768,32768], is constant, and constants made of others may take 1032 MiB in all: "
      "1 GiB, and twice what the model's own take");
}

TEST(FoldConstants, HasOneBudgetForAllRounds) {
  GraphBuilder b;
  const ValueId side = b.Ints("side", {32, 32});  // 4 KiB
  const ValueId one = b.Op("Expand", {b.Floats("1", {1}, {1}), side}, "one");
  const ValueId two = b.Op("Expand", {b.Floats("2", {1}, {2}), side}, "two");
  const ValueId sum = b.Op("Add", {b.Op("Dropout", {one}, "dropout"), two}, "sum");  // constant in the second round
  const Graph graph = b.Build({b.Op("Add", {b.Input("x", {1}), sum}, "y")});
  const StatusOr<Graph> simple = Simplify(graph.Clone(), FoldingBudget(3 * 4096));
  ASSERT_TRUE(simple.ok()) << simple.status();
  EXPECT_THAT(Ops(*simple), ElementsAre("Add"));
  EXPECT_THAT(MessageOf(Simplify(graph.Clone(), FoldingBudget(2 * 4096 - 1)).status()), HasSubstr("Expand 'two'"));
  EXPECT_THAT(MessageOf(Simplify(graph.Clone(), FoldingBudget(3 * 4096 - 1)).status()), HasSubstr("Add 'sum'"));
}

TEST(RemoveIdentities, LeavesNoneAndKeepsTheOutputsName) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 4, 2, 2});
  ValueId a = b.Op("Relu", {b.Op("Identity", {x}, "i")}, "a");
  a = b.Op("Dropout", {a}, "d");
  a = b.Op("Reshape", {a, b.Ints("same", {0, 4, 2, -1})}, "r");
  a = b.Op("Pad", {a, b.Ints("none", I(8, 0))}, "p");
  a = b.Op("Cast", {a}, "c", {{"to", int64_t{1}}});
  a = b.Op("Transpose", {a}, "t", {{"perm", I{0, 1, 2, 3}}});
  a = b.Op("Concat", {a}, "cat", {{"axis", int64_t{1}}});
  a = b.Op("Slice", {a, b.Ints("from", {0}), b.Ints("to", {9})}, "s");
  Graph graph = Simplified(b.Build({b.Op("Identity", {a}, "y")}));
  EXPECT_THAT(Ops(graph), ElementsAre("Relu"));
  EXPECT_EQ(graph.value(graph.outputs[0]).name, "y");
}

TEST(RemoveIdentities, KeepsAReversalAndACopyOfTheInput) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 4});
  ValueId reversed = b.Op(
      "Slice", {x, b.Ints("from", {-1}), b.Ints("to", {-9}), b.Ints("axis", {1}), b.Ints("step", {-1})}, "reversed");
  EXPECT_THAT(Ops(Simplified(b.Build({reversed, b.Op("Identity", {x}, "copy")}))), ElementsAre("Slice", "Identity"));
}

TEST(FoldBatchNorm, GoesIntoConvolutionsOfAllKinds) {
  struct Case {
    Shape weights;
    int64_t group;
    bool bias;
  } cases[] = {{{6, 4, 3, 3}, 1, false}, {{6, 4, 3, 3}, 1, true}, {{4, 1, 3, 3}, 4, true}, {{6, 2, 1, 1}, 2, false}};
  for (const Case& c : cases) {
    GraphBuilder b;
    std::vector<ValueId> inputs = {b.Input("x", {2, 4, 5, 5}), b.Weights("w", c.weights)};
    if (c.bias) inputs.push_back(b.Weights("b", {c.weights[0]}));
    ValueId conv = b.Op("Conv", inputs, "conv", {{"group", c.group}});
    ValueId y = b.Op("BatchNormalization", BatchNormInputs(b, conv, c.weights[0]), "y", {{"epsilon", 1e-3f}});
    Graph graph = Simplified(b.Build({y}));
    EXPECT_THAT(Ops(graph), ElementsAre("Conv"));
    EXPECT_EQ(graph.value(graph.nodes[0].outputs[0]).name, "y");
  }
}

TEST(FoldBatchNorm, GoesIntoMatricesAndMakesAGemmOfAMatMul) {
  for (int64_t transposed : {0, 1}) {
    GraphBuilder b;
    ValueId w = b.Weights("w", transposed ? Shape{3, 4} : Shape{4, 3});
    ValueId gemm = b.Op("Gemm", {b.Input("x", {2, 4}), w, b.Weights("c", {3})}, "gemm",
                        {{"transB", transposed}, {"alpha", 0.5f}, {"beta", 2.0f}});
    Graph graph = Simplified(b.Build({b.Op("BatchNormalization", BatchNormInputs(b, gemm, 3), "y")}));
    EXPECT_THAT(Ops(graph), ElementsAre("Gemm"));
  }
  GraphBuilder b;
  ValueId product = b.Op("MatMul", {b.Input("x", {2, 4}), b.Weights("w", {4, 3})}, "product");
  EXPECT_THAT(Ops(Simplified(b.Build({b.Op("Add", {product, b.Weights("bias", {3})}, "y")}))), ElementsAre("Gemm"));
}

TEST(FoldBatchNorm, ScaleAndShiftPerChannelGoIntoTheConvolutionToo) {
  GraphBuilder b;
  ValueId a = b.Op("Conv", {b.Input("x", {1, 2, 4, 4}), b.Weights("w", {3, 2, 3, 3})}, "conv");
  a = b.Op("Mul", {a, b.Weights("scale", {3, 1, 1})}, "scaled");
  a = b.Op("Sub", {b.Weights("from", {1, 3, 1, 1}), a}, "less");
  a = b.Op("Div", {a, b.Floats("two", {}, {2})}, "half");
  EXPECT_THAT(Ops(Simplified(b.Build({a}))), ElementsAre("Conv"));
}

TEST(FoldBatchNorm, LeavesWeightsAloneThatTwoConvolutionsShare) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 3, 4, 4}), w = b.Weights("w", {3, 3, 1, 1});
  ValueId first = b.Op("Conv", {x, w}, "first");
  ValueId second = b.Op("Conv", {b.Op("BatchNormalization", BatchNormInputs(b, first, 3), "norm"), w}, "second");
  EXPECT_THAT(Ops(Simplified(b.Build({second}))), ElementsAre("Conv", "Conv"));
}

TEST(FoldBatchNorm, StaysOutOfAConvolutionThatOthersRead) {
  GraphBuilder b;
  ValueId conv = b.Op("Conv", {b.Input("x", {1, 3, 4, 4}), b.Weights("w", {3, 3, 1, 1})}, "conv");
  ValueId norm = b.Op("BatchNormalization", BatchNormInputs(b, conv, 3), "norm");
  EXPECT_THAT(Ops(Simplified(b.Build({b.Op("Add", {conv, norm}, "y")}))), ElementsAre("Conv", "Conv", "Add"));
}

TEST(FoldBatchNorm, StandingAloneBecomesADepthwiseConvolutionOrAMulAndAnAdd) {
  GraphBuilder b;
  ValueId norm = b.Op("BatchNormalization", BatchNormInputs(b, b.Input("x", {1, 3, 4, 4}), 3), "norm");
  Graph image = Simplified(b.Build({b.Op("Relu", {norm}, "y")}));
  EXPECT_THAT(Ops(image), ElementsAre("Conv"));
  EXPECT_EQ(image.nodes[0].activation.kind, Kind::kRelu);
  GraphBuilder c;
  ValueId rows = c.Op("BatchNormalization", BatchNormInputs(c, c.Input("x", {2, 3}), 3), "y");
  EXPECT_THAT(Ops(Simplified(c.Build({rows}))), ElementsAre("Mul", "Add"));
}

TEST(FoldPad, GoesIntoTheWindowWhereTheValuesAgree) {
  float lowest = -std::numeric_limits<float>::infinity();
  Attributes pool = {{"kernel_shape", I{3, 3}}, {"strides", I{2, 2}}};
  Attributes padded = pool, counting = pool;
  padded["pads"] = I{1, 1, 1, 1};
  counting["pads"] = I{1, 1, 1, 1}, counting["count_include_pad"] = int64_t{1};
  struct Case {
    std::string op;
    float value;
    bool relu;
    Attributes attributes;
    bool folds;
  } cases[] = {
      {"Conv", 0, false, {{"strides", I{2, 2}}}, true},
      {"Conv", 0, false, {{"strides", I{2, 2}}, {"auto_pad", "VALID"}}, true},
      {"Conv", 1, false, {{"strides", I{2, 2}}}, false},
      {"MaxPool", lowest, false, pool, true},
      {"MaxPool", 0, false, pool, false},
      {"MaxPool", 0, true, pool, true},
      {"AveragePool", 0, false, pool, true},
      {"AveragePool", 0, false, padded, false},
      {"AveragePool", 0, false, counting, true},
      {"AveragePool", 1, false, pool, false},
  };
  for (size_t i = 0; i < std::size(cases); ++i) {
    const Case& c = cases[i];
    SCOPED_TRACE(i);
    GraphBuilder b;
    ValueId x = b.Input("x", {1, 2, 8, 8});
    if (c.relu) x = b.Op("Relu", {x}, "relu");
    ValueId pad = b.Op("Pad", {x, b.Ints("pads", {0, 0, 0, 0, 0, 0, 1, 1}), b.Floats("value", {}, {c.value})}, "pad");
    std::vector<ValueId> inputs = {pad};
    if (c.op == "Conv") inputs.push_back(b.Weights("w", {3, 2, 3, 3}));
    Graph graph = Simplified(b.Build({b.Op(c.op, inputs, "y", c.attributes)}));
    EXPECT_EQ(graph.nodes.size(), (c.folds ? 1u : 2u) + c.relu);
  }
}

TEST(FuseActivations, EachGoesIntoItsConvolutionUnderTheActivationsName) {
  struct Case {
    std::string op;
    std::vector<float> bounds;
    Attributes attributes;
    Kind kind;
    float alpha, beta;
  } cases[] = {
      {"Relu", {}, {}, Kind::kRelu, 0, 0},
      {"Clip", {0, 6}, {}, Kind::kClip, 0, 6},
      {"Clip", {0}, {}, Kind::kRelu, 0, 0},
      {"LeakyRelu", {}, {}, Kind::kLeakyRelu, 0.01f, 0},
      {"LeakyRelu", {}, {{"alpha", 0.1f}}, Kind::kLeakyRelu, 0.1f, 0},
      {"Elu", {}, {}, Kind::kElu, 1, 0},
      {"Sigmoid", {}, {}, Kind::kSigmoid, 0, 0},
      {"Tanh", {}, {}, Kind::kTanh, 0, 0},
      {"HardSwish", {}, {}, Kind::kHardSwish, 0, 0},
      {"Gelu", {}, {}, Kind::kGelu, 0, 0},
      {"Gelu", {}, {{"approximate", std::string("tanh")}}, Kind::kGelu, 1, 0},
      {"Mish", {}, {}, Kind::kMish, 0, 0},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.op);
    GraphBuilder b;
    std::vector<ValueId> inputs = {b.Op("Conv", {b.Input("x", {1, 2, 4, 4}), b.Weights("w", {3, 2, 3, 3})}, "conv")};
    for (float bound : c.bounds) inputs.push_back(b.Floats(Concat("bound", inputs.size()), {}, {bound}));
    Graph graph = Simplified(b.Build({b.Op(c.op, inputs, "y", c.attributes)}));
    ASSERT_THAT(Ops(graph), ElementsAre("Conv"));
    EXPECT_EQ(graph.nodes[0].activation.kind, c.kind);
    EXPECT_EQ(graph.nodes[0].activation.alpha, c.alpha);
    EXPECT_EQ(graph.nodes[0].activation.beta, c.beta);
    EXPECT_EQ(graph.value(graph.nodes[0].outputs[0]).name, "y");
    EXPECT_EQ(graph.Find("conv"), kNoValue);
  }
}

TEST(FuseActivations, SigmoidAndMulAreSwish) {
  for (bool swapped : {false, true}) {
    GraphBuilder b;
    ValueId x = b.Op("Conv", {b.Input("x", {1, 2, 4, 4}), b.Weights("w", {3, 2, 3, 3})}, "conv");
    ValueId s = b.Op("Sigmoid", {x}, "sigmoid");
    Graph graph = Simplified(b.Build({b.Op("Mul", {swapped ? s : x, swapped ? x : s}, "y")}));
    ASSERT_THAT(Ops(graph), ElementsAre("Conv"));
    EXPECT_EQ(graph.nodes[0].activation.kind, Kind::kSwish);
  }
}

TEST(FuseActivations, LeavesWhatOthersReadOrTheGraphReturns) {
  GraphBuilder b;
  ValueId conv = b.Op("Conv", {b.Input("x", {1, 2, 4, 4}), b.Weights("w", {3, 2, 3, 3})}, "conv");
  ValueId relu = b.Op("Relu", {conv}, "relu");
  Graph graph = Simplified(b.Build({relu, conv}));
  EXPECT_THAT(Ops(graph), ElementsAre("Conv", "Relu"));
}

// The ways in which PyTorch (by opset), Keras and Paddle write HardSwish.
TEST(RecognizeOperators, HardSwishInAllItsSpellings) {
  for (int spelling = 0; spelling < 5; ++spelling) {
    SCOPED_TRACE(spelling);
    GraphBuilder b;
    ValueId x = b.Op("Conv", {b.Input("x", {1, 2, 4, 4}), b.Weights("w", {3, 2, 3, 3})}, "conv");
    ValueId six = b.Floats("six", {}, {6}), y = kNoValue;
    ValueId shifted = b.Op("Add", {x, b.Floats("three", {}, {3})}, "shifted");
    ValueId clipped = b.Op("Clip", {shifted, b.Floats("zero", {}, {0}), six}, "clipped");
    Attributes line = {{"alpha", 1.0f / 6}, {"beta", 0.5f}};
    if (spelling == 0) y = b.Op("Div", {b.Op("Mul", {x, clipped}, "product"), six}, "y");
    if (spelling == 1) y = b.Op("Mul", {b.Op("Div", {clipped, six}, "gate"), x}, "y");
    if (spelling == 2) y = b.Op("Mul", {x, b.Op("HardSigmoid", {x}, "gate", line)}, "y");
    if (spelling == 3) {
      ValueId sixth = b.Floats("sixth", {1}, {0.16666667f});
      y = b.Op("Mul", {x, b.Op("Mul", {clipped, sixth}, "gate")}, "y");
    }
    if (spelling == 4) y = b.Op("Mul", {b.Op("Mul", {clipped, x}, "product"), b.Floats("sixth", {}, {1.0f / 6})}, "y");
    Graph graph = Simplified(b.Build({y}));
    ASSERT_THAT(Ops(graph), ElementsAre("Conv"));
    EXPECT_EQ(graph.nodes[0].activation.kind, Kind::kHardSwish);
  }
}

// PyTorch's (by version), Hugging Face's and Keras's Gelu, PyTorch's and Keras's Mish.
TEST(RecognizeOperators, GeluAndMishInTheirSpellings) {
  for (int spelling = 0; spelling < 7; ++spelling) {
    SCOPED_TRACE(spelling);
    GraphBuilder b;
    ValueId x = b.Op("Conv", {b.Input("x", {1, 2, 4, 4}), b.Weights("w", {3, 2, 3, 3})}, "conv"), y = kNoValue;
    int made = 0;
    auto op = [&](const std::string& name, std::vector<ValueId> in) {
      return b.Op(name, std::move(in), Concat("t", made++));
    };
    auto k = [&](float v) { return b.Floats(Concat("k", made++), {}, {v}); };
    auto erf = [&](ValueId in) { return op("Add", {op("Erf", {in}), k(1)}); };
    auto cubic = [&](ValueId cube) {
      ValueId sum = op("Add", {x, op("Mul", {k(0.044715f), cube})});
      return op("Add", {k(1), op("Tanh", {op("Mul", {k(0.7978845608f), sum})})});
    };
    if (spelling == 0) y = op("Mul", {op("Mul", {x, erf(op("Div", {x, k(1.4142135f)}))}), k(0.5f)});
    if (spelling == 1) y = op("Mul", {op("Mul", {k(0.5f), x}), erf(op("Mul", {x, k(0.70710677f)}))});
    if (spelling == 2) y = op("Div", {op("Mul", {erf(op("Div", {x, k(1.4142135f)})), x}), k(2)});
    if (spelling == 3) y = op("Mul", {op("Mul", {k(0.5f), x}), cubic(op("Pow", {x, k(3)}))});
    if (spelling == 4) y = op("Mul", {x, op("Mul", {cubic(op("Mul", {x, op("Mul", {x, x})})), k(0.5f)})});
    if (spelling == 5) {
      ValueId inner = op("Add", {k(1), op("Mul", {op("Mul", {k(0.044715f), x}), x})});
      ValueId line = op("Mul", {op("Mul", {x, k(0.7978845608f)}), inner});
      y = op("Mul", {op("Mul", {x, k(0.5f)}), op("Add", {op("Tanh", {line}), k(1)})});
    }
    if (spelling == 6) y = op("Mul", {op("Tanh", {op("Softplus", {x})}), x});
    Graph graph = Simplified(b.Build({y}));
    ASSERT_THAT(Ops(graph), ElementsAre("Conv"));
    EXPECT_EQ(graph.nodes[0].activation.kind, spelling == 6 ? Kind::kMish : Kind::kGelu);
    EXPECT_EQ(graph.nodes[0].activation.alpha, spelling >= 3 && spelling < 6 ? 1 : 0);
  }
}

TEST(RecognizeOperators, AnotherGateIsNoGelu) {
  for (float slope : {0.5f, 0.70710677f}) {
    GraphBuilder b;
    ValueId x = b.Op("Conv", {b.Input("x", {1, 2, 4, 4}), b.Weights("w", {3, 2, 3, 3})}, "conv");
    ValueId erf = b.Op("Erf", {b.Op("Mul", {x, b.Floats("slope", {}, {slope})}, "line")}, "erf");
    ValueId gate = b.Op("Add", {erf, b.Floats("one", {}, {slope == 0.5f ? 1.0f : 2.0f})}, "gate");
    ValueId y = b.Op("Mul", {b.Op("Mul", {x, gate}, "product"), b.Floats("half", {}, {0.5f})}, "y");
    EXPECT_GT(Simplified(b.Build({y})).nodes.size(), 4u);
  }
}

TEST(RecognizeOperators, AnotherClipIsNoHardSwish) {
  GraphBuilder b;
  ValueId x = b.Op("Conv", {b.Input("x", {1, 2, 4, 4}), b.Weights("w", {3, 2, 3, 3})}, "conv");
  ValueId shifted = b.Op("Add", {x, b.Floats("three", {}, {3})}, "shifted");
  ValueId clipped = b.Op("Clip", {shifted, b.Floats("zero", {}, {0}), b.Floats("five", {}, {5})}, "clipped");
  ValueId y = b.Op("Div", {b.Op("Mul", {x, clipped}, "product"), b.Floats("six", {}, {6})}, "y");
  EXPECT_EQ(Simplified(b.Build({y})).nodes.size(), 4u);
}

TEST(RecognizeOperators, SumOfTwoIsAnAddThatTakesTheActivation) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 4});
  ValueId sum = b.Op("Sum", {x, b.Op("Exp", {x}, "exp")}, "sum");
  EXPECT_THAT(Ops(Simplified(b.Build({b.Op("Relu", {sum}, "y")}))), ElementsAre("Exp", "Add"));
}

TEST(RecognizeOperators, PowersHaveAnExponentInF32OrNone) {
  GraphBuilder b;
  ValueId square = b.Op("Pow", {b.Input("x", {1, 4}), b.Ints("two", {2})}, "square");
  ValueId root = b.Op("Pow", {square, b.Floats("half", {}, {0.5f})}, "root");
  Graph graph = Simplified(b.Build({b.Op("Pow", {root, b.Ints("three", {3})}, "y")}));
  EXPECT_THAT(Ops(graph), ElementsAre("Mul", "Sqrt", "Pow"));
  EXPECT_EQ(graph.value(graph.nodes[2].inputs[1]).dtype, DType::kF32);
}

TEST(Simplify, AnInvertedResidualBlockBecomesThreeConvolutionsAndAnAdd) {
  GraphBuilder b;
  auto layer = [&](ValueId in, const std::string& name, Shape weights, int64_t group, Attributes attributes, bool act) {
    attributes["group"] = group;
    int64_t channels = weights[0];
    ValueId out = b.Op("Conv", {in, b.Weights(name + "/w", weights)}, name + "/conv", attributes);
    std::vector<ValueId> norm = {out};
    for (const char* part : {"gamma", "beta", "mean", "variance"}) {
      norm.push_back(b.Weights(Concat(name, "/", part), {channels}, 0.25f));
    }
    out = b.Op("BatchNormalization", norm, name + "/norm");
    if (!act) return out;
    return b.Op("Clip", {out, b.Floats(name + "/0", {}, {0}), b.Floats(name + "/6", {}, {6})}, name + "/relu6");
  };
  ValueId x = b.Input("x", {1, 2, 6, 6});
  ValueId expanded = layer(x, "expand", {6, 2, 1, 1}, 1, {}, true);
  ValueId depthwise = layer(expanded, "depthwise", {6, 1, 3, 3}, 6, kSame3x3, true);
  ValueId projected = layer(depthwise, "project", {2, 6, 1, 1}, 1, {}, false);
  Graph graph = Simplified(b.Build({b.Op("Add", {projected, x}, "y")}));
  EXPECT_THAT(Ops(graph), ElementsAre("Conv", "Conv", "Conv", "Add"));
  EXPECT_EQ(graph.value(graph.nodes[0].outputs[0]).name, "expand/relu6");
  EXPECT_EQ(graph.value(graph.nodes[2].outputs[0]).name, "project/norm");
}

TEST(Simplify, CarriesOpaqueNodesThrough) {
  GraphBuilder b;
  ValueId conv = b.Op("Conv", {b.Input("x", {1, 2, 4, 4}), b.Weights("w", {3, 2, 3, 3})}, "conv");
  ValueId opaque = b.Op("Attention", {b.Op("Relu", {conv}, "relu")}, "attention");
  b.graph.value(opaque).shape = {1, 3, 2, 2};
  b.graph.nodes.back().opaque = {1, 2, 3};
  Graph graph = b.Build({b.Op("Relu", {opaque}, "y")});
  StatusOr<Graph> simple = Simplify(std::move(graph));
  ASSERT_TRUE(simple.ok()) << simple.status();
  EXPECT_THAT(Ops(*simple), ElementsAre("Conv", "Attention", "Relu"));
  EXPECT_EQ(simple->nodes[1].opaque, (Bytes{1, 2, 3}));
  EXPECT_EQ(simple->value(simple->outputs[0]).shape, (Shape{1, 3, 2, 2}));
}

}  // namespace
}  // namespace infenclave
