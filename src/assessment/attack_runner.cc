#include "assessment/attack_runner.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>

#include "assessment/attack_child.h"
#include "assessment/nearest.h"
#include "graph/cuts.h"
#include "graph/serialize.h"

namespace infenclave {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxResultBytes = size_t{16} << 20, kMaxLikenessBytes = size_t{1} << 30;
constexpr size_t kMostSlug = 48;

// What a folder's results were made with: they are taken only if it is the same now.
std::string Stamp(const AttackSetting& setting, const AttackJob& job, const AttackKey& key) {
  return Concat(setting.plan, "\n", key.attack, ' ', key.part, ' ', key.repeat,
                key.attack == "whitebox" ? Concat(' ', setting.whitebox_images) : "",
                key.attack == "decoder" && setting.features != nullptr ? " features" : "", "\n", AttackJobToJson(job));
}

Status Link(const std::string& target, const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
  fs::create_symlink(fs::relative(target, fs::path(path).parent_path(), error), path, error);
  return error ? FailedPrecondition(path, ": cannot be made: ", error.message()) : OkStatus();
}

Status CopyRows(const RowFile& from, const std::vector<int64_t>& rows, const std::string& path) {
  Shape shape = from.shape();
  shape[0] = static_cast<int64_t>(rows.size());
  INFENCLAVE_ASSIGN_OR_RETURN(RowWriter out, RowWriter::Create(path, from.dtype(), shape));
  shape[0] = 1;
  for (int64_t row : rows) INFENCLAVE_RETURN_IF_ERROR(out.Append({from.dtype(), shape, from.Row(row).data()}));
  return out.Close();
}

Status WriteNumbers(const std::vector<int32_t>& numbers, const std::string& path) {
  const int64_t n = static_cast<int64_t>(numbers.size());
  INFENCLAVE_ASSIGN_OR_RETURN(RowWriter out, RowWriter::Create(path, DType::kI32, {n}));
  INFENCLAVE_RETURN_IF_ERROR(out.Append({DType::kI32, {n}, numbers.data()}));
  return out.Close();
}

Status WritePictures(const std::vector<float>& pictures, const std::string& path) {
  const Shape shape = {static_cast<int64_t>(pictures.size() / kPictureValues), kPictureSide, kPictureSide, 3};
  INFENCLAVE_ASSIGN_OR_RETURN(RowWriter out, RowWriter::Create(path, DType::kF32, shape));
  INFENCLAVE_RETURN_IF_ERROR(out.Append({DType::kF32, shape, pictures.data()}));
  return out.Close();
}

StatusOr<std::vector<int32_t>> ReadNumbers(const std::string& path) {
  INFENCLAVE_ASSIGN_OR_RETURN(const RowFile file, RowFile::Open(path));
  std::vector<int32_t> numbers(static_cast<size_t>(file.rows()));
  for (int64_t i = 0; i < file.rows(); ++i) std::memcpy(&numbers[i], file.Row(i).data(), sizeof(int32_t));
  return numbers;
}

}  // namespace

StatusOr<std::vector<float>> ReadReconstruction(const std::string& path) {
  INFENCLAVE_ASSIGN_OR_RETURN(const RowFile file, RowFile::Open(path));
  if (file.dtype() != DType::kF32 || file.shape() != Shape{file.rows(), kPictureSide, kPictureSide, 3}) {
    return InvalidArgument(path, ": ", ToString(file.shape()), " is not f32 [M,112,112,3]");
  }
  std::vector<float> out(static_cast<size_t>(file.rows()) * kPictureValues);
  for (int64_t i = 0; i < file.rows(); ++i) {
    std::memcpy(&out[i * kPictureValues], file.Row(i).data(), kPictureValues * sizeof(float));
  }
  return out;
}

std::string AttackRunner::NameOf(int cut) const {
  return cut == kScoresOnly ? "the scores alone" : setting_.model->value(setting_.cuts[cut]).name;
}

std::string AttackRunner::SlugOf(int cut) const {
  if (cut == kScoresOnly) return "scores";
  std::string slug = NameOf(cut).substr(0, kMostSlug);
  for (char& c : slug) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_';
    if (!plain) c = '-';
  }
  char number[16];
  std::snprintf(number, sizeof(number), "%03d-", cut + 1);
  return number + slug;
}

std::string AttackRunner::IrFolder(int cut) const { return setting_.out + "/state/ir/" + SlugOf(cut); }

std::string AttackRunner::FolderOf(const AttackKey& key) const {
  return Concat(setting_.out, "/attacks/", SlugOf(key.cut), '/', key.attack,
                key.part == 1   ? ""
                : key.part == 2 ? "-half"
                                : "-quarter",
                key.repeat == 0 ? "" : Concat("-seed-", setting_.seed + static_cast<uint64_t>(key.repeat)));
}

int AttackRunner::PhotographsOf(const AttackKey& key) const {
  const std::set<int32_t> distinct(attacker_.photograph.begin(), attacker_.photograph.end());
  const int all = static_cast<int>(distinct.size() - distinct.count(kNoPhotograph));
  return std::max(2, all / key.part);
}

void AttackRunner::DropIrs(int cut) const {
  std::error_code ignored;
  fs::remove_all(IrFolder(cut), ignored);
}

AttackJob AttackRunner::JobOf(const AttackKey& key) const {
  AttackJob job;
  job.attack = key.attack;
  job.cut = NameOf(key.cut);
  job.seed = setting_.seed + static_cast<uint64_t>(key.repeat);
  job.budget_seconds = setting_.budget_seconds;
  job.max_steps = setting_.max_steps;
  job.attacker_photographs = key.part == 1 ? 0 : PhotographsOf(key);
  return job;
}

Status AttackRunner::NeedIrs(int cut) {
  const std::string folder = IrFolder(cut);
  const std::string done = folder + "/target.ir.npy";  // written last
  if (fs::exists(done)) return OkStatus();
  std::error_code error;
  fs::remove_all(folder, error);  // what an interrupted run left
  fs::create_directories(folder, error);
  if (error) return FailedPrecondition(folder, ": cannot be created: ", error.message());
  IrRequest request;
  request.model = cut == kScoresOnly ? setting_.scores : setting_.model;
  request.cut = cut == kScoresOnly ? setting_.scores->outputs[0] : setting_.cuts[cut];
  request.preprocessing = setting_.preprocessing;
  request.threads = setting_.threads;
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t elements, NumElements(request.model->value(request.cut).shape));
  const std::vector<int64_t> rows = RowsThatFit(attacker_.photograph, elements);
  if (setting_.ir_noise > 0 && cut != kScoresOnly) {
    INFENCLAVE_ASSIGN_OR_RETURN(request.noise, ChannelDeviations(request, attacker_.pictures, rows));
    for (float& deviation : request.noise) deviation *= static_cast<float>(setting_.ir_noise);
    request.noise_seed = setting_.seed;
  }
  const std::string stage = Concat("IRs at ", NameOf(cut));
  INFENCLAVE_RETURN_IF_ERROR(
      WriteIrs(request, attacker_.pictures, rows, folder + "/attacker.ir.npy", progress_, stage));
  if (rows.size() == attacker_.photograph.size()) {
    INFENCLAVE_RETURN_IF_ERROR(Link(attacker_.folder + "/rgb.npy", folder + "/attacker.rgb.npy"));
  } else {
    INFENCLAVE_RETURN_IF_ERROR(CopyRows(attacker_.rgb, rows, folder + "/attacker.rgb.npy"));
  }
  std::vector<int32_t> numbers;
  for (int64_t row : rows) numbers.push_back(attacker_.photograph[row]);
  INFENCLAVE_RETURN_IF_ERROR(WriteNumbers(numbers, folder + "/attacker.photograph.npy"));
  std::vector<int64_t> targets(static_cast<size_t>(targets_.pictures.rows()));
  for (size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<int64_t>(i);
  ++request.noise_seed;
  return WriteIrs(request, targets_.pictures, targets, done, progress_, stage);
}

StatusOr<std::string> AttackRunner::Irs(int cut) {
  INFENCLAVE_RETURN_IF_ERROR(NeedIrs(cut));
  return IrFolder(cut);
}

Status AttackRunner::RunNearest(const AttackKey& key, const std::string& folder) {
  const auto start = std::chrono::steady_clock::now();
  const std::string irs = IrFolder(key.cut);
  INFENCLAVE_ASSIGN_OR_RETURN(const RowFile attacker, RowFile::Open(irs + "/attacker.ir.npy"));
  INFENCLAVE_ASSIGN_OR_RETURN(const RowFile rgb, RowFile::Open(irs + "/attacker.rgb.npy"));
  INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<int32_t> numbers, ReadNumbers(irs + "/attacker.photograph.npy"));
  INFENCLAVE_ASSIGN_OR_RETURN(const RowFile target, RowFile::Open(irs + "/target.ir.npy"));
  progress_(Concat("nearest at ", NameOf(key.cut)), 0, 1);
  INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<float> pictures,
                              Nearest(attacker, rgb, numbers, target, PhotographsOf(key)));
  INFENCLAVE_RETURN_IF_ERROR(WritePictures(pictures, folder + "/reconstruction.npy"));
  if (setting_.ir_noise == 0) {  // with noise nobody makes the same IR again
    const std::vector<double> matches = Matches(target);
    double match = 0;
    for (double m : matches) match += m / static_cast<double>(matches.size());
    INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(folder + "/match.txt", AsBytes(Concat(match, "\n"))));
  }
  AttackResult result;
  result.attack = key.attack;
  result.cut = NameOf(key.cut);
  result.seed = setting_.seed;
  result.converged = true;
  result.why = "nothing to train";
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.attacker_photographs = PhotographsOf(key);
  progress_(Concat("nearest at ", NameOf(key.cut)), 1, 1);
  return WriteFileAtomic(folder + "/result.json", AsBytes(AttackResultToJson(result)));
}

Status AttackRunner::AddWhiteboxFiles(const AttackKey& key, const std::string& folder) {
  const int n = std::min(setting_.whitebox_images, truth_.n());
  INFENCLAVE_ASSIGN_OR_RETURN(const Graph front, UpTo(*setting_.model, setting_.cuts[key.cut]));
  INFENCLAVE_ASSIGN_OR_RETURN(const Bytes graph, EncodeGraph(front));
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(folder + "/frontnet.graph", graph));
  INFENCLAVE_RETURN_IF_ERROR(
      WriteFileAtomic(folder + "/preprocessing.json", AsBytes(PreprocessingToJson(*setting_.preprocessing))));
  // From the decoder's pictures where there are some, else from the mean of the attacker's photographs.
  std::vector<float> start;
  const auto decoded = ReadReconstruction(FolderOf({"decoder", key.cut, 1, 0}) + "/reconstruction.npy");
  for (int i = 0; i < n; ++i) {
    const auto from = decoded.ok() ? std::span(*decoded).subspan(i * kPictureValues, kPictureValues)
                                   : std::span<const float>(truth_.mean);
    start.insert(start.end(), from.begin(), from.end());
  }
  INFENCLAVE_RETURN_IF_ERROR(WritePictures(start, folder + "/start.npy"));
  INFENCLAVE_ASSIGN_OR_RETURN(const RowFile all, RowFile::Open(IrFolder(key.cut) + "/target.ir.npy"));
  std::vector<int64_t> rows(n);
  for (int i = 0; i < n; ++i) rows[i] = i;
  std::error_code ignored;
  fs::remove(folder + "/target.ir.npy", ignored);
  return CopyRows(all, rows, folder + "/target.ir.npy");
}

Status AttackRunner::RunChild(const AttackKey& key, const std::string& folder) {
  const std::string irs = IrFolder(key.cut);
  for (const char* file : {"/attacker.ir.npy", "/attacker.rgb.npy", "/attacker.photograph.npy", "/target.ir.npy"}) {
    INFENCLAVE_RETURN_IF_ERROR(Link(irs + file, folder + file));
  }
  if (key.attack == "whitebox") INFENCLAVE_RETURN_IF_ERROR(AddWhiteboxFiles(key, folder));
  if (key.attack == "decoder" && setting_.features != nullptr) {
    INFENCLAVE_ASSIGN_OR_RETURN(const Bytes graph, EncodeGraph(*setting_.features));
    INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(folder + "/features.graph", graph));
    INFENCLAVE_RETURN_IF_ERROR(
        WriteFileAtomic(folder + "/features.json", AsBytes(PreprocessingToJson(*setting_.features_preprocessing))));
  }
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(folder + "/job.json", AsBytes(AttackJobToJson(JobOf(key)))));
  const std::string stage = Concat(fs::path(folder).filename().string(), " at ", NameOf(key.cut));
  return Annotate(RunAttackProgram(setting_.program, folder, setting_.threads,
                                   [&](const AttackProgress& p) { progress_(stage, p.step, std::max(p.step, p.of)); }),
                  stage);
}

Status AttackRunner::Run(const AttackKey& key, const std::string& folder) {
  const std::string stamp = Stamp(setting_, JobOf(key), key), stamp_path = folder + "/made-with.txt";
  std::error_code error;
  const auto old = ReadFile(stamp_path, kMaxResultBytes);
  if (!old.ok() || AsText(*old) != stamp) fs::remove_all(folder, error);
  fs::create_directories(folder, error);
  if (error) return FailedPrecondition(folder, ": cannot be created: ", error.message());
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(stamp_path, AsBytes(stamp)));
  INFENCLAVE_RETURN_IF_ERROR(NeedIrs(key.cut));
  return key.attack == "nearest" ? RunNearest(key, folder) : RunChild(key, folder);
}

StatusOr<AttackOutcome> AttackRunner::Read(const AttackKey& key, const std::string& folder) {
  const auto stamp = ReadFile(folder + "/made-with.txt", kMaxResultBytes);
  if (!stamp.ok() || AsText(*stamp) != Stamp(setting_, JobOf(key), key)) return NotFound(folder, ": not made yet");
  INFENCLAVE_ASSIGN_OR_RETURN(const Bytes json, ReadFile(folder + "/result.json", kMaxResultBytes));
  AttackOutcome outcome;
  INFENCLAVE_ASSIGN_OR_RETURN(outcome.result, ParseAttackResult(AsText(json)));
  if (const auto match = ReadFile(folder + "/match.txt", 64); match.ok()) {
    outcome.match = std::strtod(std::string(AsText(*match)).c_str(), nullptr);
  }
  const std::string kept = folder + "/likeness.bin";
  if (const auto bytes = ReadFile(kept, kMaxLikenessBytes); bytes.ok()) {
    if (auto likeness = DecodeLikeness(*bytes); likeness.ok()) {
      outcome.likeness = *std::move(likeness);
      return outcome;
    }
  }
  INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<float> pictures, ReadReconstruction(folder + "/reconstruction.npy"));
  const int n = key.attack == "whitebox" ? std::min(setting_.whitebox_images, truth_.n()) : truth_.n();
  if (pictures.size() != static_cast<size_t>(n) * kPictureValues) {
    return InvalidArgument(folder, "/reconstruction.npy: ", pictures.size() / kPictureValues, " pictures instead of ",
                           n);
  }
  auto likeness = Compare(truth_, pictures, oracle_);
  if (!likeness.ok()) return Annotate(likeness.status(), folder);
  outcome.likeness = *std::move(likeness);
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(kept, EncodeLikeness(outcome.likeness)));
  return outcome;
}

StatusOr<const AttackOutcome*> AttackRunner::Get(const AttackKey& key, bool may_run) {
  if (const auto it = outcomes_.find(key); it != outcomes_.end()) return &it->second;
  const std::string folder = FolderOf(key);
  StatusOr<AttackOutcome> outcome = Read(key, folder);
  if (outcome.status().code() == StatusCode::kNotFound) {
    if (!may_run) return nullptr;
    INFENCLAVE_RETURN_IF_ERROR(Run(key, folder));
    outcome = Read(key, folder);
  }
  if (!outcome.ok()) return outcome.status();
  return &(outcomes_[key] = *std::move(outcome));
}

}  // namespace infenclave
