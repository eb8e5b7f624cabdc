#include "assessment/attack_job.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "import/npy.h"
#include "nlohmann/json.hpp"

namespace infenclave {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxJsonBytes = size_t{16} << 20;
constexpr int kMaxJsonDepth = 4;

// An object, or an error that says what the text should have been.
StatusOr<Json> ParseObject(std::string_view text, std::string_view what) {
  if (text.size() > kMaxJsonBytes) return InvalidArgument(what, ": ", text.size(), " bytes are too many");
  bool too_deep = false;
  Json json = Json::parse(
      text,
      [&](int depth, Json::parse_event_t, Json&) {
        too_deep |= depth > kMaxJsonDepth;
        return !too_deep;
      },
      false);
  if (too_deep || !json.is_object()) return InvalidArgument(what, ": not a JSON object");
  return json;
}

// Reads the members of one object and keeps the first error.
class Members {
 public:
  Members(const Json& json, std::string_view what) : json_(json), what_(what) {}

  std::string Text(const char* key) {
    const Json* value = Find(key);
    if (value != nullptr && !value->is_string()) Fail(key, "text");
    return ok() && value != nullptr ? value->get<std::string>() : "";
  }
  double Number(const char* key) {
    const Json* value = Find(key);
    if (value != nullptr && (!value->is_number() || !std::isfinite(value->get<double>()) || value->get<double>() < 0)) {
      Fail(key, "a number that is not negative");
    }
    return ok() && value != nullptr ? value->get<double>() : 0;
  }
  uint64_t Count(const char* key, uint64_t limit) {
    const Json* value = Find(key);
    if (value != nullptr && (!value->is_number_unsigned() || value->get<uint64_t>() > limit)) {
      Fail(key, Concat("an integer of 0 to ", limit));
    }
    return ok() && value != nullptr ? value->get<uint64_t>() : 0;
  }
  bool Bool(const char* key) {
    const Json* value = Find(key);
    if (value != nullptr && !value->is_boolean()) Fail(key, "true or false");
    return ok() && value != nullptr && value->get<bool>();
  }
  const Json* Find(const char* key) {
    const auto at = json_.find(key);
    if (at != json_.end()) return &*at;
    if (ok()) status_ = InvalidArgument(what_, ": '", key, "' is missing");
    return nullptr;
  }
  void Fail(const char* key, std::string_view wanted) {
    if (ok()) status_ = InvalidArgument(what_, ": '", key, "' is not ", wanted);
  }
  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }

 private:
  const Json& json_;
  std::string_view what_;
  Status status_;
};

constexpr uint64_t kMaxCount = uint64_t{1} << 53;  // what a double holds exactly, as other readers of JSON need
constexpr std::string_view kAttacks[] = {"patch", "decoder", "whitebox"};

}  // namespace

std::string AttackJobToJson(const AttackJob& job) {
  return Json({{"version", 1},
               {"attack", job.attack},
               {"cut", job.cut},
               {"seed", job.seed},
               {"size", kPictureSide},
               {"budget_seconds", job.budget_seconds},
               {"max_steps", job.max_steps},
               {"attacker_photographs", job.attacker_photographs}})
             .dump(1, ' ', false, Json::error_handler_t::replace) +
         "\n";
}

StatusOr<AttackJob> ParseAttackJob(std::string_view text) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Json json, ParseObject(text, "job.json"));
  Members members(json, "job.json");
  AttackJob job;
  const uint64_t version = members.Count("version", kMaxCount), size = members.Count("size", kMaxCount);
  job.attack = members.Text("attack");
  job.cut = members.Text("cut");
  job.seed = members.Count("seed", kMaxCount);
  job.budget_seconds = members.Number("budget_seconds");
  job.max_steps = static_cast<int64_t>(members.Count("max_steps", kMaxCount));
  job.attacker_photographs = static_cast<int64_t>(members.Count("attacker_photographs", kMaxCount));
  INFENCLAVE_RETURN_IF_ERROR(members.status());
  if (version != 1) return Unimplemented("job.json: version ", version, " is not 1");
  if (size != uint64_t{kPictureSide}) return Unimplemented("job.json: size ", size, " is not ", kPictureSide);
  if (std::find(std::begin(kAttacks), std::end(kAttacks), job.attack) == std::end(kAttacks)) {
    return InvalidArgument("job.json: attack '", job.attack, "' is not patch, decoder or whitebox");
  }
  return job;
}

std::string AttackResultToJson(const AttackResult& result) {
  Json validation = Json::array();
  for (const auto& [step, loss] : result.validation) validation.push_back({step, loss});
  return Json({{"attack", result.attack},
               {"cut", result.cut},
               {"seed", result.seed},
               {"steps", result.steps},
               {"converged", result.converged},
               {"why", result.why},
               {"validation", validation},
               {"parameters", result.parameters},
               {"seconds", result.seconds},
               {"attacker_photographs", result.attacker_photographs}})
             .dump(-1, ' ', false, Json::error_handler_t::replace) +
         "\n";
}

StatusOr<AttackResult> ParseAttackResult(std::string_view text) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Json json, ParseObject(text, "result.json"));
  Members members(json, "result.json");
  AttackResult result;
  result.attack = members.Text("attack");
  result.cut = members.Text("cut");
  result.seed = members.Count("seed", kMaxCount);
  result.steps = static_cast<int64_t>(members.Count("steps", kMaxCount));
  result.converged = members.Bool("converged");
  result.why = members.Text("why");
  if (const Json* list = members.Find("validation"); list != nullptr) {
    for (const Json& pair : *list) {
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_unsigned() ||
          pair[0].get<uint64_t>() > kMaxCount || !pair[1].is_number()) {
        members.Fail("validation", "a list of [step, loss]");
        break;
      }
      result.validation.emplace_back(pair[0].get<int64_t>(), pair[1].get<double>());
    }
  }
  result.parameters = static_cast<int64_t>(members.Count("parameters", kMaxCount));
  result.seconds = members.Number("seconds");
  result.attacker_photographs = static_cast<int64_t>(members.Count("attacker_photographs", kMaxCount));
  INFENCLAVE_RETURN_IF_ERROR(members.status());
  return result;
}

std::string AttackProgressToJson(const AttackProgress& progress) {
  return Json({{"step", progress.step},
               {"of", progress.of},
               {"loss", progress.loss},
               {"seconds_left", progress.seconds_left}})
      .dump();
}

std::optional<AttackProgress> ParseAttackProgress(std::string_view line) {
  const StatusOr<Json> json = ParseObject(line, "progress");
  if (!json.ok()) return std::nullopt;
  Members members(*json, "progress");
  AttackProgress progress;
  progress.step = static_cast<int64_t>(members.Count("step", kMaxCount));
  progress.of = static_cast<int64_t>(members.Count("of", kMaxCount));
  progress.loss = members.Number("loss");
  progress.seconds_left = members.Number("seconds_left");
  if (!members.ok()) return std::nullopt;
  return progress;
}

StatusOr<RowWriter> RowWriter::Create(const std::string& path, DType dtype, const Shape& shape) {
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t elements, NumElements(shape));
  RowWriter writer;
  writer.path_ = path;
  writer.temporary_ = path + ".XXXXXX";
  writer.dtype_ = dtype;
  writer.elements_left_ = elements;
  writer.fd_ = UniqueFd(::mkostemp(writer.temporary_.data(), O_CLOEXEC));
  if (!writer.fd_.valid()) return ErrnoStatus(path);
  INFENCLAVE_RETURN_IF_ERROR(writer.Write(EncodeNpyHeader(dtype, shape)));
  return writer;
}

RowWriter::~RowWriter() {
  if (fd_.valid()) ::unlink(temporary_.c_str());
}

Status RowWriter::Write(ByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(path_);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return OkStatus();
}

Status RowWriter::Append(const TensorView& rows) {
  const bool narrow = rows.dtype == DType::kF32 && dtype_ == DType::kBf16;
  if (rows.dtype != dtype_ && !narrow) {
    return InvalidArgument(path_, ": rows of ", NameOf(rows.dtype), " in a file of ", NameOf(dtype_));
  }
  elements_left_ -= rows.elements();
  if (elements_left_ < 0) return InvalidArgument(path_, ": more rows than its shape holds");
  if (!narrow) return Write({static_cast<const uint8_t*>(rows.data), rows.bytes()});
  std::vector<uint16_t> bits(static_cast<size_t>(rows.elements()));
  std::transform(rows.as<float>().begin(), rows.as<float>().end(), bits.begin(), F32ToBf16);
  return Write({reinterpret_cast<const uint8_t*>(bits.data()), bits.size() * sizeof(uint16_t)});
}

Status RowWriter::Close() {
  if (elements_left_ != 0) return FailedPrecondition(path_, ": ", elements_left_, " elements were not written");
  if (::fchmod(fd_.get(), 0644) != 0 || ::fsync(fd_.get()) != 0) return ErrnoStatus(path_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return ErrnoStatus(path_);
  fd_.Reset();
  return OkStatus();
}

StatusOr<RowFile> RowFile::Open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid()) return ErrnoStatus(path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoStatus(path);
  if (!S_ISREG(info.st_mode)) return InvalidArgument(path, ": not a regular file");
  if (info.st_size == 0) return InvalidArgument(path, ": not a .npy file");
  RowFile file;
  void* mapped = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (mapped == MAP_FAILED) return ErrnoStatus(path);
  file.mapped_ = static_cast<const uint8_t*>(mapped);
  file.mapped_bytes_ = static_cast<size_t>(info.st_size);
  StatusOr<NpyHeader> header = DecodeNpyHeader({file.mapped_, file.mapped_bytes_});
  if (!header.ok()) return Annotate(header.status(), path);
  if (header->shape.empty()) return InvalidArgument(path, ": a scalar has no rows");
  file.dtype_ = header->dtype;
  file.shape_ = std::move(header->shape);
  file.offset_ = header->offset;
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t elements, NumElements(file.shape_));
  const size_t wanted = static_cast<size_t>(elements) * SizeOf(file.dtype_), has = file.mapped_bytes_ - file.offset_;
  if (wanted != has) {
    return InvalidArgument(path, ": ", NameOf(file.dtype_), ToString(file.shape_), " needs ", wanted,
                           " bytes of data, the file has ", has);
  }
  if (file.shape_[0] > 0) file.row_bytes_ = wanted / static_cast<size_t>(file.shape_[0]);
  return file;
}

RowFile& RowFile::operator=(RowFile&& other) noexcept {
  std::swap(dtype_, other.dtype_);
  std::swap(shape_, other.shape_);
  std::swap(row_bytes_, other.row_bytes_);
  std::swap(offset_, other.offset_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

RowFile::~RowFile() {
  if (mapped_ != nullptr) ::munmap(const_cast<uint8_t*>(mapped_), mapped_bytes_);
}

ByteSpan RowFile::Row(int64_t i) const {
  INFENCLAVE_CHECK(i >= 0 && i < rows());
  return {mapped_ + offset_ + static_cast<size_t>(i) * row_bytes_, row_bytes_};
}

}  // namespace infenclave
