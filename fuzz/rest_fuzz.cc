// Any HTTP request at the REST half: an answer with a status, JSON that a parser takes, and a request that reaches the
// model only in the shape that the protocol gives it. The first line is the header with the JSON's length, if there is
// one, and the path; what follows is the body.
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "oip/enclave.pb.h"
#include "oip/infer.h"
#include "oip/rest.h"
#include "oip/rest_json.h"

namespace {

using namespace infenclave;  // NOLINT(google-build-using-namespace)

class Echo final : public OipModel {
 public:
  const ModelInfo& info() const override { return info_; }
  bool ready() const override { return true; }
  void Infer(InferCall* call) override {
    if (const auto bytes = ReadBytesInput(call->request(), ""); bytes.ok()) {
      AddBytesOutput(call->response(), "out", *bytes, FormOf(call->request()));
      return call->Finish(OkStatus());
    }
    const auto floats = ReadInput(call->request(), "", DType::kF32);
    if (floats.ok()) {
      AddF32Output(call->response(), "out", floats->shape, floats->data, FormOf(call->request()));
    }
    call->Finish(floats.status());
  }

 private:
  const ModelInfo info_{"m", "1", "fuzz", {{"in", "BYTES", {1}}}, {{"out", "BYTES", {1}}}, {}};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = AsText({data, size});
  const size_t line = text.find('\n');
  if (line == std::string_view::npos) return 0;
  std::string head(text.substr(0, line));
  HttpRequest request{"POST", "/v2/models/m/infer", std::string(text.substr(line + 1)), {}};
  if (const size_t space = head.find(' '); space != std::string::npos) {
    request.path = head.substr(space + 1);
    head.resize(space);
  }
  if (!head.empty()) request.headers["inference-header-content-length"] = head;
  Echo model;
  const OipDescription description("fuzz", &model);
  for (const char* method : {"POST", "GET"}) {
    request.method = method;
    const HttpAnswer answer = RestApi(&description).Answer(request);
    INFENCLAVE_CHECK(answer.status >= 200 && answer.status < 600);
    size_t json_bytes = answer.body.size();
    if (const auto found = answer.headers.find("Inference-Header-Content-Length"); found != answer.headers.end()) {
      json_bytes = std::stoul(found->second);
      INFENCLAVE_CHECK(json_bytes <= answer.body.size());
    }
    INFENCLAVE_CHECK(nlohmann::json::accept(answer.body.substr(0, json_bytes)));
  }
  v1::GetEvidenceRequest evidence;
  (void)ParseFields(request.body, evidence);
  return 0;
}
