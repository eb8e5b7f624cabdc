// `infenclave releases`: the log of key releases, read and checked.
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "client/release_log.h"

namespace infenclave {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string log, head;
  bool json = false;
};

Json ToJson(const ReleaseLog& log) {
  Json list = Json::array();
  for (const Release& r : log.releases) {
    list.push_back({{"time", r.time},
                    {"server", r.server},
                    {"tee", r.tee},
                    {"measurement", r.measurement},
                    {"key_id", r.key_id},
                    {"bundle_id", r.bundle_id},
                    {"manifest_digest", r.manifest_digest},
                    {"model", r.model},
                    {"version", r.version},
                    {"lease", r.lease}});
  }
  return {{"releases", list}, {"head", HexEncode(log.head)}};
}

Status Releases(const Options& options) {
  StatusOr<ReleaseLog> log = ReadReleaseLog(options.log);
  // A log that was tampered with is refused, like evidence.
  if (log.status().code() == StatusCode::kDataLoss) return PermissionDenied(MessageOf(log.status()));
  INFENCLAVE_RETURN_IF_ERROR(log.status());
  if (options.json) {
    std::cout << ToJson(*log).dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    for (const Release& r : log->releases) {
      std::cout << r.time << "  " << r.server << "  " << r.tee << " " << r.measurement.substr(0, 16) << "…  " << r.model
                << " " << r.version << "  key " << r.key_id << "  lease " << r.lease << "\n";
    }
    std::cout << log->releases.size() << " releases, an unbroken chain; head " << HexEncode(log->head) << "\n";
  }
  if (options.head.empty() || options.head == HexEncode(log->head)) return OkStatus();
  return PermissionDenied(options.log, ": ends in ", HexEncode(log->head), ", expected ", options.head);
}

}  // namespace

Command ReleasesCommand() {
  auto options = std::make_shared<Options>();
  Command command;
  command.name = "releases";
  command.summary = "Check and list the log of key releases that 'provision' keeps";
  command.example = "infenclave releases lite0.bundle.keys.log";
  command.declare = [options](Flags& flags) {
    flags.Text("LOG", &options->log, "the log, KEYS.log", true);
    flags.Text("--head", &options->head, "the hash that it must end in: shows whether entries at its end are missing");
    flags.Switch("--json", &options->json, "print JSON");
  };
  command.run = [options] { return Releases(*options); };
  return command;
}

}  // namespace infenclave
