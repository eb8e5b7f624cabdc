#include "attacks/ridge.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "attacks/random.h"

namespace infenclave {
namespace {

constexpr int64_t kChunk = 32;                // rows in memory at a time
constexpr int64_t kMaxPlaces = 400'000;       // of all rows together that enter the regression
constexpr int64_t kMaxRead = 4 * kMaxPlaces;  // from which they are drawn: of more rows, a sample
constexpr int64_t kMaxHeldOut = 4096;         // places of a fold on which the regularisation is judged
constexpr int64_t kMaxChannels = 1280;        // of which principal components are computed
constexpr int64_t kFlatReduction = 4;         // a flat IR predicts the picture at 28x28
constexpr int32_t kFolds = 5;
constexpr int64_t kKernels[] = {1, 3, 5};
// Of the mean feature's sum of squares.
constexpr double kRegularisation[] = {1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10};
constexpr double kDead = 1e-6;  // a channel of smaller deviation than this share of the largest says nothing

std::vector<std::vector<int64_t>> Chunks(const std::vector<int64_t>& rows) {
  std::vector<std::vector<int64_t>> out;
  for (size_t i = 0; i < rows.size(); i += kChunk) {
    out.emplace_back(rows.begin() + static_cast<int64_t>(i),
                     rows.begin() + static_cast<int64_t>(std::min(rows.size(), i + kChunk)));
  }
  return out;
}

// [n,c,h,w] -> [c, n h w].
at::Tensor ChannelsFirst(const at::Tensor& x) { return x.transpose(0, 1).reshape({x.size(1), -1}); }

// [n,c,side,side] -> [c kernel^2, n places], at the chosen places.
at::Tensor Neighbourhoods(const at::Tensor& x, int64_t kernel, const at::Tensor& places) {
  const at::Tensor unfolded = at::im2col(x, {kernel, kernel}, {1, 1}, {kernel / 2, kernel / 2}, {1, 1});
  return unfolded.index_select(2, places).transpose(0, 1).reshape({unfolded.size(1), -1});
}

}  // namespace

at::Tensor Ridge::Features(const at::Tensor& ir) const {
  return at::conv2d(grid_.Place(ir) - mean_ir_, projection_.view({projection_.size(0), projection_.size(1), 1, 1}));
}

at::Tensor Ridge::PredictBy(const at::Tensor& weights, const at::Tensor& ir) const {
  const at::NoGradGuard no_grad;
  const at::Tensor features = Features(ir);
  const at::Tensor patches =
      at::conv2d(features, weights.view({weights.size(0), features.size(1), kernel_, kernel_}), {}, 1, kernel_ / 2);
  at::Tensor picture;
  if (grid_.flat()) {
    const int64_t side = kPictureSide / kFlatReduction;
    picture = at::upsample_bilinear2d(patches.view({-1, 3, side, side}), at::IntArrayRef({kPictureSide, kPictureSide}),
                                      /*align_corners=*/false);
  } else {
    picture = at::pixel_shuffle(patches, grid_.patch);
  }
  return (picture + mean_picture_).clamp(0, 1);
}

at::Tensor Ridge::PredictUnseen(const at::Tensor& ir, int32_t photograph) const {
  const auto at = static_cast<size_t>(photograph);
  const int32_t fold = photograph >= 0 && at < fold_of_.size() ? fold_of_[at] : -1;
  return fold < 0 ? Predict(ir) : PredictBy(weights_[static_cast<size_t>(fold)], ir);
}

class RidgeFitter {
 public:
  RidgeFitter(const JobFolder& folder, const std::vector<int64_t>& rows, const std::function<void(double)>& progress)
      : folder_(folder), rows_(rows), progress_(progress) {
    ridge_.grid_ = folder.grid();
    if (const int64_t most = kMaxRead / (folder.grid().side * folder.grid().side);
        static_cast<int64_t>(rows_.size()) > most) {
      Shuffle(rows_, Random(folder.job().seed, "rows"));
      rows_.resize(static_cast<size_t>(most));
    }
    AssignFolds();
  }

  Ridge Run() {
    Means();
    progress_(0.1);
    const at::Tensor components = Components();
    progress_(0.2);
    // One fold tells which neighbourhood is best; all of them choose the regularisation.
    std::vector<Sums> folds;
    double least = std::numeric_limits<double>::infinity();
    int64_t chosen = kKernels[0];
    const int64_t kernels = folder_.grid().flat() ? 1 : std::size(kKernels);
    for (int64_t i = 0; i < kernels; ++i) {
      Use(kKernels[i], components);
      std::vector<Sums> sums;
      for (size_t fold = 0; fold < fold_rows_.size(); ++fold) sums.push_back(SumsOf(fold));
      const std::vector<double> errors = Errors(sums, Total(sums), 0, nullptr);
      if (const double error = *std::min_element(errors.begin(), errors.end()); error < least || folds.empty()) {
        least = error;
        chosen = kKernels[i];
        folds = std::move(sums);
      }
      progress_(0.2 + 0.5 * static_cast<double>(i + 1) / static_cast<double>(kernels));
    }
    Use(chosen, components);
    Solve(folds);
    return std::move(ridge_);
  }

 private:
  // Sums over the places of one fold's rows: features times features and times targets.
  struct Sums {
    at::Tensor xx, xy;
    std::vector<at::Tensor> held_x, held_y;  // some of its places
    int64_t held = 0;
  };

  void AssignFolds() {
    std::map<int32_t, std::vector<int64_t>> by_photograph;
    for (const int64_t row : rows_) by_photograph[folder_.PhotographOf(row)].push_back(row);
    std::vector<int32_t> photographs;
    for (const auto& [photograph, its_rows] : by_photograph) photographs.push_back(photograph);
    Shuffle(photographs, Random(folder_.job().seed, "folds"));
    ridge_.fold_of_.assign(static_cast<size_t>(*std::max_element(photographs.begin(), photographs.end())) + 1, -1);
    fold_rows_.resize(std::min<size_t>(kFolds, photographs.size()));
    for (size_t i = 0; i < photographs.size(); ++i) {
      const size_t fold = i % fold_rows_.size();
      ridge_.fold_of_[static_cast<size_t>(photographs[i])] = static_cast<int32_t>(fold);
      for (const int64_t row : by_photograph[photographs[i]]) fold_rows_[fold].push_back(row);
    }
  }

  at::Tensor PlacedIr(const std::vector<int64_t>& rows) const { return ridge_.grid_.Place(folder_.AttackerIr(rows)); }

  void Means() {
    const int64_t side = ridge_.grid_.side;
    ridge_.mean_ir_ = at::zeros({1, ridge_.grid_.channels, side, side});
    ridge_.mean_picture_ = at::zeros({1, 3, kPictureSide, kPictureSide});
    for (const auto& rows : Chunks(rows_)) {
      ridge_.mean_ir_ += PlacedIr(rows).sum(0, true);
      ridge_.mean_picture_ += folder_.Pictures(rows).sum(0, true);
    }
    ridge_.mean_ir_ /= static_cast<double>(rows_.size());
    ridge_.mean_picture_ /= static_cast<double>(rows_.size());
  }

  // The projection [C',C] onto all principal components, largest first.
  at::Tensor Components() {
    const int64_t channels = ridge_.grid_.channels, kept = std::min(channels, kMaxChannels);
    // Of more channels than can be decomposed, random mixtures.
    at::Tensor mix;
    if (kept < channels) {
      mix = at::empty({kept, channels});
      Random random(folder_.job().seed, "mixtures");
      float* values = mix.data_ptr<float>();
      for (int64_t i = 0; i < mix.numel(); ++i) values[i] = random.Next() % 2 == 0 ? 1.0f : -1.0f;
      mix /= std::sqrt(static_cast<double>(channels));
    }
    at::Tensor covariance = at::zeros({kept, kept}, at::kDouble), variance = at::zeros({channels}, at::kDouble);
    for (const auto& rows : Chunks(rows_)) variance += (PlacedIr(rows) - ridge_.mean_ir_).pow(2).sum({0, 2, 3});
    const at::Tensor live = variance > kDead * kDead * variance.max();
    at::Tensor scale = at::where(live, variance.clamp_min(1e-300).rsqrt(), at::zeros_like(variance));
    scale =
        (scale * std::sqrt(static_cast<double>(rows_.size() * ridge_.grid_.side * ridge_.grid_.side))).to(at::kFloat);
    for (const auto& rows : Chunks(rows_)) {
      at::Tensor x = (PlacedIr(rows) - ridge_.mean_ir_) * scale.view({1, -1, 1, 1});
      if (mix.defined()) x = at::conv2d(x, mix.view({kept, channels, 1, 1}));
      x = ChannelsFirst(x);
      covariance += TimesTransposed(x, x);
    }
    const at::Tensor vectors = std::get<1>(at::linalg_eigh(covariance)).flip(1).to(at::kFloat).t();
    return (mix.defined() ? TimesTransposed(vectors, mix.t()) : vectors) * scale.unsqueeze(0);
  }

  at::Tensor Targets(const std::vector<int64_t>& rows) const {
    const at::Tensor pictures = folder_.Pictures(rows) - ridge_.mean_picture_;
    if (!ridge_.grid_.flat()) return at::pixel_unshuffle(pictures, ridge_.grid_.patch);
    return at::avg_pool2d(pictures, kFlatReduction).reshape({pictures.size(0), -1, 1, 1});
  }

  Sums SumsOf(size_t fold) const {
    const int64_t places = ridge_.grid_.side * ridge_.grid_.side,
                  each = std::clamp<int64_t>(kMaxPlaces / static_cast<int64_t>(rows_.size()), 1, places);
    Sums sums;
    uint64_t chunk = 0;
    for (const auto& rows : Chunks(fold_rows_[fold])) {
      std::vector<int64_t> order = Range(0, places);
      Shuffle(order, Random(folder_.job().seed, "places", (fold << 32) + chunk++));
      order.resize(static_cast<size_t>(each));
      const at::Tensor chosen = at::tensor(order, at::kLong);
      const at::Tensor x = Neighbourhoods(ridge_.Features(folder_.AttackerIr(rows)), ridge_.kernel_, chosen);
      const at::Tensor y = Neighbourhoods(Targets(rows), 1, chosen);
      const at::Tensor xx = TimesTransposed(x, x).to(at::kDouble), xy = TimesTransposed(x, y).to(at::kDouble);
      sums.xx = sums.xx.defined() ? sums.xx + xx : xx;
      sums.xy = sums.xy.defined() ? sums.xy + xy : xy;
      if (sums.held < kMaxHeldOut) {
        sums.held_x.push_back(x);
        sums.held_y.push_back(y);
        sums.held += x.size(1);
      }
    }
    return sums;
  }

  // (xx + lambda)^-1 xy for any lambda, from one decomposition.
  struct Solver {
    at::Tensor values, vectors, rotated;
    double unit = 0;  // the mean feature's sum of squares
    Solver(const at::Tensor& xx, const at::Tensor& xy) {
      at::Tensor decomposed;
      std::tie(values, decomposed) = at::linalg_eigh(xx);
      vectors = decomposed.to(at::kFloat);
      rotated = at::matmul(decomposed.t(), xy);
      unit = values.mean().item<double>();
    }
    at::Tensor Solve(double regularisation) const {  // [targets, features]
      const at::Tensor denominator = values.clamp_min(0) + std::max(regularisation * unit, 1e-30);
      return TimesTransposed((rotated / denominator.unsqueeze(1)).t().to(at::kFloat), vectors);
    }
  };

  void Use(int64_t kernel, const at::Tensor& components) {
    ridge_.kernel_ = kernel;
    ridge_.projection_ = components.slice(0, 0, std::max<int64_t>(1, kMaxFeatures / (kernel * kernel))).contiguous();
  }

  static Sums Total(const std::vector<Sums>& folds) {
    Sums total{.xx = folds[0].xx.clone(), .xy = folds[0].xy.clone()};
    for (size_t i = 1; i < folds.size(); ++i) {
      total.xx += folds[i].xx;
      total.xy += folds[i].xy;
    }
    return total;
  }

  // Mean squared errors on a fold of the models of all others, by regularisation. The solver is kept if asked for.
  std::vector<double> Errors(const std::vector<Sums>& folds, const Sums& total, size_t fold,
                             std::vector<Solver>* keep) const {
    const Solver solver(total.xx - folds[fold].xx, total.xy - folds[fold].xy);
    const at::Tensor x = at::cat(folds[fold].held_x, 1).t(), y = at::cat(folds[fold].held_y, 1).t();
    std::vector<double> errors;
    for (const double regularisation : kRegularisation) {
      const at::Tensor predicted = TimesTransposed(x, solver.Solve(regularisation));
      errors.push_back((predicted - y).pow(2).mean().item<double>());
    }
    if (keep != nullptr) keep->push_back(solver);
    return errors;
  }

  void Solve(const std::vector<Sums>& folds) {
    const Sums total = Total(folds);
    std::vector<Solver> solvers;
    std::vector<double> mean(std::size(kRegularisation), 0.0);
    for (size_t fold = 0; fold < folds.size(); ++fold) {
      const std::vector<double> errors = Errors(folds, total, fold, &solvers);
      for (size_t i = 0; i < mean.size(); ++i) mean[i] += errors[i] / static_cast<double>(folds.size());
      progress_(0.7 + 0.25 * static_cast<double>(fold + 1) / static_cast<double>(folds.size()));
    }
    const size_t best = static_cast<size_t>(std::min_element(mean.begin(), mean.end()) - mean.begin());
    ridge_.error_ = mean[best];
    solvers.emplace_back(total.xx, total.xy);
    for (const Solver& solver : solvers) ridge_.weights_.push_back(solver.Solve(kRegularisation[best]));
    progress_(1);
  }

  const JobFolder& folder_;
  std::vector<int64_t> rows_;
  const std::function<void(double)>& progress_;
  std::vector<std::vector<int64_t>> fold_rows_;
  Ridge ridge_;
};

Ridge Ridge::Fit(const JobFolder& folder, const std::vector<int64_t>& rows,
                 const std::function<void(double)>& progress) {
  const at::NoGradGuard no_grad;
  return RidgeFitter(folder, rows, progress).Run();
}

NamedTensors Ridge::Save() const {
  NamedTensors out = {{"mean_ir", mean_ir_},
                      {"mean_picture", mean_picture_},
                      {"projection", projection_},
                      {"kernel", at::tensor({kernel_}, at::kLong)},
                      {"error", at::tensor({error_}, at::kDouble)}};
  out["folds"] = at::tensor(std::vector<int64_t>(fold_of_.begin(), fold_of_.end()), at::kLong);
  for (size_t i = 0; i < weights_.size(); ++i) out[Concat("weights/", i)] = weights_[i];
  return out;
}

bool Ridge::Load(const NamedTensors& saved, const Grid& grid) {
  if (!saved.contains("kernel") || !saved.contains("weights/0")) return false;
  grid_ = grid;
  mean_ir_ = saved.at("mean_ir");
  mean_picture_ = saved.at("mean_picture");
  projection_ = saved.at("projection");
  kernel_ = saved.at("kernel").item<int64_t>();
  error_ = saved.at("error").item<double>();
  const at::Tensor& folds = saved.at("folds");
  for (int64_t i = 0; i < folds.numel(); ++i) fold_of_.push_back(static_cast<int32_t>(folds[i].item<int64_t>()));
  for (size_t i = 0; saved.contains(Concat("weights/", i)); ++i) weights_.push_back(saved.at(Concat("weights/", i)));
  return true;
}

StatusOr<Ridge> Ridge::OfTraining(const JobFolder& folder) {
  const std::string path = folder.File("ridge.bin"), job = AttackJobToJson(folder.job());
  Ridge ridge;
  if (ridge.Load(LoadCheckpoint(path, job), folder.grid())) return ridge;
  ridge = Fit(folder, folder.training(), [](double) {});
  INFENCLAVE_RETURN_IF_ERROR(SaveCheckpoint(path, job, ridge.Save()));
  return ridge;
}

}  // namespace infenclave
