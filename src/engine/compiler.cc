#include "engine/compiler.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "engine/onednn.h"

namespace infenclave::engine {
namespace {

CompileFunction FindCompileFunction(const Node& node) {
  static const auto* table = new std::unordered_map<std::string_view, CompileFunction>{
      {"Conv", CompileConv},
      {"MaxPool", CompilePool},
      {"AveragePool", CompilePool},
      {"GlobalAveragePool", CompileGlobalPool},
      {"GlobalMaxPool", CompileGlobalPool},
      {"ReduceMean", CompileReduceMean},
      {"Gemm", CompileGemm},
      {"MatMul", CompileMatMul},
      {"Softmax", CompileSoftmax},
      {"LogSoftmax", CompileSoftmax},
      {"Add", CompileBinary},
      {"Sub", CompileBinary},
      {"Mul", CompileBinary},
      {"Div", CompileBinary},
      {"Min", CompileBinary},
      {"Max", CompileBinary},
      {"Pow", CompileBinary},
      {"PRelu", CompileBinary},
      {"Concat", CompileConcat},
      {"Transpose", CompileTranspose},
      {"ReduceSum", CompileReduce},
      {"ReduceProd", CompileReduce},
      {"ReduceMax", CompileReduce},
      {"ReduceMin", CompileReduce},
      {"ReduceL1", CompileReduce},
      {"ReduceL2", CompileReduce},
      {"ReduceSumSquare", CompileReduce},
      {"Slice", CompileSlice},
      {"Split", CompileSplit},
      {"Pad", CompilePad},
      {"Expand", CompileExpand},
      {"Gather", CompileGather},
      {"Tile", CompileTile},
      {"DepthToSpace", CompileBlocks},
      {"SpaceToDepth", CompileBlocks},
      {"Resize", CompileResize},
      {"LRN", CompileLrn},
      {"InstanceNormalization", CompileInstanceNormalization},
      {"GroupNormalization", CompileInstanceNormalization},
      {"LayerNormalization", CompileLayerNormalization},
      {"QuantizeLinear", CompileQuantize},
      {"DequantizeLinear", CompileDequantize},
      {"Cast", CompileView},  // between types that are all f32 here
  };
  const Operator* op = OperatorOf(node);
  if (op == nullptr) return nullptr;
  if (op->view) return CompileView;
  if (op->scalar.f != nullptr) return CompileScalar;
  auto it = table->find(op->name);
  return it == table->end() ? nullptr : it->second;
}

}  // namespace

dnnl::primitive_attr Attributes(const dnnl::post_ops& ops) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attributes.set_post_ops(ops);
  return attributes;
}

void AppendActivation(const FusedActivation& activation, dnnl::post_ops& ops, float scale) {
  using Kind = FusedActivation::Kind;
  using dnnl::algorithm;
  auto append = [&](algorithm a, float alpha = 0, float beta = 0) { ops.append_eltwise(scale, a, alpha, beta); };
  switch (activation.kind) {
    case Kind::kNone:
      return;
    case Kind::kRelu:
      return append(algorithm::eltwise_relu);
    case Kind::kClip:
      return append(algorithm::eltwise_clip, activation.alpha, activation.beta);
    case Kind::kSwish:
      return append(algorithm::eltwise_swish, 1.0f);
    case Kind::kSigmoid:
      return append(algorithm::eltwise_logistic);
    case Kind::kLeakyRelu:
      return append(algorithm::eltwise_relu, activation.alpha);
    case Kind::kHardSwish:
      return append(algorithm::eltwise_hardswish);
    case Kind::kElu:
      return append(algorithm::eltwise_elu, activation.alpha);
    case Kind::kTanh:
      return append(algorithm::eltwise_tanh);
    case Kind::kGelu:
      return append(activation.alpha != 0 ? algorithm::eltwise_gelu_tanh : algorithm::eltwise_gelu_erf);
    case Kind::kMish:
      return append(algorithm::eltwise_mish);
  }
}

dnnl::eltwise_forward::primitive_desc ActivationPd(const FusedActivation& activation, const memory::desc& desc) {
  dnnl::post_ops ops;
  AppendActivation(activation, ops);
  float scale, alpha, beta;
  dnnl::algorithm algorithm;
  ops.get_params_eltwise(0, scale, algorithm, alpha, beta);
  return {{dnnl::prop_kind::forward_inference, algorithm, desc, alpha, beta}, Attributes(), CpuEngine()};
}

Compiler::Compiler(const Graph& graph, memory::data_type type, std::pmr::memory_resource* memory, Chooser chooser)
    : graph_(graph),
      type_(type),
      int8_(HasInt8()),
      memory_(memory),
      chooser_(chooser),
      producers_(Producers(graph)),
      consumers_(Consumers(graph)),
      is_output_(graph.values.size()) {
  for (ValueId id : graph.outputs) is_output_[static_cast<size_t>(id)] = true;
}

StatusOr<Program> Compiler::Compile() {
  for (size_t i = 0; i < graph_.inputs.size(); ++i) {
    const Value& value = graph_.value(graph_.inputs[i]);
    if (value.dtype != DType::kF32) {
      return Unimplemented("input '", value.name, "' is ", NameOf(value.dtype), ": the engine takes f32 only");
    }
    memory::desc desc = PlainDesc(value.shape, memory::data_type::f32);
    int id = AddBuffer({.region = Region::kInput, .index = static_cast<int>(i), .bytes = desc.get_size()});
    places_[graph_.inputs[i]].push_back({id, 0, desc});
    program_.input_shapes.push_back(value.shape);
  }
  for (size_t i = 0; i < graph_.nodes.size(); ++i) {
    const Node& node = graph_.nodes[i];
    std::string where = Concat(node.op, " '", node.name, "'");
    INFENCLAVE_RETURN_IF_ERROR(CatchOneDnn(where, [&] { return CompileNode(static_cast<int>(i)); }));
  }
  INFENCLAVE_RETURN_IF_ERROR(CatchOneDnn("outputs", [&] { return PlaceOutputs(); }));
  return std::move(program_);
}

Status Compiler::CompileNode(int index) {
  if (done_.contains(index)) return OkStatus();
  const Node& node = graph_.nodes[static_cast<size_t>(index)];
  CompileFunction compile = FindCompileFunction(node);
  if (compile == nullptr) {
    return Unimplemented(node.op, " '", node.name, "': the engine does not compute this operator");
  }
  return compile(*this, node, index);
}

StatusOr<Place> Compiler::InAny(ValueId id) {
  if (auto it = places_.find(id); it != places_.end()) return it->second.front();
  INFENCLAVE_ASSIGN_OR_RETURN(const Tensor* constant, ConstantOf(id));
  const Value& value = graph_.value(id);
  if (constant == nullptr) return Internal("'", value.name, "' is read before it is computed");
  memory::desc desc = PlainDesc(value.shape, memory::data_type::f32);
  return Weight(id, desc, desc);
}

StatusOr<Place> Compiler::In(ValueId id) {
  INFENCLAVE_ASSIGN_OR_RETURN(Place first, InAny(id));
  if (!first.quantized()) return first;
  for (const Place& place : places_[id]) {
    if (!place.quantized()) return place;
  }
  first.desc.data.data_type = dnnl_f32;
  return InAs(id, first.desc);
}

StatusOr<Place> Compiler::InAs(ValueId id, const memory::desc& desc) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Tensor* constant, ConstantOf(id));
  if (constant != nullptr) return Weight(id, desc, PlainDesc(DimsOf(desc), memory::data_type::f32));
  INFENCLAVE_ASSIGN_OR_RETURN(Place first, InAny(id));
  // Integers go to another type by way of f32.
  if (first.quantized() && desc.data_type() != memory::data_type::f32) {
    INFENCLAVE_ASSIGN_OR_RETURN(first, In(id));
  }
  std::vector<Place>& all = places_[id];
  for (const Place& place : all) {
    if (place.quantized()) continue;
    if (place.desc == desc) return place;
    bool same_elements = DimsOf(place.desc) == DimsOf(desc) && place.desc.data_type() == desc.data_type();
    if (same_elements && IsPlain(place.desc) && IsPlain(desc)) return Place{place.buffer, place.offset, desc};
  }
  Place copy = NewPlace(desc);
  Node reorder;
  reorder.op = "Reorder";
  reorder.name = graph_.value(id).name;
  EmitReorder(reorder, first, copy);
  places_[id].push_back(copy);
  return copy;
}

StatusOr<Place> Compiler::InPlain(ValueId id, memory::data_type type) {
  return InAs(id, PlainDesc(graph_.value(id).shape, type));
}

const Place* Compiler::Quantized(ValueId id) {
  if (!int8_) return nullptr;
  auto it = places_.find(id);
  if (it == places_.end() && Producer(id) >= 0) {
    // A DequantizeLinear that stands further on only names a place.
    const int producer = Producer(id);
    const Node& node = graph_.nodes[static_cast<size_t>(producer)];
    if (node.op != "DequantizeLinear" || IsOpaque(node) || !places_.contains(node.inputs[0])) return nullptr;
    if (!CompileDequantize(*this, node, producer).ok()) return nullptr;
    TakeOver(producer);
    it = places_.find(id);
  }
  return it != places_.end() && it->second.front().quantized() ? &it->second.front() : nullptr;
}

Place Compiler::QuantizedAs(ValueId id, const memory::desc& desc) {
  std::vector<Place>& all = places_.at(id);
  for (const Place& place : all) {
    if (!place.quantized()) continue;
    if (place.desc == desc) return place;
    if (IsPlain(place.desc) && IsPlain(desc)) {
      Place same = place;
      same.desc = desc;
      return same;
    }
  }
  const Place first = all.front();
  Place copy = NewPlace(desc);
  copy.scale = first.scale;
  copy.zero = first.zero;
  Node reorder;
  reorder.op = "Reorder";
  reorder.name = graph_.value(id).name;
  EmitReorder(reorder, first, copy);
  all.push_back(copy);
  return copy;
}

bool Compiler::LiesAs(ValueId id, const memory::desc& desc) const {
  auto it = places_.find(id);
  return it == places_.end() || std::any_of(it->second.begin(), it->second.end(),
                                            [&](const Place& p) { return !p.quantized() && p.desc == desc; });
}

Place Compiler::NewPlace(const memory::desc& desc) { return {AddBuffer({.bytes = desc.get_size()}), 0, desc}; }

Place Compiler::SameOrNew(const Node& node, int index, const Place& in) {
  // An output is best written once, straight to the caller's memory.
  const bool is_output = is_output_[static_cast<size_t>(node.outputs[0])];
  return !is_output && MayOverwrite(in, index) ? in : NewPlace(in.desc);
}

Status Compiler::Define(const Node& node, Place place, bool activate) {
  if (activate && node.activation.kind != FusedActivation::Kind::kNone) {
    Node step;
    step.op = "Activation";
    step.name = node.name;
    Emit(step, ActivationPd(node.activation, place.desc), {{DNNL_ARG_SRC, place}, {DNNL_ARG_DST, place}});
  }
  places_[node.outputs[0]].push_back(std::move(place));
  return OkStatus();
}

Status Compiler::DefineOutput(const Node& node, size_t which, Place place) {
  places_[node.outputs[which]].push_back(std::move(place));
  return OkStatus();
}

Status Compiler::DefineReshaped(const Node& node, Place place, bool activate) {
  const Shape& out = graph_.value(node.outputs[0]).shape;
  if (DimsOf(place.desc) != out) {
    if (!IsPlain(place.desc)) {
      Place plain = NewPlace(PlainDesc(DimsOf(place.desc), place.desc.data_type()));
      plain.scale = place.scale;
      plain.zero = place.zero;
      EmitReorder(node, place, plain);
      place = plain;
    }
    place.desc = PlainDesc(out, place.desc.data_type());
  }
  return Define(node, place, activate);
}

StatusOr<Place> Compiler::Weight(ValueId id, const memory::desc& desc, const memory::desc& source_desc, float scale) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Tensor* tensor, WeightOf(id));
  return AddWeight(id, *tensor, desc, source_desc, scale);
}

StatusOr<Place> Compiler::Weight(ValueId id, const memory::desc& desc, Packer packer) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Tensor* tensor, WeightOf(id));
  const Place place = AddWeight(id, *tensor, desc, PlainDesc(tensor->shape(), memory::data_type::f32));
  auto weight = std::find_if(program_.weights.begin(), program_.weights.end(),
                             [&](const PendingWeight& w) { return w.buffer == place.buffer; });
  weight->packer = std::move(packer);
  return place;
}

StatusOr<const Tensor*> Compiler::WeightOf(ValueId id) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Tensor* tensor, ConstantOf(id));
  if (tensor == nullptr) return Unimplemented("'", graph_.value(id).name, "' must be a constant");
  if (tensor->dtype() != DType::kF32) {
    return Unimplemented("constant '", graph_.value(id).name, "' is ", NameOf(tensor->dtype()), ", expected f32");
  }
  return tensor;
}

Place Compiler::AddWeight(ValueId key, const Tensor& tensor, const memory::desc& desc, const memory::desc& source_desc,
                          float scale) {
  INFENCLAVE_CHECK(source_desc.get_size() == tensor.bytes());
  for (const PendingWeight& weight : program_.weights) {
    if (weight.source == &tensor && weight.desc == desc && weight.source_desc == source_desc && weight.scale == scale) {
      return Place{weight.buffer, 0, desc};
    }
  }
  int buffer = AddBuffer({.region = Region::kWeights, .bytes = desc.get_size()});
  program_.weights.push_back({buffer, key, desc, &tensor, source_desc, scale});
  return Place{buffer, 0, desc};
}

Tensor& Compiler::NewTensor(Shape shape) {
  return program_.derived.emplace_back(DType::kF32, std::move(shape), memory_);
}

StatusOr<const Tensor*> Compiler::ConstantOf(ValueId id) {
  if (auto it = graph_.constants.find(id); it != graph_.constants.end()) return it->second.get();
  if (auto it = dequantized_.find(id); it != dequantized_.end()) return it->second;
  if (Producer(id) < 0) return nullptr;
  const Node& node = graph_.nodes[static_cast<size_t>(Producer(id))];
  if (node.op != "DequantizeLinear" || IsOpaque(node) || !graph_.IsConstant(node.inputs[0])) return nullptr;
  INFENCLAVE_ASSIGN_OR_RETURN(Tensor tensor, Dequantize(view(node), memory_));
  program_.derived.push_back(std::move(tensor));
  return dequantized_[id] = &program_.derived.back();
}

void Compiler::Emit(const Node& node, dnnl::primitive primitive, std::string_view implementation,
                    std::vector<Argument> arguments, const memory::desc& scratchpad) {
  if (scratchpad.get_size() > 0) arguments.push_back({DNNL_ARG_SCRATCHPAD, NewPlace(scratchpad)});
  const int step = static_cast<int>(program_.steps.size());
  for (const Argument& argument : arguments) Touch(argument.place.buffer, step);
  program_.steps.push_back({std::move(primitive), nullptr, std::move(arguments)});
  program_.layers.push_back({node.name, node.op, std::string(implementation)});
}

void Compiler::EmitKernel(const Node& node, std::string_view name, Kernel kernel, std::vector<Argument> arguments) {
  Emit(node, dnnl::primitive(), name, std::move(arguments), memory::desc());
  program_.steps.back().kernel = std::move(kernel);
}

void Compiler::EmitReorder(const Node& node, const Place& from, const Place& to) {
  dnnl::primitive_attr attributes = Attributes();
  const bool same = from.scale == to.scale && from.zero == to.zero;
  if (!same) {
    attributes.set_output_scales(0, {(from.quantized() ? from.scale : 1) / (to.quantized() ? to.scale : 1)});
    if (from.zero != 0) attributes.set_zero_points(DNNL_ARG_FROM, 0, {from.zero});
    if (to.zero != 0) attributes.set_zero_points(DNNL_ARG_TO, 0, {to.zero});
  }
  dnnl::reorder::primitive_desc pd(CpuEngine(), from.desc, CpuEngine(), to.desc, attributes);
  Emit(node, pd, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

bool Compiler::MayOverwrite(const Place& place, int node, int except) const {
  const int root = Root(place.buffer);
  if (buffer(root).region != Region::kArena) return false;
  for (const auto& [id, value_places] : places_) {
    bool inside =
        std::any_of(value_places.begin(), value_places.end(), [&](const Place& p) { return Root(p.buffer) == root; });
    if (!inside) continue;
    if (is_output_[static_cast<size_t>(id)]) return false;
    for (int reader : consumers_[static_cast<size_t>(id)]) {
      if (reader > node && reader != except && !done_.contains(reader)) return false;
    }
  }
  return true;
}

int Compiler::OnlyReader(ValueId id) const {
  const std::vector<int>& readers = consumers_[static_cast<size_t>(id)];
  return readers.size() == 1 && !is_output_[static_cast<size_t>(id)] ? readers[0] : -1;
}

bool Compiler::Reads(const Node& node, const Place& place) const {
  return std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId input) {
    auto read = places_.find(input);
    return read != places_.end() && std::any_of(read->second.begin(), read->second.end(),
                                                [&](const Place& p) { return Root(p.buffer) == Root(place.buffer); });
  });
}

bool Compiler::OnlyWindowsRead(const Node& node) const {
  const size_t out = static_cast<size_t>(node.outputs[0]);
  return std::all_of(consumers_[out].begin(), consumers_[out].end(), [&](int reader) {
    const std::string& op = graph_.nodes[static_cast<size_t>(reader)].op;
    return op == "Conv" || op == "MaxPool" || op == "AveragePool" || op == "GlobalAveragePool";
  });
}

std::optional<Residual> Compiler::FindResidual(int index) {
  const Node& node = graph_.nodes[static_cast<size_t>(index)];
  const ValueId out = node.outputs[0];
  const std::vector<int>& readers = consumers_[static_cast<size_t>(out)];
  if (node.activation.kind != FusedActivation::Kind::kNone || is_output_[static_cast<size_t>(out)] ||
      readers.size() != 1) {
    return std::nullopt;
  }
  const Node& add = graph_.nodes[static_cast<size_t>(readers[0])];
  if (add.op != "Add" || !add.domain.empty() || add.inputs[0] == add.inputs[1]) return std::nullopt;
  const ValueId other = add.inputs[0] == out ? add.inputs[1] : add.inputs[0];
  auto it = places_.find(other);
  if (it == places_.end() || graph_.IsConstant(other) || graph_.value(other).shape != graph_.value(out).shape ||
      it->second.front().desc.data_type() != type_) {
    return std::nullopt;
  }
  const Place& place = it->second.front();
  // A convolution cannot write over what it reads.
  if (Reads(node, place)) return std::nullopt;
  if (!MayOverwrite(place, index, readers[0])) return std::nullopt;
  return Residual{readers[0], place};
}

Status Compiler::DefineResidual(const Residual& residual, bool activate) {
  done_.insert(residual.add_node);
  return Define(graph_.nodes[static_cast<size_t>(residual.add_node)], residual.other, activate);
}

void Compiler::Embed(int inner, int outer, size_t offset) {
  INFENCLAVE_CHECK(!IsEmbedded(inner) && inner != outer);
  Buffer& b = program_.buffers[static_cast<size_t>(inner)];
  b.parent = outer;
  b.parent_offset = offset;
  if (b.last >= 0) {
    Touch(outer, b.first);
    Touch(outer, b.last);
  }
}

Status Compiler::PlaceOutputs() {
  for (size_t i = 0; i < graph_.outputs.size(); ++i) {
    const ValueId id = graph_.outputs[i];
    const Value& value = graph_.value(id);
    if (value.dtype != DType::kF32) {
      return Unimplemented("output '", value.name, "' is ", NameOf(value.dtype), ": the engine gives f32 only");
    }
    memory::desc desc = PlainDesc(value.shape, memory::data_type::f32);
    INFENCLAVE_ASSIGN_OR_RETURN(Place place, In(id));
    program_.output_shapes.push_back(value.shape);
    Buffer& made = program_.buffers[static_cast<size_t>(place.buffer)];
    // The caller's memory takes the result directly if one step writes it and none reads it.
    bool direct = made.region == Region::kArena && made.parent < 0 && made.first == made.last && place.offset == 0 &&
                  made.bytes == desc.get_size() && place.desc.data_type() == memory::data_type::f32 &&
                  IsPlain(place.desc);
    if (direct) {
      made.region = Region::kOutput;
      made.index = static_cast<int>(i);
      continue;
    }
    Node copy;
    copy.op = "Output";
    copy.name = value.name;
    int id_out = AddBuffer({.region = Region::kOutput, .index = static_cast<int>(i), .bytes = desc.get_size()});
    EmitReorder(copy, place, {id_out, 0, desc});
  }
  return OkStatus();
}

int Compiler::Root(int id) const {
  while (buffer(id).parent >= 0) id = buffer(id).parent;
  return id;
}

int Compiler::AddBuffer(Buffer buffer) {
  program_.buffers.push_back(buffer);
  return static_cast<int>(program_.buffers.size()) - 1;
}

void Compiler::Touch(int id, int step) {
  for (; id >= 0; id = buffer(id).parent) {
    Buffer& b = program_.buffers[static_cast<size_t>(id)];
    b.first = std::min(b.first, step);
    b.last = std::max(b.last, step);
  }
}

}  // namespace infenclave::engine
