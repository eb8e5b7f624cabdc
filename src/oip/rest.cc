#include "oip/rest.h"

#include <charconv>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "oip/rest_json.h"

namespace infenclave {
namespace {

// A client of the REST half cannot say how long it waits.
constexpr auto kTimeout = std::chrono::seconds(60);

int HttpStatusOf(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return 200;
    case StatusCode::kInvalidArgument:
    case StatusCode::kFailedPrecondition:
    case StatusCode::kOutOfRange:
      return 400;
    case StatusCode::kUnauthenticated:
      return 401;
    case StatusCode::kPermissionDenied:
      return 403;
    case StatusCode::kNotFound:
      return 404;
    case StatusCode::kAlreadyExists:
    case StatusCode::kAborted:
      return 409;
    case StatusCode::kResourceExhausted:
      return 429;
    case StatusCode::kCancelled:
      return 499;
    case StatusCode::kUnimplemented:
      return 501;
    case StatusCode::kUnavailable:
      return 503;
    case StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

// Lives on the stack of the thread that waits for it.
class RestCall final : public InferCall {
 public:
  RestCall(inference::ModelInferRequest request, std::string traceparent, OipModel* model)
      : request_(std::move(request)), traceparent_(std::move(traceparent)), model_(model) {}

  const inference::ModelInferRequest& request() const override { return request_; }
  inference::ModelInferResponse& response() override { return response_; }
  std::chrono::system_clock::time_point deadline() const override { return deadline_; }
  bool cancelled() const override { return false; }
  void WhenCancelled(std::function<void()>) override {}
  void AddTrailer(const std::string& key, const std::string& value) override { details_.emplace_back(key, value); }
  void Finish(const Status& status) override {
    model_->CountFinished(*this, status);
    const std::lock_guard lock(mutex_);
    result_ = status;
    finished_.notify_one();  // under the lock: afterwards this may be gone
  }

  std::string traceparent() const override { return traceparent_; }

  Status Wait() {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return result_.has_value(); });
    return *result_;
  }
  const std::vector<std::pair<std::string, std::string>>& details() const { return details_; }

 private:
  const inference::ModelInferRequest request_;
  inference::ModelInferResponse response_;
  const std::string traceparent_;
  OipModel* const model_;
  const std::chrono::system_clock::time_point deadline_ = std::chrono::system_clock::now() + kTimeout;
  std::vector<std::pair<std::string, std::string>> details_;
  std::mutex mutex_;
  std::condition_variable finished_;
  std::optional<Status> result_;
};

StatusOr<std::optional<uint64_t>> JsonBytes(const HttpRequest& request) {
  const auto found = request.headers.find("inference-header-content-length");
  if (found == request.headers.end()) return std::optional<uint64_t>();
  uint64_t bytes = 0;
  const char* const end = found->second.data() + found->second.size();
  const auto [rest, error] = std::from_chars(found->second.data(), end, bytes);
  if (error != std::errc() || rest != end) return InvalidArgument("Inference-Header-Content-Length is no number");
  return std::optional<uint64_t>(bytes);
}

std::string Traceparent(const HttpRequest& request) {
  const auto found = request.headers.find(kTraceparent);
  return found != request.headers.end() && IsTraceparent(found->second) ? found->second : std::string();
}

template <typename Response, typename Request>
HttpAnswer Describe(const OipDescription& description, const Request& request) {
  Response response;
  if (Status status = description.Answer(request, &response); !status.ok()) return ToHttp(status);
  return {.body = ToJson(response)};
}

template <typename Request>
Request Named(const std::string& name, const std::string& version) {
  Request request;
  request.set_name(name);
  request.set_version(version);
  return request;
}

// Probes read the status.
HttpAnswer Ready(HttpAnswer answer, bool ready) {
  if (answer.status == 200 && !ready) answer.status = 503;
  return answer;
}

// The path's parts, percent-encoding undone by who read it: "/v2/models/m" is {"v2", "models", "m"}.
std::vector<std::string> Split(const std::string& path) {
  std::vector<std::string> parts;
  for (size_t at = 1; at <= path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    parts.push_back(path.substr(at, slash - at));
    at = slash + 1;
  }
  while (!parts.empty() && parts.back().empty()) parts.pop_back();
  return parts;
}

HttpAnswer NoSuchPath(const HttpRequest& request) {
  return ToHttp(NotFound("there is no ", request.method, " ", request.path.substr(0, 200)));
}

}  // namespace

HttpAnswer ToHttp(const Status& status) { return {.status = HttpStatusOf(status.code()), .body = ErrorJson(status)}; }

HttpAnswer RestApi::Infer(const HttpRequest& request, const std::string& name, const std::string& version) const {
  OipModel& model = description_->model();
  const auto refuse = [&](const Status& status) {
    model.statistics().CountFinished(status.code(), {});
    return ToHttp(status);
  };
  if (Status status = description_->CheckModel(name, version); !status.ok()) return refuse(status);
  const StatusOr<std::optional<uint64_t>> json_bytes = JsonBytes(request);
  if (!json_bytes.ok()) return refuse(json_bytes.status());
  StatusOr<RestInferRequest> parsed = ParseRestInfer(request.body, *json_bytes);
  if (!parsed.ok()) return refuse(parsed.status());
  parsed->request.set_model_name(name);
  parsed->request.set_model_version(version);
  RestCall call(std::move(parsed->request), Traceparent(request), &model);
  call.response().set_model_name(model.info().name);
  call.response().set_model_version(model.info().version);
  call.response().set_id(call.request().id());
  model.Infer(&call);
  const Status status = call.Wait();
  if (!status.ok()) return {.status = HttpStatusOf(status.code()), .body = ErrorJson(status, call.details())};
  StatusOr<RestInferAnswer> written = WriteRestInfer(call.response(), parsed->binary_answer);
  if (!written.ok()) return ToHttp(written.status());
  HttpAnswer answer{.body = std::move(written->body)};
  if (written->json_bytes.has_value()) {
    answer.content_type = "application/octet-stream";
    answer.headers["Inference-Header-Content-Length"] = Concat(*written->json_bytes);
  }
  return answer;
}

HttpAnswer RestApi::AnswerModel(const HttpRequest& request, const std::string& name, const std::string& version,
                                const std::string& call) const {
  using namespace inference;  // NOLINT(google-build-using-namespace)
  if (request.method == "POST") return call == "infer" ? Infer(request, name, version) : NoSuchPath(request);
  if (call.empty()) {
    return Describe<ModelMetadataResponse>(*description_, Named<ModelMetadataRequest>(name, version));
  }
  if (call == "ready") {
    return Ready(Describe<ModelReadyResponse>(*description_, Named<ModelReadyRequest>(name, version)),
                 description_->model().ready());
  }
  if (call == "stats") {
    return Describe<ModelStatisticsResponse>(*description_, Named<ModelStatisticsRequest>(name, version));
  }
  if (call != "config") return NoSuchPath(request);
  ModelConfigResponse config;
  const Status status = description_->Answer(Named<ModelConfigRequest>(name, version), &config);
  return status.ok() ? HttpAnswer{.body = ToJson(config.config())} : ToHttp(status);
}

HttpAnswer RestApi::Answer(const HttpRequest& request) const {
  const std::vector<std::string> parts = Split(request.path);
  const auto is = [&](const std::string& method, std::string_view path) {
    return request.method == method && request.path == path;
  };
  if (is("GET", "/v2") || is("GET", "/v2/")) {
    return Describe<inference::ServerMetadataResponse>(*description_, inference::ServerMetadataRequest());
  }
  if (is("GET", "/v2/health/live")) {
    return Describe<inference::ServerLiveResponse>(*description_, inference::ServerLiveRequest());
  }
  if (is("GET", "/v2/health/ready")) {
    return Ready(Describe<inference::ServerReadyResponse>(*description_, inference::ServerReadyRequest()),
                 description_->model().ready());
  }
  if (is("GET", "/v2/models/stats")) {
    return Describe<inference::ModelStatisticsResponse>(*description_, inference::ModelStatisticsRequest());
  }
  if (is("POST", "/v2/repository/index")) {
    inference::RepositoryIndexResponse index;
    (void)description_->Answer(inference::RepositoryIndexRequest(), &index);
    const std::string json = ToJson(index);  // Triton's answer is the list alone
    return {.body = json.substr(json.find('['), json.rfind(']') - json.find('[') + 1)};
  }
  if (parts.size() < 3 || parts[0] != "v2" || parts[1] != "models") return NoSuchPath(request);
  const bool versioned = parts.size() > 4 && parts[3] == "versions";
  const size_t next = versioned ? 5 : 3;
  if (parts.size() > next + 1) return NoSuchPath(request);
  return AnswerModel(request, parts[2], versioned ? parts[4] : "", parts.size() > next ? parts[next] : "");
}

}  // namespace infenclave
