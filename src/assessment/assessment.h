// What an assessment found: plain data, which assessment_json.h and report/ turn into files.
#ifndef INFENCLAVE_ASSESSMENT_ASSESSMENT_H_
#define INFENCLAVE_ASSESSMENT_ASSESSMENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "assessment/verdict.h"
#include "tensor/tensor.h"

namespace infenclave {

// The attacks that an assessment knows, in the order of the report. Those that are not in `Assessment::attacks` did not
// run, and the report names them.
inline constexpr std::string_view kAllAttacks[] = {"kl", "patch", "decoder", "whitebox", "nearest", "label"};

// Largest scores at which a cut still counts as safe: of the KL oracle its AUC, of attacks that recover pictures the
// gain over the baseline.
struct Margins {
  double kl_auc = 0.60;
  double auc = 0.10, ssim = 0.05, psnr = 0.5, top1 = 0.05;
  double label = 0.05;  // share of classes named beyond chance
};

// What the oracle sees: a class and how sure it is.
struct Answer {
  int label = 0;
  double probability = 0;
};

struct Photograph {
  std::string file;  // its name in the folder
  std::string sha256;
  Answer answer;     // of the oracle
  double bound = 0;  // b(x) = KL(V(x) || uniform)
  double grey = 0;   // KL(V(x) || V(plain grey)): what a map that shows nothing would score
};

struct Skipped {
  std::string file, reason;
};

// One photograph at one cut: the map that the oracle finds most like it.
struct Revealed {
  double d = 0;   // d_i(x,x)
  int map = 0;    // the map that decides: the first with the smallest divergence
  Answer answer;  // of the oracle to that map
};

struct KlScores {
  int maps = 0, scored = 0;            // feature maps of the tensor, and how many of them were shown to the oracle
  int64_t constant = 0, repeated = 0;  // maps without contrast, and equal to another of the same photograph and cut
  std::vector<Revealed> photographs;   // as Assessment::photographs
  double ratio_min = 0, ratio_p05 = 0, ratio_median = 0, ratio_max = 0;  // of d_i(x,x) / b(x)
  Estimate ratio_ge_1;                                                   // share of photographs with ratio >= 1
  Estimate top1;  // share whose deciding map gets the photograph's own top-1
  Estimate auc;
};

// What an attack recovered, in figures: gains over the mean image, the oracle's answers, and the harder of two AUCs.
struct AttackScores {
  int images = 0;  // under attack
  Estimate psnr, ssim, top1, top5, auc;
  bool look_alikes = false;  // the AUC is against the photographs that look alike; else against all others
};

// One attack at one cut.
struct AttackRun {
  std::string attack;
  AttackScores scores;
  std::vector<Score> differences;                      // to the better baseline: psnr, ssim, top1, auc
  int64_t steps = 0, parameters = 0, photographs = 0;  // photographs of the attacker
  double seconds = 0;
  bool converged = true;
  std::string why;  // it stopped
  struct Part {
    int64_t photographs = 0;
    AttackScores scores;
  };
  std::vector<Part> parts;            // with fewer of the attacker's photographs
  std::vector<AttackScores> repeats;  // from other seeds; the strongest counts
  std::optional<double> match;        // nearest: with the target's photograph among the attacker's
  std::string weaker_than;            // a later cut at which the same attack recovers more: it is under-trained here
  std::string reconstruction;         // path, for the gallery
};

struct BaselineRun {
  std::string name;  // "nothing", "output/decoder", ...
  AttackScores scores;
  std::string reconstruction;
};

// Which score is which class: `named` is the share of `classes` that the attacker gets right.
struct LabelAttempt {
  std::string method;  // "rows", "1 query", "5 queries"
  int classes = 0;
  Estimate named;
  double chance = 0;
  Safety safety = Safety::kNotApplicable;
};
struct LabelResult {
  std::vector<LabelAttempt> attempts;
  std::string not_applicable;  // why there are none
  std::string advice;          // one sentence
};

struct CutCost {
  int64_t ir_bytes = 0;                                 // f32, one photograph
  int64_t flops = 0, weight_bytes = 0, peak_bytes = 0;  // of the FrontNet (graph/cuts.h)
  int64_t memory_bytes = 0;  // of the compiled FrontNet: packed weights, activations, scratch
  double flops_share = 0;    // of the whole network's
  // Median latency of one photograph on one thread; none for a side with operators that the engine does not know.
  std::optional<double> front_ms, back_ms;
};

struct CutResult {
  std::string name;
  int depth = 0;  // among all cut points
  Shape shape;
  std::optional<KlScores> kl;
  std::string kl_not_applicable;  // why, where kl is empty
  std::vector<AttackRun> attacks;
  CutCost cost;
  std::vector<Score> scores;  // what the verdict judged
  CutVerdict verdict;
};

struct Assessment {
  std::string model, oracle;  // as named on the command line
  std::string model_sha256, oracle_sha256;
  std::vector<std::string> attacks;  // those that ran
  std::vector<Photograph> photographs;
  std::vector<Skipped> skipped;
  // Indices of the photographs that were compared with each other: all, or a sample where there are many.
  std::vector<int> control;
  // Of attacks that recover pictures: who attacks, what is attacked (indices into photographs), and what they are
  // compared with.
  int attacker_photographs = 0, attacker_pictures = 0;
  std::vector<int> targets;
  double mean_psnr = 0, mean_ssim = 0;  // of the mean image, to which psnr and ssim of attacks are added
  std::vector<BaselineRun> baselines;
  std::optional<LabelResult> label;
  int cut_points = 0;  // of the network; `cuts` may hold fewer
  std::vector<CutResult> cuts;
  int64_t total_flops = 0;
  Margins margins;
  uint64_t seed = 0;
  int maps_limit = 0;               // 0: every map
  double ir_noise = 0;              // on every IR, in deviations of each channel
  int ir_views = 1;                 // that the attacker averages
  int classes = 0;                  // of the oracle
  std::vector<std::string> labels;  // of the oracle's classes; empty if unknown

  int recommended = -1;     // index into cuts
  std::string why;          // one sentence
  bool provisional = true;  // an attack that trains has not run

  struct Run {
    std::string command, version, processor, engine;
    int threads = 0;
    std::string finished;  // UTC, ISO 8601
    double seconds = 0;    // of work, all sittings together
    int64_t evaluations = 0;
  } run;
};

std::string_view NameOfScore(std::string_view score);  // "psnr": "PSNR"

// The oracle's name for a class: its label, else "class 17".
std::string LabelOf(const Assessment& assessment, int label);

// The attacks of kAllAttacks that did not run, "label" included.
std::vector<std::string> AttacksNotRun(const Assessment& assessment);

// The ratio of plain grey to the bound for each photograph: where the KL ratio ends when nothing is left to see.
std::vector<double> GreyRatios(const Assessment& assessment);

// Fills scores, verdicts, recommendation and `why` from the measured figures.
void Conclude(Assessment& assessment);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_ASSESSMENT_H_
