#include "import/onnx_import.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "graph/operators.h"
#include "graph/passes.h"
#include "graph/serialize.h"
#include "import/onnx_tensor.h"
#include "import/onnx_upgrade.h"

namespace infenclave {
namespace {

using onnx::AttributeProto;

// A value whose shape nothing tells: what an opaque node makes and the file does not declare. No tensor flows with it.
const Shape kUnknownShape = {0};

std::string DomainOf(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }

// Names are printed, on terminals that such characters would steer.
bool HasControlCharacter(std::string_view name) {
  return std::ranges::any_of(name, [](unsigned char c) { return c < ' ' || c == 0x7f; });
}

std::string Where(const onnx::NodeProto& node) {
  std::string name = node.name().empty() && node.output_size() > 0 ? node.output(0) : node.name();
  return Concat(node.op_type(), " '", name, "'");
}

// A tensor of one element (ConstantOfShape has one) is that number.
StatusOr<Attribute> ImportTensorAttribute(const AttributeProto& proto, TensorReader& tensors) {
  INFENCLAVE_ASSIGN_OR_RETURN(Tensor tensor, tensors.Read(proto.t()));
  if (tensor.elements() == 1 && tensor.dtype() == DType::kF32) return Attribute(tensor.as<float>()[0]);
  if (tensor.elements() == 1 && tensor.dtype() == DType::kI64) return Attribute(tensor.as<int64_t>()[0]);
  return Unimplemented("attribute '", proto.name(), "' is ", NameOf(tensor.dtype()), ToString(tensor.shape()),
                       ", expected one f32 or i64");
}

StatusOr<Attribute> ImportAttribute(const AttributeProto& proto, TensorReader& tensors) {
  switch (proto.type()) {
    case AttributeProto::INT:
      return Attribute(int64_t{proto.i()});
    case AttributeProto::FLOAT:
      return Attribute(proto.f());
    case AttributeProto::STRING:
      return Attribute(proto.s());
    case AttributeProto::INTS:
      return Attribute(std::vector<int64_t>(proto.ints().begin(), proto.ints().end()));
    case AttributeProto::FLOATS:
      return Attribute(std::vector<float>(proto.floats().begin(), proto.floats().end()));
    case AttributeProto::TENSOR:
      return ImportTensorAttribute(proto, tensors);
    default:
      return Unimplemented("attribute '", proto.name(), "' of this type is not supported");
  }
}

class Importer {
 public:
  Importer(onnx::ModelProto& model, const std::string& folder)
      : model_(model), proto_(*model.mutable_graph()), tensors_(folder, kMaxGraphBytes) {}

  StatusOr<ImportedModel> Run() {
    INFENCLAVE_RETURN_IF_ERROR(ReadOpsets());
    INFENCLAVE_RETURN_IF_ERROR(ReserveNames());
    INFENCLAVE_RETURN_IF_ERROR(AddInitializers());
    INFENCLAVE_RETURN_IF_ERROR(AddInputs());
    ReadDeclaredTypes();
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int> order, TopologicalOrder());
    for (int i : order) {
      const onnx::NodeProto& node = proto_.node(i);
      INFENCLAVE_RETURN_IF_ERROR(AddNode(node));
    }
    INFENCLAVE_RETURN_IF_ERROR(AddOutputs());
    INFENCLAVE_RETURN_IF_ERROR(Validate(graph_));
    ImportedModel result;
    graph_.name = proto_.name().substr(0, kMaxNameBytes);
    result.graph = std::move(graph_);
    for (const auto& entry : model_.metadata_props()) result.metadata[entry.key()] = entry.value();
    result.opaque.assign(opaque_.begin(), opaque_.end());
    return result;
  }

 private:
  Status ReadOpsets() {
    for (const auto& opset : model_.opset_import()) opsets_[DomainOf(opset.domain())] = opset.version();
    auto it = opsets_.find("");
    if (it == opsets_.end()) return InvalidArgument("the model does not say which ONNX opset it uses");
    if (it->second < kOldestOpset || it->second > kNewestOpset) {
      return Unimplemented("the model uses ONNX opset ", it->second, "; ", kOldestOpset, " to ", kNewestOpset,
                           " are supported (convert it with onnx.version_converter)");
    }
    if (static_cast<size_t>(proto_.node_size()) > kMaxGraphNodes) {
      return InvalidArgument("the model has ", proto_.node_size(), " nodes, at most ", kMaxGraphNodes,
                             " are supported");
    }
    if (proto_.sparse_initializer_size() > 0) return Unimplemented("sparse initializers are not supported");
    return OkStatus();
  }

  Status ReserveNames() {
    size_t values = 0;
    auto reserve = [&](const std::string& name) -> Status {
      if (name.size() > kMaxNameBytes) return InvalidArgument("a tensor's name is longer than ", kMaxNameBytes);
      if (HasControlCharacter(name)) return InvalidArgument("a tensor's name holds a control character");
      names_.Reserve(name);
      return ++values <= kMaxGraphValues ? OkStatus() : InvalidArgument("the model has too many tensors");
    };
    for (const auto& tensor : proto_.initializer()) INFENCLAVE_RETURN_IF_ERROR(reserve(tensor.name()));
    for (const auto& input : proto_.input()) INFENCLAVE_RETURN_IF_ERROR(reserve(input.name()));
    for (const auto& node : proto_.node()) {
      for (const auto& name : node.output()) INFENCLAVE_RETURN_IF_ERROR(reserve(name));
      if (HasControlCharacter(node.op_type()) || HasControlCharacter(node.domain())) {
        return InvalidArgument("an operator's name holds a control character");
      }
    }
    return OkStatus();
  }

  StatusOr<ValueId> Define(const std::string& name, DType dtype, Shape shape) {
    if (name.empty()) return InvalidArgument("a tensor has no name");
    ValueId id = static_cast<ValueId>(graph_.values.size());
    if (!ids_.emplace(name, id).second) return InvalidArgument("two tensors are named '", name, "'");
    return graph_.AddValue(name, dtype, std::move(shape));
  }

  Status AddConstant(const std::string& name, const onnx::TensorProto& proto) {
    StatusOr<Tensor> tensor = tensors_.Read(proto);
    if (!tensor.ok()) return Annotate(tensor.status(), Concat("constant '", name, "'"));
    INFENCLAVE_ASSIGN_OR_RETURN(ValueId id, Define(name, tensor->dtype(), tensor->shape()));
    folding_.Widen(tensor->bytes());
    graph_.SetConstant(id, *std::move(tensor));
    return OkStatus();
  }

  Status AddInitializers() {
    for (auto& proto : *proto_.mutable_initializer()) {
      INFENCLAVE_RETURN_IF_ERROR(AddConstant(proto.name(), proto));
      std::string name = proto.name();
      proto.Clear();  // the weights are not held twice
    }
    return OkStatus();
  }

  // Old files list their weights among the inputs.
  Status AddInputs() {
    for (const auto& input : proto_.input()) {
      if (ids_.contains(input.name())) continue;
      const auto& type = input.type().tensor_type();
      std::string where = Concat("input '", input.name(), "'");
      if (!input.type().has_tensor_type() || !type.has_shape()) {
        return InvalidArgument(where, ": has no declared shape; export the model with a fixed one");
      }
      StatusOr<DType> dtype = ImportedDType(type.elem_type());
      if (!dtype.ok()) return Annotate(dtype.status(), where);
      std::optional<Shape> shape = DeclaredShape(type.shape());
      if (!shape) {
        return InvalidArgument(where, ": dimensions other than the first, the batch, must be fixed numbers");
      }
      StatusOr<int64_t> elements = NumElements(*shape);
      if (!elements.ok()) return Annotate(elements.status(), where);
      INFENCLAVE_RETURN_IF_ERROR(AddInput(input.name(), *dtype, *std::move(shape)));
    }
    if (graph_.inputs.empty()) return InvalidArgument("the model has no input");
    return OkStatus();
  }

  // Pictures are [N,3,H,W] everywhere here; a network that wants [N,H,W,3] gets its Transpose at the input.
  static bool IsChannelsLastPicture(const Shape& shape) {
    return shape.size() == 4 && shape[3] == 3 && shape[1] > 4 && shape[2] > 4;
  }

  // A picture in bytes comes as the same numbers in f32, and the Cast behind it does nothing.
  Status AddInput(const std::string& name, DType dtype, Shape shape) {
    if (dtype == DType::kU8 && shape.size() == 4) dtype = DType::kF32;
    if (!IsChannelsLastPicture(shape)) {
      INFENCLAVE_ASSIGN_OR_RETURN(ValueId id, Define(name, dtype, std::move(shape)));
      graph_.inputs.push_back(id);
      return OkStatus();
    }
    graph_.inputs.push_back(graph_.AddValue(name, dtype, {shape[0], shape[3], shape[1], shape[2]}));
    ValueId inner = graph_.AddValue(names_.Fresh(name, "channels_last"), dtype, shape);
    if (!ids_.emplace(name, inner).second) return InvalidArgument("two tensors are named '", name, "'");
    Node transpose{.op = "Transpose", .name = name, .inputs = {graph_.inputs.back()}, .outputs = {inner}};
    transpose.attributes["perm"] = std::vector<int64_t>{0, 2, 3, 1};
    graph_.nodes.push_back(std::move(transpose));
    channels_first_[inner] = graph_.inputs.back();
    return OkStatus();
  }

  // A batch that is symbolic or not given is 1.
  static std::optional<Shape> DeclaredShape(const onnx::TensorShapeProto& proto) {
    Shape shape;
    if (static_cast<size_t>(proto.dim_size()) > kMaxRank) return std::nullopt;
    for (int i = 0; i < proto.dim_size(); ++i) {
      int64_t d = proto.dim(i).dim_value();
      if (d < 0 || (d == 0 && i > 0)) return std::nullopt;
      shape.push_back(d == 0 ? 1 : d);
    }
    return shape;
  }

  void ReadDeclaredTypes() {
    auto read = [&](const onnx::ValueInfoProto& info) {
      const auto& type = info.type().tensor_type();
      if (!info.type().has_tensor_type() || !type.has_shape()) return;
      StatusOr<DType> dtype = ImportedDType(type.elem_type());
      std::optional<Shape> shape = DeclaredShape(type.shape());
      if (dtype.ok() && shape && NumElements(*shape).ok()) declared_[info.name()] = {*dtype, *std::move(shape)};
    };
    for (const auto& info : proto_.value_info()) read(info);
    for (const auto& info : proto_.output()) read(info);
  }

  // ONNX asks for topological order and not every exporter keeps it.
  StatusOr<std::vector<int>> TopologicalOrder() {
    int n = proto_.node_size();
    std::unordered_map<std::string_view, int> producer;
    for (int i = 0; i < n; ++i) {
      for (const auto& name : proto_.node(i).output()) {
        if (!name.empty()) producer.emplace(name, i);
      }
    }
    std::vector<std::vector<int>> readers(static_cast<size_t>(n));
    std::vector<int> missing(static_cast<size_t>(n), 0);
    for (int i = 0; i < n; ++i) {
      for (const auto& name : proto_.node(i).input()) {
        auto it = producer.find(name);
        if (name.empty() || it == producer.end()) continue;
        readers[static_cast<size_t>(it->second)].push_back(i);
        ++missing[static_cast<size_t>(i)];
      }
    }
    std::set<int> ready;  // by position, so that a file in order keeps its order
    for (int i = 0; i < n; ++i) {
      if (missing[static_cast<size_t>(i)] == 0) ready.insert(i);
    }
    std::vector<int> order;
    while (!ready.empty()) {
      int i = *ready.begin();
      ready.erase(ready.begin());
      order.push_back(i);
      for (int reader : readers[static_cast<size_t>(i)]) {
        if (--missing[static_cast<size_t>(reader)] == 0) ready.insert(reader);
      }
    }
    if (order.size() == static_cast<size_t>(n)) return order;
    auto stuck = std::find_if(missing.begin(), missing.end(), [](int m) { return m > 0; });
    return InvalidArgument(Where(proto_.node(static_cast<int>(stuck - missing.begin()))),
                           ": is part of a cycle or reads from one");
  }

  Status AddNode(const onnx::NodeProto& proto) {
    Status status =
        DomainOf(proto.domain()).empty() && proto.op_type() == "Constant" ? AddConstantNode(proto) : AddOperator(proto);
    // Most messages name the node already.
    std::string where = Where(proto);
    if (status.ok() || MessageOf(status).find(where) != std::string::npos) return status;
    return Annotate(status, where);
  }

  Status AddConstantNode(const onnx::NodeProto& proto) {
    if (proto.output_size() != 1 || proto.attribute_size() != 1) {
      return InvalidArgument("needs one output and one attribute");
    }
    const AttributeProto& attribute = proto.attribute(0);
    if (attribute.name() == "value") return AddConstant(proto.output(0), attribute.t());
    Tensor tensor;
    if (attribute.name() == "value_float") {
      tensor = Tensor::FromF32({}, std::array<float, 1>{attribute.f()});
    } else if (attribute.name() == "value_int") {
      tensor = Tensor::FromI64({}, std::array<int64_t, 1>{attribute.i()});
    } else if (attribute.name() == "value_floats") {
      tensor = Tensor::FromF32({attribute.floats_size()},
                               std::span<const float>(attribute.floats().data(), attribute.floats().size()));
    } else if (attribute.name() == "value_ints") {
      tensor = Tensor::FromI64({attribute.ints_size()},
                               std::span<const int64_t>(attribute.ints().data(), attribute.ints().size()));
    } else {
      return Unimplemented("attribute '", attribute.name(), "' is not supported");
    }
    INFENCLAVE_ASSIGN_OR_RETURN(ValueId id, Define(proto.output(0), tensor.dtype(), tensor.shape()));
    graph_.SetConstant(id, std::move(tensor));
    return OkStatus();
  }

  Status AddOperator(const onnx::NodeProto& proto) {
    for (const auto& attribute : proto.attribute()) {
      if (attribute.has_g() || attribute.graphs_size() > 0) {
        return Unimplemented("control flow (attribute '", attribute.name(), "' is a graph) is not supported");
      }
    }
    Node node;
    node.op = proto.op_type();
    node.domain = DomainOf(proto.domain());
    node.name =
        (proto.name().empty() && proto.output_size() > 0 ? proto.output(0) : proto.name()).substr(0, kMaxNameBytes);
    bool shapes_known = true;
    for (const auto& name : proto.input()) {
      if (name.empty()) {
        node.inputs.push_back(kNoValue);
        continue;
      }
      auto it = ids_.find(name);
      if (it == ids_.end()) return InvalidArgument("reads '", name, "', which nothing produces");
      node.inputs.push_back(it->second);
      shapes_known &= graph_.IsConstant(it->second) || graph_.value(it->second).shape != kUnknownShape;
    }
    bool known = FindOperator(node.domain, NewestName(node)) != nullptr;
    if (!known) opaque_.insert(node.domain.empty() ? node.op : Concat(node.domain, ".", node.op));
    if (!known || !shapes_known) return AddOpaque(std::move(node), proto);
    return AddKnown(std::move(node), proto);
  }

  static std::string_view NewestName(const Node& node) {
    return node.domain.empty() && node.op == "Upsample" ? "Resize" : std::string_view(node.op);
  }

  Status AddOpaque(Node node, const onnx::NodeProto& proto) {
    auto opset = opsets_.find(node.domain);
    if (opset == opsets_.end()) return InvalidArgument("the model does not import the domain '", node.domain, "'");
    for (const auto& function : model_.functions()) {
      if (DomainOf(function.domain()) == node.domain && function.name() == node.op) {
        return Unimplemented("functions of the model's own are not supported; export it with functions inlined");
      }
    }
    node.attributes["opset"] = opset->second;
    std::string encoded = proto.SerializeAsString();
    node.opaque.assign(encoded.begin(), encoded.end());
    for (const auto& name : proto.output()) {
      if (name.empty()) {
        node.outputs.push_back(kNoValue);
        continue;
      }
      auto it = declared_.find(name);
      TensorType type = it == declared_.end() ? TensorType{DType::kF32, kUnknownShape} : it->second;
      INFENCLAVE_ASSIGN_OR_RETURN(ValueId id, Define(name, type.dtype, type.shape));
      node.outputs.push_back(id);
    }
    graph_.nodes.push_back(std::move(node));
    return OkStatus();
  }

  Status AddKnown(Node node, const onnx::NodeProto& proto) {
    for (const auto& attribute : proto.attribute()) {
      StatusOr<Attribute> value = ImportAttribute(attribute, tensors_);
      if (!value.ok()) return value.status();
      node.attributes[attribute.name()] = *std::move(value);
    }
    for (const auto& name : proto.output()) {
      if (name.empty()) {
        node.outputs.push_back(kNoValue);
        continue;
      }
      INFENCLAVE_ASSIGN_OR_RETURN(ValueId id, Define(name, DType::kF32, {}));
      node.outputs.push_back(id);
    }
    while (!node.outputs.empty() && node.outputs.back() == kNoValue) node.outputs.pop_back();
    while (!node.inputs.empty() && node.inputs.back() == kNoValue) node.inputs.pop_back();
    if (node.outputs.empty() || node.outputs[0] == kNoValue) return InvalidArgument("has no first output");
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<Node> nodes, UpgradeNode(std::move(node), opsets_.at(""), graph_, names_));
    for (Node& upgraded : nodes) {
      UndoTranspose(upgraded);
      INFENCLAVE_RETURN_IF_ERROR(InferAndAdd(std::move(upgraded)));
    }
    return OkStatus();
  }

  // The model's own Transpose of a picture to channels first gives the input as it is.
  void UndoTranspose(Node& node) {
    auto input = node.inputs.empty() ? channels_first_.end() : channels_first_.find(node.inputs[0]);
    if (node.op != "Transpose" || input == channels_first_.end()) return;
    auto perm = node.attributes.find("perm");
    if (perm == node.attributes.end() || perm->second != Attribute(std::vector<int64_t>{0, 3, 1, 2})) return;
    node.op = "Identity";
    node.attributes.clear();
    node.inputs[0] = input->second;
  }

  // Shapes are inferred, and arithmetic on shapes evaluated, as the graph grows: what an older form means can depend
  // on its input's rank.
  Status InferAndAdd(Node node) {
    NodeView view{graph_, node};
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<TensorType> types, InferNode(view));
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == kNoValue) continue;
      if (i >= types.size()) {
        return Unimplemented("output ", i, " ('", graph_.value(node.outputs[i]).name, "') is not supported");
      }
      graph_.value(node.outputs[i]).dtype = types[i].dtype;
      graph_.value(node.outputs[i]).shape = types[i].shape;
    }
    INFENCLAVE_ASSIGN_OR_RETURN(bool folded, Fold(view));
    if (!folded) graph_.nodes.push_back(std::move(node));
    return OkStatus();
  }

  StatusOr<bool> Fold(const NodeView& view) {
    const Operator* op = OperatorOf(view.node);
    if (op->evaluate == nullptr || view.node.outputs.size() != 1) return false;
    if (!op->shape_only && !std::all_of(view.node.inputs.begin(), view.node.inputs.end(),
                                        [&](ValueId id) { return id == kNoValue || graph_.IsConstant(id); })) {
      return false;
    }
    INFENCLAVE_RETURN_IF_ERROR(folding_.Take(view.out()));
    INFENCLAVE_ASSIGN_OR_RETURN(Tensor tensor, op->evaluate(view));
    graph_.SetConstant(view.node.outputs[0], std::move(tensor));
    return true;
  }

  Status AddOutputs() {
    for (const auto& output : proto_.output()) {
      auto it = ids_.find(output.name());
      if (it == ids_.end()) return InvalidArgument("output '", output.name(), "': nothing produces it");
      graph_.outputs.push_back(it->second);
    }
    return OkStatus();
  }

  onnx::ModelProto& model_;
  onnx::GraphProto& proto_;
  TensorReader tensors_;
  Graph graph_;
  ValueNames names_;
  std::unordered_map<std::string, ValueId> ids_;
  std::map<ValueId, ValueId> channels_first_;  // pictures [N,H,W,C] to the graph's input [N,C,H,W]
  std::unordered_map<std::string, TensorType> declared_;
  std::map<std::string, int64_t, std::less<>> opsets_;
  std::set<std::string> opaque_;
  FoldingBudget folding_{FoldingBudget::kAnyModel};
};

}  // namespace

StatusOr<ImportedModel> GraphFromProto(onnx::ModelProto& proto, const std::string& folder) {
  return Importer(proto, folder).Run();
}

}  // namespace infenclave
