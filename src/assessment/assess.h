// One assessment from beginning to end: photographs and two networks in, figures and pictures for the report out.
#ifndef INFENCLAVE_ASSESSMENT_ASSESS_H_
#define INFENCLAVE_ASSESSMENT_ASSESS_H_

#include <optional>
#include <string>
#include <vector>

#include "assessment/assessment.h"
#include "assessment/exhibits.h"
#include "assessment/gallery.h"
#include "assessment/kl_oracle.h"
#include "assessment/oracle.h"
#include "assessment/state.h"
#include "graph/graph.h"

namespace infenclave {

inline constexpr int kMostControlPhotographs = 1000;

struct AssessOptions {
  std::string model_path, oracle_path;
  const Graph* model = nullptr;
  OracleModel oracle;  // oracle_path is its file, or its URL
  Preprocessing preprocessing, oracle_preprocessing;
  std::vector<std::string> oracle_labels;     // empty, or one per class of the oracle
  std::string images, out;                    // folders
  std::vector<std::string> cuts;              // names; empty: every cut point
  std::vector<std::string> attacks = {"kl"};  // of kAllAttacks
  // The attacker's photographs; empty: half of `images`, drawn by seed, where an attack needs any, and the other half
  // is under attack.
  std::string attacker_images;
  std::vector<std::string> labels;      // of the model's classes; empty, or one per class
  const Graph* public_model = nullptr;  // that the attacker has: for the decoder's loss and the label attack
  Preprocessing public_preprocessing;
  std::vector<std::string> public_labels;
  std::string attack_program;  // empty: infenclave-attacks beside this executable
  double attack_seconds = 0;   // of training each, 0: until it has converged
  int64_t attack_steps = 0;    // at most, 0: the attack's own limit
  int views = 24;              // of each of the attacker's photographs, at most
  int whitebox_images = 32;
  // Noise on the IRs, in deviations of each channel, as a bundle made with `partition --ir-noise` has it; and how many
  // views of one picture the attacker averages, which differ so little that only the noise does.
  double ir_noise = 0;
  int ir_views = 1;
  bool exhaustive = false;  // train at every cut
  int maps = 0;             // per cut; 0: every map
  uint64_t seed = 1;
  Margins margins;
  int threads = 1;
  Shard shard;
  bool merge = false;   // score nothing, only put records together
  std::string command;  // as typed, for the report
  std::string version;
};

// Averaging n independent noises leaves one of 1/sqrt(n).
double NoiseLeft(const AssessOptions& options);

struct AssessResult {
  Assessment assessment;
  std::vector<Exhibit> exhibits;  // by cut, the most recognised first
  Gallery gallery;                // what attacks recovered; empty where none did
};

// Scores what the output folder does not hold yet. None (an empty optional) if the shard is done and others are not
// part of this call. What was computed is kept whatever happens: the same call goes on from there.
StatusOr<std::optional<AssessResult>> Assess(const AssessOptions& options, const ProgressFn& progress);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_ASSESS_H_
