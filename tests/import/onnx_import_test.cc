#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <tuple>

#include "import/model.h"
#include "onnx_builder.h"

namespace infenclave {
namespace {

using onnx::TensorProto;

StatusOr<ImportedModel> Import(const OnnxBuilder& builder) { return ImportOnnx(builder.Encode(), ""); }

// The message of the refusal; "" if there was none.
std::string Refusal(const OnnxBuilder& builder) {
  StatusOr<ImportedModel> model = Import(builder);
  return model.ok() ? "" : MessageOf(model.status());
}

const Value& OutputOf(const ImportedModel& model) { return model.graph.value(model.graph.outputs[0]); }

using Change = std::function<void(OnnxBuilder&, onnx::NodeProto&)>;

// A network of one node from x to y.
OnnxBuilder OneNode(int64_t opset, const std::string& op, const Shape& input, const Change& change = {}) {
  OnnxBuilder b(opset);
  b.Input("x", input).Output("y");
  onnx::NodeProto& node = b.Node(op, {"x"}, {"y"});
  if (change) change(b, node);
  return b;
}

TEST(OnnxImport, SymbolicAndAbsentBatchIsOne) {
  for (int64_t batch : {-1, 0, 1}) {
    StatusOr<ImportedModel> model = Import(OneNode(17, "Relu", {batch, 3, 4, 4}));
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(OutputOf(*model).shape, (Shape{1, 3, 4, 4})) << batch;
  }
}

TEST(OnnxImport, OtherSymbolicDimensionsAreRefused) {
  EXPECT_EQ(Refusal(OneNode(17, "Relu", {1, 3, -1, 4})),
            "input 'x': dimensions other than the first, the batch, must be fixed numbers");
}

TEST(OnnxImport, InitializersThatAreAlsoInputsAreConstants) {
  OnnxBuilder b;
  b.Input("x", {1, 2}).Input("w", {2, 2}).Output("y");
  b.Floats("w", {2, 2}, {1, 2, 3, 4});
  b.Node("MatMul", {"x", "w"}, {"y"});
  StatusOr<ImportedModel> model = Import(b);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->graph.inputs.size(), 1u);
  EXPECT_EQ(model->graph.constants.size(), 1u);
}

TEST(OnnxImport, HalfGraphsBecomeF32) {
  OnnxBuilder b;
  b.Input("x", {1, 2}, TensorProto::FLOAT16).Output("y");
  onnx::TensorProto& w = b.Floats("w", {2}, {});
  w.set_data_type(TensorProto::FLOAT16);
  w.set_raw_data(std::string("\x00\x3c\x00\xc2", 4));  // 1, -3
  b.Node("Add", {"x", "w"}, {"sum"});
  OnnxBuilder::Set(b.Node("Cast", {"sum"}, {"y"}), "to", int64_t{TensorProto::FLOAT});
  StatusOr<ImportedModel> model = Import(b);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->graph.value(model->graph.inputs[0]).dtype, DType::kF32);
  ASSERT_EQ(model->graph.nodes.size(), 1u) << "the Cast is gone";
  const Tensor& weights = *model->graph.constants.begin()->second;
  EXPECT_EQ(weights.dtype(), DType::kF32);
  EXPECT_FLOAT_EQ(weights.as<float>()[1], -3);
}

TEST(OnnxImport, MetadataAreKept) {
  OnnxBuilder b = OneNode(17, "Relu", {1, 2});
  auto* entry = b.model().add_metadata_props();
  entry->set_key("infenclave.preprocessing");
  entry->set_value("{}");
  StatusOr<ImportedModel> model = Import(b);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->metadata.at("infenclave.preprocessing"), "{}");
}

// ---- forms of older opsets ---------------------------------------------------------------------------------------

TEST(OnnxImport, ClipBoundsOfOpset7AreInputs) {
  StatusOr<ImportedModel> model = Import(OneNode(7, "Clip", {1, 2}, [](OnnxBuilder&, onnx::NodeProto& node) {
    OnnxBuilder::Set(node, "min", 0.0f);
    OnnxBuilder::Set(node, "max", 6.0f);
  }));
  ASSERT_TRUE(model.ok()) << model.status();
  const Node& node = model->graph.nodes[0];
  ASSERT_EQ(node.inputs.size(), 3u);
  EXPECT_FLOAT_EQ(model->graph.constant(node.inputs[2]).as<float>()[0], 6);
  EXPECT_TRUE(node.attributes.empty());
}

TEST(OnnxImport, AxesOfOpset11AreInputs) {
  for (auto [op, shape, wanted] : {std::tuple<const char*, Shape, Shape>{"Squeeze", {1, 3, 1, 1}, {1, 3}},
                                   {"Unsqueeze", {1, 3}, {1, 3, 1, 1}},
                                   {"ReduceMean", {1, 3, 4, 4}, {1, 3, 1, 1}}}) {
    StatusOr<ImportedModel> model = Import(OneNode(11, op, shape, [](OnnxBuilder&, onnx::NodeProto& node) {
      OnnxBuilder::Set(node, "axes", std::vector<int64_t>{2, 3});
    }));
    ASSERT_TRUE(model.ok()) << op << model.status();
    EXPECT_EQ(OutputOf(*model).shape, wanted) << op;
  }
}

TEST(OnnxImport, DropoutIsGone) {
  OnnxBuilder b(7);
  b.Input("x", {1, 2}).Output("y");
  OnnxBuilder::Set(b.Node("Dropout", {"x"}, {"d", "mask"}), "ratio", 0.5f);
  b.Node("Relu", {"d"}, {"y"});
  StatusOr<ImportedModel> model = Import(b);
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_EQ(model->graph.nodes.size(), 1u);
  EXPECT_EQ(model->graph.nodes[0].op, "Relu");
}

TEST(OnnxImport, SoftmaxOfOpset7WorksOnTheOneWideDimension) {
  StatusOr<ImportedModel> model = Import(OneNode(7, "Softmax", {1, 5, 1, 1}));
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_EQ(model->graph.nodes.size(), 1u);
  EXPECT_EQ(model->graph.nodes[0].attributes.at("axis"), Attribute(int64_t{1}));
}

TEST(OnnxImport, SoftmaxOfOpset7OverSeveralDimensionsIsAMatrix) {
  StatusOr<ImportedModel> model = Import(OneNode(7, "Softmax", {1, 2, 3}));
  ASSERT_TRUE(model.ok()) << model.status();
  std::vector<std::string> ops;
  for (const Node& node : model->graph.nodes) ops.push_back(node.op);
  EXPECT_EQ(ops, (std::vector<std::string>{"Reshape", "Softmax", "Reshape"}));
  EXPECT_EQ(OutputOf(*model).shape, (Shape{1, 2, 3}));
}

TEST(OnnxImport, PadOfOpset2IsAnInput) {
  StatusOr<ImportedModel> model = Import(OneNode(7, "Pad", {1, 1, 2, 2}, [](OnnxBuilder&, onnx::NodeProto& node) {
    OnnxBuilder::Set(node, "pads", std::vector<int64_t>{0, 0, 1, 1, 0, 0, 0, 2});
  }));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(OutputOf(*model).shape, (Shape{1, 1, 3, 5}));
}

TEST(OnnxImport, SliceOfOpset1IsAnInput) {
  StatusOr<ImportedModel> model = Import(OneNode(9, "Slice", {1, 4}, [](OnnxBuilder&, onnx::NodeProto& node) {
    OnnxBuilder::Set(node, "axes", std::vector<int64_t>{1});
    OnnxBuilder::Set(node, "starts", std::vector<int64_t>{1});
    OnnxBuilder::Set(node, "ends", std::vector<int64_t>{3});
  }));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(OutputOf(*model).shape, (Shape{1, 2}));
}

// PyTorch's x.view(x.size(0), -1), exported.
TEST(OnnxImport, ShapeArithmeticFoldsAway) {
  OnnxBuilder b(11);
  b.Input("x", {-1, 2, 3, 1}).Output("y");
  b.Node("Shape", {"x"}, {"shape"});
  b.Ints("zero", {0}).clear_dims();
  b.Ints("minus", {-1});
  b.Node("Gather", {"shape", "zero"}, {"n"});
  OnnxBuilder::Set(b.Node("Unsqueeze", {"n"}, {"n1"}), "axes", std::vector<int64_t>{0});
  OnnxBuilder::Set(b.Node("Concat", {"n1", "minus"}, {"target"}), "axis", int64_t{0});
  b.Node("Reshape", {"x", "target"}, {"y"});
  StatusOr<ImportedModel> model = Import(b);
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_EQ(model->graph.nodes.size(), 1u);
  EXPECT_EQ(OutputOf(*model).shape, (Shape{1, 6}));
}

TEST(OnnxImport, ChannelsLastInputBecomesChannelsFirst) {
  OnnxBuilder b;
  b.Input("image", {-1, 8, 8, 3}).Output("y");
  OnnxBuilder::Set(b.Node("Transpose", {"image"}, {"nchw"}), "perm", std::vector<int64_t>{0, 3, 1, 2});
  b.Node("GlobalAveragePool", {"nchw"}, {"y"});
  StatusOr<ImportedModel> model = Import(b);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->graph.value(model->graph.inputs[0]).shape, (Shape{1, 3, 8, 8}));
  EXPECT_EQ(model->graph.value(model->graph.inputs[0]).name, "image");
  ASSERT_EQ(model->graph.nodes.size(), 1u);
}

// ---- what is not known, and what is refused ----------------------------------------------------------------------

TEST(OnnxImport, BytesComeAsFloatsAndTheCastIsGone) {
  OnnxBuilder b;
  b.Input("x", {1, 8, 8, 3}, onnx::TensorProto::UINT8).Output("y");
  OnnxBuilder::Set(b.Node("Cast", {"x"}, {"f"}), "to", int64_t{onnx::TensorProto::FLOAT});
  OnnxBuilder::Set(b.Node("Transpose", {"f"}, {"t"}), "perm", std::vector<int64_t>{0, 3, 1, 2});
  b.Floats("scale", {}, {1.0f / 255});
  b.Node("Mul", {"t", "scale"}, {"y"});
  StatusOr<ImportedModel> model = Import(b);
  ASSERT_TRUE(model.ok()) << model.status();
  const Graph& graph = model->graph;
  EXPECT_EQ(graph.value(graph.inputs[0]).dtype, DType::kF32);
  EXPECT_EQ(graph.value(graph.inputs[0]).shape, (Shape{1, 3, 8, 8}));
  EXPECT_EQ(graph.nodes.back().op, "Mul");
  for (const Node& node : graph.nodes) EXPECT_NE(node.op, "Cast");
}

TEST(OnnxImport, UnknownOperatorsAreCarriedThrough) {
  OnnxBuilder b;
  b.Input("x", {1, 4}).Output("y", {1, 4});
  b.Node("Relu", {"x"}, {"r"});
  b.Node("Einsum", {"r", "r"}, {"e"});
  b.Node("Tanh", {"e"}, {"s"});  // its input's shape is not known, so it is carried through as well
  b.Node("Sigmoid", {"s"}, {"y"});
  StatusOr<ImportedModel> model = Import(b);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->opaque, std::vector<std::string>{"Einsum"});
  ASSERT_EQ(model->graph.nodes.size(), 4u);
  EXPECT_TRUE(model->graph.nodes[0].opaque.empty());
  EXPECT_FALSE(model->graph.nodes[1].opaque.empty());
  EXPECT_FALSE(model->graph.nodes[2].opaque.empty());
  EXPECT_EQ(OutputOf(*model).shape, (Shape{1, 4}));
}

TEST(OnnxImport, RefusalsNameNodeOperatorAndAttribute) {
  auto one = [](const std::string& op, const Change& change) { return OneNode(17, op, {1, 2}, change); };
  const std::pair<OnnxBuilder, std::string> cases[] = {
      {one("Relu", [](OnnxBuilder&, onnx::NodeProto& n) { OnnxBuilder::Set(n, "slope", 1.0f); }),
       "Relu 'node_y': attribute 'slope' is not supported"},
      {OneNode(6, "Relu", {1, 2}), "opset 6"},
      {OneNode(22, "Relu", {1, 2}), "opset 22"},
      {one("Relu", [](OnnxBuilder&, onnx::NodeProto& n) { n.set_input(0, "nowhere"); }),
       "Relu 'node_y': reads 'nowhere', which nothing produces"},
      {one("Relu", [](OnnxBuilder&, onnx::NodeProto& n) { n.set_input(0, "y"); }), "Relu 'node_y': is part of a cycle"},
      {one("Relu", [](OnnxBuilder& b, onnx::NodeProto&) { b.Node("Tanh", {"x"}, {"y"}); }),
       "two tensors are named 'y'"},
      {one("If",
           [](OnnxBuilder&, onnx::NodeProto& n) {
             n.add_attribute()->set_name("then_branch");
             n.mutable_attribute(0)->mutable_g()->set_name("g");
           }),
       "If 'node_y': control flow"},
      {one("Relu", [](OnnxBuilder& b, onnx::NodeProto&) { b.graph().mutable_output(0)->set_name("z"); }),
       "output 'z': nothing produces it"},
      {OneNode(17, "BatchNormalization", {1, 2, 3, 3},
               [](OnnxBuilder& b, onnx::NodeProto& n) {
                 for (const char* name : {"a", "b", "c", "d"}) {
                   b.Floats(name, {2}, {1, 1});
                   n.add_input(name);
                 }
                 OnnxBuilder::Set(n, "training_mode", int64_t{1});
               }),
       "BatchNormalization 'node_y' (opset 17): training is not supported"},
  };
  for (const auto& [builder, wanted] : cases) {
    std::string message = Refusal(builder);
    EXPECT_NE(message.find(wanted), std::string::npos) << "got: " << message << "\nwant: " << wanted;
  }
}

// A convolution of u8 with weights in i8, as exporters write it.
OnnxBuilder QuantizedConvolution() {
  OnnxBuilder b;
  b.Input("x", {1, 2, 4, 4}).Output("y");
  b.Floats("scale", {}, {0.5f});
  b.Integers("zero", TensorProto::UINT8, {}, {3});
  b.Node("QuantizeLinear", {"x", "scale", "zero"}, {"q"});
  b.Node("DequantizeLinear", {"q", "scale", "zero"}, {"d"});
  b.Integers("weights", TensorProto::INT8, {2, 2, 1, 1}, {1, -2, 3, -4});
  b.Floats("weight scales", {2}, {0.1f, 0.2f});
  b.Integers("weight zeros", TensorProto::INT8, {2}, {0, 0});
  OnnxBuilder::Set(b.Node("DequantizeLinear", {"weights", "weight scales", "weight zeros"}, {"w"}), "axis", int64_t{0});
  b.Node("Conv", {"d", "w"}, {"y"});
  return b;
}

onnx::TensorProto& Initializer(OnnxBuilder& b, std::string_view name) {
  auto& all = *b.graph().mutable_initializer();
  return *std::find_if(all.begin(), all.end(), [&](const onnx::TensorProto& t) { return t.name() == name; });
}

TEST(OnnxImport, RefusalsOfQuantisedNetworksNameTheTensor) {
  EXPECT_EQ(Refusal(QuantizedConvolution()), "");
  struct Case {
    std::function<void(OnnxBuilder&)> change;
    std::string wanted;
  } cases[] = {
      {[](OnnxBuilder& b) { Initializer(b, "zero").set_data_type(TensorProto::UINT16); },
       "QuantizeLinear 'node_q': 'q': integers of type i32 are not supported, u8 and i8 are"},
      {[](OnnxBuilder& b) { Initializer(b, "zero").set_data_type(22); },
       "constant 'zero': element type number 22 is not supported"},
      {[](OnnxBuilder& b) { Initializer(b, "scale").set_float_data(0, -1); }, "scale 'scale' holds -1, expected"},
      {[](OnnxBuilder& b) { Initializer(b, "scale").set_float_data(0, std::nanf("")); }, "scale 'scale' holds nan"},
      {[](OnnxBuilder& b) { b.graph().mutable_node(0)->set_input(1, "x"); }, "scale 'x' is not a constant f32"},
      {[](OnnxBuilder& b) { b.graph().mutable_node(0)->set_input(1, "weight scales"); },
       "zero point 'zero' is [], the scale [2]"},
      {[](OnnxBuilder& b) {
         for (int i : {1, 2}) b.graph().mutable_node(0)->set_input(i, i == 1 ? "weight scales" : "weight zeros");
       },
       "QuantizeLinear 'node_q': 'q' has 2 scales of i8 for what the network computes"},
      {[](OnnxBuilder& b) { Initializer(b, "weights").set_data_type(TensorProto::UINT8); },
       "zero point 'weight zeros' is i8, expected u8"},
      {[](OnnxBuilder& b) {
         for (const char* name : {"weights", "weight zeros"}) Initializer(b, name).set_data_type(TensorProto::UINT8);
       },
       "constant 'weights' is u8 with zero point 0: weights must be symmetric, i8 with zero point 0"},
      {[](OnnxBuilder& b) {
         for (int i : {0, 1}) Initializer(b, "weight zeros").set_int32_data(i, 7);
       },
       "constant 'weights' is i8 with zero point 7: weights must be symmetric"},
      {[](OnnxBuilder& b) { Initializer(b, "weight zeros").set_int32_data(1, 7); },
       "zero points 'weight zeros' differ: weights must be symmetric"},
      {[](OnnxBuilder& b) {
         Initializer(b, "weight scales").set_dims(0, 1);
         Initializer(b, "weight scales").add_dims(2);
       },
       "scale 'weight scales' is [1,2]: one per tensor or one per channel is supported"},
      {[](OnnxBuilder& b) { b.graph().mutable_node(2)->mutable_attribute(0)->set_i(3); },
       "DequantizeLinear 'node_w': 'weights' has 2 scales for dimension 3 of [2,2,1,1]"},
      {[](OnnxBuilder& b) { OnnxBuilder::Set(*b.graph().mutable_node(2), "block_size", int64_t{2}); }, "per block"},
  };
  for (const auto& [change, wanted] : cases) {
    OnnxBuilder b = QuantizedConvolution();
    change(b);
    EXPECT_NE(Refusal(b).find(wanted), std::string::npos) << "got: " << Refusal(b) << "\nwant: " << wanted;
  }
}

}  // namespace
}  // namespace infenclave
