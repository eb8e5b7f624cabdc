// Which attack runs where, and what follows from it.
//
// Unsafe is cheap, safe is dear. The attacks that need no training run at every cut, from the last on. The dear ones
// bisect between the latest cut that is known to be unsafe and the end, where what finds nothing at one cut counts for
// every later one: those hold a function of it. At the cut that would be recommended every attack runs, also with half
// and a quarter of the attacker's photographs, and the decoder from three seeds; if that changes the verdict, the next
// cut's turn comes.
#ifndef INFENCLAVE_ASSESSMENT_CAMPAIGN_H_
#define INFENCLAVE_ASSESSMENT_CAMPAIGN_H_

#include <string>
#include <vector>

#include "assessment/assessment.h"
#include "assessment/attack_runner.h"
#include "assessment/state.h"

namespace infenclave {

inline constexpr int kSeedsAtTheDecidingCut = 3;

struct CampaignOptions {
  std::vector<std::string> attacks;  // those of "nearest", "patch", "decoder", "whitebox" that are wanted
  Shard shard;              // of several: this one's cuts, each attack from the last cut to its first unsafe one
  bool merge = false;       // run nothing
  bool exhaustive = false;  // every attack at every cut
  uint64_t seed = 1;
};

// Runs what is to run and fills `attacks` of every cut, `baselines`, mean_psnr and mean_ssim. `assessment` holds
// everything else that the verdict needs.
Status RunCampaign(const CampaignOptions& options, const Targets& targets, OraclePool& oracle, AttackRunner& runner,
                   Assessment& assessment);

// The scores of one set of reconstructions, with intervals. `pairs`: LookAlikes.
AttackScores ScoresOf(const Likeness& likeness, const std::vector<uint8_t>& pairs, uint64_t seed);

// What the attack recovered beyond the better baseline, score by score; for each, the baseline with the higher mean.
// All of them over the same photographs.
struct NamedLikeness {
  std::string name;
  const Likeness* likeness = nullptr;
};
std::vector<Score> DifferencesOf(const std::string& attack, const Likeness& likeness,
                                 const std::vector<NamedLikeness>& baselines, const std::vector<uint8_t>& pairs,
                                 const Margins& margins, uint64_t seed);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_CAMPAIGN_H_
