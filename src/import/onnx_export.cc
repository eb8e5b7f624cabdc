#include <onnx/onnx_pb.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include "graph/operators.h"
#include "import/model.h"
#include "import/onnx_tensor.h"
#include "import/onnx_upgrade.h"

namespace infenclave {
namespace {

using onnx::AttributeProto;

constexpr int64_t kIrVersion = 8;  // of ONNX 1.10: every reader of opset 13 on knows it
constexpr int64_t kLowestOpset = 13;

// The opset since which ONNX has an operator as we write it.
int64_t OpsetOf(const Node& node) {
  static constexpr std::pair<std::string_view, int64_t> kSince[] = {
      {"GroupNormalization", 21}, {"HardSwish", 14}, {"LayerNormalization", 17}};
  for (const auto& [op, opset] : kSince) {
    if (node.op == op) return opset;
  }
  auto has = [&](std::string_view name) { return node.attributes.contains(name); };
  if (node.op == "AveragePool" && has("dilations")) return 19;
  if (node.op == "Resize" && (has("antialias") || has("axes") || has("keep_aspect_ratio_policy"))) return 18;
  if (node.op == "Pad" && node.inputs.size() > 3) return 18;
  if (node.op == "Split" && has("num_outputs")) return 18;
  if (node.op == "Reshape" && has("allowzero")) return 14;
  if (node.op == "Shape" && (has("start") || has("end"))) return 15;
  return kLowestOpset;
}

// Opset 18 moved the axes of these from an attribute to an input.
bool HasAxesAttributeBefore18(std::string_view op) { return op.starts_with("Reduce") && op != "ReduceSum"; }

void SetAttribute(const std::string& name, const Attribute& value, AttributeProto& proto) {
  proto.set_name(name);
  if (const auto* i = std::get_if<int64_t>(&value)) {
    proto.set_type(AttributeProto::INT);
    proto.set_i(*i);
  } else if (const auto* f = std::get_if<float>(&value)) {
    proto.set_type(AttributeProto::FLOAT);
    proto.set_f(*f);
  } else if (const auto* s = std::get_if<std::string>(&value)) {
    proto.set_type(AttributeProto::STRING);
    proto.set_s(*s);
  } else if (const auto* ints = std::get_if<std::vector<int64_t>>(&value)) {
    proto.set_type(AttributeProto::INTS);
    for (int64_t v : *ints) proto.add_ints(v);
  } else {
    proto.set_type(AttributeProto::FLOATS);
    for (float v : std::get<std::vector<float>>(value)) proto.add_floats(v);
  }
}

class Exporter {
 public:
  Exporter(const Graph& graph, const ExportOptions& options) : graph_(graph), options_(options) {}

  StatusOr<Bytes> Run() {
    INFENCLAVE_RETURN_IF_ERROR(ChooseOpsets());
    NameValues();
    proto_.set_name(options_.anonymous || graph_.name.empty() ? "graph" : graph_.name);
    for (ValueId id : graph_.inputs) WriteInfo(id, *proto_.add_input());
    for (const Node& node : graph_.nodes) INFENCLAVE_RETURN_IF_ERROR(WriteNode(node));
    for (ValueId id : graph_.outputs) {
      WriteInfo(id, *proto_.add_output());
      if (graph_.IsConstant(id)) used_constants_.insert(id);
    }
    for (const auto& [id, tensor] : graph_.constants) {
      if (!used_constants_.contains(id)) continue;
      WriteConstant(names_[static_cast<size_t>(id)], *tensor);
    }
    return Encode();
  }

 private:
  Status ChooseOpsets() {
    opset_ = kLowestOpset;
    for (const Node& node : graph_.nodes) {
      if (!IsOpaque(node)) {
        opset_ = std::max(opset_, OpsetOf(node));
        if (node.activation.kind == FusedActivation::Kind::kHardSwish) opset_ = std::max<int64_t>(opset_, 14);
        continue;
      }
      INFENCLAVE_ASSIGN_OR_RETURN(int64_t version, IntAttribute(node, "opset", kLowestOpset));
      if (!node.domain.empty()) {
        domains_[node.domain] = version;
      } else if (version < kLowestOpset && ChangedByOpset13(node.op)) {
        return Unimplemented(node.op, " '", node.name, "' cannot be carried as it is from opset ", version, " to ",
                             kLowestOpset,
                             "; convert the model with onnx.version_converter and run "
                             "onnx.shape_inference on it first");
      } else {
        opset_ = std::max(opset_, version);
      }
    }
    return OkStatus();
  }

  void NameValues() {
    names_.resize(graph_.values.size());
    if (!options_.anonymous) {
      for (size_t i = 0; i < names_.size(); ++i) names_[i] = graph_.values[i].name;
      taken_.insert(names_.begin(), names_.end());
      return;
    }
    auto name = [&](ValueId id) {
      if (id != kNoValue && names_[static_cast<size_t>(id)].empty()) names_[static_cast<size_t>(id)] = Fresh("");
    };
    for (ValueId id : graph_.inputs) name(id);
    for (const Node& node : graph_.nodes) {
      for (ValueId id : node.inputs) name(id);
      for (ValueId id : node.outputs) name(id);
    }
    for (ValueId id : graph_.outputs) name(id);
  }

  std::string Fresh(std::string_view hint) {
    if (options_.anonymous) return Concat("t", next_++);
    std::string name;
    do {
      name = Concat(hint, "/", next_++);
    } while (!taken_.insert(name).second);
    return name;
  }

  const std::string& NameOf(ValueId id) const {
    static const std::string kNone;
    return id == kNoValue ? kNone : names_[static_cast<size_t>(id)];
  }

  int64_t batch() const {
    const Shape& shape = graph_.value(graph_.inputs[0]).shape;
    return shape.empty() ? -1 : shape[0];
  }

  void WriteInfo(ValueId id, onnx::ValueInfoProto& info) {
    const Value& value = graph_.value(id);
    info.set_name(NameOf(id));
    auto* type = info.mutable_type()->mutable_tensor_type();
    type->set_elem_type(OnnxDType(value.dtype));
    auto* shape = type->mutable_shape();
    for (size_t i = 0; i < value.shape.size(); ++i) {
      auto* dim = shape->add_dim();
      if (i == 0 && options_.symbolic_batch && value.shape[0] == batch()) {
        dim->set_dim_param("N");
      } else {
        dim->set_dim_value(value.shape[i]);
      }
    }
  }

  void WriteConstant(const std::string& name, const Tensor& tensor) {
    auto* proto = proto_.add_initializer();
    WriteTensor(tensor, *proto);
    proto->set_name(name);
  }

  std::string AddConstant(std::string_view hint, Tensor tensor) {
    std::string name = Fresh(hint);
    WriteConstant(name, tensor);
    return name;
  }

  Status WriteNode(const Node& node) {
    if (IsOpaque(node)) return WriteOpaque(node);
    if (node.op == "Gelu" || node.op == "Mish") {
      INFENCLAVE_ASSIGN_OR_RETURN(ScalarParameters parameters, ScalarParametersOf({graph_, node}));
      return WriteActivation({OperatorOf(node)->activation, parameters.alpha, parameters.beta}, NameOf(node.inputs[0]),
                             NameOf(node.outputs[0]));
    }
    onnx::NodeProto& proto = *proto_.add_node();
    proto.set_op_type(node.op);
    if (!options_.anonymous) proto.set_name(node.name);
    for (const auto& [name, value] : node.attributes) SetAttribute(name, value, *proto.add_attribute());
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (std::optional<std::string> name = InputName(node, i, proto)) proto.add_input(*name);
    }
    for (ValueId id : node.outputs) proto.add_output(NameOf(id));
    if (node.activation.kind != FusedActivation::Kind::kNone) {
      std::string before = Fresh(NameOf(node.outputs[0]));
      proto.set_output(0, before);
      return WriteActivation(node.activation, before, NameOf(node.outputs[0]));
    }
    return OkStatus();
  }

  // Input i's name; none if this opset has it as an attribute.
  std::optional<std::string> InputName(const Node& node, size_t i, onnx::NodeProto& proto) {
    ValueId id = node.inputs[i];
    if (id == kNoValue || !graph_.IsConstant(id)) return NameOf(id);
    const Tensor& tensor = graph_.constant(id);
    if (i == 1 && opset_ < 18 && HasAxesAttributeBefore18(node.op)) {
      auto* attribute = proto.add_attribute();
      std::span<const int64_t> axes = tensor.as<int64_t>();
      SetAttribute("axes", std::vector<int64_t>(axes.begin(), axes.end()), *attribute);
      return std::nullopt;
    }
    used_constants_.insert(id);
    return NameOf(id);
  }

  onnx::NodeProto& Simple(std::string_view op, std::initializer_list<std::string> inputs, const std::string& output) {
    onnx::NodeProto& proto = *proto_.add_node();
    proto.set_op_type(std::string(op));
    for (const std::string& input : inputs) proto.add_input(input);
    proto.add_output(output);
    return proto;
  }

  // Spelt out, for the operator would ask for opset 20.
  void WriteGelu(bool tanh, const std::string& from, const std::string& to) {
    auto step = [&](std::string_view op, std::initializer_list<std::string> inputs) {
      const std::string out = Fresh(to);
      Simple(op, inputs, out);
      return out;
    };
    auto scalar = [&](float v) { return AddConstant(to, Tensor::FromF32({}, std::array<float, 1>{v})); };
    std::string gate;
    if (tanh) {
      const std::string cube = step("Mul", {step("Mul", {from, from}), from});
      const std::string sum = step("Add", {from, step("Mul", {cube, scalar(0.044715f)})});
      gate = step("Tanh", {step("Mul", {sum, scalar(0.7978845608f)})});
    } else {
      gate = step("Erf", {step("Mul", {from, scalar(0.7071067812f)})});
    }
    Simple("Mul", {step("Mul", {from, scalar(0.5f)}), step("Add", {gate, scalar(1)})}, to);
  }

  Status WriteActivation(const FusedActivation& activation, const std::string& from, const std::string& to) {
    using Kind = FusedActivation::Kind;
    auto scalar = [&](float v) { return AddConstant(to, Tensor::FromF32({}, std::array<float, 1>{v})); };
    switch (activation.kind) {
      case Kind::kNone:
        break;
      case Kind::kRelu:
        Simple("Relu", {from}, to);
        break;
      case Kind::kClip:
        Simple("Clip", {from, scalar(activation.alpha), scalar(activation.beta)}, to);
        break;
      case Kind::kSwish: {
        std::string gate = Fresh(to);
        Simple("Sigmoid", {from}, gate);
        Simple("Mul", {from, gate}, to);
        break;
      }
      case Kind::kSigmoid:
        Simple("Sigmoid", {from}, to);
        break;
      case Kind::kTanh:
        Simple("Tanh", {from}, to);
        break;
      case Kind::kHardSwish:
        Simple("HardSwish", {from}, to);
        break;
      case Kind::kLeakyRelu:
        SetAttribute("alpha", activation.alpha, *Simple("LeakyRelu", {from}, to).add_attribute());
        break;
      case Kind::kGelu:
        WriteGelu(activation.alpha != 0, from, to);
        break;
      case Kind::kMish: {
        const std::string softplus = Fresh(to), gate = Fresh(to);
        Simple("Softplus", {from}, softplus);
        Simple("Tanh", {softplus}, gate);
        Simple("Mul", {from, gate}, to);
        break;
      }
      case Kind::kElu:
        SetAttribute("alpha", activation.alpha, *Simple("Elu", {from}, to).add_attribute());
        break;
    }
    return OkStatus();
  }

  Status WriteOpaque(const Node& node) {
    onnx::NodeProto& proto = *proto_.add_node();
    if (!proto.ParseFromArray(node.opaque.data(), static_cast<int>(node.opaque.size())) ||
        proto.input_size() != static_cast<int>(node.inputs.size()) ||
        proto.output_size() != static_cast<int>(node.outputs.size())) {
      return Internal(node.op, " '", node.name, "': its encoded form does not fit the graph");
    }
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      proto.set_input(static_cast<int>(i), NameOf(node.inputs[i]));
      if (node.inputs[i] != kNoValue && graph_.IsConstant(node.inputs[i])) used_constants_.insert(node.inputs[i]);
    }
    for (size_t i = 0; i < node.outputs.size(); ++i) proto.set_output(static_cast<int>(i), NameOf(node.outputs[i]));
    proto.clear_doc_string();
    if (options_.anonymous) proto.clear_name();
    for (auto& attribute : *proto.mutable_attribute()) {
      attribute.clear_doc_string();
      if (options_.anonymous && attribute.has_t()) attribute.mutable_t()->clear_name();
    }
    return OkStatus();
  }

  StatusOr<Bytes> Encode() {
    onnx::ModelProto model;
    model.set_ir_version(kIrVersion);
    model.set_producer_name("infenclave");
    auto* opset = model.add_opset_import();
    opset->set_domain("");
    opset->set_version(opset_);
    for (const auto& [domain, version] : domains_) {
      opset = model.add_opset_import();
      opset->set_domain(domain);
      opset->set_version(version);
    }
    for (const auto& [key, value] : options_.metadata) {
      if (options_.anonymous) break;
      auto* entry = model.add_metadata_props();
      entry->set_key(key);
      entry->set_value(value);
    }
    *model.mutable_graph() = std::move(proto_);
    size_t size = model.ByteSizeLong();
    if (size > static_cast<size_t>(INT32_MAX)) return ResourceExhausted("the ONNX file would exceed 2 GiB");
    Bytes out(size);
    if (!model.SerializeToArray(out.data(), static_cast<int>(size)))
      return Internal("protobuf cannot encode the model");
    return out;
  }

  const Graph& graph_;
  const ExportOptions& options_;
  onnx::GraphProto proto_;
  int64_t opset_ = kLowestOpset;
  std::map<std::string, int64_t> domains_;
  std::vector<std::string> names_;
  std::set<std::string> taken_;
  std::set<ValueId> used_constants_;
  int64_t next_ = 0;
};

}  // namespace

StatusOr<Bytes> ExportOnnx(const Graph& graph, const ExportOptions& options) {
  INFENCLAVE_RETURN_IF_ERROR(Validate(graph));
  return Exporter(graph, options).Run();
}

}  // namespace infenclave
