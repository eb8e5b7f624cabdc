// The activations that are cheap enough for our own kernels to do on the way out: a slope below 0, then limits.
#ifndef INFENCLAVE_ENGINE_RECTIFIER_H_
#define INFENCLAVE_ENGINE_RECTIFIER_H_

#include <limits>
#include <optional>

#include "graph/graph.h"

namespace infenclave::engine {

struct Rectifier {
  float slope = 1;  // at most 1
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();

  // Whether 0 stays 0, as the channels that pad a block must.
  bool KeepsZero() const { return low <= 0 && high >= 0; }

  static std::optional<Rectifier> Of(const FusedActivation& activation) {
    Rectifier out;
    switch (activation.kind) {
      case FusedActivation::Kind::kNone:
        return out;
      case FusedActivation::Kind::kRelu:
        out.low = 0;
        return out;
      case FusedActivation::Kind::kClip:
        out.low = activation.alpha;
        out.high = activation.beta;
        return out;
      case FusedActivation::Kind::kLeakyRelu:
        out.slope = activation.alpha;
        return out.slope <= 1 ? std::optional(out) : std::nullopt;
      default:
        return std::nullopt;
    }
  }
};

}  // namespace infenclave::engine

#endif  // INFENCLAVE_ENGINE_RECTIFIER_H_
