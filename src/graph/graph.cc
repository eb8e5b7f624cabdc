#include "graph/graph.h"

#include <algorithm>
#include <unordered_set>

namespace infenclave {
namespace {

template <typename T>
StatusOr<T> AttributeOr(const Node& node, std::string_view name, T otherwise, std::string_view expected) {
  auto it = node.attributes.find(name);
  if (it == node.attributes.end()) return otherwise;
  if (const T* value = std::get_if<T>(&it->second)) return *value;
  return InvalidArgument(node.op, " '", node.name, "': attribute '", name, "' is not ", expected);
}

bool InRange(const Graph& graph, ValueId id) { return id >= 0 && static_cast<size_t>(id) < graph.values.size(); }

Status ValidateValues(const Graph& graph) {
  std::unordered_set<std::string_view> names;
  for (const Value& value : graph.values) {
    if (value.name.empty()) return InvalidArgument("graph: a value has no name");
    if (!names.insert(value.name).second) return InvalidArgument("graph: two values are named '", value.name, "'");
    Status shape = CheckShape(value.shape);
    if (!shape.ok()) return Annotate(shape, Concat("value '", value.name, "'"));
  }
  for (const auto& [id, tensor] : graph.constants) {
    if (!InRange(graph, id)) return InvalidArgument("graph: a constant has the unknown value ", id);
    const Value& value = graph.value(id);
    if (tensor->dtype() != value.dtype || tensor->shape() != value.shape) {
      return InvalidArgument("constant '", value.name, "' is ", NameOf(tensor->dtype()), ToString(tensor->shape()),
                             " but declared ", NameOf(value.dtype), ToString(value.shape));
    }
  }
  return OkStatus();
}

// Marks what each value's origin is on the way, so that a second origin and a read before it are found.
Status ValidateFlow(const Graph& graph) {
  std::vector<bool> defined(graph.values.size());
  auto define = [&](ValueId id, std::string_view by) -> Status {
    if (!InRange(graph, id)) return InvalidArgument(by, ": unknown value ", id);
    if (defined[static_cast<size_t>(id)]) {
      return InvalidArgument(by, ": '", graph.value(id).name, "' has a second origin");
    }
    defined[static_cast<size_t>(id)] = true;
    return OkStatus();
  };
  for (const auto& [id, tensor] : graph.constants) INFENCLAVE_RETURN_IF_ERROR(define(id, "constants"));
  for (ValueId id : graph.inputs) INFENCLAVE_RETURN_IF_ERROR(define(id, "graph inputs"));
  for (const Node& node : graph.nodes) {
    std::string where = Concat(node.op, " '", node.name, "'");
    for (ValueId id : node.inputs) {
      if (id == kNoValue) continue;
      if (!InRange(graph, id)) return InvalidArgument(where, ": unknown value ", id);
      if (!defined[static_cast<size_t>(id)]) {
        return InvalidArgument(where, ": reads '", graph.value(id).name, "' before anything produces it");
      }
    }
    bool produces = false;
    for (ValueId id : node.outputs) {
      if (id == kNoValue) continue;
      produces = true;
      INFENCLAVE_RETURN_IF_ERROR(define(id, where));
    }
    if (!produces) return InvalidArgument(where, ": produces nothing");
  }
  if (graph.outputs.empty()) return InvalidArgument("graph: no outputs");
  for (ValueId id : graph.outputs) {
    if (!InRange(graph, id)) return InvalidArgument("graph outputs: unknown value ", id);
    if (!defined[static_cast<size_t>(id)]) {
      return InvalidArgument("graph outputs: nothing produces '", graph.value(id).name, "'");
    }
  }
  return OkStatus();
}

}  // namespace

Graph Graph::Clone() const {
  Graph out;
  out.name = name;
  out.values = values;
  out.nodes = nodes;
  out.constants = constants;
  out.inputs = inputs;
  out.outputs = outputs;
  return out;
}

ValueId Graph::AddValue(std::string value_name, DType dtype, Shape shape) {
  values.push_back({std::move(value_name), dtype, std::move(shape)});
  return static_cast<ValueId>(values.size() - 1);
}

ValueId Graph::AddConstant(std::string value_name, Tensor tensor) {
  ValueId id = AddValue(std::move(value_name), tensor.dtype(), tensor.shape());
  SetConstant(id, std::move(tensor));
  return id;
}

void Graph::SetConstant(ValueId id, Tensor tensor) {
  INFENCLAVE_CHECK(constants.emplace(id, std::make_shared<const Tensor>(std::move(tensor))).second);
}

size_t Graph::ConstantBytes() const {
  size_t bytes = 0;
  for (const auto& [id, tensor] : constants) bytes += tensor->bytes();
  return bytes;
}

ValueId Graph::Find(std::string_view value_name) const {
  auto it = std::find_if(values.begin(), values.end(), [&](const Value& v) { return v.name == value_name; });
  return it == values.end() ? kNoValue : static_cast<ValueId>(it - values.begin());
}

StatusOr<int64_t> IntAttribute(const Node& node, std::string_view name, int64_t otherwise) {
  return AttributeOr<int64_t>(node, name, otherwise, "an integer");
}
StatusOr<float> FloatAttribute(const Node& node, std::string_view name, float otherwise) {
  return AttributeOr<float>(node, name, otherwise, "a float");
}
StatusOr<std::string> StringAttribute(const Node& node, std::string_view name, std::string_view otherwise) {
  return AttributeOr<std::string>(node, name, std::string(otherwise), "a string");
}
StatusOr<std::vector<int64_t>> IntsAttribute(const Node& node, std::string_view name, std::vector<int64_t> otherwise) {
  return AttributeOr<std::vector<int64_t>>(node, name, std::move(otherwise), "a list of integers");
}

std::vector<int> Producers(const Graph& graph) {
  std::vector<int> out(graph.values.size(), -1);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (ValueId id : graph.nodes[n].outputs) {
      if (id != kNoValue) out[static_cast<size_t>(id)] = static_cast<int>(n);
    }
  }
  return out;
}

std::vector<std::vector<int>> Consumers(const Graph& graph) {
  std::vector<std::vector<int>> out(graph.values.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (ValueId id : graph.nodes[n].inputs) {
      if (id == kNoValue) continue;
      std::vector<int>& readers = out[static_cast<size_t>(id)];
      if (readers.empty() || readers.back() != static_cast<int>(n)) readers.push_back(static_cast<int>(n));
    }
  }
  return out;
}

Status CheckShape(const Shape& shape) {
  if (shape.size() > kMaxRank) return InvalidArgument("rank ", shape.size(), " exceeds ", kMaxRank);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t elements, NumElements(shape));
  if (elements > kMaxValueElements) return InvalidArgument("shape ", ToString(shape), " has more than 2^31 elements");
  return OkStatus();
}

Status Validate(const Graph& graph) {
  INFENCLAVE_RETURN_IF_ERROR(ValidateValues(graph));
  return ValidateFlow(graph);
}

}  // namespace infenclave
