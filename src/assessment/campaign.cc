#include "assessment/campaign.h"

#include <algorithm>
#include <functional>

namespace infenclave {
namespace {

constexpr std::string_view kCheap[] = {"nearest", "patch"}, kDear[] = {"decoder", "whitebox"};
constexpr int kParts[] = {2, 4};
// A score that rises with the attacker's photographs counts as limited by them if at that pace it would pass the margin
// after two more doublings.
constexpr double kDoublings = 2;

double MeanOfCounts(const std::vector<uint8_t>& values) {
  return static_cast<double>(std::count(values.begin(), values.end(), 1)) / static_cast<double>(values.size());
}

// Two reconstructions that are the same for all photographs, and of which the oracle says the same, show nothing of any
// further photograph either.
Estimate ShareDifference(const Likeness& first, const Likeness& second) {
  const std::vector<uint8_t>&a = first.top1, &b = second.top1;
  if (first.same_for_all && second.same_for_all && a == b) return {};
  int only_a = 0, only_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    only_a += a[i] > b[i];
    only_b += b[i] > a[i];
  }
  return PairedShareDifference(only_a, only_b, static_cast<int>(a.size()));
}

Estimate MeanDifference(const std::vector<double>& a, const std::vector<double>& b, uint64_t seed) {
  std::vector<double> differences(a.size());
  for (size_t i = 0; i < a.size(); ++i) differences[i] = a[i] - b[i];
  return MeanOf(differences, seed);
}

double MeanValue(const std::vector<double>& values) {
  double sum = 0;
  for (double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

// One of the judged scores, as a function of likenesses over the same photographs.
struct Measure {
  std::string_view name;
  double margin = 0;
  std::function<double(const Likeness&)> value;
  std::function<Estimate(const Likeness&, const Likeness&)> difference;
};

std::vector<Measure> MeasuresFor(const Margins& margins, std::span<const uint8_t> auc_pairs, uint64_t seed) {
  std::vector<Measure> measures;
  measures.push_back({"psnr", margins.psnr, [](const Likeness& l) { return MeanValue(l.psnr); },
                      [seed](const Likeness& a, const Likeness& b) { return MeanDifference(a.psnr, b.psnr, seed); }});
  measures.push_back({"ssim", margins.ssim, [](const Likeness& l) { return MeanValue(l.ssim); },
                      [seed](const Likeness& a, const Likeness& b) { return MeanDifference(a.ssim, b.ssim, seed); }});
  measures.push_back({"top1", margins.top1, [](const Likeness& l) { return MeanOfCounts(l.top1); },
                      [](const Likeness& a, const Likeness& b) { return ShareDifference(a, b); }});
  measures.push_back({"auc", margins.auc,
                      [auc_pairs](const Likeness& l) { return AucValue(l.distance, l.n(), auc_pairs); },
                      [auc_pairs, seed](const Likeness& a, const Likeness& b) {
                        return AucDifference(a.distance, b.distance, a.n(), seed, auc_pairs);
                      }});
  return measures;
}

// The pairs of the harder comparison: those on which the attack does worse.
std::span<const uint8_t> HarderPairs(const Likeness& likeness, const std::vector<uint8_t>& look_alikes) {
  const double all = AucValue(likeness.distance, likeness.n());
  const double alike = AucValue(likeness.distance, likeness.n(), look_alikes);
  return alike < all ? std::span<const uint8_t>(look_alikes) : std::span<const uint8_t>();
}

class Campaign {
 public:
  Campaign(const CampaignOptions& options, const Targets& targets, OraclePool& oracle, AttackRunner& runner,
           Assessment& assessment)
      : options_(options), targets_(targets), oracle_(oracle), runner_(runner), a_(assessment) {}

  Status Run();

 private:
  int cuts() const { return static_cast<int>(a_.cuts.size()); }
  bool Wanted(std::string_view attack) const {
    return std::find(options_.attacks.begin(), options_.attacks.end(), attack) != options_.attacks.end();
  }
  bool Mine(int cut) const { return options_.shard.Holds(static_cast<uint32_t>(cut)); }
  bool Alone() const { return options_.shard.count == 1; }

  Status Get(const AttackKey& key, bool mine) {
    INFENCLAVE_ASSIGN_OR_RETURN([[maybe_unused]] const AttackOutcome* outcome,
                                runner_.Get(key, mine && !options_.merge));
    return OkStatus();
  }
  Status MakeNothing();
  Status RunBaselines();
  Status RunEverywhere();
  Status Bisect(const std::string& attack);
  Status Descend(const std::string& attack);
  Status Strengthen();

  void Evaluate(bool optimistic);  // from all outcomes
  AttackRun Evaluated(const AttackKey& key, const AttackOutcome& outcome);
  AttackRun EvaluateRun(const AttackKey& key, const AttackOutcome& outcome);
  void EvaluateStrength(const AttackKey& key, const AttackOutcome& outcome, AttackRun& run);
  void FillBaselines();
  void FlagUnderTrained();
  std::vector<NamedLikeness> Baselines(int n);
  const std::vector<uint8_t>& Pairs(int n);
  // The latest cut that is known not to be safe, -1 if none; `attack` and those before it have run as far as they do.
  int LatestNotSafe();
  Safety OwnOf(const std::string& attack, int cut) const;

  const CampaignOptions& options_;
  const Targets& targets_;
  OraclePool& oracle_;
  AttackRunner& runner_;
  Assessment& a_;
  Likeness nothing_;
  std::map<int, std::vector<uint8_t>> pairs_;
  std::map<AttackKey, std::pair<size_t, AttackRun>> evaluated_;
  std::map<std::pair<std::string, int>, Likeness> shortened_;  // baselines over fewer photographs
};

Status Campaign::MakeNothing() {
  std::vector<float> same;
  for (int i = 0; i < targets_.n(); ++i) same.insert(same.end(), targets_.mean.begin(), targets_.mean.end());
  INFENCLAVE_ASSIGN_OR_RETURN(nothing_, Compare(targets_, same, oracle_));
  a_.mean_psnr = MeanValue(targets_.mean_psnr);
  a_.mean_ssim = MeanValue(targets_.mean_ssim);
  return OkStatus();
}

const std::vector<uint8_t>& Campaign::Pairs(int n) {
  const auto [it, fresh] = pairs_.try_emplace(n);
  if (fresh) it->second = LookAlikes(targets_, n);
  return it->second;
}

std::vector<NamedLikeness> Campaign::Baselines(int n) {
  std::vector<NamedLikeness> all = {{"nothing", &nothing_}};
  for (const auto& [key, outcome] : runner_.outcomes()) {
    if (key.cut == kScoresOnly && key.part == 1 && key.repeat == 0) {
      all.push_back({Concat("output/", key.attack), &outcome.likeness});
    }
  }
  for (NamedLikeness& baseline : all) {
    if (baseline.likeness->n() == n) continue;
    const auto [it, fresh] = shortened_.try_emplace({baseline.name, n});
    if (fresh) it->second = FirstOf(*baseline.likeness, n);
    baseline.likeness = &it->second;
  }
  return all;
}

// The bootstraps take a while: an evaluation holds until there is more to compare with.
AttackRun Campaign::Evaluated(const AttackKey& key, const AttackOutcome& outcome) {
  size_t related = 0;
  for (const auto& [other, unused] : runner_.outcomes()) {
    related += other.cut == kScoresOnly || (other.cut == key.cut && other.attack == key.attack);
  }
  const auto it = evaluated_.find(key);
  if (it != evaluated_.end() && it->second.first == related) return it->second.second;
  return (evaluated_[key] = {related, EvaluateRun(key, outcome)}).second;
}

AttackRun Campaign::EvaluateRun(const AttackKey& key, const AttackOutcome& outcome) {
  AttackRun run;
  run.attack = key.attack;
  const int n = outcome.likeness.n();
  run.scores = ScoresOf(outcome.likeness, Pairs(n), options_.seed);
  run.differences = DifferencesOf(key.attack, outcome.likeness, Baselines(n), Pairs(n), a_.margins, options_.seed);
  run.steps = outcome.result.steps;
  run.parameters = outcome.result.parameters;
  run.photographs = outcome.result.attacker_photographs;
  run.seconds = outcome.result.seconds;
  run.converged = outcome.result.converged;
  run.why = outcome.result.why;
  run.match = outcome.match;
  run.reconstruction = runner_.FolderOf(key) + "/reconstruction.npy";
  for (int repeat = 1; repeat < kSeedsAtTheDecidingCut; ++repeat) {
    const auto it = runner_.outcomes().find({key.attack, key.cut, 1, repeat});
    if (it == runner_.outcomes().end()) continue;
    run.repeats.push_back(ScoresOf(it->second.likeness, Pairs(n), options_.seed));
    const std::vector<Score> other =
        DifferencesOf(key.attack, it->second.likeness, Baselines(n), Pairs(n), a_.margins, options_.seed);
    for (size_t s = 0; s < other.size(); ++s) {
      if (other[s].estimate.value > run.differences[s].estimate.value) run.differences[s] = other[s];
    }
  }
  EvaluateStrength(key, outcome, run);
  return run;
}

// Compares the attack with itself given half of the photographs. A descent on the FrontNet's weights needs none.
void Campaign::EvaluateStrength(const AttackKey& key, const AttackOutcome& outcome, AttackRun& run) {
  for (int part : kParts) {
    const auto it = runner_.outcomes().find({key.attack, key.cut, part, 0});
    if (it == runner_.outcomes().end()) continue;
    run.parts.push_back({it->second.result.attacker_photographs,
                         ScoresOf(it->second.likeness, Pairs(it->second.likeness.n()), options_.seed)});
  }
  const auto half = runner_.outcomes().find({key.attack, key.cut, 2, 0});
  const std::vector<uint8_t>& look_alikes = Pairs(outcome.likeness.n());
  const std::vector<Measure> measures =
      MeasuresFor(a_.margins, HarderPairs(outcome.likeness, look_alikes), options_.seed);
  for (size_t s = 0; s < measures.size(); ++s) {
    Score& score = run.differences[s];
    if (key.attack == "whitebox") continue;
    if (half == runner_.outcomes().end()) {
      score.doubt = Doubt::kStrengthUnknown;
      continue;
    }
    const Estimate rise = measures[s].difference(outcome.likeness, half->second.likeness);
    if (rise.lower > 0 && score.estimate.upper + kDoublings * rise.value > score.margin) {
      score.doubt = Doubt::kLimitedByData;
    }
  }
}

void Campaign::FillBaselines() {
  a_.baselines.clear();
  for (const NamedLikeness& baseline : Baselines(targets_.n())) {
    BaselineRun run;
    run.name = baseline.name;
    run.scores = ScoresOf(*baseline.likeness, Pairs(targets_.n()), options_.seed);
    if (baseline.name != "nothing") {
      run.reconstruction = runner_.FolderOf({baseline.name.substr(baseline.name.find('/') + 1), kScoresOnly, 1, 0}) +
                           "/reconstruction.npy";
    }
    a_.baselines.push_back(std::move(run));
  }
}

// What a later cut gives away, an earlier one does, so an attack that recovers less of it has not done its best.
void Campaign::FlagUnderTrained() {
  for (int cut = 0; cut < cuts(); ++cut) {
    for (AttackRun& run : a_.cuts[cut].attacks) {
      if (run.attack == "nearest") continue;  // it has no training that could be better
      const Likeness& own = runner_.outcomes().at({run.attack, cut, 1, 0}).likeness;
      for (int later = cut + 1; later < cuts() && run.weaker_than.empty(); ++later) {
        const auto it = runner_.outcomes().find({run.attack, later, 1, 0});
        if (it == runner_.outcomes().end()) continue;
        if (MeanDifference(it->second.likeness.ssim, own.ssim, options_.seed).lower > 0) {
          run.weaker_than = a_.cuts[later].name;
        }
      }
    }
  }
}

void Campaign::Evaluate(bool optimistic) {
  for (int cut = 0; cut < cuts(); ++cut) {
    a_.cuts[cut].attacks.clear();
    for (const std::string& attack : options_.attacks) {
      const auto it = runner_.outcomes().find({attack, cut, 1, 0});
      if (it != runner_.outcomes().end()) a_.cuts[cut].attacks.push_back(Evaluated(it->first, it->second));
    }
  }
  // Where an attack was not repeated with fewer photographs, what was found at the nearest earlier cut holds: there it
  // had more to learn from.
  for (const std::string& attack : options_.attacks) {
    std::vector<Doubt> found;
    for (CutResult& cut : a_.cuts) {
      for (AttackRun& run : cut.attacks) {
        if (run.attack != attack) continue;
        const bool known = run.differences[0].doubt != Doubt::kStrengthUnknown;
        if (known) found.clear();
        for (size_t s = 0; s < run.differences.size(); ++s) {
          Doubt& doubt = run.differences[s].doubt;
          if (known) {
            found.push_back(doubt);
          } else if (optimistic) {
            doubt = Doubt::kNone;
          } else if (!found.empty()) {
            doubt = found[s] == Doubt::kLimitedByData ? Doubt::kLimitedByData : Doubt::kNone;
          }
        }
      }
    }
  }
}

Safety Campaign::OwnOf(const std::string& attack, int cut) const {
  Safety safety = Safety::kNotApplicable;
  for (const AttackRun& run : a_.cuts[cut].attacks) {
    if (run.attack != attack) continue;
    safety = Safety::kSafe;
    for (const Score& score : run.differences) {
      const Safety own = Judge(score);
      if (own == Safety::kUnsafe) return own;
      if (own == Safety::kUndecided) safety = own;
    }
  }
  return safety;
}

int Campaign::LatestNotSafe() {
  Evaluate(/*optimistic=*/true);
  for (int cut = cuts() - 1; cut >= 0; --cut) {
    const CutResult& result = a_.cuts[cut];
    if (result.kl && Judge({"kl", "auc", result.kl->auc, a_.margins.kl_auc, {}, {}, Doubt::kNone}) != Safety::kSafe) {
      return cut;
    }
    for (const AttackRun& run : result.attacks) {
      if (OwnOf(run.attack, cut) != Safety::kSafe) return cut;
    }
  }
  return -1;
}

Status Campaign::RunBaselines() {
  for (const std::string& attack : options_.attacks) {
    if (attack == "whitebox") continue;  // it starts where the decoder ends, and the scores are not in the FrontNet
    INFENCLAVE_RETURN_IF_ERROR(Get({attack, kScoresOnly, 1, 0}, options_.shard.index <= 0));
  }
  return OkStatus();
}

Status Campaign::RunEverywhere() {
  for (int cut = cuts() - 1; cut >= 0; --cut) {
    for (std::string_view attack : kCheap) {
      if (Wanted(attack)) INFENCLAVE_RETURN_IF_ERROR(Get({std::string(attack), cut, 1, 0}, Mine(cut)));
    }
    // What was run here before, by a shard or by an earlier call.
    for (std::string_view attack : kDear) {
      if (Wanted(attack))
        INFENCLAVE_RETURN_IF_ERROR(Get({std::string(attack), cut, 1, 0}, Mine(cut) && options_.exhaustive));
    }
    for (const std::string& attack : options_.attacks) {
      for (int part : kParts) INFENCLAVE_RETURN_IF_ERROR(Get({attack, cut, part, 0}, false));
      for (int repeat = 1; repeat < kSeedsAtTheDecidingCut; ++repeat) {
        INFENCLAVE_RETURN_IF_ERROR(Get({attack, cut, 1, repeat}, false));
      }
    }
    if (cut <= LatestNotSafe()) runner_.DropIrs(cut);
  }
  return OkStatus();
}

// Finds the earliest cut at which the attack finds nothing, if it finds nothing at the last one.
Status Campaign::Bisect(const std::string& attack) {
  int below = LatestNotSafe(), above = cuts();
  while (above - below > 1) {
    const int cut = above == cuts() ? cuts() - 1 : (below + above) / 2;
    INFENCLAVE_RETURN_IF_ERROR(Get({attack, cut, 1, 0}, true));
    Evaluate(/*optimistic=*/true);
    if (OwnOf(attack, cut) == Safety::kSafe) {
      above = cut;
    } else {
      if (above == cuts()) return OkStatus();  // not even the last cut
      below = cut;
    }
  }
  return OkStatus();
}

// A shard knows only some cuts: from the last of them to the first that is not safe.
Status Campaign::Descend(const std::string& attack) {
  for (int cut = cuts() - 1; cut > LatestNotSafe(); --cut) {
    if (Mine(cut)) INFENCLAVE_RETURN_IF_ERROR(Get({attack, cut, 1, 0}, true));
  }
  return OkStatus();
}

// Every attack, with all of its checks, at the cut that would be recommended; if that is the end of it, at the next.
Status Campaign::Strengthen() {
  for (int checked = -1;;) {
    const int cut = LatestNotSafe() + 1;
    if (cut >= cuts() || cut == checked) return OkStatus();
    checked = cut;
    for (const std::string& attack : options_.attacks) {
      INFENCLAVE_RETURN_IF_ERROR(Get({attack, cut, 1, 0}, true));
      if (attack == "whitebox") continue;
      for (int part : kParts) INFENCLAVE_RETURN_IF_ERROR(Get({attack, cut, part, 0}, true));
      if (attack != "decoder") continue;
      for (int repeat = 1; repeat < kSeedsAtTheDecidingCut; ++repeat) {
        INFENCLAVE_RETURN_IF_ERROR(Get({attack, cut, 1, repeat}, true));
      }
    }
  }
}

Status Campaign::Run() {
  INFENCLAVE_RETURN_IF_ERROR(MakeNothing());
  INFENCLAVE_RETURN_IF_ERROR(RunBaselines());
  INFENCLAVE_RETURN_IF_ERROR(RunEverywhere());
  if (!options_.merge) {
    for (std::string_view attack : kDear) {
      if (!Wanted(attack) || options_.exhaustive) continue;
      INFENCLAVE_RETURN_IF_ERROR(Alone() ? Bisect(std::string(attack)) : Descend(std::string(attack)));
    }
    if (Alone()) INFENCLAVE_RETURN_IF_ERROR(Strengthen());
  }
  Evaluate(/*optimistic=*/false);
  FillBaselines();
  FlagUnderTrained();
  return OkStatus();
}

}  // namespace

AttackScores ScoresOf(const Likeness& likeness, const std::vector<uint8_t>& pairs, uint64_t seed) {
  AttackScores scores;
  scores.images = likeness.n();
  scores.psnr = MeanOf(likeness.psnr, seed);
  scores.ssim = MeanOf(likeness.ssim, seed);
  const auto share = [](const std::vector<uint8_t>& hits) {
    return ShareOf(static_cast<double>(std::count(hits.begin(), hits.end(), 1)), static_cast<double>(hits.size()));
  };
  scores.top1 = share(likeness.top1);
  scores.top5 = share(likeness.top5);
  const std::span<const uint8_t> harder = HarderPairs(likeness, pairs);
  scores.look_alikes = !harder.empty();
  scores.auc = AreaUnderCurve(likeness.distance, likeness.n(), seed, harder);
  return scores;
}

std::vector<Score> DifferencesOf(const std::string& attack, const Likeness& likeness,
                                 const std::vector<NamedLikeness>& baselines, const std::vector<uint8_t>& pairs,
                                 const Margins& margins, uint64_t seed) {
  std::vector<Score> scores;
  for (const Measure& measure : MeasuresFor(margins, HarderPairs(likeness, pairs), seed)) {
    const NamedLikeness* best = nullptr;
    double most = 0;
    for (const NamedLikeness& baseline : baselines) {
      const double value = measure.value(*baseline.likeness);
      if (best != nullptr && value <= most) continue;
      best = &baseline;
      most = value;
    }
    INFENCLAVE_CHECK(best != nullptr);
    Score score;
    score.attack = attack;
    score.name = measure.name;
    score.estimate = measure.difference(likeness, *best->likeness);
    score.margin = measure.margin;
    score.baseline = best->name;
    scores.push_back(std::move(score));
  }
  return scores;
}

Status RunCampaign(const CampaignOptions& options, const Targets& targets, OraclePool& oracle, AttackRunner& runner,
                   Assessment& assessment) {
  return Campaign(options, targets, oracle, runner, assessment).Run();
}

}  // namespace infenclave
