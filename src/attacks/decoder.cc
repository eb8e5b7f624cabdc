#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numbers>

#include "attacks/adam.h"
#include "attacks/attack.h"
#include "attacks/decoder_net.h"
#include "attacks/picture_network.h"
#include "attacks/random.h"
#include "attacks/ridge.h"
#include "attacks/similarity_loss.h"

namespace infenclave {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kBatch = 16;
constexpr int64_t kStepsBetweenValidations = 100, kMaxSteps = 8'000, kWarmUp = 50;
constexpr int64_t kFewestValidations = 4;  // of a training whose steps are limited
constexpr double kLearningRate = 1.5e-3;
// The rate falls by kDecay once kPatience validations in a row were no better by kProgress; after kDecays of them the
// loss has stopped falling.
constexpr int kPatience = 3, kDecays = 3;
constexpr double kDecay = 0.3, kProgress = 2e-3;
constexpr double kSyntheticShare = 0.25;  // of a batch, where there are synthetic rows
constexpr int64_t kWindowed = 28;         // IRs of this side and more are trained on windows of half their side
constexpr double kFeatureWeight = 0.3;    // of the features' relative squared error in the loss
constexpr double kMaxDeviation = 10;      // of a normalised IR's values

std::vector<at::Tensor> CloneAll(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& t : tensors) out.push_back(t.detach().clone());
  return out;
}

class Decoder {
 public:
  Decoder(const JobFolder& folder, const ProgressFunction& progress)
      : folder_(folder), progress_(progress), job_text_(AttackJobToJson(folder.job())), started_(Clock::now()) {}

  StatusOr<Outcome> Run() {
    Normalise();
    INFENCLAVE_ASSIGN_OR_RETURN(ridge_, Ridge::OfTraining(folder_));
    if (constant_) return Constant();
    const std::string features = folder_.File("features.graph");
    if (std::filesystem::exists(features)) {
      INFENCLAVE_ASSIGN_OR_RETURN(features_, PictureNetwork::Open(features, folder_.File("features.json")));
    }
    net_.emplace(folder_.grid(), folder_.job().seed);
    adam_.emplace(net_->parameters(), Adam::Options{.weight_decay = 1e-3, .clip_norm = 1, .average = 0.995});
    best_ = CloneAll(net_->parameters());
    Resume();
    resumed_at_ = step_;
    trained_since_ = Clock::now();
    if (history_.empty()) INFENCLAVE_RETURN_IF_ERROR(Validate());
    while (why_.empty()) {
      INFENCLAVE_RETURN_IF_ERROR(Step());
      if (step_ % StepsBetweenValidations() == 0 || !Left().empty()) INFENCLAVE_RETURN_IF_ERROR(Validate());
    }
    return Finish();
  }

 private:
  // Mean and deviation of every channel.
  void Normalise() {
    const at::NoGradGuard no_grad;
    at::Tensor sum, squares;
    at::Tensor least, most;
    for (const int64_t row : folder_.training()) {
      const at::Tensor ir = folder_.AttackerIr({row}), placed = folder_.grid().Place(ir).to(at::kDouble);
      sum = sum.defined() ? sum + placed.mean({0, 2, 3}) : placed.mean({0, 2, 3});
      squares = squares.defined() ? squares + placed.pow(2).mean({0, 2, 3}) : placed.pow(2).mean({0, 2, 3});
      least = least.defined() ? at::minimum(least, ir) : ir;
      most = most.defined() ? at::maximum(most, ir) : ir;
    }
    const auto rows = static_cast<double>(folder_.training().size());
    const at::Tensor mean = sum / rows, variance = (squares / rows - mean * mean).clamp_min(0);
    constant_ = at::equal(least, most);
    const at::Tensor deviation = variance.sqrt();
    const at::Tensor live = deviation > 1e-6 * deviation.max();
    mean_ = mean.to(at::kFloat).view({1, -1, 1, 1});
    scale_ =
        at::where(live, 1 / deviation.clamp_min(1e-300), at::zeros_like(deviation)).to(at::kFloat).view({1, -1, 1, 1});
  }

  at::Tensor Input(const at::Tensor& ir) const {
    return ((folder_.grid().Place(ir) - mean_) * scale_).clamp(-kMaxDeviation, kMaxDeviation);
  }

  StatusOr<Outcome> Constant() const {
    Outcome outcome;
    outcome.reconstruction = ridge_.mean_picture().expand({folder_.targets(), 3, kPictureSide, kPictureSide});
    outcome.result.converged = true;
    outcome.result.why = "the IR is the same for every picture";
    return outcome;
  }

  struct Place {
    int64_t top = 0, left = 0;
  };

  // One row of the training pictures: whose model of the ridge regression has not seen it is used, as none has seen the
  // target's.
  at::Tensor First(const at::Tensor& ir, int64_t row) const {
    return ridge_.PredictUnseen(ir, folder_.PhotographOf(row));
  }

  Status Step() {
    Random random(folder_.job().seed, "batch", static_cast<uint64_t>(step_));
    std::vector<at::Tensor> irs, firsts, pictures;
    std::vector<Place> places;
    const Grid& grid = folder_.grid();
    const int64_t window = grid.side >= kWindowed ? grid.side / 2 : grid.side;
    for (int64_t i = 0; i < kBatch; ++i) {
      const bool synthetic = !folder_.synthetic().empty() && random.Uniform() < kSyntheticShare;
      const std::vector<int64_t>& from = synthetic ? folder_.synthetic() : folder_.training();
      const int64_t row = from[random.Below(from.size())];
      const int64_t top = static_cast<int64_t>(random.Below(static_cast<uint64_t>(grid.side - window + 1))),
                    left = static_cast<int64_t>(random.Below(static_cast<uint64_t>(grid.side - window + 1)));
      const auto cut = [&](const at::Tensor& x, int64_t unit) {
        return x.narrow(2, top * unit, window * unit).narrow(3, left * unit, window * unit);
      };
      const at::NoGradGuard no_grad;
      const at::Tensor ir = folder_.AttackerIr({row});
      irs.push_back(cut(Input(ir), 1));
      firsts.push_back(cut(First(ir, row), grid.patch));
      pictures.push_back(folder_.Pictures({row}));
      places.push_back({top * grid.patch, left * grid.patch});
    }
    const at::Tensor made = net_->Forward(adam_->parameters(), at::cat(irs), at::cat(firsts));
    INFENCLAVE_ASSIGN_OR_RETURN(const at::Tensor loss, Loss(made, at::cat(pictures), places));
    loss.backward();
    adam_->Step(Rate());
    ++step_;
    return OkStatus();
  }

  // Of reconstructions of those parts of the pictures. A network whose features count sees each part in its picture.
  StatusOr<at::Tensor> Loss(const at::Tensor& made, const at::Tensor& pictures, const std::vector<Place>& places) {
    const int64_t height = made.size(2), width = made.size(3);
    std::vector<at::Tensor> parts, whole;
    for (size_t i = 0; i < places.size(); ++i) {
      const auto n = static_cast<int64_t>(i);
      const auto& [top, left] = places[i];
      parts.push_back(pictures.narrow(0, n, 1).narrow(2, top, height).narrow(3, left, width));
      if (features_) {
        whole.push_back(
            at::constant_pad_nd(made.narrow(0, n, 1) - parts.back(),
                                at::IntArrayRef{left, kPictureSide - left - width, top, kPictureSide - top - height}));
      }
    }
    at::Tensor loss = PictureLoss(made, at::cat(parts));
    if (features_) {
      const auto see = [&](const at::Tensor& x) {
        return features_->Run(ResizePictures(x, features_->height(), features_->width()));
      };
      INFENCLAVE_ASSIGN_OR_RETURN(const at::Tensor seen, see(pictures + at::cat(whole)));
      const at::NoGradGuard no_grad;
      INFENCLAVE_ASSIGN_OR_RETURN(const at::Tensor wanted, see(pictures));
      const at::AutoGradMode gradients(true);
      loss = loss + kFeatureWeight * (seen - wanted).pow(2).mean() / wanted.var().clamp_min(1e-12);
    }
    return loss;
  }

  double Rate() const {
    const int64_t limit = folder_.job().max_steps, warm_up = limit > 0 ? std::min(kWarmUp, limit / 10 + 1) : kWarmUp;
    const double warm = std::min(1.0, static_cast<double>(step_ + 1) / static_cast<double>(warm_up));
    const double plateau = std::pow(kDecay, decays_);
    // Towards a limit that is known the rate falls as a cosine, so that a short training ends well too.
    const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * std::min(1.0, ShareOfLimit())));
    return kLearningRate * warm * std::min(plateau, std::max(cosine, 0.01));
  }

  int64_t StepLimit() const {
    const int64_t limit = folder_.job().max_steps;
    return limit > 0 ? std::min(limit, kMaxSteps) : kMaxSteps;
  }

  double ShareOfLimit() const {
    double share = static_cast<double>(step_) / static_cast<double>(StepLimit());
    if (folder_.job().budget_seconds > 0) share = std::max(share, Seconds() / folder_.job().budget_seconds);
    return share;
  }

  double Seconds() const { return earlier_ + std::chrono::duration<double>(Clock::now() - started_).count(); }

  int64_t StepsBetweenValidations() const {
    const int64_t limit = folder_.job().max_steps;
    return limit == 0 ? kStepsBetweenValidations
                      : std::clamp<int64_t>(limit / kFewestValidations, 1, kStepsBetweenValidations);
  }

  // Which limit has been reached; empty if none.
  std::string Left() const {
    if (folder_.job().max_steps > 0 && step_ >= folder_.job().max_steps) return "the steps allowed were done";
    if (folder_.job().budget_seconds > 0 && Seconds() >= folder_.job().budget_seconds) return "the time was up";
    if (step_ >= kMaxSteps) return Concat("after ", kMaxSteps, " steps, the attack's own limit");
    return "";
  }

  at::Tensor Reconstruct(const std::vector<at::Tensor>& parameters, const at::Tensor& ir) const {
    const at::NoGradGuard no_grad;
    return net_->Forward(parameters, Input(ir), ridge_.Predict(ir));
  }

  Status Validate() {
    double loss = 0;
    for (const int64_t row : folder_.validation()) {
      const at::Tensor made = Reconstruct(adam_->averaged(), folder_.AttackerIr({row})).clamp(0, 1);
      INFENCLAVE_ASSIGN_OR_RETURN(const at::Tensor one, Loss(made, folder_.Pictures({row}), {Place{}}));
      loss += one.item<double>() / static_cast<double>(folder_.validation().size());
    }
    history_.emplace_back(step_, loss);
    if (loss < best_loss_) best_ = CloneAll(adam_->averaged());
    if (loss < milestone_ * (1 - kProgress)) {
      milestone_ = loss;
      stalled_ = 0;
    } else if (++stalled_ >= kPatience) {
      stalled_ = 0;
      ++decays_;
    }
    best_loss_ = std::min(best_loss_, loss);
    Conclude();
    INFENCLAVE_RETURN_IF_ERROR(Save());
    Report();
    return OkStatus();
  }

  void Report() const {
    const AttackJob& job = folder_.job();
    const int64_t of = StepLimit();
    const double trained = std::chrono::duration<double>(Clock::now() - trained_since_).count();
    double left =
        trained / static_cast<double>(std::max<int64_t>(step_ - resumed_at_, 1)) * static_cast<double>(of - step_);
    if (job.budget_seconds > 0) left = std::min(left, std::max(0.0, job.budget_seconds - Seconds()));
    progress_({.step = step_, .of = of, .loss = history_.back().second, .seconds_left = left});
  }

  Status Save() const {
    NamedTensors state;
    adam_->Save(state);
    for (size_t i = 0; i < best_.size(); ++i) state[Concat("best/", i)] = best_[i];
    std::vector<int64_t> steps;
    std::vector<double> losses;
    for (const auto& [step, loss] : history_) {
      steps.push_back(step);
      losses.push_back(loss);
    }
    state["history/steps"] = at::tensor(steps, at::kLong);
    state["history/losses"] = at::tensor(losses, at::kDouble);
    state["counters"] = at::tensor({step_, int64_t{stalled_}, int64_t{decays_}}, at::kLong);
    state["figures"] = at::tensor({best_loss_, milestone_, Seconds()}, at::kDouble);
    return SaveCheckpoint(folder_.File("checkpoint.bin"), job_text_, state);
  }

  void Resume() {
    const NamedTensors state = LoadCheckpoint(folder_.File("checkpoint.bin"), job_text_);
    if (state.empty() || !adam_->Load(state)) return;
    for (size_t i = 0; i < best_.size(); ++i) best_[i] = state.at(Concat("best/", i));
    const at::Tensor steps = state.at("history/steps"), losses = state.at("history/losses");
    for (int64_t i = 0; i < steps.numel(); ++i) {
      history_.emplace_back(steps[i].item<int64_t>(), losses[i].item<double>());
    }
    const at::Tensor counters = state.at("counters"), figures = state.at("figures");
    step_ = counters[0].item<int64_t>();
    stalled_ = static_cast<int>(counters[1].item<int64_t>());
    decays_ = static_cast<int>(counters[2].item<int64_t>());
    best_loss_ = figures[0].item<double>();
    milestone_ = figures[1].item<double>();
    earlier_ = figures[2].item<double>();
    Conclude();
  }

  void Conclude() {
    converged_ = decays_ >= kDecays;
    why_ = converged_ ? "the validation loss had stopped falling" : Left();
  }

  StatusOr<Outcome> Finish() const {
    Outcome outcome;
    std::vector<at::Tensor> parts;
    for (int64_t i = 0; i < folder_.targets(); ++i) parts.push_back(Reconstruct(best_, folder_.TargetIr({i})));
    outcome.reconstruction = at::cat(parts);
    outcome.result.steps = step_;
    outcome.result.converged = converged_;
    outcome.result.why = why_;
    outcome.result.validation = history_;
    outcome.result.parameters = net_->ParameterCount() + ridge_.parameters();
    outcome.result.seconds = Seconds();
    return outcome;
  }

  const JobFolder& folder_;
  const ProgressFunction& progress_;
  const std::string job_text_;
  const Clock::time_point started_;
  double earlier_ = 0;  // seconds of earlier sittings

  at::Tensor mean_, scale_;  // of the IR's channels
  bool constant_ = false;
  Ridge ridge_;
  std::optional<DecoderNet> net_;
  std::optional<Adam> adam_;
  std::optional<PictureNetwork> features_;
  std::vector<at::Tensor> best_;

  int64_t step_ = 0, resumed_at_ = 0;
  Clock::time_point trained_since_;
  int stalled_ = 0, decays_ = 0;
  double best_loss_ = std::numeric_limits<double>::infinity(), milestone_ = best_loss_;
  std::vector<std::pair<int64_t, double>> history_;
  bool converged_ = false;
  std::string why_;  // it stopped; empty while it trains
};

}  // namespace

StatusOr<Outcome> RunDecoder(const JobFolder& folder, const ProgressFunction& progress) {
  return Decoder(folder, progress).Run();
}

}  // namespace infenclave
