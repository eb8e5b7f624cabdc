// What a server says of itself on standard error: text for people, or for programs one JSON object a line, with the
// time, the event and its fields, and then a line for each request too:
//
//   {"time":"2026-11-24T21:17:03.123Z","event":"request","code":"OK","ms":2.417,"trace_id":"0af76519…"}
//
// Never what a request or an answer holds, nor text that a caller chose: of an error the code alone. Thread-safe.
#ifndef INFENCLAVE_HOST_SERVE_LOG_H_
#define INFENCLAVE_HOST_SERVE_LOG_H_

#include <mutex>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "oip/model.h"

namespace infenclave {

class ServeLog {
 public:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  // `out` must outlive the log.
  ServeLog(bool json, std::ostream* out) : json_(json), out_(out) {}
  // People read `text`; it is the field "message" of the object.
  void Say(const std::string& event, const std::string& text, const Fields& fields = {});
  // What OipModel::Observe takes, if requests are to be logged; otherwise empty.
  OipModel::Observer RequestObserver();

 private:
  void Write(const std::string& line);

  const bool json_;
  std::mutex mutex_;
  std::ostream* const out_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_SERVE_LOG_H_
