// A graph compiled to oneDNN primitives for one batch size, with its memory planned once.
//
// Threads: Compile and every Run of one network must happen on the same thread (oneDNN's OpenMP team belongs to it);
// different networks may live on different threads. Subnormals are flushed to zero on every thread that computes. All
// of oneDNN's API stays inside this module.
//
// Memory: weights are one block (none where another network has packed them: packed_weights.h), activations and scratch
// another, made by Compile; Run takes no memory for tensors (oneDNN's bookkeeping of a primitive's arguments is some
// hundred bytes from the heap, and holds no data).
#ifndef INFENCLAVE_ENGINE_COMPILED_NETWORK_H_
#define INFENCLAVE_ENGINE_COMPILED_NETWORK_H_

#include <chrono>
#include <memory>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/packed_weights.h"
#include "graph/graph.h"

namespace infenclave {

// What the engine computes in. Where a network is quantised (QuantizeLinear and DequantizeLinear around its operators),
// those operators compute in int8 whatever this says, and the rest in it; kInt8 asks for a quantised network, with the
// rest in f32.
enum class Precision : uint8_t { kF32 = 0, kBf16 = 1, kInt8 = 2 };
std::string_view NameOf(Precision precision);
StatusOr<Precision> ParsePrecision(std::string_view name);

// "avx512_core", "avx512_core_bf16", "avx2", …: the instruction set that oneDNN dispatches to here.
std::string EffectiveIsa();
// Whether the processor computes in bf16 itself; where not, Precision::kBf16 falls back to f32 and path() says so.
bool HasBf16();
// Likewise for int8 (VNNI); where not, quantised networks compute in f32 between their quantisations.
bool HasInt8();

// For sandboxes: call once, before seccomp is installed, on the thread that will compile and run. Switches off
// everything in oneDNN that opens files (JIT profiling), starts the OpenMP team of `threads`, makes one dummy
// primitive.
void WarmUpEngine(int threads);

// Which implementations have been measured to be the fastest of which layers, in this process: text that
// AddLayerChoices takes in another one. What it cannot make sense of it ignores, and no choice can name anything that
// would not have been considered.
std::string LayerChoices();
void AddLayerChoices(std::string_view text);

struct EngineOptions {
  Precision precision = Precision::kF32;
  int batch = 1;
  int threads = 1;
  // Weights, arena and scratch come from here (secret memory in the enclave). Must outlive the network.
  std::pmr::memory_resource* memory = std::pmr::get_default_resource();
  // How long Compile may measure which implementation of a layer is the fastest, in all; layers that were measured
  // before in this process cost no time. 0: it estimates, so that equal networks are computed alike in every process
  // on machines of one kind, and spares memory.
  std::chrono::milliseconds measuring{0};
  // Networks compiled from the same graph with the same store share their weights; none: the network has its own.
  std::shared_ptr<PackedWeights> weights;
};

class CompiledNetwork {
 public:
  // `graph` (simplified by graph/passes.h, without opaque nodes, batch 1 in its shapes) is copied into packed form; it
  // need not outlive the call.
  static StatusOr<CompiledNetwork> Compile(const Graph& graph, const EngineOptions& options);

  CompiledNetwork(CompiledNetwork&&) noexcept;
  CompiledNetwork& operator=(CompiledNetwork&&) noexcept;
  ~CompiledNetwork();

  // Plain row-major f32 tensors of input_shapes() and output_shapes(), in the graph's order. INVALID_ARGUMENT for any
  // other shape or dtype.
  Status Run(std::span<const TensorView> inputs, std::span<const MutableTensorView> outputs);

  const std::vector<Shape>& input_shapes() const;  // batch included
  const std::vector<Shape>& output_shapes() const;

  // What was built: "avx512_core/f32", the implementation that oneDNN chose per layer, and bytes.
  struct Layer {
    std::string node, op, implementation;
  };
  const std::string& path() const;
  const std::vector<Layer>& layers() const;
  size_t arena_bytes() const;   // activations and scratch
  size_t weight_bytes() const;  // packed, shared or not
  double flops() const;         // per Run

 private:
  struct Impl;
  explicit CompiledNetwork(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ENGINE_COMPILED_NETWORK_H_
