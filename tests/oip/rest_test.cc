#include "oip/rest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "oip/enclave.pb.h"
#include "oip/infer.h"
#include "oip/rest_json.h"

namespace infenclave {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

// Answers a tensor with itself, as its name says.
class EchoModel final : public OipModel {
 public:
  explicit EchoModel(std::string datatype) {
    const std::vector<int64_t> shape = datatype == "FP32" ? std::vector<int64_t>{-1, 2} : std::vector<int64_t>{1};
    info_ = {"echo", "7", "test", {{"in", datatype, shape}}, {{"out", datatype, shape}}, {{"tee", "none"}}};
  }
  const ModelInfo& info() const override { return info_; }
  bool ready() const override { return ready_; }
  void Infer(InferCall* call) override {
    if (info_.inputs[0].datatype == "FP32") {
      const auto input = ReadInput(call->request(), "in", DType::kF32);
      if (!input.ok()) return call->Finish(input.status());
      AddF32Output(call->response(), "out", input->shape, input->data, FormOf(call->request()));
      return call->Finish(OkStatus());
    }
    const auto input = ReadBytesInput(call->request(), "in");
    if (!input.ok()) {
      call->AddTrailer("why-bin", std::string("\0\xff", 2));
      return call->Finish(FailedPrecondition(MessageOf(input.status())));
    }
    AddBytesOutput(call->response(), "out", *input, FormOf(call->request()));
    call->Finish(OkStatus());
  }

  bool ready_ = true;

 private:
  ModelInfo info_;
};

class RestTest : public testing::Test {
 protected:
  HttpAnswer Get(const std::string& path) { return RestApi(&bytes_description_).Answer({"GET", path, "", {}}); }
  HttpAnswer Infer(const std::string& body, std::map<std::string, std::string> headers = {}) {
    return RestApi(&bytes_description_).Answer({"POST", "/v2/models/echo/infer", body, std::move(headers)});
  }
  HttpAnswer InferFloats(const std::string& body, std::map<std::string, std::string> headers = {}) {
    return RestApi(&floats_description_).Answer({"POST", "/v2/models/echo/infer", body, std::move(headers)});
  }

  EchoModel bytes_{"BYTES"}, floats_{"FP32"};
  OipDescription bytes_description_{"test server", &bytes_}, floats_description_{"test server", &floats_};
};

TEST_F(RestTest, SaysWhatItIs) {
  const Json server = Json::parse(Get("/v2").body);
  EXPECT_EQ(server["name"], "test server");
  const Json model = Json::parse(Get("/v2/models/echo/versions/7").body);
  EXPECT_EQ(model["versions"], Json({"7"}));
  EXPECT_EQ(model["inputs"], Json::parse(R"([{"name":"in","datatype":"BYTES","shape":[1]}])"));
  EXPECT_EQ(model["properties"]["tee"], "none");
  EXPECT_EQ(Json::parse(Get("/v2/models/echo/config").body)["input"][0]["data_type"], "TYPE_STRING");
  const Json stats = Json::parse(Get("/v2/models/echo/stats").body)["model_stats"][0];
  EXPECT_EQ(stats["inference_stats"]["success"]["count"], 0);
}

TEST_F(RestTest, ProbesReadTheStatus) {
  EXPECT_EQ(Get("/v2/health/ready").status, 200);
  EXPECT_EQ(Get("/v2/models/echo/ready").status, 200);
  bytes_.ready_ = false;
  EXPECT_EQ(Get("/v2/health/live").status, 200);
  EXPECT_EQ(Get("/v2/health/ready").status, 503);
  EXPECT_EQ(Get("/v2/models/echo/ready").status, 503);
}

TEST_F(RestTest, WhatIsNotThereIsNotFound) {
  for (const char* path :
       {"/", "/v1", "/v2/models", "/v2/models/other", "/v2/models/echo/versions/8", "/v2/models/echo/nothing",
        "/v2/models/echo/infer", "/v2/models/echo/versions/7/config/x", "//v2//models", "/v2/models/echo/versions"}) {
    const HttpAnswer answer = Get(path);
    EXPECT_EQ(answer.status, 404) << path;
    EXPECT_EQ(Json::parse(answer.body)["code"], "NOT_FOUND") << path;
  }
}

TEST_F(RestTest, BytesTravelAsBase64) {
  const HttpAnswer answer =
      Infer(R"({"id":"42","inputs":[{"name":"in","datatype":"BYTES","shape":[1],"data":["AP9zZWFsZWQ="]}]})");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json json = Json::parse(answer.body);
  EXPECT_EQ(json["id"], "42");
  EXPECT_EQ(json["model_version"], "7");
  EXPECT_EQ(json["outputs"][0]["data"], Json({"AP9zZWFsZWQ="}));
  EXPECT_EQ(json["outputs"][0]["parameters"]["content_type"], "base64");
}

TEST_F(RestTest, BytesTravelAsBinaryData) {
  const std::string json =
      R"({"inputs":[{"name":"in","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":7}}],)"
      R"("outputs":[{"name":"out","parameters":{"binary_data":true}}]})";
  const std::string binary("\x03\0\0\0a\0b", 7);
  const HttpAnswer answer = Infer(json + binary, {{"inference-header-content-length", Concat(json.size())}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const size_t json_bytes = std::stoul(answer.headers.at("Inference-Header-Content-Length"));
  EXPECT_EQ(answer.body.substr(json_bytes), binary);
  const Json output = Json::parse(answer.body.substr(0, json_bytes))["outputs"][0];
  EXPECT_EQ(output["parameters"]["binary_data_size"], 7);
  EXPECT_EQ(answer.content_type, "application/octet-stream");
}

TEST_F(RestTest, FloatsFlatOrNestedComeBackExactly) {
  for (const char* data : {"[0.1,-2,3.25e8,1e-40]", "[[0.1,-2],[3.25e8,1e-40]]"}) {
    const HttpAnswer answer =
        InferFloats(Concat(R"({"inputs":[{"name":"in","datatype":"FP32","shape":[2,2],"data":)", data, "}]}"));
    ASSERT_EQ(answer.status, 200) << answer.body;
    const Json out = Json::parse(answer.body)["outputs"][0];
    EXPECT_EQ(out["shape"], Json({2, 2}));
    const std::vector<float> expected = {0.1f, -2, 3.25e8f, 1e-40f};
    ASSERT_EQ(out["data"].size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(out["data"][i].get<float>(), expected[i]);
  }
}

// The server here takes floats, and says so once it has read the bytes.
TEST_F(RestTest, BytesOfNumbersAreReadFromJson) {
  const std::pair<const char*, const char*> cases[] = {{"[0,[255]]", "'in' is UINT8, expected FP32"},
                                                       {"[0,256]", "no number from 0 to 255"},
                                                       {"[0,-1]", "no number from 0 to 255"},
                                                       {"[0,1.5]", "no number from 0 to 255"}};
  for (const auto& [data, reason] : cases) {
    const HttpAnswer answer =
        InferFloats(Concat(R"({"inputs":[{"name":"in","datatype":"UINT8","shape":[2],"data":)", data, "}]}"));
    EXPECT_EQ(answer.status, 400);
    EXPECT_NE(answer.body.find(reason), std::string::npos) << answer.body;
  }
}

TEST_F(RestTest, AWrongBodyIsRefusedWithTheReason) {
  const auto input = [](const std::string& rest) { return R"({"inputs":[{"name":"in",)" + rest + "}]}"; };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not a JSON object"},
      {"[]", "not a JSON object"},
      {"{", "not a JSON object"},
      {"{}", "'inputs' is not a list"},
      {R"({"inputs":[3]})", "an input is not an object"},
      {R"({"inputs":[{}]})", "no 'name'"},
      {input(R"("datatype":"BYTES","shape":[1])"), "no list 'data'"},
      {input(R"("datatype":"BYTES","shape":["1"],"data":[])"), "whole numbers"},
      {input(R"("datatype":"BYTES","shape":[1],"data":["***"])"), "no base64"},
      {input(R"("datatype":"BYTES","shape":[1],"data":[1])"), "no base64"},
      {input(R"("datatype":"BYTES","shape":[1],"parameters":{"content_type":"str"},"data":["x"])"), "not base64"},
      {input(R"("datatype":"FP32","shape":[1],"data":["x"])"), "no number"},
      {input(R"("datatype":"INT8","shape":[1],"data":[1])"), "INT8"},
      {input(R"("datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":9})"), "0 bytes are there"},
      {input(R"("datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":-1})"), "binary_data_size is -1"},
      {input(R"("datatype":"BYTES","shape":[1],"parameters":{"a":[1]},"data":[])"), "neither text"},
      {std::string(1000, '[') + std::string(1000, ']'), "levels"},
      {R"({"inputs":)" + std::string(100000, '['), "levels"},
  };
  for (const auto& [body, reason] : cases) {
    const HttpAnswer answer = Infer(body);
    EXPECT_EQ(answer.status, 400) << body.substr(0, 100);
    EXPECT_THAT(answer.body, HasSubstr(reason)) << body.substr(0, 100);
  }
  EXPECT_EQ(Infer("{}", {{"inference-header-content-length", "3"}}).status, 400);
  EXPECT_EQ(Infer("{}", {{"inference-header-content-length", "-1"}}).status, 400);
  EXPECT_EQ(Infer("{}", {{"inference-header-content-length", "1x"}}).status, 400);
  EXPECT_THAT(Infer(R"({"inputs":[]}xyz)", {{"inference-header-content-length", "13"}}).body, HasSubstr("no input"));
  EXPECT_EQ(bytes_.statistics().Read().failed(), cases.size() + 4);
}

TEST_F(RestTest, DetailsOfAnErrorTravelAsBase64) {
  const HttpAnswer answer = Infer(R"({"inputs":[{"name":"in","datatype":"BYTES","shape":[1],"data":[]}]})");
  EXPECT_EQ(answer.status, 400);
  const Json json = Json::parse(answer.body);
  EXPECT_EQ(json["code"], "FAILED_PRECONDITION");
  EXPECT_EQ(json["details"]["why-bin"], "AP8=");
}

TEST(RestJson, FieldsOfTheEnclavesCalls) {
  v1::GetEvidenceRequest request;
  EXPECT_TRUE(ParseFields("", request).ok());
  EXPECT_TRUE(ParseFields("{}", request).ok());
  EXPECT_EQ(request.nonce(), "");
  EXPECT_FALSE(request.waiting());
  EXPECT_TRUE(ParseFields(R"({"nonce":"eA==","waiting":true})", request).ok());
  EXPECT_EQ(request.nonce(), "x");
  EXPECT_TRUE(request.waiting());
  EXPECT_TRUE(ParseFields(R"({"waiting":false})", request).ok());
  EXPECT_FALSE(request.waiting());
  EXPECT_EQ(request.nonce(), "x") << "as it was";
  for (const char* bad : {"3", "{", R"({"c":"eA=="})", R"({"nonce":3})", R"({"nonce":"*"})", R"({"waiting":"true"})",
                          R"({"waiting":1})", R"({"waiting":null})"}) {
    EXPECT_EQ(ParseFields(bad, request).code(), StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace infenclave
