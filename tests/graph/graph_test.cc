#include "graph/graph.h"

#include <gtest/gtest.h>

#include "tests/graph/build_graph.h"

namespace infenclave {
namespace {

Graph TwoConvolutions() {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 3, 8, 8});
  ValueId a = b.Op("Conv", {x, b.Weights("w1", {4, 3, 3, 3})}, "a");
  ValueId y = b.Op("Conv", {a, b.Weights("w2", {2, 4, 1, 1})}, "y");
  return b.Build({y});
}

TEST(Validate, NamesWhatIsWrong) {
  struct Case {
    void (*damage)(Graph&);
    std::string message;
  } cases[] = {
      {[](Graph& g) { g.values[0].name.clear(); }, "graph: a value has no name"},
      {[](Graph& g) { g.values[0].name = g.values.back().name; }, "graph: two values are named 'y'"},
      {[](Graph& g) {
         g.values[0].shape = {-1, 3};
       },
       "value 'x': shape [-1,3] has a negative dimension"},
      {[](Graph& g) { g.value(g.Find("w1")).shape = {4}; }, "constant 'w1' is f32[4,3,3,3] but declared f32[4]"},
      {[](Graph& g) { std::swap(g.nodes[0], g.nodes[1]); }, "Conv 'y': reads 'a' before anything produces it"},
      {[](Graph& g) { g.nodes[1].inputs[0] = 99; }, "Conv 'y': unknown value 99"},
      {[](Graph& g) { g.nodes[1].outputs[0] = g.Find("a"); }, "Conv 'y': 'a' has a second origin"},
      {[](Graph& g) { g.inputs.push_back(g.Find("w1")); }, "graph inputs: 'w1' has a second origin"},
      {[](Graph& g) { g.outputs = {g.AddValue("z", DType::kF32, {})}; }, "graph outputs: nothing produces 'z'"},
      {[](Graph& g) { g.outputs.clear(); }, "graph: no outputs"},
      {[](Graph& g) { g.nodes[0].outputs.clear(); }, "Conv 'a': produces nothing"},
  };
  for (const Case& c : cases) {
    Graph graph = TwoConvolutions();
    c.damage(graph);
    EXPECT_EQ(MessageOf(Validate(graph)), c.message);
  }
}

TEST(Graph, CloneSharesTheConstantsAlone) {
  Graph graph = TwoConvolutions(), copy = graph.Clone();
  copy.value(0).name = "other";
  copy.nodes.clear();
  EXPECT_EQ(graph.value(0).name, "x");
  EXPECT_FALSE(graph.nodes.empty());
  const ValueId w1 = graph.Find("w1");
  EXPECT_EQ(&copy.constant(w1), &graph.constant(w1));
  graph = Graph();
  EXPECT_EQ(copy.constant(w1).as<float>()[0], -1);
}

TEST(Graph, ProducersAndConsumersFollowTheNodes) {
  Graph graph = TwoConvolutions();
  auto at = [&](std::string_view name) { return static_cast<size_t>(graph.Find(name)); };
  EXPECT_EQ(Producers(graph)[at("x")], -1);
  EXPECT_EQ(Producers(graph)[at("w1")], -1);
  EXPECT_EQ(Producers(graph)[at("y")], 1);
  EXPECT_EQ(Consumers(graph)[at("a")], std::vector<int>{1});
  EXPECT_TRUE(Consumers(graph)[at("y")].empty());
}

TEST(Attributes, AnotherTypeIsAnErrorThatNamesNodeAndAttribute) {
  Node node{.op = "Conv", .name = "stem", .attributes = {{"group", std::string("two")}}};
  EXPECT_EQ(MessageOf(IntAttribute(node, "group", 1).status()), "Conv 'stem': attribute 'group' is not an integer");
  EXPECT_EQ(*IntAttribute(node, "missing", 7), 7);
}

}  // namespace
}  // namespace infenclave
