// The opened FrontNet: one compiled instance per lane, with its input and output in secret memory.
//
// Instances are compiled for batch 1 and run once per request, also for several requests in one Begin. A lane computes
// on few threads, where a larger batch gains little, while each further batch size would hold activations in memory
// that is scarce (RLIMIT_MEMLOCK), would have to be compiled before code generation closes, and would waste its empty
// places. The weights lie in secret memory once, whatever the number of lanes.
#ifndef INFENCLAVE_ENCLAVE_FRONT_NET_H_
#define INFENCLAVE_ENCLAVE_FRONT_NET_H_

#include <memory>
#include <optional>
#include <vector>

#include "enclave/enclave_core.h"
#include "enclave/ir_noise.h"
#include "engine/compiled_network.h"
#include "protocol/manifest.h"

namespace infenclave {

class FrontNet {
 public:
  // `manifest` must outlive it. `key`: the FrontNet's, from which the noise is drawn where the manifest asks for some.
  FrontNet(const Manifest& manifest, const EnclaveOptions& options, ByteSpan key);

  // On the lane's thread. INVALID_ARGUMENT if the graph does not go from the manifest's picture to its IR.
  Status Compile(const Graph& graph, int lane);

  // On the lane's thread: normalises a picture of the manifest's size, runs, adds noise, and writes the IR in the
  // manifest's precision to `ir`, which is aligned for f32.
  Status Run(ByteSpan rgb, MutableByteSpan ir, int lane);
  // Of one request.
  size_t ir_bytes() const { return ir_bytes_; }

 private:
  struct Lane {
    std::optional<CompiledNetwork> network;
    Tensor input, output;  // output: only where the IR goes out otherwise than it is computed
  };
  bool goes_out_as_computed() const { return !noise_ && manifest_.ir_precision == IrPrecision::kF32; }

  const Manifest& manifest_;
  const int threads_;
  std::optional<IrNoise> noise_;
  const size_t ir_bytes_;
  const std::shared_ptr<PackedWeights> weights_ = std::make_shared<PackedWeights>();  // all lanes'
  std::vector<Lane> lanes_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ENCLAVE_FRONT_NET_H_
