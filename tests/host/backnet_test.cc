// The BackNets, built-in and behind the Open Inference Protocol, on a network small enough to be computed by hand:
// scores = W^T ir + b.
#include "host/backnet.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <cstring>
#include <future>

#include "host/backnet_server.h"
#include "import/model.h"
#include "oip/infer.h"

namespace infenclave {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;

const BackNetShape kShape{{2}, DType::kF32, {3}};

Graph SmallNetwork() {
  Graph graph;
  const ValueId input = graph.AddValue("x", DType::kF32, {1, 2});
  const ValueId weights = graph.AddConstant("w", Tensor::FromF32({2, 3}, std::vector<float>{1, 2, 3, -4, 5, 0.5f}));
  const ValueId bias = graph.AddConstant("b", Tensor::FromF32({3}, std::vector<float>{0, 10, -1}));
  const ValueId output = graph.AddValue("y", DType::kF32, {1, 3});
  Node node;
  node.op = "Gemm";
  node.name = "gemm";
  node.inputs = {input, weights, bias};
  node.outputs = {output};
  graph.nodes.push_back(std::move(node));
  graph.inputs = {input};
  graph.outputs = {output};
  return graph;
}

Bytes SmallOnnx() { return ExportOnnx(SmallNetwork(), {.anonymous = true}).value(); }

template <typename T>
ByteSpan BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)};
}

const std::vector<float> kIr = {1, 2, -1, 0.5f};  // a batch of two
const auto kScores = ElementsAre(-7, 22, 3, -3, 10.5f, -3.75f);

// Waits.
Status RunBatch(BackNet& backnet, const BackNet::Batch& batch) {
  auto done = std::make_shared<std::promise<Status>>();
  std::future<Status> later = done->get_future();
  const auto started = backnet.Start(batch, [done](const Status& status) { done->set_value(status); });
  return started.finished ? *started.finished : later.get();
}

std::vector<float> ScoresOf(BackNet& backnet, ByteSpan ir) {
  std::vector<float> scores(6);
  const Status status = RunBatch(backnet, {ir, 2, scores});
  EXPECT_TRUE(status.ok()) << status;
  return scores;
}

TEST(BuiltinBackNet, ComputesABatch) {
  auto factory = BuiltinBackNet(SmallOnnx(), kShape);
  ASSERT_TRUE(factory.ok()) << factory.status();
  auto backnet = (*factory)();
  ASSERT_TRUE(backnet.ok()) << backnet.status();
  EXPECT_THAT(ScoresOf(**backnet, BytesOf(kIr)), kScores);
}

TEST(BuiltinBackNet, ABatchOfAnySizeIsAsOneByOne) {
  auto backnet = BuiltinBackNet(SmallOnnx(), kShape).value()().value();
  for (int64_t size = 1; size <= 2 * kBuiltinBatch + 3; ++size) {
    std::vector<float> ir, together(static_cast<size_t>(3 * size));
    for (int64_t i = 0; i < 2 * size; ++i) ir.push_back(static_cast<float>(i * i % 7));
    ASSERT_TRUE(RunBatch(*backnet, {BytesOf(ir), size, together}).ok());
    for (size_t i = 0; i < static_cast<size_t>(size); ++i) {
      std::vector<float> alone(3);
      ASSERT_TRUE(RunBatch(*backnet, {BytesOf(ir).subspan(8 * i, 8), 1, alone}).ok());
      EXPECT_THAT(std::vector(&together[3 * i], &together[3 * i] + 3), ElementsAreArray(alone)) << i << " of " << size;
    }
  }
}

TEST(BuiltinBackNet, WorkersShareTheirWeights) {
  const auto weights = std::make_shared<PackedWeights>();
  auto factory = BuiltinBackNet(SmallOnnx(), kShape, weights).value();
  auto first = factory().value(), second = factory().value();
  EXPECT_GE(weights->bytes(), (6 + 3) * sizeof(float));
  EXPECT_GE(weights->saved_bytes(), weights->bytes());
  first.reset();
  EXPECT_THAT(ScoresOf(*second, BytesOf(kIr)), kScores);
}

TEST(BuiltinBackNet, ReadsUnalignedInput) {
  Bytes shifted(1 + kIr.size() * sizeof(float));
  std::memcpy(shifted.data() + 1, kIr.data(), shifted.size() - 1);
  auto backnet = BuiltinBackNet(SmallOnnx(), kShape).value()().value();
  EXPECT_THAT(ScoresOf(*backnet, ByteSpan(shifted).subspan(1)), kScores);
}

TEST(BuiltinBackNet, WidensBf16) {
  std::vector<uint16_t> narrow;
  for (float value : kIr) narrow.push_back(F32ToBf16(value));  // all four are exact in bf16
  auto backnet = BuiltinBackNet(SmallOnnx(), {{2}, DType::kBf16, {3}}).value()().value();
  EXPECT_THAT(ScoresOf(*backnet, BytesOf(narrow)), kScores);
}

// The same network for bytes, [2,1,1] a request: its scores of the whole numbers `kCodes`.
Bytes OnnxOfBytes() {
  Graph graph = SmallNetwork();
  const ValueId bytes = graph.AddValue("bytes", DType::kU8, {1, 2, 1, 1});
  const ValueId floats = graph.AddValue("floats", DType::kF32, {1, 2, 1, 1});
  Node cast, flatten;
  cast.op = "Cast";
  cast.attributes["to"] = int64_t{1};
  cast.inputs = {bytes};
  cast.outputs = {floats};
  flatten.op = "Flatten";
  flatten.inputs = {floats};
  flatten.outputs = {graph.inputs[0]};
  graph.inputs = {bytes};
  graph.nodes.insert(graph.nodes.begin(), {cast, flatten});
  return ExportOnnx(graph, {.anonymous = true}).value();
}
const BackNetShape kShapeOfBytes{{2, 1, 1}, DType::kU8, {3}};
const Bytes kCodes = {1, 2, 255, 0};
const auto kScoresOfCodes = ElementsAre(-7, 22, 3, 255, 520, 764);

TEST(BuiltinBackNet, TakesBytes) {
  auto backnet = BuiltinBackNet(OnnxOfBytes(), kShapeOfBytes).value()().value();
  EXPECT_THAT(ScoresOf(*backnet, kCodes), kScoresOfCodes);
}

TEST(BuiltinBackNet, RefusesANetworkOfAnotherShape) {
  const Status in = BuiltinBackNet(SmallOnnx(), {{4}, DType::kF32, {3}}).status();
  EXPECT_EQ(in.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(MessageOf(in), HasSubstr("input has shape [1,2], the manifest says [1,4]"));
  const Status out = BuiltinBackNet(SmallOnnx(), {{2}, DType::kF32, {5}}).status();
  EXPECT_THAT(MessageOf(out), HasSubstr("output has shape [1,3], the manifest says [1,5]"));
}

class BackNetServerTest : public testing::Test {
 protected:
  void SetUp() override {
    Manifest manifest;
    manifest.model_name = "small";
    manifest.ir_shape = {2};
    manifest.backnet_output_shape = {3};
    auto server = BackNetServer::Start(manifest, BuiltinBackNet(SmallOnnx(), kShape).value(),
                                       {.workers = 2, .listen = "127.0.0.1:0", .http = "", .observer = {}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  OipEndpoint Endpoint() const { return {server_->address(), "small", ""}; }

  std::unique_ptr<BackNetServer> server_;
  const OipEndpoint nowhere_{"127.0.0.1:1", "small", ""};
};

TEST_F(BackNetServerTest, TheRemoteBackNetComputesTheSame) {
  auto factory = RemoteBackNet({Endpoint()}, kShape);
  ASSERT_TRUE(factory.ok()) << factory.status();
  auto backnet = (*factory)().value();
  EXPECT_THAT(ScoresOf(*backnet, BytesOf(kIr)), kScores);
}

TEST_F(BackNetServerTest, TheRemoteBackNetWidensBf16) {
  std::vector<uint16_t> narrow;
  for (float value : kIr) narrow.push_back(F32ToBf16(value));
  auto backnet = RemoteBackNet({Endpoint()}, {{2}, DType::kBf16, {3}}).value()().value();
  EXPECT_THAT(ScoresOf(*backnet, BytesOf(narrow)), kScores);
}

TEST_F(BackNetServerTest, BytesCrossTheNetworkAsBytes) {
  Manifest manifest;
  manifest.model_name = "small";
  manifest.ir_shape = {2, 1, 1};
  manifest.ir_precision = IrPrecision::kInt8;
  manifest.ir_step = 1;
  manifest.backnet_output_shape = {3};
  const auto server = BackNetServer::Start(manifest, BuiltinBackNet(OnnxOfBytes(), kShapeOfBytes).value(),
                                           {.workers = 1, .listen = "127.0.0.1:0", .http = "", .observer = {}})
                          .value();
  const OipEndpoint endpoint{server->address(), "small", ""};
  auto backnet = RemoteBackNet({endpoint}, kShapeOfBytes).value()().value();
  EXPECT_THAT(ScoresOf(*backnet, kCodes), kScoresOfCodes);
  // One who expects the other kind is told at the start.
  EXPECT_THAT(MessageOf(RemoteBackNet({endpoint}, {{2, 1, 1}, DType::kF32, {3}}).status()),
              HasSubstr("is UINT8, expected FP32"));
  EXPECT_THAT(MessageOf(RemoteBackNet({Endpoint()}, kShapeOfBytes).status()), HasSubstr("is FP32, expected UINT8"));
}

TEST_F(BackNetServerTest, TheNextServerIsAskedWhereOneCannotBeReached) {
  auto factory = RemoteBackNet({nowhere_, Endpoint()}, kShape);
  ASSERT_TRUE(factory.ok()) << factory.status();
  auto backnet = (*factory)().value();
  for (int i = 0; i < 4; ++i) EXPECT_THAT(ScoresOf(*backnet, BytesOf(kIr)), kScores);
}

TEST_F(BackNetServerTest, NoServerAtAllIsUnavailable) {
  const Status status = RemoteBackNet({nowhere_}, kShape).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(MessageOf(status), HasSubstr("BackNet grpc://127.0.0.1:1/small"));
}

TEST_F(BackNetServerTest, AnUnknownModelIsSaidAtOnce) {
  const Status status = RemoteBackNet({{server_->address(), "other", ""}}, kShape).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
}

TEST_F(BackNetServerTest, AModelOfAnotherShapeIsSaidAtOnce) {
  const Status status = RemoteBackNet({Endpoint()}, {{2}, DType::kF32, {4}}).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(MessageOf(status), HasSubstr("output 'scores' has shape [-1,3], expected [-1,4]"));
}

TEST_F(BackNetServerTest, TheDeadlineIsPassedOn) {
  auto backnet = RemoteBackNet({Endpoint()}, kShape).value()().value();
  std::vector<float> scores(6);
  const auto past = std::chrono::system_clock::now() - std::chrono::seconds(1);
  const Status status = RunBatch(*backnet, {BytesOf(kIr), 2, scores, past});
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
}

TEST_F(BackNetServerTest, BatchesAreBounded) {
  auto stub = inference::GRPCInferenceService::NewStub(MakeChannel(server_->address(), 1 << 20));
  for (const Shape& shape : std::vector<Shape>{{0, 2}, {257, 2}, {2}, {1, 3}}) {
    inference::ModelInferRequest request;
    request.set_model_name("small");
    const Bytes data(static_cast<size_t>(NumElements(shape).value()) * sizeof(float));
    AddInput(request, "ir", DType::kF32, shape, data);
    inference::ModelInferResponse response;
    grpc::ClientContext context;
    const grpc::Status status = stub->ModelInfer(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << ToString(shape);
    EXPECT_THAT(status.error_message(), HasSubstr("batch of 1 to 256"));
  }
}

}  // namespace
}  // namespace infenclave
