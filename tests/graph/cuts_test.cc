#include "graph/cuts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/passes.h"
#include "tests/graph/build_graph.h"
#include "tests/graph/reference.h"

namespace infenclave {
namespace {

using I = std::vector<int64_t>;
using testing::ElementsAre;
using testing::IsEmpty;

Graph Inferred(Graph graph) {
  StatusOr<Graph> out = InferShapes(std::move(graph));
  EXPECT_TRUE(out.ok()) << out.status();
  return *std::move(out);
}

std::vector<std::string> CutNames(const Graph& graph) {
  StatusOr<std::vector<ValueId>> cuts = CutPoints(graph);
  EXPECT_TRUE(cuts.ok()) << cuts.status();
  std::vector<std::string> names;
  if (!cuts.ok()) return names;
  for (ValueId cut : *cuts) names.push_back(graph.value(cut).name);
  return names;
}

// stem -> (a -> b) + stem -> sum -> pool -> scores -> softmax
Graph ResidualNetwork() {
  GraphBuilder b;
  ValueId stem = b.Op("Conv", {b.Input("x", {1, 2, 8, 8}), b.Weights("w0", {4, 2, 3, 3})}, "stem");
  ValueId a = b.Op("Relu", {b.Op("Conv", {stem, b.Weights("w1", {4, 4, 1, 1})}, "a")}, "relu");
  ValueId block = b.Op("Conv", {a, b.Weights("w2", {4, 4, 1, 1})}, "b");
  ValueId sum = b.Op("Add", {block, stem}, "sum");
  ValueId flat = b.Op("Flatten", {b.Op("GlobalAveragePool", {sum}, "pool")}, "flat");
  ValueId scores = b.Op("Gemm", {flat, b.Weights("w3", {4, 3})}, "scores");
  return Inferred(b.Build({b.Op("Softmax", {scores}, "probabilities")}));
}

TEST(CutPoints, OfAChainAreAllButInputAndOutput) {
  GraphBuilder b;
  ValueId a = b.Op("Relu", {b.Input("x", {1, 4})}, "a");
  EXPECT_THAT(CutNames(Inferred(b.Build({b.Op("Tanh", {b.Op("Exp", {a}, "b")}, "y")}))), ElementsAre("a", "b"));
}

TEST(CutPoints, ResidualBlockHasNoneInside) {
  EXPECT_THAT(CutNames(ResidualNetwork()), ElementsAre("stem", "sum", "pool", "flat", "scores"));
}

TEST(CutPoints, NoneWhileTheInputIsStillToBeRead) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 4});
  ValueId a = b.Op("Relu", {x}, "a");
  ValueId late = b.Op("Add", {b.Op("Exp", {a}, "b"), x}, "late");
  EXPECT_THAT(CutNames(Inferred(b.Build({b.Op("Tanh", {late}, "y")}))), ElementsAre("late"));
}

TEST(CutPoints, BranchesThatAreConcatenatedHaveNoneInside) {
  GraphBuilder b;
  ValueId a = b.Op("Relu", {b.Input("x", {1, 4})}, "a");
  ValueId joined = b.Op("Concat", {b.Op("Exp", {a}, "left"), b.Op("Tanh", {a}, "right"), a}, "joined");
  EXPECT_THAT(CutNames(Inferred(b.Build({b.Op("Relu", {joined}, "y")}))), ElementsAre("a", "joined"));
}

TEST(CutPoints, TheTwoHalvesOfASplitAreNone) {
  GraphBuilder b;
  ValueId a = b.Op("Relu", {b.Input("x", {1, 4})}, "a");
  std::vector<ValueId> halves = b.Ops("Split", {a}, {"left", "right"}, {{"axis", int64_t{1}}});
  ValueId both = b.Op("Add", {b.Op("Exp", {halves[0]}, "exp"), halves[1]}, "both");
  EXPECT_THAT(CutNames(Inferred(b.Build({b.Op("Relu", {both}, "y")}))), ElementsAre("a", "both"));
}

TEST(CutPoints, ConstantsAndDeadBranchesDoNotCount) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 4});
  ValueId scale = b.Op("Exp", {b.Weights("w", {4})}, "scale");  // computed, but not from the input
  ValueId a = b.Op("Relu", {x}, "a");
  b.Op("Tanh", {x}, "dead");
  ValueId y = b.Op("Relu", {b.Op("Mul", {a, scale}, "scaled")}, "y");
  EXPECT_THAT(CutNames(Inferred(b.Build({y}))), ElementsAre("a", "scaled"));
}

TEST(CutPoints, AValueReadTwiceByOneNodeIsOne) {
  GraphBuilder b;
  ValueId a = b.Op("Relu", {b.Input("x", {1, 4})}, "a");
  ValueId square = b.Op("Mul", {a, a}, "square");
  EXPECT_THAT(CutNames(Inferred(b.Build({b.Op("Relu", {square}, "y")}))), ElementsAre("a", "square"));
}

TEST(CutPoints, DoNotDependOnTheOrderOfBranches) {
  for (bool left_first : {false, true}) {
    GraphBuilder b;
    ValueId a = b.Op("Relu", {b.Input("x", {1, 4})}, "a");
    ValueId left = kNoValue, right = kNoValue;
    if (left_first) left = b.Op("Exp", {a}, "l1"), right = b.Op("Tanh", {a}, "r1");
    if (!left_first) right = b.Op("Tanh", {a}, "r1"), left = b.Op("Exp", {a}, "l1");
    ValueId sum = b.Op("Add", {b.Op("Exp", {left}, "l2"), b.Op("Exp", {right}, "r2")}, "sum");
    EXPECT_THAT(CutNames(Inferred(b.Build({b.Op("Relu", {sum}, "y")}))), ElementsAre("a", "sum"));
  }
}

TEST(CutPoints, NeedOneInputAndOneOutput) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 4}), y = b.Input("y", {1, 4});
  EXPECT_EQ(MessageOf(CutPoints(b.Build({b.Op("Add", {x, y}, "z")})).status()),
            "cut points need one input and one output; the graph has 2 and 1");
}

TEST(CutPoints, ANetworkOfOneLayerHasNone) {
  GraphBuilder b;
  Graph graph = Inferred(b.Build({b.Op("Relu", {b.Input("x", {1, 4})}, "y")}));
  EXPECT_THAT(CutNames(graph), IsEmpty());
  EXPECT_EQ(MessageOf(FindCut(graph, "x").status()), "'x' is not a cut point, and the network has none");
}

TEST(FindCut, SaysWhyNotAndWhatIsNear) {
  Graph graph = ResidualNetwork();
  EXPECT_EQ(graph.value(*FindCut(graph, "sum")).name, "sum");
  struct Case {
    std::string name, message;
  } cases[] = {
      {"score", "no cut point is named 'score'; the nearest names are 'scores', 'stem', 'sum'"},
      {"b",
       "'b' is not a cut point: a path from input to output goes around it; the nearest cut points are 'stem', "
       "'sum'"},
      {"x", "'x' is not a cut point: it is the input; the nearest cut points are 'stem'"},
      {"probabilities", "'probabilities' is not a cut point: it is the output; the nearest cut points are 'scores'"},
  };
  for (const Case& c : cases) {
    StatusOr<ValueId> cut = FindCut(graph, c.name);
    EXPECT_EQ(cut.status().code(), StatusCode::kNotFound);
    EXPECT_EQ(MessageOf(cut.status()), c.message);
  }
}

TEST(SplitAt, TheHalvesInARowAreTheWhole) {
  Graph graph = ResidualNetwork();
  size_t constants = 0;
  for (const std::string& name : CutNames(graph)) {
    SCOPED_TRACE(name);
    StatusOr<Partition> split = SplitAt(graph, *FindCut(graph, name));
    ASSERT_TRUE(split.ok()) << split.status();
    ASSERT_TRUE(Validate(split->front).ok()) << Validate(split->front);
    ASSERT_TRUE(Validate(split->back).ok()) << Validate(split->back);
    EXPECT_EQ(split->front.value(split->front.outputs[0]).name, name);
    EXPECT_EQ(split->back.value(split->back.inputs[0]).name, name);
    EXPECT_EQ(split->front.nodes.size() + split->back.nodes.size(), graph.nodes.size());
    EXPECT_EQ(split->front.constants.size() + split->back.constants.size(), graph.constants.size());
    EXPECT_GE(split->front.constants.size(), constants);
    constants = split->front.constants.size();
    ExpectSame(Evaluate(graph), Evaluate(split->back, Evaluate(split->front)));
  }
  EXPECT_FALSE(SplitAt(graph, graph.Find("b")).ok());
}

TEST(SplitAt, EachSideHasTheConstantsThatBothNeed) {
  GraphBuilder b;
  ValueId w = b.Weights("w", {4});
  ValueId a = b.Op("Mul", {b.Input("x", {1, 4}), w}, "a");
  Graph graph = Inferred(b.Build({b.Op("Mul", {a, w}, "y")}));
  StatusOr<Partition> split = SplitAt(graph, graph.Find("a"));
  ASSERT_TRUE(split.ok()) << split.status();
  ASSERT_EQ(split->front.constants.size(), 1u);
  ASSERT_EQ(split->back.constants.size(), 1u);
  for (const Graph* side : {&split->front, &split->back}) {
    EXPECT_EQ(side->constants.begin()->second, graph.constants.at(w));  // it is not copied
  }
}

TEST(UpTo, ComputesTheTensorThatTheWholeNetworkComputes) {
  Graph graph = ResidualNetwork(), both = graph.Clone();
  both.outputs = {both.Find("b")};
  StatusOr<Graph> part = UpTo(graph, graph.Find("b"));
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_EQ(part->nodes.size(), 4u);
  ExpectSameFunction(both, *part);
}

TEST(CostOf, CountsFlopsWeightsAndTheArena) {
  GraphBuilder b;
  ValueId conv =
      b.Op("Conv", {b.Input("x", {1, 2, 8, 8}), b.Weights("w", {4, 2, 3, 3}), b.Weights("bias", {4})}, "conv");
  ValueId pool = b.Op("GlobalAveragePool", {conv}, "pool");
  StatusOr<Cost> cost = CostOf(Inferred(b.Build({b.Op("Reshape", {pool, b.Ints("shape", {-1, 4})}, "y")})));
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_EQ(cost->flops, (2 * 2 * 9 + 1) * 4 * 36 + 4 * 36);
  EXPECT_EQ(cost->weight_bytes, (72 + 4) * 4);
  EXPECT_EQ(cost->peak_bytes, (128 + 4 * 36) * 4 + 0);  // input and conv; the Reshape shares the pool's memory
  EXPECT_FALSE(cost->opaque);
}

TEST(CostOf, SaysThatAnOpaqueNodeWasNotCounted) {
  GraphBuilder b;
  Graph graph = b.Build({b.Op("Attention", {b.Input("x", {1, 4})}, "y")});
  EXPECT_TRUE(CostOf(graph)->opaque);
}

}  // namespace
}  // namespace infenclave
