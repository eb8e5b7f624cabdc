// Chooses between implementations of one layer: by a rough model, or, where the caller grants time for it, by running
// them. Nothing but shapes enters the choice.
//
// Measured choices are kept for the life of the process, so that a second network of the same layers is compiled
// without measuring; the command line keeps them longer (engine/compiled_network.h: LayerChoices, AddLayerChoices).
#ifndef INFENCLAVE_ENGINE_ALTERNATIVES_H_
#define INFENCLAVE_ENGINE_ALTERNATIVES_H_

#include <chrono>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/onednn.h"
#include "engine/program.h"

namespace infenclave::engine {

struct Alternative {
  struct Part {
    dnnl::primitive primitive;
    Kernel kernel;                                        // runs if set, instead
    std::vector<std::pair<int, memory::desc>> arguments;  // DNNL_ARG_… and what to run it on
  };
  std::string name;
  std::vector<Part> parts;  // run one after the other
  size_t memory = 0;        // bytes of weights and scratch
  double gflops = 0;        // that one core may be expected to reach
  double handicap = 1;      // what it measures counts so many times, for what it costs its neighbours
};

class Chooser {
 public:
  // Measures for about so long in all. 0: no clock is read, nothing remembered is used, so that equal networks are
  // computed alike in every process.
  Chooser(int threads, std::chrono::milliseconds budget)
      : threads_(threads), measures_(budget.count() > 0), left_(budget) {}

  int threads() const { return threads_; }

  // Which of them, not empty, to use for the layer that `layer` describes and that takes `flops`.
  size_t Choose(const std::string& layer, double flops, std::span<const Alternative> alternatives);

 private:
  size_t Estimate(double flops, std::span<const Alternative> alternatives) const;
  size_t Measure(std::span<const Alternative> alternatives);

  const int threads_;
  const bool measures_;
  std::chrono::nanoseconds left_;
};

}  // namespace infenclave::engine

#endif  // INFENCLAVE_ENGINE_ALTERNATIVES_H_
