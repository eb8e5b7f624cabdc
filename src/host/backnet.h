// The BackNet: whatever turns the intermediate representation at the cut into class scores, outside the enclave.
//
// One instance per worker thread, made and used on that thread.
#ifndef INFENCLAVE_HOST_BACKNET_H_
#define INFENCLAVE_HOST_BACKNET_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "engine/packed_weights.h"
#include "graph/graph.h"
#include "host/metrics.h"
#include "oip/client.h"
#include "protocol/manifest.h"
#include "tensor/tensor.h"

namespace infenclave {

// The tensors at both ends, without the batch dimension.
struct BackNetShape {
  Shape ir;
  DType ir_dtype = DType::kF32;  // kF32, kBf16 or, of codes, kU8
  Shape output;

  // Of one request; 0 for a shape that NumElements refuses.
  size_t ir_bytes() const { return static_cast<size_t>(NumElements(ir).value_or(0)) * SizeOf(ir_dtype); }
  size_t output_floats() const { return static_cast<size_t>(NumElements(output).value_or(0)); }
};

// What the enclave lets out and takes back.
inline BackNetShape BackNetShapeOf(const Manifest& manifest) {
  const IrWire wire = IrWireOf(manifest);
  return {wire.shape, wire.dtype, manifest.backnet_output_shape};
}
// What an Open Inference Protocol server takes: FP32, or UINT8; there is no bfloat16 that all servers know.
inline BackNetShape ServerShapeOf(BackNetShape shape) {
  if (shape.ir_dtype == DType::kBf16) shape.ir_dtype = DType::kF32;
  return shape;
}

inline Shape WithBatch(int64_t batch, const Shape& shape) {
  Shape out{batch};
  out.insert(out.end(), shape.begin(), shape.end());
  return out;
}

// How each of the servers fares that a BackNet asks.
using BackNetStates = std::function<std::vector<BackNetState>()>;

class BackNet {
 public:
  using Deadline = std::chrono::system_clock::time_point;
  struct Batch {
    ByteSpan ir;  // [size, ir…]; read before Start returns
    int64_t size = 0;
    std::span<float> output;  // [size, output…]; must live until the batch is done
    Deadline deadline = Deadline::max();
    std::string traceparent;  // passed on to a server, of a caller of the batch that gave one
  };
  using Done = std::function<void(const Status&)>;
  struct Started {
    std::optional<Status> finished;  // computed already: `done` is not called
    std::function<void()> cancel;    // otherwise: may be called at any time, also when it is too late
  };

  virtual ~BackNet() = default;
  // May outlive this; empty for one in this process.
  virtual BackNetStates states() const { return {}; }
  // Computes the batch before it returns, or else calls `done` once, perhaps before it returns, from whatever thread.
  // What is wrong with the output is for the enclave to find out.
  virtual Started Start(const Batch& batch, Done done) = 0;
};
using BackNetFactory = std::function<StatusOr<std::unique_ptr<BackNet>>()>;

// As many requests as one visit to the enclave carries for the built-in BackNet.
inline constexpr int kBuiltinBatch = 8;
// The engine computes four together in less time than one after the other, fewer in as much.
inline constexpr int kLeastBuiltinBatch = 4;

// The engine in this process, one thread per instance; they share their weights in `weights`. INVALID_ARGUMENT if the
// network does not have that shape.
StatusOr<BackNetFactory> BuiltinBackNet(ByteSpan backnet_onnx, const BackNetShape& shape,
                                        std::shared_ptr<PackedWeights> weights = std::make_shared<PackedWeights>());

// OIP servers of whatever make. A batch goes to the one with the fewest in flight; a server that cannot be reached,
// takes much longer than the others, or answers with something that is no answer is passed over for the next, within
// the deadline, and after a few failures in a row left alone for a while (host/server_picker.h). A server that takes no
// batch of that size gets it in pieces.
//
// Each server tells the names of its input and output; one that lists none is taken to have one of each. UNAVAILABLE
// if none can be reached; INVALID_ARGUMENT or NOT_FOUND if one of them says that it serves something else.
StatusOr<BackNetFactory> RemoteBackNet(const std::vector<OipEndpoint>& endpoints, const BackNetShape& shape);

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_BACKNET_H_
