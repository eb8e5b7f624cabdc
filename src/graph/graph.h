// A neural network as plain data: values (tensors that flow), nodes (operators) and constants (weights).
//
// Passes are functions Graph -> StatusOr<Graph>; there is no visitor and no inheritance. Nodes are kept in an order in
// which every node comes after the producers of its inputs. Every value that a known operator produces has its shape
// and dtype filled in; shapes hold a concrete batch size in dimension 0 (1 after import; WithBatch() changes it).
//
// Operators follow ONNX's semantics and attribute names (newest supported opset); `graph/operators.h` is the one table
// of them. An *opaque* node is one that the table does not know: it is carried through untouched.
#ifndef INFENCLAVE_GRAPH_GRAPH_H_
#define INFENCLAVE_GRAPH_GRAPH_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tensor/tensor.h"

namespace infenclave {

inline constexpr size_t kMaxRank = 8;
// 8 GiB of f32: far above any classifier's activation, and low enough that no product of a few of them overflows.
inline constexpr int64_t kMaxValueElements = int64_t{1} << 31;

using ValueId = int32_t;
inline constexpr ValueId kNoValue = -1;  // an optional input or output that is absent

using Attribute = std::variant<int64_t, float, std::string, std::vector<int64_t>, std::vector<float>>;

// What the engine applies to a node's result before it is stored; set by FuseActivations(), none after import.
struct FusedActivation {
  enum class Kind : uint8_t {
    kNone = 0,
    kRelu = 1,
    kClip = 2,
    kSwish = 3,
    kSigmoid = 4,
    kLeakyRelu = 5,
    kHardSwish = 6,
    kElu = 7,
    kTanh = 8,
    kGelu = 9,
    kMish = 10
  };
  static constexpr Kind kLast = Kind::kMish;
  Kind kind = Kind::kNone;
  float alpha = 0,
        beta = 0;  // Clip: lower and upper bound; LeakyRelu, Elu: slope in alpha; Gelu: by tanh if alpha is 1
};

struct Value {
  std::string name;  // unique within the graph and not empty
  DType dtype = DType::kF32;
  Shape shape;
};

struct Node {
  std::string op;               // the operator's name: "Conv", "Gemm", …
  std::string domain;           // empty for ONNX's own operators
  std::string name;             // for messages
  std::vector<ValueId> inputs;  // constants included, in ONNX's order
  std::vector<ValueId> outputs;
  std::map<std::string, Attribute, std::less<>> attributes;
  FusedActivation activation;
  // Opaque nodes only: the encoded ONNX NodeProto, which export puts back (with its inputs and outputs renamed).
  Bytes opaque;
};

struct Graph {
  std::string name;
  std::vector<Value> values;  // indexed by ValueId
  std::vector<Node> nodes;    // topologically ordered
  // Weights and other constants, with values[id]'s shape and dtype. A graph's clones and parts (graph/cuts.h) share
  // them, for they never change; the last one frees them, so their memory resource must outlive all.
  std::map<ValueId, std::shared_ptr<const Tensor>> constants;
  std::vector<ValueId> inputs, outputs;  // constants are not inputs

  Graph() = default;
  Graph(Graph&&) = default;
  Graph& operator=(Graph&&) = default;

  // Shares the constants.
  Graph Clone() const;

  ValueId AddValue(std::string name, DType dtype, Shape shape);
  ValueId AddConstant(std::string name, Tensor tensor);
  // Gives a value that has no origin yet its constant.
  void SetConstant(ValueId id, Tensor tensor);
  ValueId Find(std::string_view name) const;  // kNoValue if there is none
  const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
  Value& value(ValueId id) { return values[static_cast<size_t>(id)]; }
  bool IsConstant(ValueId id) const { return constants.contains(id); }
  const Tensor& constant(ValueId id) const { return *constants.at(id); }
  size_t ConstantBytes() const;
};

// Attribute access with a default; a different type is an error that names the node and the attribute.
StatusOr<int64_t> IntAttribute(const Node& node, std::string_view name, int64_t otherwise);
StatusOr<float> FloatAttribute(const Node& node, std::string_view name, float otherwise);
StatusOr<std::string> StringAttribute(const Node& node, std::string_view name, std::string_view otherwise);
StatusOr<std::vector<int64_t>> IntsAttribute(const Node& node, std::string_view name, std::vector<int64_t> otherwise);

// For each value the node that makes it (index into nodes, -1 for inputs and constants), and the nodes that read it.
// A node that reads a value twice is one reader.
std::vector<int> Producers(const Graph& graph);
std::vector<std::vector<int>> Consumers(const Graph& graph);

// Structure: ids in range, unique names, bounded shapes, one producer each, topological order, constants of the
// declared shape, outputs produced. Every function that takes a Graph expects one that passes.
Status Validate(const Graph& graph);
// Rank and number of elements within the limits above.
Status CheckShape(const Shape& shape);

}  // namespace infenclave

#endif  // INFENCLAVE_GRAPH_GRAPH_H_
