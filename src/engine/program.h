// What the compiler makes of a graph, before and after memory is planned: steps over places in buffers.
//
// A buffer is a run of bytes that one or more values occupy; a place is a tensor in one layout at an offset of a
// buffer. Steps run in order; each reads and writes places. Buffers of the arena live from the first to the last step
// that touches them.
#ifndef INFENCLAVE_ENGINE_PROGRAM_H_
#define INFENCLAVE_ENGINE_PROGRAM_H_

#include <functional>
#include <limits>
#include <list>
#include <memory_resource>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <vector>

#include "engine/compiled_network.h"
#include "graph/graph.h"

namespace infenclave::engine {

using dnnl::memory;

enum class Region : uint8_t { kArena, kWeights, kInput, kOutput };

struct Buffer {
  Region region = Region::kArena;
  int index = 0;  // which input or output
  size_t bytes = 0;
  int first = std::numeric_limits<int>::max(), last = -1;  // steps
  int parent = -1;                                         // lies in that buffer,
  size_t parent_offset = 0;                                // here
};

struct Place {
  int buffer = -1;
  size_t offset = 0;
  memory::desc desc;
  // Integers that stand for scale (integer - zero); a scale of 0 is none.
  float scale = 0;
  int32_t zero = 0;
  bool quantized() const { return scale != 0; }
};

struct Argument {
  int id = 0;  // DNNL_ARG_…; a kernel gets its arguments in order and ignores it
  Place place;
};

// Own code instead of a oneDNN primitive, for what oneDNN lacks: pointers to the arguments, in order.
using Kernel = std::function<void(const std::vector<void*>&)>;

struct Step {
  dnnl::primitive primitive;
  Kernel kernel;  // runs if set
  std::vector<Argument> arguments;
};

// Writes a weight in a layout that is not oneDNN's.
using Packer = std::function<void(const Tensor& source, std::byte* data)>;

// A weight waits until all are known, then is written once, in its final layout.
struct PendingWeight {
  int buffer = -1;
  ValueId id = kNoValue;  // which constant of the graph
  memory::desc desc;
  const Tensor* source = nullptr;  // f32, or i8 for an i8 layout; row-major
  memory::desc source_desc;        // how to read it (grouped, transposed, …)
  float scale = 1;
  Packer packer;  // does it if set
};

struct Program {
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  std::vector<PendingWeight> weights;
  std::list<Tensor> derived;                   // weights that the graph does not hold as such, until they are written
  std::vector<CompiledNetwork::Layer> layers;  // one per step
  std::vector<Shape> input_shapes, output_shapes;
};

// A block of memory from a resource, 64-byte aligned, zero at first.
class Block {
 public:
  Block() = default;
  Block(size_t bytes, std::pmr::memory_resource* memory);
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;
  ~Block();
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0, alignment_ = 0;
  std::pmr::memory_resource* memory_ = nullptr;
};

}  // namespace infenclave::engine

#endif  // INFENCLAVE_ENGINE_PROGRAM_H_
