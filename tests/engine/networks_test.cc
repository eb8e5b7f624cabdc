// What is compiled from real networks.
#include <cstdlib>
#include <filesystem>

#include "engine/compiled_network.h"
#include "gtest/gtest.h"
#include "import/model.h"

namespace infenclave {
namespace {

std::string PathOf(const std::string& name) {
  if (name.starts_with("efficientnet")) {
    const char* folder = std::getenv("INFENCLAVE_MODELS");
    return folder == nullptr ? "" : std::string(folder) + "/" + name;
  }
  return std::string(INFENCLAVE_SHARED_DIR) + "/models/" + name;
}

class Networks : public ::testing::TestWithParam<std::tuple<const char*, Precision, int>> {};

TEST_P(Networks, RunOnFastImplementationsOnly) {
  const auto& [name, precision, batch] = GetParam();
  const std::string path = PathOf(name);
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "SKIPPED: there is no " << name << " (set INFENCLAVE_MODELS to the folder of converted networks)";
  }
  StatusOr<ImportedModel> model = ImportModel(path);
  ASSERT_TRUE(model.ok()) << model.status();
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(model->graph, {.precision = precision, .batch = batch});
  ASSERT_TRUE(network.ok()) << network.status();
  int reorders = 0;
  for (const CompiledNetwork::Layer& layer : network->layers()) {
    EXPECT_FALSE(layer.implementation.starts_with("ref")) << layer.op << " '" << layer.node << "'";
    EXPECT_NE(layer.op, "Add") << layer.node << ": the sum is not fused";
    EXPECT_NE(layer.op, "Clip") << layer.node << ": the activation is not fused";
    EXPECT_NE(layer.op, "Relu") << layer.node << ": the activation is not fused";
    reorders += layer.op == "Reorder" || layer.op == "Output";
  }
  EXPECT_LE(reorders, 2) << "one where the input comes in, one where the output leaves";
}

INSTANTIATE_TEST_SUITE_P(All, Networks,
                         ::testing::Combine(::testing::Values("efficientnet-lite0.onnx", "efficientnet-lite2.onnx",
                                                              "mobilenet_v2.onnx", "squeezenet1.1-fp16.onnx"),
                                            ::testing::Values(Precision::kF32, Precision::kBf16),
                                            ::testing::Values(1, 4)));

}  // namespace
}  // namespace infenclave
