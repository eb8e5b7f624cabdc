// Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019), gradients clipped to a norm, and a
// running average of the weights, by which the network is judged (Polyak & Juditsky 1992). All its state is named
// tensors, so that training goes on from a checkpoint as if it had not stopped.
#ifndef INFENCLAVE_ATTACKS_ADAM_H_
#define INFENCLAVE_ATTACKS_ADAM_H_

#include <string>
#include <vector>

#include "attacks/checkpoint.h"

namespace infenclave {

class Adam {
 public:
  struct Options {
    double weight_decay = 0, clip_norm = 0, average = 0;  // 0: none of it
  };
  // Leaves that need gradients; shared with whoever computes with them.
  Adam(std::vector<at::Tensor> parameters, Options options);

  // Uses and clears the gradients. Steps with a gradient that is not finite are skipped.
  void Step(double learning_rate);
  const std::vector<at::Tensor>& parameters() const { return parameters_; }
  const std::vector<at::Tensor>& averaged() const { return averaged_; }

  void Save(NamedTensors& out) const;
  bool Load(const NamedTensors& in);  // false, and nothing changed, if they are not of the same parameters

 private:
  std::vector<at::Tensor> parameters_, first_, second_, averaged_;
  Options options_;
  at::Tensor steps_;  // i64
};

}  // namespace infenclave

#endif  // INFENCLAVE_ATTACKS_ADAM_H_
