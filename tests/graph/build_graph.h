// Small graphs for tests.
#ifndef INFENCLAVE_TESTS_GRAPH_BUILD_GRAPH_H_
#define INFENCLAVE_TESTS_GRAPH_BUILD_GRAPH_H_

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"

namespace infenclave {

using Attributes = std::map<std::string, Attribute, std::less<>>;

// Adds inputs, constants and nodes one after another; names of nodes are those of their first output.
class GraphBuilder {
 public:
  ValueId Input(const std::string& name, Shape shape, DType dtype = DType::kF32) {
    graph.inputs.push_back(graph.AddValue(name, dtype, std::move(shape)));
    return graph.inputs.back();
  }
  // f32 constants count up from `first` in steps of 1/8, so that no two elements agree.
  ValueId Weights(const std::string& name, Shape shape, float first = -1) {
    Tensor t(DType::kF32, std::move(shape));
    for (float& x : t.as<float>()) x = first, first += 0.125f;
    return graph.AddConstant(name, std::move(t));
  }
  ValueId Floats(const std::string& name, Shape shape, const std::vector<float>& values) {
    return graph.AddConstant(name, Tensor::FromF32(std::move(shape), values));
  }
  ValueId Ints(const std::string& name, const std::vector<int64_t>& values) {
    return graph.AddConstant(name, Tensor::FromI64({static_cast<int64_t>(values.size())}, values));
  }
  ValueId Op(const std::string& op, std::vector<ValueId> inputs, const std::string& output,
             Attributes attributes = {}) {
    return Ops(op, std::move(inputs), {output}, std::move(attributes))[0];
  }
  std::vector<ValueId> Ops(const std::string& op, std::vector<ValueId> inputs, const std::vector<std::string>& outputs,
                           Attributes attributes = {}) {
    Node node{.op = op, .name = outputs[0], .inputs = std::move(inputs), .attributes = std::move(attributes)};
    for (const std::string& name : outputs) node.outputs.push_back(graph.AddValue(name, DType::kF32, {}));
    graph.nodes.push_back(node);
    return node.outputs;
  }
  Graph Build(std::vector<ValueId> outputs) {
    graph.outputs = std::move(outputs);
    EXPECT_TRUE(Validate(graph).ok()) << Validate(graph);
    return std::move(graph);
  }

  Graph graph;
};

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_GRAPH_BUILD_GRAPH_H_
