// What is compiled from real networks.
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engine/compiled_network.h"
#include "gtest/gtest.h"
#include "import/model.h"
#include "tests/engine/counting_memory.h"

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
  testing::CountingMemory memory;
  StatusOr<CompiledNetwork> network =
      CompiledNetwork::Compile(model->graph, {.precision = precision, .batch = batch, .memory = &memory});
  ASSERT_TRUE(network.ok()) << network.status();
  // What `inspect` prints is what is taken: nothing beside it, not even while the weights are packed.
  const size_t promised = network->arena_bytes() + network->weight_bytes();
  EXPECT_EQ(memory.live, promised);
  if (batch == 1) {
    EXPECT_LE(memory.peak, promised + promised / 20);
  }
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

// The paper's networks, with weights of zeros: which implementation runs does not depend on them.
TEST(PaperNetworks, RunOnFastImplementationsOnly) {
  namespace fs = std::filesystem;
  const struct {
    const char* name;
    uintmax_t weight_bytes;
  } networks[] = {{"darknet", 29'293'940}, {"extraction", 93'821'620}, {"densenet201", 68'825'780}};
  const fs::path folder = fs::path(::testing::TempDir()) / "paper-networks";
  fs::create_directories(folder);
  for (const auto& [name, weight_bytes] : networks) {
    const fs::path cfg = fs::path("/usr/share/darknet/cfg") / (std::string(name) + ".cfg");
    if (!fs::exists(cfg)) GTEST_SKIP() << "SKIPPED: Debian's darknet is not installed";
    fs::copy_file(cfg, folder / cfg.filename(), fs::copy_options::overwrite_existing);
    const fs::path weights = (folder / name).replace_extension(".weights");
    const int32_t header[] = {0, 2, 0, 0, 0};  // version 0.2, no pictures seen
    std::ofstream(weights, std::ios::binary).write(reinterpret_cast<const char*>(header), sizeof(header));
    fs::resize_file(weights, weight_bytes);
    StatusOr<ImportedModel> model = ImportModel((folder / cfg.filename()).string());
    ASSERT_TRUE(model.ok()) << model.status();
    for (Precision precision : {Precision::kF32, Precision::kBf16}) {
      for (auto measuring : {std::chrono::milliseconds(0), std::chrono::milliseconds(100)}) {
        StatusOr<CompiledNetwork> network =
            CompiledNetwork::Compile(model->graph, {.precision = precision, .measuring = measuring});
        ASSERT_TRUE(network.ok()) << network.status();
        for (const CompiledNetwork::Layer& layer : network->layers()) {
          EXPECT_FALSE(layer.implementation.starts_with("ref"))
              << name << ": " << layer.op << " '" << layer.node << "'";
        }
      }
    }
  }
  fs::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(All, Networks,
                         ::testing::Combine(::testing::Values("efficientnet-lite0.onnx", "efficientnet-lite2.onnx",
                                                              "mobilenet_v2.onnx", "squeezenet1.1-fp16.onnx"),
                                            ::testing::Values(Precision::kF32, Precision::kBf16),
                                            ::testing::Values(1, 4)),
                         [](const auto& test) {
                           std::string text = Concat(std::get<0>(test.param), "_", NameOf(std::get<1>(test.param)),
                                                     "_batch", std::get<2>(test.param));
                           std::ranges::replace_if(text, ::ispunct, '_');
                           return text;
                         });

}  // namespace
}  // namespace infenclave
