// Files that mean harm, or are broken: what they get is a message.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "import/model.h"
#include "import/onnx_bounds.h"
#include "onnx_builder.h"

namespace infenclave {
namespace {

using onnx::TensorProto;

// y = x + w, whose weights are the test's.
OnnxBuilder AddOf(const std::function<void(OnnxBuilder&)>& weights) {
  OnnxBuilder b;
  b.Input("x", {1, 1}).Output("y");
  weights(b);
  b.Node("Add", {"x", "w"}, {"y"});
  return b;
}

std::string Refusal(const OnnxBuilder& builder) { return MessageOf(ImportOnnx(builder.Encode(), "").status()); }

TEST(OnnxTensors, DataMustFitTheShape) {
  EXPECT_EQ(Refusal(AddOf([](OnnxBuilder& b) {
              b.Floats("w", {3}, {1, 2});
            })),
            "constant 'w': float tensor of shape [3] needs 12 bytes of data, has 8");
  EXPECT_EQ(Refusal(AddOf([](OnnxBuilder& b) { b.Floats("w", {-1}, {1}); })),
            "constant 'w': shape [-1] has a negative dimension");
  EXPECT_EQ(Refusal(AddOf([](OnnxBuilder& b) { b.Floats("w", {1}, {}).set_data_type(TensorProto::STRING); })),
            "constant 'w': element type string is not supported");
  EXPECT_EQ(Refusal(AddOf([](OnnxBuilder& b) { b.Floats("w", {1}, {}).set_data_type(77); })),
            "constant 'w': element type number 77 is not supported");
}

TEST(OnnxTensors, SizesAreBoundedBeforeAnythingIsAllocated) {
  EXPECT_NE(Refusal(AddOf([](OnnxBuilder& b) {
              b.Floats("w", {int64_t{1} << 20, int64_t{1} << 19}, {});
            })).find("exceeds what a model's constants may take"),
            std::string::npos);
  EXPECT_NE(Refusal(AddOf([](OnnxBuilder& b) {
              b.Floats("w", {int64_t{1} << 40, int64_t{1} << 40}, {});
            })).find("more than 2^40 elements"),
            std::string::npos);
}

class ExternalData : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/onnx_external_" + std::to_string(getpid());
    std::filesystem::create_directories(folder_ + "/model/sub");
    Write("model/weights.bin", std::string("\0\0\x80\x3f\0\0\0\x40", 8));
    Write("outside.bin", std::string("\0\0\x80\x3f\0\0\0\x40", 8));
    std::filesystem::create_symlink("../outside.bin", folder_ + "/model/link.bin");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) { std::ofstream(folder_ + "/" + name) << text; }

  static OnnxBuilder Model(const std::string& location, const std::string& offset, const std::string& length) {
    return AddOf([&](OnnxBuilder& b) {
      onnx::TensorProto& w = b.Floats("w", {1}, {});
      w.set_data_location(TensorProto::EXTERNAL);
      for (auto [key, value] : {std::pair{"location", location}, {"offset", offset}, {"length", length}}) {
        if (value.empty()) continue;
        auto* entry = w.add_external_data();
        entry->set_key(key);
        entry->set_value(value);
      }
    });
  }
  StatusOr<ImportedModel> With(const std::string& location, const std::string& offset, const std::string& length = "") {
    Bytes bytes = Model(location, offset, length).Encode();
    Write("model/model.onnx", std::string(bytes.begin(), bytes.end()));
    return ImportModel(folder_ + "/model/model.onnx");
  }
  std::string RefusalOf(const std::string& location, const std::string& offset, const std::string& length = "") {
    return MessageOf(With(location, offset, length).status());
  }

  std::string folder_;
};

TEST_F(ExternalData, IsReadAtItsOffset) {
  StatusOr<ImportedModel> model = With("weights.bin", "4", "4");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_FLOAT_EQ(model->graph.constants.begin()->second->as<float>()[0], 2);
}

TEST_F(ExternalData, MayNotLeaveTheModelsFolder) {
  for (const char* location : {"../outside.bin", "sub/../../outside.bin", "link.bin"}) {
    EXPECT_NE(RefusalOf(location, "0").find("lies outside the model's folder"), std::string::npos) << location;
  }
  EXPECT_NE(RefusalOf("/etc/passwd", "0").find("is not a relative path"), std::string::npos);
  EXPECT_NE(Refusal(Model("weights.bin", "0", "")).find("in a model that is no file"), std::string::npos);
}

TEST_F(ExternalData, MustBeThere) {
  EXPECT_NE(RefusalOf("weights.bin", "8").find("has 8 bytes, the tensor lies at 8 to 12"), std::string::npos);
  EXPECT_NE(RefusalOf("weights.bin", "18446744073709551615").find("has 8 bytes"), std::string::npos);
  EXPECT_NE(RefusalOf("weights.bin", "-4").find("is not a number"), std::string::npos);
  EXPECT_NE(RefusalOf("weights.bin", "0", "8").find("length 8, the shape needs 4"), std::string::npos);
  EXPECT_EQ(With("missing.bin", "0").status().code(), StatusCode::kNotFound);
  EXPECT_FALSE(With("sub", "0").ok());
}

TEST(OnnxBounds, SmallFilesCannotAskForMuchMemory) {
  // A hundred thousand empty nodes take two bytes each in the file.
  std::string nodes;
  for (int i = 0; i < 100'000; ++i) nodes += std::string("\x0a\x00", 2);
  onnx::ModelProto model;
  ASSERT_TRUE(model.mutable_graph()->ParseFromString(nodes));
  std::string text = model.SerializeAsString();
  EXPECT_TRUE(CheckDecodingBounds(AsBytes(text), *onnx::ModelProto::descriptor()).ok());
  Status status = CheckDecodingBounds(AsBytes(text), *onnx::ModelProto::descriptor(), 10 << 20);
  EXPECT_EQ(MessageOf(status), "the messages would take more memory than the limit when decoded");
  EXPECT_GT(model.SpaceUsedLong(), size_t{10} << 20) << "protobuf's own count agrees that this is much";
}

TEST(OnnxBounds, TheCostIsAtLeastWhatProtobufTakes) {
  OnnxBuilder b;
  for (int i = 0; i < 1000; ++i) {
    onnx::NodeProto& node = b.Node("Conv", {"x", "w", "b"}, {"y"});
    OnnxBuilder::Set(node, "pads", std::vector<int64_t>{0, 1, 2, 3});
    b.Floats("w", {2}, {1, 2}).add_external_data()->set_key("k");
    b.Ints("i", std::vector<int64_t>(100, 1));
    b.Input("x", {1, 2, 3});
  }
  std::string text = b.model().SerializeAsString();
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(text));
  int64_t used = static_cast<int64_t>(model.SpaceUsedLong());
  // Strings and tensors' bytes are not counted by the walk, so they are taken off here.
  Status status =
      CheckDecodingBounds(AsBytes(text), *onnx::ModelProto::descriptor(), used - static_cast<int64_t>(text.size()));
  EXPECT_FALSE(status.ok());
}

TEST(OnnxBounds, NestingIsLimited) {
  onnx::ModelProto model;
  onnx::GraphProto* graph = model.mutable_graph();
  for (int i = 0; i < 20; ++i) graph = graph->add_node()->add_attribute()->mutable_g();
  std::string text = model.SerializeAsString();
  EXPECT_EQ(MessageOf(CheckDecodingBounds(AsBytes(text), *onnx::ModelProto::descriptor())),
            "messages nest deeper than 32");
}

TEST(OnnxFiles, NoTruncationIsAModel) {
  Bytes bytes = AddOf([](OnnxBuilder& b) { b.Floats("w", {1}, {1}); }).Encode();
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(ImportOnnx(ByteSpan(bytes).first(n), "").ok()) << n;
  EXPECT_TRUE(ImportOnnx(bytes, "").ok());
}

TEST(OnnxFiles, AFixedBatchBecomesOne) {
  OnnxBuilder b;
  b.Input("x", {8, 3, 6, 6}).Output("y");
  b.Node("GlobalAveragePool", {"x"}, {"p"});
  b.Ints("shape", {8, 3});
  b.Node("Reshape", {"p", "shape"}, {"y"});
  std::string path = testing::TempDir() + "/fixed_batch_" + std::to_string(getpid()) + ".onnx";
  Bytes bytes = b.Encode();
  ASSERT_TRUE(WriteFileAtomic(path, bytes).ok());
  StatusOr<ImportedModel> model = ImportModel(path);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->graph.value(model->graph.inputs[0]).shape, (Shape{1, 3, 6, 6}));
  EXPECT_EQ(model->graph.value(model->graph.outputs[0]).shape, (Shape{1, 3}));

  b.Floats("w", {8, 3}, std::vector<float>(24, 1));
  b.Node("Add", {"y", "w"}, {"z"});
  b.graph().mutable_output(0)->set_name("z");
  bytes = b.Encode();
  ASSERT_TRUE(WriteFileAtomic(path, bytes).ok());
  model = ImportModel(path);
  EXPECT_NE(MessageOf(model.status()).find("input 'x' has a fixed batch of 8, and the network does not work for one"),
            std::string::npos)
      << "a constant of eight rows broadcasts to a batch of one: " << model.status();
  std::filesystem::remove(path);
}

TEST(OnnxFiles, ErrorsNameTheFile) {
  EXPECT_EQ(ImportModel("/nonexistent/model.onnx").status().code(), StatusCode::kNotFound);
  StatusOr<ImportedModel> model = ImportModel(INFENCLAVE_SOURCE_DIR "/LICENSE");
  EXPECT_NE(MessageOf(model.status()).find("/LICENSE: not an ONNX model"), std::string::npos) << model.status();
}

}  // namespace
}  // namespace infenclave
