#include "oip/service.h"

#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <thread>

#include "oip/client.h"
#include "oip/grpc_server.h"
#include "oip/infer.h"
#include "oip/status.h"

namespace infenclave {
namespace {

// Answers from a thread of its own with what it was sent, or holds the call until the test lets go.
class EchoModel final : public OipModel {
 public:
  EchoModel() { info_ = {"echo", "7", "test", {{"in", "BYTES", {1}}}, {{"out", "BYTES", {1}}}, {{"tee", "none"}}}; }
  ~EchoModel() override {
    if (worker_.joinable()) worker_.join();
  }
  const ModelInfo& info() const override { return info_; }
  bool ready() const override { return ready_; }
  void Infer(InferCall* call) override {
    if (worker_.joinable()) worker_.join();
    worker_ = std::thread([this, call] {
      while (hold_ && !call->cancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      saw_cancel_ = call->cancelled();
      const auto element = ReadBytesInput(call->request(), "in");
      if (element.ok()) {
        AddBytesOutput(call->response(), "out", *element, FormOf(call->request()));
        return call->Finish(OkStatus());
      }
      call->AddTrailer("reason-bin", std::string("\0\xff", 2));
      call->Finish(element.status());
    });
  }

  bool ready_ = true;
  std::atomic<bool> hold_ = false, saw_cancel_ = false;

 private:
  ModelInfo info_;
  std::thread worker_;
};

class ServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = GrpcServer::Start("127.0.0.1:0", {&service_}, 1 << 20);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = inference::GRPCInferenceService::NewStub(MakeChannel(server_->address(), 1 << 20));
  }
  inference::ModelInferRequest Request() {
    inference::ModelInferRequest request;
    request.set_model_name("echo");
    request.set_id("42");
    AddBytesInput(request, "in", AsBytes("some bytes"));
    return request;
  }

  EchoModel model_;
  OipService service_{"test server", &model_};
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<inference::GRPCInferenceService::Stub> stub_;
  grpc::ClientContext context_;
};

TEST_F(ServiceTest, SaysWhatItIs) {
  inference::ServerMetadataResponse server;
  ASSERT_TRUE(stub_->ServerMetadata(&context_, {}, &server).ok());
  EXPECT_EQ(server.name(), "test server");
  EXPECT_FALSE(server.version().empty());

  grpc::ClientContext second;
  inference::ModelMetadataRequest request;
  request.set_name("echo");
  inference::ModelMetadataResponse model;
  ASSERT_TRUE(stub_->ModelMetadata(&second, request, &model).ok());
  EXPECT_EQ(model.name(), "echo");
  EXPECT_EQ(model.versions(0), "7");
  EXPECT_EQ(model.inputs(0).name(), "in");
  EXPECT_EQ(model.inputs(0).datatype(), "BYTES");
  EXPECT_EQ(model.outputs(0).shape(0), 1);
  EXPECT_EQ(model.properties().at("tee"), "none");
}

TEST_F(ServiceTest, LiveEvenWhenNotReady) {
  model_.ready_ = false;
  inference::ServerLiveResponse live;
  ASSERT_TRUE(stub_->ServerLive(&context_, {}, &live).ok());
  EXPECT_TRUE(live.live());
  grpc::ClientContext second;
  inference::ServerReadyResponse ready;
  ASSERT_TRUE(stub_->ServerReady(&second, {}, &ready).ok());
  EXPECT_FALSE(ready.ready());
}

TEST_F(ServiceTest, UnknownModelsAndVersionsAreNotFound) {
  const std::vector<std::pair<std::string, std::string>> cases = {{"other", ""}, {"echo", "8"}};
  for (const auto& [name, version] : cases) {
    grpc::ClientContext a, b, c;
    inference::ModelReadyRequest ready;
    ready.set_name(name);
    ready.set_version(version);
    inference::ModelReadyResponse is_ready;
    EXPECT_EQ(stub_->ModelReady(&a, ready, &is_ready).error_code(), grpc::StatusCode::NOT_FOUND);
    inference::ModelMetadataRequest metadata;
    metadata.set_name(name);
    metadata.set_version(version);
    inference::ModelMetadataResponse described;
    EXPECT_EQ(stub_->ModelMetadata(&b, metadata, &described).error_code(), grpc::StatusCode::NOT_FOUND);
    inference::ModelInferRequest infer = Request();
    infer.set_model_name(name);
    infer.set_model_version(version);
    inference::ModelInferResponse answer;
    EXPECT_EQ(stub_->ModelInfer(&c, infer, &answer).error_code(), grpc::StatusCode::NOT_FOUND);
  }
}

TEST_F(ServiceTest, InferAnswersWithIdAndVersion) {
  inference::ModelInferResponse response;
  const grpc::Status status = stub_->ModelInfer(&context_, Request(), &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.id(), "42");
  EXPECT_EQ(response.model_version(), "7");
  const auto out = ReadBytesOutput(response, "out");
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(AsText(*out), "some bytes");
}

TEST_F(ServiceTest, StatusAndTrailersArrive) {
  inference::ModelInferRequest request = Request();
  request.mutable_inputs(0)->set_datatype("FP32");
  inference::ModelInferResponse response;
  const Status status = FromGrpc(stub_->ModelInfer(&context_, request, &response));
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(MessageOf(status).find("is FP32, expected BYTES"), std::string::npos) << status;
  const auto trailer = context_.GetServerTrailingMetadata().find("reason-bin");
  ASSERT_NE(trailer, context_.GetServerTrailingMetadata().end());
  EXPECT_EQ(std::string(trailer->second.data(), trailer->second.size()), std::string("\0\xff", 2));
}

TEST_F(ServiceTest, TheModelSeesDeadlineAndCancellation) {
  model_.hold_ = true;
  context_.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  inference::ModelInferResponse response;
  EXPECT_EQ(stub_->ModelInfer(&context_, Request(), &response).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  for (int i = 0; i < 1000 && !model_.saw_cancel_; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_TRUE(model_.saw_cancel_);
}

TEST_F(ServiceTest, ConfigGivesTypesAndBatch) {
  inference::ModelConfigRequest request;
  request.set_name("echo");
  inference::ModelConfigResponse response;
  ASSERT_TRUE(stub_->ModelConfig(&context_, request, &response).ok());
  EXPECT_EQ(response.config().name(), "echo");
  EXPECT_EQ(response.config().max_batch_size(), 0);
  ASSERT_EQ(response.config().input_size(), 1);
  EXPECT_EQ(response.config().input(0).data_type(), inference::TYPE_STRING);
  EXPECT_EQ(response.config().input(0).dims(0), 1);
  EXPECT_EQ(response.config().output(0).name(), "out");
}

TEST_F(ServiceTest, TheBatchDimensionIsNotAmongTheConfigsDims) {
  class Batched final : public OipModel {
   public:
    const ModelInfo& info() const override { return info_; }
    bool ready() const override { return true; }
    void Infer(InferCall* call) override { call->Finish(OkStatus()); }
    const ModelInfo info_{"b", "1", "test", {{"in", "FP32", {-1, 3, 4}}}, {{"out", "FP32", {-1, 5}}}, {}, 64};
  } model;
  inference::ModelConfigRequest request;
  request.set_name("b");
  inference::ModelConfigResponse response;
  ASSERT_TRUE(OipDescription("test", &model).Answer(request, &response).ok());
  EXPECT_EQ(response.config().max_batch_size(), 64);
  EXPECT_EQ(ToString(Shape(response.config().input(0).dims().begin(), response.config().input(0).dims().end())),
            ToString(Shape{3, 4}));
  EXPECT_EQ(response.config().output(0).dims(0), 5);
}

TEST_F(ServiceTest, StatisticsCountWhatHappened) {
  const auto infer = [&](bool good) {
    grpc::ClientContext context;
    inference::ModelInferRequest request = Request();
    if (!good) request.mutable_inputs(0)->set_datatype("FP32");
    inference::ModelInferResponse response;
    return stub_->ModelInfer(&context, request, &response).ok();
  };
  const auto read = [&] {
    grpc::ClientContext context;
    inference::ModelStatisticsResponse response;
    EXPECT_TRUE(stub_->ModelStatistics(&context, {}, &response).ok());
    EXPECT_EQ(response.model_stats_size(), 1);
    return response.model_stats(0);
  };
  EXPECT_EQ(read().inference_stats().success().count(), 0u);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(infer(true));
  EXPECT_FALSE(infer(false));
  model_.statistics().CountBatch(4, {std::chrono::milliseconds(1), std::chrono::milliseconds(2),
                                     std::chrono::milliseconds(3), std::chrono::milliseconds(5)});
  const inference::ModelStatistics stats = read();
  EXPECT_EQ(stats.name(), "echo");
  EXPECT_EQ(stats.inference_stats().success().count(), 3u);
  EXPECT_GT(stats.inference_stats().success().ns(), 0u);
  EXPECT_EQ(stats.inference_stats().fail().count(), 1u);
  EXPECT_EQ(stats.inference_count(), 4u);
  EXPECT_EQ(stats.execution_count(), 1u);
  EXPECT_EQ(stats.inference_stats().queue().count(), 4u);
  EXPECT_EQ(stats.inference_stats().queue().ns(), 4'000'000u);
  EXPECT_EQ(stats.inference_stats().compute_infer().ns(), 3'000'000u);
  ASSERT_EQ(stats.batch_stats_size(), 1);
  EXPECT_EQ(stats.batch_stats(0).batch_size(), 4u);
  EXPECT_EQ(stats.batch_stats(0).compute_output().ns(), 5'000'000u);
}

TEST_F(ServiceTest, TheIndexTellsWhatIsReady) {
  inference::RepositoryIndexResponse index;
  ASSERT_TRUE(stub_->RepositoryIndex(&context_, {}, &index).ok());
  ASSERT_EQ(index.models_size(), 1);
  EXPECT_EQ(index.models(0).state(), "READY");
  model_.ready_ = false;
  grpc::ClientContext second;
  inference::RepositoryIndexRequest only_ready;
  only_ready.set_ready(true);
  ASSERT_TRUE(stub_->RepositoryIndex(&second, only_ready, &index).ok());
  EXPECT_EQ(index.models_size(), 0);
  grpc::ClientContext third;
  inference::RepositoryModelLoadResponse loaded;
  EXPECT_EQ(stub_->RepositoryModelLoad(&third, {}, &loaded).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(ServiceTest, AMessageOverTheLimitIsRefused) {
  inference::ModelInferRequest request = Request();
  request.set_raw_input_contents(0, std::string(2 << 20, 'x'));
  inference::ModelInferResponse response;
  auto wide = inference::GRPCInferenceService::NewStub(MakeChannel(server_->address(), 64 << 20));
  EXPECT_EQ(wide->ModelInfer(&context_, request, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(ServiceTest, ShutdownWaitsForCallsInFlight) {
  model_.hold_ = true;
  inference::ModelInferResponse response;
  grpc::Status status;
  std::thread caller([&] { status = stub_->ModelInfer(&context_, Request(), &response); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  std::thread releaser([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    model_.hold_ = false;
  });
  server_->Shutdown(std::chrono::seconds(10));
  server_.reset();
  caller.join();
  releaser.join();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_FALSE(model_.saw_cancel_);
}

TEST(StatusCodes, MapOneToOne) {
  for (int code = 0; code <= 16; ++code) {
    const Status status = MakeStatus(static_cast<StatusCode>(code), code == 0 ? "" : "why");
    EXPECT_EQ(static_cast<int>(ToGrpc(status).error_code()), code);
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
  }
}

}  // namespace
}  // namespace infenclave
