// BackNets that read codes, exported and imported again as a served one is. Expected values by hand.
#include "bundle/ir_codes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/compiled_network.h"
#include "import/model.h"
#include "tests/graph/build_graph.h"

namespace infenclave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Graph Identity(Shape maps) {
  GraphBuilder b;
  Graph graph = b.Build({b.Op("Flatten", {b.Input("ir", std::move(maps))}, "y")});
  graph.value(graph.outputs[0]).shape = {1, *NumElements(graph.value(graph.inputs[0]).shape)};
  return graph;
}

std::vector<float> Read(const Shape& maps, IrPrecision precision, float step, const Bytes& bytes) {
  StatusOr<Graph> back = ReadCodes(Identity(maps), precision, step);
  EXPECT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->value(back->inputs[0]).dtype, DType::kU8);
  const ImportedModel model = ImportOnnx(*ExportOnnx(*back, {.anonymous = true}), "").value();
  CompiledNetwork network = CompiledNetwork::Compile(model.graph, {}).value();
  Tensor input(DType::kF32, network.input_shapes()[0]), output(DType::kF32, network.output_shapes()[0]);
  EXPECT_EQ(input.as<float>().size(), bytes.size());
  std::copy(bytes.begin(), bytes.end(), input.as<float>().begin());
  const TensorView inputs[] = {input.view()};
  const MutableTensorView outputs[] = {output.mutable_view()};
  EXPECT_TRUE(network.Run(inputs, outputs).ok());
  return {output.as<float>().begin(), output.as<float>().end()};
}

TEST(ReadCodes, OneCodeAByte) {
  EXPECT_THAT(Read({1, 3, 1, 1}, IrPrecision::kInt8, 0.5f, {0, 3, 255}), ElementsAre(0, 1.5f, 127.5f));
}

TEST(ReadCodes, TwoCodesAByte) {
  EXPECT_THAT(Read({1, 4, 1, 2}, IrPrecision::kInt4, 2, {0x51, 0x62, 0xf3, 0x04}),
              ElementsAre(2, 4, 6, 8, 10, 12, 30, 0));
  EXPECT_THAT(Read({1, 3, 1, 1}, IrPrecision::kInt4, 1, {0x31, 0xf2}), ElementsAre(1, 2, 3));
  EXPECT_THAT(Read({1, 1, 1, 1}, IrPrecision::kInt4, 1, {0x0f}), ElementsAre(15));
}

TEST(ReadCodes, IsForMaps) {
  EXPECT_THAT(MessageOf(ReadCodes(Identity({1, 8}), IrPrecision::kInt8, 1).status()),
              HasSubstr("cut 'ir' has the shape [1,8]"));
}

}  // namespace
}  // namespace infenclave
