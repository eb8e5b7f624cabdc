#include "graph/passes.h"

#include <gtest/gtest.h>

#include "tests/graph/build_graph.h"

namespace infenclave {
namespace {

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

}  // namespace
}  // namespace infenclave
