#include "attacks/attack.h"
#include "attacks/ridge.h"

namespace infenclave {

StatusOr<Outcome> RunPatch(const JobFolder& folder, const ProgressFunction& progress) {
  std::vector<int64_t> rows = folder.training();
  rows.insert(rows.end(), folder.validation().begin(), folder.validation().end());
  constexpr int64_t kSteps = 100;
  const Ridge ridge = Ridge::Fit(
      folder, rows, [&](double share) { progress({.step = static_cast<int64_t>(share * kSteps), .of = kSteps}); });
  Outcome outcome;
  std::vector<at::Tensor> parts;
  for (int64_t i = 0; i < folder.targets(); ++i) parts.push_back(ridge.Predict(folder.TargetIr({i})));
  outcome.reconstruction = at::cat(parts);
  outcome.result.steps = 1;
  outcome.result.converged = true;
  outcome.result.why = Concat("closed form, neighbourhood of ", ridge.kernel(), "x", ridge.kernel());
  outcome.result.validation = {{1, ridge.error()}};
  outcome.result.parameters = ridge.parameters();
  return outcome;
}

}  // namespace infenclave
