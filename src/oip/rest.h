// The REST half of the Open Inference Protocol: which path asks for what. Knows no sockets.
#ifndef INFENCLAVE_OIP_REST_H_
#define INFENCLAVE_OIP_REST_H_

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "oip/model.h"

namespace infenclave {

struct HttpRequest {
  std::string method, path, body;
  std::map<std::string, std::string> headers;  // names in lower case
};
struct HttpAnswer {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::map<std::string, std::string> headers;
};
// Called on several threads at once; may block.
using HttpHandler = std::function<HttpAnswer(const HttpRequest&)>;

// An error's code decides the HTTP status, as gRPC's own gateway has it.
HttpAnswer ToHttp(const Status& status);

// Paths under /v2: health, metadata, infer, and Triton's config, stats and repository/index. Anything else is
// NOT_FOUND.
class RestApi {
 public:
  // Both must outlive this.
  explicit RestApi(const OipDescription* description) : description_(description) {}
  HttpAnswer Answer(const HttpRequest& request) const;

 private:
  HttpAnswer Infer(const HttpRequest& request, const std::string& name, const std::string& version) const;
  HttpAnswer AnswerModel(const HttpRequest& request, const std::string& name, const std::string& version,
                         const std::string& call) const;

  const OipDescription* const description_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_REST_H_
