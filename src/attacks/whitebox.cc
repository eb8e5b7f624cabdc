#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <set>

#include "attacks/adam.h"
#include "attacks/attack.h"
#include "attacks/picture_network.h"
#include "attacks/ridge.h"
#include "attacks/similarity_loss.h"
#include "import/npy.h"

namespace infenclave {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kBatch = 8;   // pictures that descend together
constexpr int64_t kJudges = 4;  // validation photographs on which the prior's weight is chosen
constexpr int64_t kMaxSteps = 600, kStepsBetweenChecks = 25;
constexpr double kRate = 0.02;  // of Adam, for pixels in 0..1
constexpr double kDecay = 0.4, kProgress = 0.02;
constexpr int kDecays = 3;
constexpr double kPriorWeights[] = {1e-3, 1e-2, 1e-1, 1};
constexpr double kSmooth = 1e-6;  // makes the total variation differentiable at 0

// Isotropic total variation of [n,3,h,w], per picture and pixel (Rudin, Osher & Fatemi 1992).
at::Tensor TotalVariation(const at::Tensor& x) {
  const at::Tensor down = x.narrow(2, 1, x.size(2) - 1) - x.narrow(2, 0, x.size(2) - 1),
                   across = x.narrow(3, 1, x.size(3) - 1) - x.narrow(3, 0, x.size(3) - 1);
  const at::Tensor both = down.narrow(3, 0, x.size(3) - 1).pow(2) + across.narrow(2, 0, x.size(2) - 1).pow(2) + kSmooth;
  return both.sqrt().mean({1, 2, 3});
}

class Whitebox {
 public:
  Whitebox(const JobFolder& folder, const ProgressFunction& progress)
      : folder_(folder), progress_(progress), job_text_(AttackJobToJson(folder.job())), started_(Clock::now()) {}

  StatusOr<Outcome> Run() {
    INFENCLAVE_RETURN_IF_ERROR(Open());
    state_ = LoadCheckpoint(folder_.File("checkpoint.bin"), job_text_);
    if (state_.contains("seconds")) earlier_ = state_["seconds"].item<double>();
    Spread();
    INFENCLAVE_RETURN_IF_ERROR(ChoosePrior());
    const int64_t batches = (folder_.targets() + kBatch - 1) / kBatch;
    Outcome outcome;
    outcome.result.converged = true;
    std::vector<at::Tensor> parts;
    for (int64_t batch = 0; batch < batches; ++batch) {
      const std::vector<int64_t> rows = Range(batch * kBatch, std::min(folder_.targets(), (batch + 1) * kBatch));
      const int64_t first = rows.front();
      INFENCLAVE_ASSIGN_OR_RETURN(const Descent done,
                                  Descend(Concat("batch", batch), folder_.TargetIr(rows),
                                          start_.narrow(0, first, static_cast<int64_t>(rows.size())), prior_,
                                          static_cast<double>(batch + 2) / static_cast<double>(batches + 1)));
      parts.push_back(done.pictures);
      outcome.result.steps += done.steps;
      outcome.result.converged &= done.stalled;
    }
    outcome.reconstruction = at::cat(parts);
    outcome.result.why = Concat(outcome.result.converged ? "the loss had stopped falling" : "a limit was reached",
                                "; prior weight ", prior_);
    outcome.result.validation = validation_;
    outcome.result.parameters = 3 * front_.height() * front_.width();
    outcome.result.seconds = Seconds();
    return outcome;
  }

 private:
  struct Descent {
    at::Tensor pictures;  // [n,3,112,112]
    int64_t steps = 0;
    bool stalled = false;
  };

  Status Open() {
    const std::string graph_path = folder_.File("frontnet.graph"), start_path = folder_.File("start.npy");
    INFENCLAVE_ASSIGN_OR_RETURN(front_, PictureNetwork::Open(graph_path, folder_.File("preprocessing.json")));
    Shape ir = front_.output_shape();
    if (ir.size() != 3) {  // stored flat
      INFENCLAVE_ASSIGN_OR_RETURN(const int64_t elements, NumElements(ir));
      ir = {elements, 1, 1};
    }
    if (ir != folder_.ir_shape()) {
      return InvalidArgument(graph_path, ": output ", ToString(front_.output_shape()), ", but the IRs are ",
                             ToString(folder_.ir_shape()));
    }
    INFENCLAVE_ASSIGN_OR_RETURN(const Tensor start, ReadNpy(start_path));
    if (start.dtype() != DType::kF32 || start.shape() != Shape{folder_.targets(), kPictureSide, kPictureSide, 3}) {
      return InvalidArgument(start_path, ": ", NameOf(start.dtype()), ToString(start.shape()), " is not f32[",
                             folder_.targets(), ",112,112,3], one for each target");
    }
    start_ = at::empty(start.shape());
    std::memcpy(start_.data_ptr(), start.data(), start.bytes());
    if (!at::isfinite(start_).all().item<bool>()) return InvalidArgument(start_path, ": not finite");
    start_ = (start_.permute({0, 3, 1, 2}) / 255).clamp(0, 1).contiguous();
    return OkStatus();
  }

  // What the IRs of photographs differ by: the mismatch is measured in it.
  void Spread() {
    const at::NoGradGuard no_grad;
    at::Tensor sum = at::zeros({1, folder_.ir_shape()[0], folder_.ir_shape()[1], folder_.ir_shape()[2]}, at::kDouble),
               squares = sum.clone();
    for (const int64_t row : folder_.training()) {
      const at::Tensor ir = folder_.AttackerIr({row}).to(at::kDouble);
      sum += ir;
      squares += ir * ir;
    }
    const auto rows = static_cast<double>(folder_.training().size());
    spread_ = (squares / rows - (sum / rows).pow(2)).clamp_min(0).mean().item<double>();
  }

  StatusOr<at::Tensor> Mismatch(const at::Tensor& x, const at::Tensor& wanted) {
    INFENCLAVE_ASSIGN_OR_RETURN(const at::Tensor ir, front_.Run(x));
    return (ir.reshape(wanted.sizes()) - wanted).pow(2).mean({1, 2, 3}) / std::max(spread_, 1e-12);
  }

  double Seconds() const { return earlier_ + std::chrono::duration<double>(Clock::now() - started_).count(); }

  Status Save() {
    state_["seconds"] = at::tensor({Seconds()}, at::kDouble);
    return SaveCheckpoint(folder_.File("checkpoint.bin"), job_text_, state_);
  }

  // `share` of the time allowed may be used up when it ends. What is done under a name is kept in the checkpoint.
  StatusOr<Descent> Descend(const std::string& name, const at::Tensor& wanted, const at::Tensor& start, double prior,
                            double share) {
    const std::string done_name = name + "/pictures", figures_name = name + "/figures";
    if (state_.contains(done_name)) {
      const at::Tensor& figures = state_[figures_name];
      return Descent{state_[done_name], figures[0].item<int64_t>(), figures[1].item<int64_t>() != 0};
    }
    at::Tensor x = ResizePictures(start, front_.height(), front_.width()).clone().requires_grad_(true);
    Adam adam({x}, {});
    Descent descent;
    double milestone = std::numeric_limits<double>::infinity();
    int decays = 0;
    const AttackJob& job = folder_.job();
    const int64_t limit = job.max_steps > 0 ? std::min(job.max_steps, kMaxSteps) : kMaxSteps;
    while (descent.steps < limit && !descent.stalled &&
           (job.budget_seconds == 0 || Seconds() < share * job.budget_seconds)) {
      INFENCLAVE_ASSIGN_OR_RETURN(const at::Tensor mismatch, Mismatch(x, wanted));
      const at::Tensor loss = mismatch.sum() + prior * TotalVariation(x).sum();
      loss.backward();
      adam.Step(kRate * std::pow(kDecay, decays));
      {
        const at::NoGradGuard no_grad;
        x.clamp_(0, 1);
      }
      if (++descent.steps % kStepsBetweenChecks != 0) continue;
      const double now = loss.item<double>();
      if (now < milestone * (1 - kProgress)) {
        milestone = now;
      } else if (++decays >= kDecays) {
        descent.stalled = true;
      }
      progress_({.step = done_steps_ + descent.steps,
                 .of = StepsAtMost(limit),
                 .loss = now / static_cast<double>(x.size(0)),
                 .seconds_left = Seconds() / static_cast<double>(done_steps_ + descent.steps) *
                                 static_cast<double>(StepsAtMost(limit) - done_steps_ - descent.steps)});
    }
    done_steps_ += descent.steps;
    descent.pictures = ResizePictures(x.detach(), kPictureSide, kPictureSide).clamp(0, 1);
    state_[done_name] = descent.pictures;
    state_[figures_name] = at::tensor({descent.steps, int64_t{descent.stalled}}, at::kLong);
    INFENCLAVE_RETURN_IF_ERROR(Save());
    return descent;
  }

  int64_t StepsAtMost(int64_t limit) const {
    return limit * (static_cast<int64_t>(std::size(kPriorWeights)) + (folder_.targets() + kBatch - 1) / kBatch);
  }

  // The weight of the prior that recovers validation photographs best, started from the ridge regression.
  Status ChoosePrior() {
    std::vector<int64_t> rows;
    std::set<int32_t> seen;
    for (const int64_t row : folder_.validation()) {
      if (static_cast<int64_t>(rows.size()) < kJudges && seen.insert(folder_.PhotographOf(row)).second) {
        rows.push_back(row);
      }
    }
    const at::Tensor wanted = folder_.AttackerIr(rows), pictures = folder_.Pictures(rows);
    if (!state_.contains("judges/start")) {
      INFENCLAVE_ASSIGN_OR_RETURN(const Ridge ridge, Ridge::OfTraining(folder_));
      state_["judges/start"] = ridge.Predict(wanted);
    }
    const at::Tensor start = state_["judges/start"];
    double best = std::numeric_limits<double>::infinity();
    const double each = 1 / static_cast<double>(std::size(kPriorWeights)),
                 share = 2.0 / static_cast<double>((folder_.targets() + kBatch - 1) / kBatch + 1);
    for (size_t i = 0; i < std::size(kPriorWeights); ++i) {
      INFENCLAVE_ASSIGN_OR_RETURN(const Descent done,
                                  Descend(Concat("prior", i), wanted, start, kPriorWeights[i],
                                          std::min(0.5, share) * static_cast<double>(i + 1) * each));
      const at::NoGradGuard no_grad;
      const double loss = PictureLoss(done.pictures, pictures).item<double>();
      validation_.emplace_back(done.steps, loss);
      if (loss < best) {
        best = loss;
        prior_ = kPriorWeights[i];
      }
    }
    return OkStatus();
  }

  const JobFolder& folder_;
  const ProgressFunction& progress_;
  const std::string job_text_;
  const Clock::time_point started_;
  double earlier_ = 0;
  NamedTensors state_;

  PictureNetwork front_;
  at::Tensor start_;  // [M,3,112,112] in 0..1
  double spread_ = 0, prior_ = kPriorWeights[0];
  int64_t done_steps_ = 0;
  std::vector<std::pair<int64_t, double>> validation_;
};

}  // namespace

StatusOr<Outcome> RunWhitebox(const JobFolder& folder, const ProgressFunction& progress) {
  return Whitebox(folder, progress).Run();
}

}  // namespace infenclave
