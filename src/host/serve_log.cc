#include "host/serve_log.h"

#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

namespace infenclave {
namespace {

using Json = nlohmann::ordered_json;

// UTC, as RFC 3339 has it.
std::string Now() {
  using std::chrono::milliseconds;
  const auto since_1970 =
      std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  const std::time_t seconds = since_1970 / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[sizeof("2026-11-24T21:17:03.123Z") + 16];
  const size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + length, sizeof(text) - length, ".%03dZ", static_cast<int>(since_1970 % 1000));
  return text;
}

std::string Line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

void ServeLog::Say(const std::string& event, const std::string& text, const Fields& fields) {
  if (!json_) return Write(text);
  Json json{{"time", Now()}, {"event", event}, {"message", text}};
  for (const auto& [key, value] : fields) json[key] = value;
  Write(Line(json));
}

OipModel::Observer ServeLog::RequestObserver() {
  if (!json_) return {};
  return [this](const InferCall& call, const Status& status, ServingStatistics::Clock::duration took) {
    const double ms = std::chrono::duration<double, std::milli>(took).count();
    Json json{{"time", Now()},
              {"event", "request"},
              {"code", absl::StatusCodeToString(status.code())},
              {"ms", std::round(ms * 1000) / 1000}};
    // Of version, trace id, parent id and flags.
    if (const std::string trace = call.traceparent(); !trace.empty()) json["trace_id"] = trace.substr(3, 32);
    Write(Line(json));
  };
}

void ServeLog::Write(const std::string& line) {
  const std::lock_guard lock(mutex_);
  *out_ << line + '\n' << std::flush;
}

}  // namespace infenclave
