// A classifier on an Open Inference Protocol server, so that its accelerators answer for the oracle.
#ifndef INFENCLAVE_ASSESSMENT_REMOTE_MODEL_H_
#define INFENCLAVE_ASSESSMENT_REMOTE_MODEL_H_

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace infenclave {

class RemoteModel {
 public:
  // Whether `path` names a server rather than a file: grpc://HOST:PORT/MODEL[/VERSION].
  static bool IsUrl(std::string_view path) { return path.starts_with("grpc://"); }
  // Asks what the model is. Its one input must be FP32 [n,3,H,W], its one output FP32 [n,classes,...]; n is -1, or 1.
  static StatusOr<std::unique_ptr<RemoteModel>> Connect(const std::string& url);
  virtual ~RemoteModel() = default;

  virtual int classes() const = 0;
  virtual int height() const = 0;
  virtual int width() const = 0;
  // What stands for the model in a plan: the URL, and the name and version that the server gives.
  virtual const std::string& identity() const = 0;
  // `input` [count,3,H,W], `output` [count,classes]. In messages of at most 4 MB where more than one picture goes into
  // each, as servers take them by default. Thread-safe.
  virtual Status Infer(std::span<const float> input, int count, std::span<float> output) const = 0;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_REMOTE_MODEL_H_
