// The BackNet: whatever turns the intermediate representation at the cut into class scores, outside the enclave.
//
// One instance per worker thread, made and used on that thread.
#ifndef INFENCLAVE_HOST_BACKNET_H_
#define INFENCLAVE_HOST_BACKNET_H_

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "engine/packed_weights.h"
#include "graph/graph.h"
#include "oip/client.h"
#include "tensor/tensor.h"

namespace infenclave {

// The tensors at both ends, without the batch dimension.
struct BackNetShape {
  Shape ir;
  DType ir_dtype = DType::kF32;  // kF32 or kBf16
  Shape output;

  // Of one request; 0 for a shape that NumElements refuses.
  size_t ir_bytes() const { return static_cast<size_t>(NumElements(ir).value_or(0)) * SizeOf(ir_dtype); }
  size_t output_floats() const { return static_cast<size_t>(NumElements(output).value_or(0)); }
};

inline Shape WithBatch(int64_t batch, const Shape& shape) {
  Shape out{batch};
  out.insert(out.end(), shape.begin(), shape.end());
  return out;
}

class BackNet {
 public:
  using Deadline = std::chrono::system_clock::time_point;
  virtual ~BackNet() = default;
  // `ir` holds [batch, ir…], `output` gets [batch, output…]. What is wrong with it is for the enclave to find out.
  virtual Status Run(ByteSpan ir, int64_t batch, std::span<float> output, Deadline deadline) = 0;
};
using BackNetFactory = std::function<StatusOr<std::unique_ptr<BackNet>>()>;

// The engine in this process, one thread per instance; they share their weights in `weights`. INVALID_ARGUMENT if the
// network does not have that shape.
StatusOr<BackNetFactory> BuiltinBackNet(ByteSpan backnet_onnx, const BackNetShape& shape,
                                        std::shared_ptr<PackedWeights> weights = std::make_shared<PackedWeights>());

// OIP servers, taken in turn: a request goes to one of them, and to the next if that one cannot be reached. The first
// that answers tells the names of its input and output; UNAVAILABLE if none does.
StatusOr<BackNetFactory> RemoteBackNet(const std::vector<OipEndpoint>& endpoints, const BackNetShape& shape);

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_BACKNET_H_
