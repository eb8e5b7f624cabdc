// Builds small graphs for tests and runs them compiled.
#ifndef INFENCLAVE_TESTS_ENGINE_ONE_NODE_H_
#define INFENCLAVE_TESTS_ENGINE_ONE_NODE_H_

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/compiled_network.h"
#include "graph/graph.h"
#include "graph/passes.h"

namespace infenclave::testing {

inline std::vector<float> Random(size_t n, uint32_t seed, float low = -1, float high = 1) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> out(n);
  for (float& v : out) v = uniform(rng);
  return out;
}

inline size_t Count(const Shape& shape) { return static_cast<size_t>(NumElements(shape).value()); }

class GraphBuilder {
 public:
  ValueId Input(const Shape& shape) {
    ValueId id = graph_.AddValue(NextName(), DType::kF32, shape);
    graph_.inputs.push_back(id);
    return id;
  }
  ValueId Constant(const Shape& shape, const std::vector<float>& values) {
    return graph_.AddConstant(NextName(), Tensor::FromF32(shape, values));
  }
  ValueId Ints(const std::vector<int64_t>& values) {
    return graph_.AddConstant(NextName(), Tensor::FromI64({static_cast<int64_t>(values.size())}, values));
  }
  ValueId Add(const std::string& op, std::vector<ValueId> inputs, decltype(Node::attributes) attributes = {},
              FusedActivation activation = {}) {
    ValueId out = graph_.AddValue(NextName(), DType::kF32, {});
    Node node;
    node.op = op;
    node.name = Concat("n", graph_.nodes.size());
    node.inputs = std::move(inputs);
    node.outputs = {out};
    node.attributes = std::move(attributes);
    node.activation = activation;
    graph_.nodes.push_back(std::move(node));
    return out;
  }
  // With shapes inferred.
  Graph Build(std::vector<ValueId> outputs) {
    graph_.outputs = std::move(outputs);
    StatusOr<Graph> graph = InferShapes(std::move(graph_));
    EXPECT_TRUE(graph.ok()) << graph.status();
    return std::move(graph).value();
  }

 private:
  std::string NextName() { return Concat("v", graph_.values.size()); }
  Graph graph_;
};

// Outputs of `network` for those inputs.
inline std::vector<std::vector<float>> RunNetwork(CompiledNetwork& network,
                                                  const std::vector<std::vector<float>>& inputs) {
  std::vector<TensorView> in;
  std::vector<MutableTensorView> out;
  std::vector<std::vector<float>> results;
  for (size_t i = 0; i < inputs.size(); ++i) in.push_back({DType::kF32, network.input_shapes()[i], inputs[i].data()});
  for (const Shape& shape : network.output_shapes()) results.emplace_back(Count(shape), 1e30f);
  for (size_t i = 0; i < results.size(); ++i) {
    out.push_back({DType::kF32, network.output_shapes()[i], results[i].data()});
  }
  Status status = network.Run(in, out);
  EXPECT_TRUE(status.ok()) << status;
  return results;
}

inline std::vector<std::vector<float>> CompileAndRun(const Graph& graph, const std::vector<std::vector<float>>& inputs,
                                                     const EngineOptions& options = {}) {
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(graph, options);
  EXPECT_TRUE(network.ok()) << network.status();
  if (!network.ok()) return {};
  return RunNetwork(*network, inputs);
}

// Largest difference as a share of the largest magnitude expected.
inline void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected, double tolerance,
                       const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double scale = 1e-6, worst = 0;
  for (float v : expected) scale = std::max<double>(scale, std::abs(v));
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_TRUE(std::isfinite(actual[i])) << what << " at " << i;
    worst = std::max<double>(worst, std::abs(actual[i] - expected[i]));
  }
  EXPECT_LE(worst / scale, tolerance) << what;
}

}  // namespace infenclave::testing

#endif  // INFENCLAVE_TESTS_ENGINE_ONE_NODE_H_
