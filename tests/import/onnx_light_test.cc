// The networks of the ONNX project's backend tests whose weights are constants ("light": ResNet-50, DenseNet-121,
// VGG-19, Inception v1 and v2, ShuffleNet, AlexNet, SqueezeNet, ZFNet-512): import, compile and run give the outputs
// that come with them. INFENCLAVE_ONNX_LIGHT names their folder; ./dev test fetches it with PyPI's onnx 1.18.
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "engine/compiled_network.h"
#include "graph/cuts.h"
#include "import/model.h"
#include "import/onnx_tensor.h"

namespace infenclave {
namespace {

namespace fs = std::filesystem;

// The project's own input for them: 0, 1/n, 2/n, …
Tensor Ramp(const Shape& shape) {
  Tensor out(DType::kF32, shape);
  for (size_t i = 0; i < out.as<float>().size(); ++i) {
    out.as<float>()[i] = static_cast<float>(static_cast<double>(i) / static_cast<double>(out.elements()));
  }
  return out;
}

Tensor Expected(const fs::path& model) {
  fs::path path = model;
  path.replace_extension("");
  StatusOr<Bytes> bytes = ReadFile(path.string() + "_output_0.pb", 1 << 20);
  onnx::TensorProto proto;
  EXPECT_TRUE(bytes.ok() && proto.ParseFromArray(bytes->data(), static_cast<int>(bytes->size())));
  return *TensorReader("", 1 << 20).Read(proto);
}

TEST(OnnxLight, RealNetworksOfConstantWeightsGiveTheirExpectedOutputs) {
  const char* folder = std::getenv("INFENCLAVE_ONNX_LIGHT");
  if (folder == nullptr || !fs::is_directory(folder)) GTEST_SKIP() << "SKIPPED: INFENCLAVE_ONNX_LIGHT names no folder";
  std::set<fs::path> models;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".onnx") models.insert(entry.path());
  }
  EXPECT_EQ(models.size(), 9u);
  for (const fs::path& path : models) {
    SCOPED_TRACE(path.filename());
    StatusOr<ImportedModel> model = ImportModel(path);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_TRUE(model->opaque.empty());
    StatusOr<std::vector<ValueId>> cuts = CutPoints(model->graph);
    ASSERT_TRUE(cuts.ok()) << cuts.status();
    EXPECT_GE(cuts->size(), 5u);
    StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(model->graph, {});
    ASSERT_TRUE(network.ok()) << network.status();
    for (const CompiledNetwork::Layer& layer : network->layers()) {
      EXPECT_FALSE(layer.implementation.starts_with("ref"))
          << layer.op << " '" << layer.node << "' runs " << layer.implementation;
    }
    const Tensor in = Ramp(network->input_shapes()[0]), want = Expected(path);
    Tensor got(DType::kF32, network->output_shapes()[0]);
    ASSERT_EQ(got.shape(), want.shape());
    const TensorView inputs[] = {in.view()};
    const MutableTensorView outputs[] = {got.mutable_view()};
    ASSERT_TRUE(network->Run(inputs, outputs).ok());
    double worst = 0;
    for (size_t i = 0; i < want.as<float>().size(); ++i) {
      const double y = want.as<float>()[i];
      worst = std::max(worst, std::abs(got.as<float>()[i] - y) / (1e-7 + std::abs(y)));
    }
    EXPECT_LE(worst, 1e-3);
    std::printf("%-32s %3zu cut points, largest relative difference %.1e\n", path.filename().c_str(), cuts->size(),
                worst);
  }
}

}  // namespace
}  // namespace infenclave
