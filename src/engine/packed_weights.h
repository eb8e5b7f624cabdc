// Weights in the layouts that the engine computes with, shared read-only by networks compiled from one graph: for other
// batch sizes, on other threads. Each weight is packed once per layout, by the first network that asks for it, into
// that network's memory (EngineOptions::memory), which must outlive all of them.
//
// Every network holds a reference; the last one frees them. Networks may be compiled at the same time: the second waits
// while the first packs.
#ifndef INFENCLAVE_ENGINE_PACKED_WEIGHTS_H_
#define INFENCLAVE_ENGINE_PACKED_WEIGHTS_H_

#include <cstddef>
#include <memory>
#include <memory_resource>
#include <vector>

#include "base/status.h"

namespace infenclave {

namespace engine {
struct PendingWeight;
}  // namespace engine

class PackedWeights {
 public:
  PackedWeights();
  ~PackedWeights();
  PackedWeights(const PackedWeights&) = delete;
  PackedWeights& operator=(const PackedWeights&) = delete;

  size_t bytes() const;
  // How much more there would be if each network compiled so far had packed its own.
  size_t saved_bytes() const;

 private:
  friend class CompiledNetwork;

  struct Located {
    std::vector<std::byte*> data;  // of each weight
    size_t bytes = 0;              // of all, shared or not
  };
  // Packs what nobody has packed yet. For the engine; oneDNN's exceptions pass through.
  Located Pack(const std::vector<engine::PendingWeight>& weights, std::pmr::memory_resource* memory);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ENGINE_PACKED_WEIGHTS_H_
