// Runs one attack at one cut, once: what came of it is kept in OUT/attacks and read from there ever after.
//
//   OUT/attacks/07-block.6.project/decoder/          a job (attack_job.h), and likeness.bin: its scores
//   OUT/attacks/07-block.6.project/decoder-half/     the same with half of the attacker's photographs
//   OUT/attacks/07-block.6.project/decoder-seed-2/   the same from another seed
//   OUT/attacks/scores/decoder/                      given only the BackNet's scores
//   OUT/state/ir/07-block.6.project/                 the IRs, bf16; made again when they are needed again
#ifndef INFENCLAVE_ASSESSMENT_ATTACK_RUNNER_H_
#define INFENCLAVE_ASSESSMENT_ATTACK_RUNNER_H_

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "assessment/attacker.h"
#include "assessment/likeness.h"

namespace infenclave {

inline constexpr int kScoresOnly = -1;  // in place of a cut: the attacker sees the BackNet's scores alone

struct AttackKey {
  std::string attack;  // "nearest", "patch", "decoder", "whitebox"
  int cut = 0;         // index into AttackSetting::cuts, or kScoresOnly
  int part = 1;        // of the attacker's photographs one in so many: 1, 2 or 4
  int repeat = 0;      // added to the seed
  auto operator<=>(const AttackKey&) const = default;
};

struct AttackOutcome {
  Likeness likeness;  // of the first images under attack
  AttackResult result;
  std::optional<double> match;  // nearest: the chance of naming a photograph that the attacker has (nearest.h)
};

struct AttackSetting {
  const Graph* model = nullptr;
  const Graph* scores = nullptr;  // the model up to its scores, without a final Softmax
  const Preprocessing* preprocessing = nullptr;
  std::vector<ValueId> cuts;
  std::string out;      // folder
  std::string plan;     // digest: results of another plan are not taken
  std::string program;  // infenclave-attacks
  int threads = 1;
  uint64_t seed = 1;
  double budget_seconds = 0;
  int64_t max_steps = 0;
  int whitebox_images = 32;
  double ir_noise = 0;              // on every IR but the scores, in deviations of each channel
  const Graph* features = nullptr;  // of a public network, for the decoder's loss; may be null
  const Preprocessing* features_preprocessing = nullptr;
};

class AttackRunner {
 public:
  // All must outlive the runner.
  AttackRunner(const AttackSetting& setting, const PictureFiles& attacker, const PictureFiles& targets,
               const Targets& truth, OraclePool& oracle, const ProgressFn& progress)
      : setting_(setting),
        attacker_(attacker),
        targets_(targets),
        truth_(truth),
        oracle_(oracle),
        progress_(progress) {}

  // What is known, else what is found on disk, else what running it gives; null where it was never run and may not be.
  StatusOr<const AttackOutcome*> Get(const AttackKey& key, bool may_run);
  // Everything that was got, by key.
  const std::map<AttackKey, AttackOutcome>& outcomes() const { return outcomes_; }
  const std::string& folder() const { return setting_.out; }
  std::string FolderOf(const AttackKey& key) const;
  // How many photographs a key's attacker has.
  int PhotographsOf(const AttackKey& key) const;
  // The folder with the IRs of this cut, made if they are not there.
  StatusOr<std::string> Irs(int cut);
  // No further attack will run at this cut.
  void DropIrs(int cut) const;

 private:
  std::string NameOf(int cut) const;  // for people
  std::string SlugOf(int cut) const;  // for files
  std::string IrFolder(int cut) const;
  Status NeedIrs(int cut);
  Status Run(const AttackKey& key, const std::string& folder);
  Status RunNearest(const AttackKey& key, const std::string& folder);
  Status RunChild(const AttackKey& key, const std::string& folder);
  Status AddWhiteboxFiles(const AttackKey& key, const std::string& folder);
  StatusOr<AttackOutcome> Read(const AttackKey& key, const std::string& folder);
  AttackJob JobOf(const AttackKey& key) const;

  const AttackSetting& setting_;
  const PictureFiles& attacker_;
  const PictureFiles& targets_;
  const Targets& truth_;
  OraclePool& oracle_;
  const ProgressFn& progress_;
  std::map<AttackKey, AttackOutcome> outcomes_;
};

// f32 [n,112,112,3] as one vector.
StatusOr<std::vector<float>> ReadReconstruction(const std::string& path);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_ATTACK_RUNNER_H_
