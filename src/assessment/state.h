// What an assessment keeps on disk while it works, in OUT/state: enough to go on after an interruption, and for shards
// that ran elsewhere to be merged.
//
//   plan.json         what is being assessed: a resumed run must ask for the same
//   kl/000017.bin     all scores of the 17th listed file, or why it was skipped; written whole or not at all
//
// One file per photograph keeps shards independent: to merge them, put their kl/ folders together.
#ifndef INFENCLAVE_ASSESSMENT_STATE_H_
#define INFENCLAVE_ASSESSMENT_STATE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "assessment/assessment.h"
#include "base/bytes.h"
#include "base/file.h"

namespace infenclave {

// Everything that the numbers depend on. Not among them: threads, shards, margins, labels.
struct Plan {
  std::string model_sha256, oracle_sha256, preprocessing, oracle_preprocessing;
  std::vector<std::string> files;  // listed in the folder, sorted
  std::string images_sha256;       // of all names and contents
  std::vector<std::string> cuts;
  int maps_limit = 0;
  uint64_t seed = 0;
  double ir_noise = 0;       // that is left on the IRs when the views are averaged
  std::vector<int> control;  // indices of files whose answers every IR is scored against, ascending
  // Of attacks that recover pictures or classes; empty without any.
  std::vector<std::string> attacker_files;
  std::string attacker_sha256;

  bool operator==(const Plan&) const = default;
};
std::string PlanToJson(const Plan& plan);

// The scores of one photograph's IRs. "Control" are the photographs of Plan::control.
struct KlRecord {
  uint32_t file = 0;
  std::string skipped;  // why, if it is no photograph; the rest is empty then
  Answer answer;
  double bound = 0;
  double grey = 0;  // KL(V(this) || V(plain grey))
  struct Cut {
    Revealed own;
    uint32_t constant = 0, repeated = 0;
    std::vector<float> against;  // d_i(x, this) for every x of the control; NaN where x was skipped
  };
  std::vector<Cut> cuts;  // in the plan's order; `against` is empty where the oracle is not applicable
  uint64_t evaluations = 0;
  double seconds = 0;  // of work
};
Bytes EncodeKlRecord(const KlRecord& record, ByteSpan plan_digest);
// INVALID_ARGUMENT for a file of another plan, of another version, or damaged.
StatusOr<KlRecord> DecodeKlRecord(ByteSpan bytes, ByteSpan plan_digest);

// Which of the listed files a process works on: those with file % count == index.
struct Shard {
  int index = 0, count = 1;
  bool Holds(uint32_t file) const { return static_cast<int>(file % static_cast<uint32_t>(count)) == index; }
};
inline constexpr Shard kNoShard = {-1, 1};  // holds no file: for merging

class StateFolder {
 public:
  // Makes OUT and OUT/state, writes the plan or compares it with the one there, removes temporaries that an interrupted
  // run left, and takes the shard's lock. FAILED_PRECONDITION, with the setting that differs, if the folder holds
  // another assessment, and if another process works on the same shard.
  static StatusOr<StateFolder> Open(const std::string& out, const Plan& plan, Shard shard);

  // None if the photograph has not been scored. A damaged record counts as none: it is made again.
  std::optional<KlRecord> Load(uint32_t file) const;
  Status Save(const KlRecord& record) const;
  std::string digest() const { return HexEncode(digest_); }  // of the plan

 private:
  StateFolder(std::string path, Bytes digest, UniqueFd lock)
      : path_(std::move(path)), digest_(std::move(digest)), lock_(std::move(lock)) {}
  std::string RecordPath(uint32_t file) const;

  std::string path_;
  Bytes digest_;  // of the plan
  UniqueFd lock_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_STATE_H_
