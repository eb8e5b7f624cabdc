#include "host/http_front.h"

#include <future>

#include "host/enclave_service.h"
#include "oip/rest_json.h"

namespace infenclave {
namespace {

// Waits for what a worker will say.
template <typename Result, typename Ask>
Result Await(const Ask& ask) {
  auto promise = std::make_shared<std::promise<Result>>();  // shared with the callback, which may outlast get()
  std::future<Result> result = promise->get_future();
  ask([promise](const Result& answer) { promise->set_value(answer); });
  return result.get();
}

HttpAnswer Evidence(ServedModel& model, const std::string& body) {
  v1::GetEvidenceRequest request;
  if (const Status status = ParseFields(body, request); !status.ok()) return ToHttp(status);
  const auto evidence = Await<StatusOr<v1::GetEvidenceResponse>>(
      [&](const auto& done) { EnclaveService::AnswerGetEvidence(model, request, done); });
  return evidence.ok() ? HttpAnswer{.body = ToJson(*evidence)} : ToHttp(evidence.status());
}

HttpAnswer Provision(ServedModel& model, const std::string& body) {
  v1::ProvisionRequest request;
  if (const Status status = ParseFields(body, request); !status.ok()) return ToHttp(status);
  const auto status = Await<Status>([&](const auto& done) { EnclaveService::AnswerProvision(model, request, done); });
  return status.ok() ? HttpAnswer{.body = "{}"} : ToHttp(status);
}

}  // namespace

size_t MaxHttpBody(size_t max_message_bytes) { return 4 * max_message_bytes; }

HttpHandler HttpFront(const OipDescription* description, ServedModel* model) {
  return [description, model](const HttpRequest& request) -> HttpAnswer {
    if (request.method == "GET" && request.path == "/metrics") {
      const HostState state = model == nullptr ? HostState{} : model->state();
      return {.body = WriteMetrics(description->model(), state), .content_type = kMetricsContentType};
    }
    if (model != nullptr && request.method == "POST") {
      if (request.path == "/infenclave/v1/evidence") return Evidence(*model, request.body);
      if (request.path == "/infenclave/v1/provision") return Provision(*model, request.body);
    }
    return RestApi(description).Answer(request);
  };
}

}  // namespace infenclave
