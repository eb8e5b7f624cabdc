#include "attacks/adam.h"

#include <algorithm>
#include <cmath>

#include "base/status.h"

namespace infenclave {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.99, kEpsilon = 1e-8;

}  // namespace

Adam::Adam(std::vector<at::Tensor> parameters, Options options)
    : parameters_(std::move(parameters)), options_(options), steps_(at::zeros({1}, at::kLong)) {
  for (const at::Tensor& p : parameters_) {
    first_.push_back(at::zeros_like(p));
    second_.push_back(at::zeros_like(p));
    averaged_.push_back(p.detach().clone());
  }
}

void Adam::Step(double learning_rate) {
  const at::NoGradGuard no_grad;
  at::Tensor norm = at::zeros({});
  for (const at::Tensor& p : parameters_) norm += p.grad().pow(2).sum();
  const double length = std::sqrt(norm.item<double>());
  if (std::isfinite(length)) {
    const double clip = options_.clip_norm > 0 ? std::min(1.0, options_.clip_norm / std::max(length, 1e-12)) : 1.0;
    steps_ += 1;
    const auto t = static_cast<double>(steps_.item<int64_t>());
    const double correction1 = 1 - std::pow(kBeta1, t), correction2 = 1 - std::pow(kBeta2, t);
    // Soon after the start the average must not remember it.
    const double average = std::min(options_.average, (1 + t) / (10 + t));
    for (size_t i = 0; i < parameters_.size(); ++i) {
      at::Tensor gradient = parameters_[i].grad() * clip;
      first_[i].mul_(kBeta1).add_(gradient, 1 - kBeta1);
      second_[i].mul_(kBeta2).addcmul_(gradient, gradient, 1 - kBeta2);
      parameters_[i].mul_(1 - learning_rate * options_.weight_decay);
      parameters_[i].addcdiv_(first_[i], (second_[i] / correction2).sqrt_().add_(kEpsilon),
                              -learning_rate / correction1);
      averaged_[i].lerp_(parameters_[i], 1 - average);
    }
  }
  for (at::Tensor& p : parameters_) p.mutable_grad().reset();
}

void Adam::Save(NamedTensors& out) const {
  out["adam/steps"] = steps_;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    out[Concat("adam/", i, "/parameter")] = parameters_[i];
    out[Concat("adam/", i, "/first")] = first_[i];
    out[Concat("adam/", i, "/second")] = second_[i];
    out[Concat("adam/", i, "/averaged")] = averaged_[i];
  }
}

bool Adam::Load(const NamedTensors& in) {
  const at::NoGradGuard no_grad;
  const auto find = [&](const std::string& name, const at::Tensor& like) {
    const auto found = in.find(name);
    return found != in.end() && found->second.sizes() == like.sizes() &&
                   found->second.scalar_type() == like.scalar_type()
               ? found->second
               : at::Tensor();
  };
  std::vector<std::pair<at::Tensor, at::Tensor>> copies = {{steps_, find("adam/steps", steps_)}};
  for (size_t i = 0; i < parameters_.size(); ++i) {
    copies.emplace_back(parameters_[i], find(Concat("adam/", i, "/parameter"), parameters_[i]));
    copies.emplace_back(first_[i], find(Concat("adam/", i, "/first"), first_[i]));
    copies.emplace_back(second_[i], find(Concat("adam/", i, "/second"), second_[i]));
    copies.emplace_back(averaged_[i], find(Concat("adam/", i, "/averaged"), averaged_[i]));
  }
  for (const auto& [to, from] : copies) {
    if (!from.defined()) return false;
  }
  for (auto& [to, from] : copies) to.copy_(from);
  return true;
}

}  // namespace infenclave
