#include "client/release_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace infenclave {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxLogBytes = size_t{256} << 20;

constexpr std::pair<const char*, std::string Release::*> kTexts[] = {{"time", &Release::time},
                                                                     {"server", &Release::server},
                                                                     {"tee", &Release::tee},
                                                                     {"measurement", &Release::measurement},
                                                                     {"key_id", &Release::key_id},
                                                                     {"bundle_id", &Release::bundle_id},
                                                                     {"manifest_digest", &Release::manifest_digest},
                                                                     {"model", &Release::model}};
constexpr std::pair<const char*, uint64_t Release::*> kNumbers[] = {{"version", &Release::version},
                                                                    {"lease", &Release::lease}};

std::string ToLine(const Release& release, const Sha256Digest& previous) {
  Json json;
  for (const auto& [name, field] : kTexts) json[name] = release.*field;
  for (const auto& [name, field] : kNumbers) json[name] = release.*field;
  json["previous"] = HexEncode(previous);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Status ReadLine(std::string_view line, const Sha256Digest& previous, Release& out) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  bool whole = json.is_object();
  for (const auto& [name, field] : kTexts) {
    whole = whole && json.contains(name) && json[name].is_string();
    if (whole) out.*field = json[name].get<std::string>();
  }
  for (const auto& [name, field] : kNumbers) {
    whole = whole && json.contains(name) && json[name].is_number_unsigned();
    if (whole) out.*field = json[name].get<uint64_t>();
  }
  if (!whole || !json.contains("previous") || !json["previous"].is_string()) return DataLoss("no entry of a release");
  if (json["previous"].get<std::string>() != HexEncode(previous)) {
    return DataLoss("the line before it is not the one that it was written after");
  }
  return OkStatus();
}

// The whole text and the disk's word for it.
Status WriteAndSync(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus("cannot be added to");
    text.remove_prefix(static_cast<size_t>(written));
  }
  return fsync(file) == 0 ? OkStatus() : ErrnoStatus("cannot be added to");
}

}  // namespace

StatusOr<ReleaseLog> ReadReleaseLog(const std::string& path) {
  StatusOr<Bytes> file = ReadFile(path, kMaxLogBytes);
  if (file.status().code() == StatusCode::kNotFound) return ReleaseLog{};
  INFENCLAVE_RETURN_IF_ERROR(file.status());
  ReleaseLog out;
  std::string_view text = AsText(*file);
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    if (end == text.npos) return DataLoss(path, ", line ", number, ": cut off");
    const std::string_view line = text.substr(0, end);
    INFENCLAVE_RETURN_IF_ERROR(
        Annotate(ReadLine(line, out.head, out.releases.emplace_back()), Concat(path, ", line ", number)));
    out.head = Sha256(AsBytes(line));
    text.remove_prefix(end + 1);
  }
  return out;
}

Status AppendRelease(const std::string& path, const Release& release) {
  UniqueFd file(open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
  if (!file.valid()) return ErrnoStatus(path);
  if (flock(file.get(), LOCK_EX) != 0) return ErrnoStatus(Concat("cannot lock ", path));
  INFENCLAVE_ASSIGN_OR_RETURN(const ReleaseLog log, ReadReleaseLog(path));
  const std::string line = ToLine(release, log.head) + "\n";
  const off_t end = lseek(file.get(), 0, SEEK_END);
  if (end < 0) return ErrnoStatus(path);
  Status status = WriteAndSync(file.get(), line);
  // A part of a line would end the log for good.
  if (!status.ok() && ftruncate(file.get(), end) != 0) status = ErrnoStatus("ends in a part of a line that stays");
  return Annotate(status, path);
}

}  // namespace infenclave
