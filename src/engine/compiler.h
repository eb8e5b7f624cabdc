// Turns a graph into a Program, node by node in the graph's order. Each operator's own part is a function of the table
// in compiler.cc; what they share is here: where values lie, layouts on demand, fused activations and residual sums.
#ifndef INFENCLAVE_ENGINE_COMPILER_H_
#define INFENCLAVE_ENGINE_COMPILER_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/alternatives.h"
#include "engine/program.h"
#include "graph/operators.h"

namespace infenclave::engine {

// An Add that a node can do on its way out: the sum replaces `other`, which nobody reads afterwards.
struct Residual {
  int add_node = -1;
  Place other;
};

class Compiler {
 public:
  // What is made of the graph's constants until they are packed comes from `memory`.
  Compiler(const Graph& graph, memory::data_type type, std::pmr::memory_resource* memory, Chooser chooser);
  StatusOr<Program> Compile();

  const Graph& graph() const { return graph_; }
  NodeView view(const Node& node) const { return {graph_, node}; }
  // f32 or bf16: what activations and weights are stored as.
  memory::data_type type() const { return type_; }
  Chooser& chooser() { return chooser_; }

  // Where a value lies now, as floats. Constants are placed on first use, row-major f32.
  StatusOr<Place> In(ValueId id);
  // Same, in that layout and type: a reorder is added where needed, once per value and layout.
  StatusOr<Place> InAs(ValueId id, const memory::desc& desc);
  StatusOr<Place> InPlain(ValueId id, memory::data_type type);
  // Whether InAs would not have to move anything.
  bool LiesAs(ValueId id, const memory::desc& desc) const;
  // Where a value lies now, be it integers.
  StatusOr<Place> InAny(ValueId id);
  // The place of a value that lies in integers on a processor that computes with them, else nullptr.
  const Place* Quantized(ValueId id);
  // Such a value in that layout.
  Place QuantizedAs(ValueId id, const memory::desc& desc);
  Place NewPlace(const memory::desc& desc);
  // For an elementwise node: `in` itself if the node may write over it, else a new place in the same layout.
  Place SameOrNew(const Node& node, int index, const Place& in);
  // The node's result, before its activation if `activate` (then a step of its own is added).
  Status Define(const Node& node, Place place, bool activate = false);
  // The node's output number `which`, where there are several.
  Status DefineOutput(const Node& node, size_t which, Place place);
  // Same elements in another shape than the node's: copied to row-major order first where they are in another.
  Status DefineReshaped(const Node& node, Place place, bool activate = false);
  // A constant in `desc`, read through `source_desc` (as many elements) and multiplied by `scale`.
  StatusOr<Place> Weight(ValueId id, const memory::desc& desc, const memory::desc& source_desc, float scale = 1);
  // A constant as `packer` writes it; nothing else may pack it in that layout.
  StatusOr<Place> Weight(ValueId id, const memory::desc& desc, Packer packer);
  // Any tensor that outlives this as a weight. `key`: a value that stands for these numbers alone.
  Place AddWeight(ValueId key, const Tensor& tensor, const memory::desc& desc, const memory::desc& source_desc,
                  float scale = 1);
  // An f32 tensor to be filled and added as a weight.
  Tensor& NewTensor(Shape shape);
  // The graph's constant, or a DequantizeLinear's of one as f32; nullptr for what is computed.
  StatusOr<const Tensor*> ConstantOf(ValueId id);

  void Emit(const Node& node, dnnl::primitive primitive, std::string_view implementation,
            std::vector<Argument> arguments, const memory::desc& scratchpad);
  void EmitKernel(const Node& node, std::string_view name, Kernel kernel, std::vector<Argument> arguments);
  template <typename Pd>
  void Emit(const Node& node, const Pd& pd, std::vector<Argument> arguments) {
    Emit(node, dnnl::primitive(pd.get()), pd.impl_info_str(), std::move(arguments), pd.scratchpad_desc());
  }
  void EmitReorder(const Node& node, const Place& from, const Place& to);

  // Whether the buffer of `place` may be overwritten by `node`: nothing later reads it, and it is not the caller's.
  // A later reader `except` does not count.
  bool MayOverwrite(const Place& place, int node, int except = -1) const;
  // Whether nothing but convolutions and pooling reads the node's result: these take any layout.
  bool OnlyWindowsRead(const Node& node) const;
  // For a node without activation whose only reader is an Add that has its other operand already.
  std::optional<Residual> FindResidual(int node);
  // The one node that reads the value; -1 if several do, none does, or the graph returns it.
  int OnlyReader(ValueId id) const;
  int Producer(ValueId id) const { return producers_[static_cast<size_t>(id)]; }
  // Whether an input of the node lies in the buffer of `place`.
  bool Reads(const Node& node, const Place& place) const;
  // Another node has done this one's work.
  void TakeOver(int node) { done_.insert(node); }
  // The Add is done, but for its activation if `activate`.
  Status DefineResidual(const Residual& residual, bool activate);
  // Puts `inner` into `outer` at that offset, for as long as both.
  void Embed(int inner, int outer, size_t offset);
  bool IsEmbedded(int buffer) const { return program_.buffers[static_cast<size_t>(buffer)].parent >= 0; }
  const Buffer& buffer(int id) const { return program_.buffers[static_cast<size_t>(id)]; }

 private:
  Status CompileNode(int index);
  StatusOr<const Tensor*> WeightOf(ValueId id);  // an f32 constant, or why not
  Status PlaceOutputs();
  int Root(int buffer) const;
  int AddBuffer(Buffer buffer);
  void Touch(int buffer, int step);

  const Graph& graph_;
  memory::data_type type_;
  bool int8_;
  std::pmr::memory_resource* memory_;
  Chooser chooser_;
  std::vector<int> producers_;
  std::vector<std::vector<int>> consumers_;
  std::vector<bool> is_output_;
  std::map<ValueId, std::vector<Place>> places_;  // the first is the one it was made in
  std::map<ValueId, const Tensor*> dequantized_;  // constants
  std::set<int> done_;                            // nodes that another one has taken over
  Program program_;
};

// Scratchpads are ours, so that they lie in the network's memory.
dnnl::primitive_attr Attributes(const dnnl::post_ops& ops = {});
// The activation, and then `scale` times it.
void AppendActivation(const FusedActivation& activation, dnnl::post_ops& ops, float scale = 1);
// The activation as a step of its own; not for kNone.
dnnl::eltwise_forward::primitive_desc ActivationPd(const FusedActivation& activation, const memory::desc& desc);

// One function per operator: from the node, whose index in the graph it also gets, to steps.
using CompileFunction = Status (*)(Compiler& c, const Node& node, int index);
Status CompileConv(Compiler& c, const Node& node, int index);
Status CompilePool(Compiler& c, const Node& node, int index);
Status CompileGlobalPool(Compiler& c, const Node& node, int index);
Status CompileReduceMean(Compiler& c, const Node& node, int index);
Status CompileGemm(Compiler& c, const Node& node, int index);
Status CompileMatMul(Compiler& c, const Node& node, int index);
Status CompileSoftmax(Compiler& c, const Node& node, int index);
Status CompileBinary(Compiler& c, const Node& node, int index);
Status CompileScalar(Compiler& c, const Node& node, int index);
Status CompileView(Compiler& c, const Node& node, int index);
Status CompileConcat(Compiler& c, const Node& node, int index);
Status CompileTranspose(Compiler& c, const Node& node, int index);
Status CompileReduce(Compiler& c, const Node& node, int index);
Status CompileSlice(Compiler& c, const Node& node, int index);
Status CompileSplit(Compiler& c, const Node& node, int index);
Status CompilePad(Compiler& c, const Node& node, int index);
Status CompileExpand(Compiler& c, const Node& node, int index);
Status CompileGather(Compiler& c, const Node& node, int index);
Status CompileTile(Compiler& c, const Node& node, int index);
Status CompileBlocks(Compiler& c, const Node& node, int index);
Status CompileResize(Compiler& c, const Node& node, int index);
Status CompileLrn(Compiler& c, const Node& node, int index);
Status CompileInstanceNormalization(Compiler& c, const Node& node, int index);
Status CompileQuantize(Compiler& c, const Node& node, int index);
Status CompileDequantize(Compiler& c, const Node& node, int index);
Status CompileLayerNormalization(Compiler& c, const Node& node, int index);

}  // namespace infenclave::engine

#endif  // INFENCLAVE_ENGINE_COMPILER_H_
