#include "assessment/state.h"

#include <fcntl.h>
#include <sys/file.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "crypto/primitives.h"
#include "nlohmann/json.hpp"

namespace infenclave {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "infenclave.kl/1";
constexpr size_t kMaxRecordBytes = size_t{1} << 30;
constexpr size_t kMaxPlanBytes = size_t{64} << 20;
constexpr size_t kMaxCuts = 1 << 16, kMaxControl = 1 << 20, kMaxText = 4096;

// Doubles as their bits, so that a resumed run ends with the same figures.
void F64(ByteWriter& out, double v) { out.U64(std::bit_cast<uint64_t>(v)); }
double F64(ByteReader& in) { return std::bit_cast<double>(in.U64()); }

void PutAnswer(ByteWriter& out, const Answer& answer) {
  out.U32(static_cast<uint32_t>(answer.label));
  F64(out, answer.probability);
}
Answer GetAnswer(ByteReader& in) {
  Answer answer;
  answer.label = static_cast<int>(in.U32() & 0x7fffffff);
  answer.probability = F64(in);
  return answer;
}

// The setting that differs, for people.
std::string Difference(const std::string& old_plan, const std::string& new_plan) {
  const auto before = nlohmann::json::parse(old_plan, nullptr, false),
             now = nlohmann::json::parse(new_plan, nullptr, false);
  if (!before.is_object()) return "its plan.json is damaged";
  for (const auto& [key, value] : now.items()) {
    if (!before.contains(key)) return "it was made by another version";
    if (before[key] == value) continue;
    const std::string was = before[key].dump(), is = value.dump();
    if (was.size() + is.size() > 160) return Concat("its ", key, " differ");
    return Concat("its ", key, " was ", was, " and is now ", is);
  }
  return "it was made by another version";
}

// A writer that was killed leaves "000017.bin.XXXXXX". Only this shard's: others may be at work.
void RemoveTemporaries(const std::string& folder, Shard shard) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    uint32_t file = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), file);
    if (error == std::errc() && std::string_view(end).starts_with(".bin.") && shard.Holds(file)) {
      fs::remove(entry.path(), ignored);
    }
  }
}

}  // namespace

std::string PlanToJson(const Plan& plan) {
  nlohmann::ordered_json json = {{"format", "infenclave.assessment.plan/1"},
                                 {"model", plan.model_sha256},
                                 {"oracle", plan.oracle_sha256},
                                 {"preprocessing", plan.preprocessing},
                                 {"oracle preprocessing", plan.oracle_preprocessing},
                                 {"cuts", plan.cuts},
                                 {"maps", plan.maps_limit},
                                 {"seed", plan.seed},
                                 {"photographs", plan.files},
                                 {"photographs' contents", plan.images_sha256},
                                 {"control photographs", plan.control}};
  if (plan.ir_noise > 0) json["noise on the IR"] = plan.ir_noise;
  if (!plan.attacker_files.empty()) {
    json["attacker's photographs"] = plan.attacker_files;
    json["attacker's photographs' contents"] = plan.attacker_sha256;
  }
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Bytes EncodeKlRecord(const KlRecord& record, ByteSpan plan_digest) {
  ByteWriter out;
  out.Text(kMagic);
  out.Block(plan_digest);
  out.U32(record.file);
  out.Text(record.skipped.substr(0, kMaxText));
  PutAnswer(out, record.answer);
  F64(out, record.bound);
  F64(out, record.grey);
  out.U64(record.evaluations);
  F64(out, record.seconds);
  out.Count(record.cuts.size());
  for (const KlRecord::Cut& cut : record.cuts) {
    F64(out, cut.own.d);
    out.U32(static_cast<uint32_t>(cut.own.map));
    PutAnswer(out, cut.own.answer);
    out.U32(cut.constant);
    out.U32(cut.repeated);
    out.Count(cut.against.size());
    for (float d : cut.against) out.F32(d);
  }
  const Sha256Digest digest = Sha256(out.bytes());
  out.Raw(digest);
  return out.Take();
}

StatusOr<KlRecord> DecodeKlRecord(ByteSpan bytes, ByteSpan plan_digest) {
  if (bytes.size() < 32) return InvalidArgument("record of a photograph: ", bytes.size(), " bytes are too few");
  const ByteSpan body = bytes.first(bytes.size() - 32);
  const Sha256Digest digest = Sha256(body);
  if (!std::equal(digest.begin(), digest.end(), bytes.end() - 32)) {
    return InvalidArgument("record of a photograph: damaged");
  }
  ByteReader in(body, "record of a photograph");
  if (in.Text(64) != kMagic) in.Fail("another format");
  const ByteSpan plan = in.Block(64);
  if (in.ok() && !std::equal(plan.begin(), plan.end(), plan_digest.begin(), plan_digest.end())) {
    in.Fail("made for another assessment");
  }
  KlRecord record;
  record.file = in.U32();
  record.skipped = in.Text(kMaxText);
  record.answer = GetAnswer(in);
  record.bound = F64(in);
  record.grey = F64(in);
  record.evaluations = in.U64();
  record.seconds = F64(in);
  const size_t cuts = in.Count(kMaxCuts);
  for (size_t i = 0; i < cuts && in.ok(); ++i) {
    KlRecord::Cut cut;
    cut.own.d = F64(in);
    cut.own.map = static_cast<int>(in.U32() & 0x7fffffff);
    cut.own.answer = GetAnswer(in);
    cut.constant = in.U32();
    cut.repeated = in.U32();
    const size_t control = in.Count(kMaxControl);
    for (size_t x = 0; x < control && in.ok(); ++x) cut.against.push_back(in.F32());
    record.cuts.push_back(std::move(cut));
  }
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return record;
}

StatusOr<StateFolder> StateFolder::Open(const std::string& out, const Plan& plan, Shard shard) {
  const std::string path = out + "/state";
  std::error_code error;
  fs::create_directories(path + "/kl", error);
  if (error) return FailedPrecondition(path, ": cannot be created: ", error.message());

  const std::string lock_path = Concat(path, "/lock-", shard.index, "-of-", shard.count);
  UniqueFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!lock.valid()) return ErrnoStatus(lock_path);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return FailedPrecondition(out, ": another `infenclave assess` is at work here");
  }

  const std::string plan_path = path + "/plan.json", json = PlanToJson(plan);
  if (const auto old = ReadFile(plan_path, kMaxPlanBytes); old.ok()) {
    if (AsText(*old) != json) {
      return FailedPrecondition(out, " holds another assessment: ", Difference(std::string(AsText(*old)), json),
                                "; choose another folder with -o, or remove ", path);
    }
  } else if (old.status().code() == StatusCode::kNotFound) {
    INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(plan_path, AsBytes(json)));
  } else {
    return old.status();
  }
  RemoveTemporaries(path + "/kl", shard);
  const Sha256Digest digest = Sha256(AsBytes(json));
  return StateFolder(path, ToBytes(digest), std::move(lock));
}

std::string StateFolder::RecordPath(uint32_t file) const {
  char name[32];
  std::snprintf(name, sizeof(name), "/kl/%06u.bin", file);
  return path_ + name;
}

std::optional<KlRecord> StateFolder::Load(uint32_t file) const {
  const auto bytes = ReadFile(RecordPath(file), kMaxRecordBytes);
  if (!bytes.ok()) return std::nullopt;
  auto record = DecodeKlRecord(*bytes, digest_);
  if (!record.ok() || record->file != file) return std::nullopt;
  return *std::move(record);
}

Status StateFolder::Save(const KlRecord& record) const {
  return WriteFileAtomic(RecordPath(record.file), EncodeKlRecord(record, digest_));
}

}  // namespace infenclave
