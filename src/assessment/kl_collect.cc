#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "assessment/kl_oracle.h"

namespace infenclave {
namespace {

// A cut's figures from all photographs, and the distances of the control.
void FillScores(KlScores& scores, const std::vector<Photograph>& photographs, const std::vector<float>& distances,
                int control, uint64_t seed) {
  std::vector<double> ratios;
  double same = 0, at_least_1 = 0;
  for (size_t i = 0; i < photographs.size(); ++i) {
    const Revealed& revealed = scores.photographs[i];
    // An oracle that is wholly unsure of a photograph has bound 0: nothing about it can be recognised.
    const double ratio =
        photographs[i].bound > 0 ? revealed.d / photographs[i].bound : std::numeric_limits<double>::infinity();
    ratios.push_back(ratio);
    same += revealed.answer.label == photographs[i].answer.label;
    at_least_1 += ratio >= 1;
  }
  scores.ratio_min = *std::min_element(ratios.begin(), ratios.end());
  scores.ratio_p05 = Quantile(ratios, 0.05);
  scores.ratio_median = Quantile(ratios, 0.5);
  scores.ratio_max = *std::max_element(ratios.begin(), ratios.end());
  const double n = static_cast<double>(photographs.size());
  scores.ratio_ge_1 = ShareOf(at_least_1, n);
  scores.top1 = ShareOf(same, n);
  scores.auc = AreaUnderCurve(distances, control, seed);
}

}  // namespace

Status CollectKl(const KlJob& job, const StateFolder& state, Assessment& assessment) {
  const Plan& plan = *job.plan;
  std::vector<int> place(plan.files.size(), -1);  // of a file, among the control's
  for (size_t i = 0; i < plan.control.size(); ++i) place[plan.control[i]] = static_cast<int>(i);

  std::vector<std::vector<float>> columns(
      assessment.cuts.size());  // per cut: against, one control photograph after another
  std::vector<int> kept;        // places of the control's readable photographs
  for (uint32_t file = 0; file < plan.files.size(); ++file) {
    std::optional<KlRecord> record = state.Load(file);
    if (!record || (job.maps && record->skipped.empty() && record->cuts.size() != assessment.cuts.size())) {
      return FailedPrecondition("photograph '", plan.files[file], "' has not been scored: run its shard (--shard ",
                                file, " modulo the number of shards), or the command without --merge");
    }
    if (!record->skipped.empty()) {
      assessment.skipped.push_back({plan.files[file], record->skipped});
      continue;
    }
    assessment.run.evaluations += static_cast<int64_t>(record->evaluations);
    assessment.run.seconds += record->seconds;
    if (place[file] >= 0) {
      kept.push_back(place[file]);
      assessment.control.push_back(static_cast<int>(assessment.photographs.size()));
    }
    assessment.photographs.push_back({plan.files[file], {}, record->answer, record->bound, record->grey});
    for (size_t cut = 0; job.maps && cut < assessment.cuts.size(); ++cut) {
      KlRecord::Cut& from = record->cuts[cut];
      if (from.against.empty()) continue;
      if (!assessment.cuts[cut].kl) assessment.cuts[cut].kl.emplace();
      KlScores& scores = *assessment.cuts[cut].kl;
      scores.photographs.push_back(from.own);
      scores.constant += from.constant;
      scores.repeated += from.repeated;
      if (place[file] >= 0) columns[cut].insert(columns[cut].end(), from.against.begin(), from.against.end());
    }
  }
  const int n = static_cast<int>(kept.size());
  if (n < 2) {
    return InvalidArgument(job.folder, ": ", n, " of ", plan.files.size(),
                           " files are photographs; at least 2 are needed, and about 24 to decide anything");
  }
  for (size_t cut = 0; job.maps && cut < assessment.cuts.size(); ++cut) {
    CutResult& result = assessment.cuts[cut];
    const MapChoice choice = ChooseMaps(job.model->value(job.cuts[cut]), plan.maps_limit, plan.seed);
    result.kl_not_applicable = choice.not_applicable;
    if (!result.kl) continue;
    result.kl->maps = choice.maps;
    result.kl->scored = static_cast<int>(choice.chosen.size());
    std::vector<float> distances(static_cast<size_t>(n) * n);  // row x, column y
    for (int y = 0; y < n; ++y) {
      for (int x = 0; x < n; ++x) distances[x * n + y] = columns[cut][y * plan.control.size() + kept[x]];
    }
    columns[cut] = {};
    FillScores(*result.kl, assessment.photographs, distances, n, plan.seed);
  }
  return OkStatus();
}

}  // namespace infenclave
