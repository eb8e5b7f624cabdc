#include "bundle/ir_codes.h"

#include <array>
#include <iterator>
#include <utility>

namespace infenclave {
namespace {

constexpr int64_t kOnnxFloat = 1;  // TensorProto.FLOAT

// Nodes that come before all others, in the order in which they are added.
class Prelude {
 public:
  explicit Prelude(Graph graph) : graph_(std::move(graph)), name_(graph_.value(graph_.inputs[0]).name.substr(0, 256)) {}

  Graph& graph() { return graph_; }
  ValueId Number(float value) {
    return graph_.AddConstant(Fresh("number"), Tensor::FromF32({}, std::array<float, 1>{value}));
  }
  ValueId Integers(std::initializer_list<int64_t> values) {
    return graph_.AddConstant(Fresh("list"), Tensor::FromI64({static_cast<int64_t>(values.size())}, values));
  }
  ValueId Add(std::string_view op, std::vector<ValueId> inputs, Shape shape,
              std::map<std::string, Attribute, std::less<>> attributes = {}) {
    return AddTo(graph_.AddValue(Fresh(op), DType::kF32, std::move(shape)), op, std::move(inputs),
                 std::move(attributes));
  }
  ValueId AddTo(ValueId output, std::string_view op, std::vector<ValueId> inputs,
                std::map<std::string, Attribute, std::less<>> attributes = {}) {
    Node node;
    node.op = std::string(op);
    node.name = graph_.value(output).name;
    node.inputs = std::move(inputs);
    node.outputs = {output};
    node.attributes = std::move(attributes);
    nodes_.push_back(std::move(node));
    return output;
  }
  std::string Fresh(std::string_view what) { return Concat(name_, "/codes/", what, " ", graph_.values.size()); }

  Graph Take() {
    nodes_.insert(nodes_.end(), std::make_move_iterator(graph_.nodes.begin()),
                  std::make_move_iterator(graph_.nodes.end()));
    graph_.nodes = std::move(nodes_);
    return std::move(graph_);
  }

 private:
  Graph graph_;
  const std::string name_;
  std::vector<Node> nodes_;
};

}  // namespace

StatusOr<Graph> ReadCodes(Graph back, IrPrecision precision, float step) {
  Prelude prelude(std::move(back));
  Graph& graph = prelude.graph();
  const ValueId ir = graph.inputs[0];
  const Shape maps = graph.value(ir).shape;
  if (maps.size() != 4) {
    return InvalidArgument("cut '", graph.value(ir).name, "' has the shape ", ToString(maps),
                           ", and codes are for maps, [1,C,H,W]");
  }
  Manifest interface;
  interface.ir_shape.assign(maps.begin() + 1, maps.end());
  interface.ir_precision = precision;
  Shape bytes = IrWireOf(interface).shape;
  bytes.insert(bytes.begin(), maps[0]);
  graph.inputs[0] = graph.AddValue(prelude.Fresh("bytes"), DType::kU8, bytes);
  ValueId codes = prelude.Add("Cast", {graph.inputs[0]}, bytes, {{"to", kOnnxFloat}});
  if (precision == IrPrecision::kInt4) {
    const ValueId high = prelude.Add("Floor", {prelude.Add("Mul", {codes, prelude.Number(0.0625f)}, bytes)}, bytes);
    const ValueId low = prelude.Add("Sub", {codes, prelude.Add("Mul", {high, prelude.Number(16)}, bytes)}, bytes);
    Shape both = bytes;
    both[1] *= 2;
    codes = prelude.Add("Concat", {low, high}, both, {{"axis", int64_t{1}}});
    if (both != maps) {
      codes = prelude.Add("Slice", {codes, prelude.Integers({0}), prelude.Integers({maps[1]}), prelude.Integers({1})},
                          maps);
    }
  }
  prelude.AddTo(ir, "Mul", {codes, prelude.Number(step)});
  Graph out = prelude.Take();
  INFENCLAVE_RETURN_IF_ERROR(Validate(out));
  return out;
}

}  // namespace infenclave
