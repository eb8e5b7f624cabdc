#include "graph/serialize.h"

#include <bit>
#include <cstring>
#include <new>

#include "graph/operators.h"

namespace infenclave {
namespace {

static_assert(std::endian::native == std::endian::little, "constants are stored as they lie in memory");

constexpr std::string_view kMagic = "infenclave graph";
constexpr uint16_t kFormatVersion = 1;
constexpr size_t kMaxIds = size_t{1} << 16;          // inputs or outputs of one node
constexpr size_t kMaxListEntries = size_t{1} << 16;  // of one attribute
constexpr uint32_t kAbsent = 0xffffffff;

enum class AttributeType : uint8_t { kInt = 1, kFloat = 2, kText = 3, kInts = 4, kFloats = 5 };

// The declared types are those that the table infers: what Encode asks of its caller and Decode of its input.
Status CheckTypes(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    std::string where = Concat(node.op, " '", node.name, "'");
    const Operator* op = OperatorOf(node);
    if (op == nullptr) return InvalidArgument(where, ": an operator that is not known cannot be stored");
    if (node.activation.kind != FusedActivation::Kind::kNone && !op->fuses) {
      return InvalidArgument(where, ": takes no activation");
    }
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<TensorType> types, InferNode({graph, node}));
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == kNoValue) continue;
      const Value& declared = graph.value(node.outputs[i]);
      if (i >= types.size()) return InvalidArgument(where, ": output ", i, " is not supported");
      if (declared.dtype != types[i].dtype || declared.shape != types[i].shape) {
        return InvalidArgument(where, ": '", declared.name, "' is declared ", NameOf(declared.dtype),
                               ToString(declared.shape), " but is ", NameOf(types[i].dtype), ToString(types[i].shape));
      }
    }
  }
  return OkStatus();
}

Status CheckLimits(const Graph& graph) {
  auto within = [](size_t n, size_t limit, std::string_view what) -> Status {
    return n <= limit ? OkStatus() : InvalidArgument("graph: ", n, " ", what, ", expected at most ", limit);
  };
  INFENCLAVE_RETURN_IF_ERROR(within(graph.nodes.size(), kMaxGraphNodes, "nodes"));
  INFENCLAVE_RETURN_IF_ERROR(within(graph.values.size(), kMaxGraphValues, "values"));
  INFENCLAVE_RETURN_IF_ERROR(within(graph.name.size(), kMaxNameBytes, "bytes in its name"));
  for (const Value& value : graph.values) {
    INFENCLAVE_RETURN_IF_ERROR(within(value.name.size(), kMaxNameBytes, "bytes in a value's name"));
  }
  for (const Node& node : graph.nodes) {
    INFENCLAVE_RETURN_IF_ERROR(within(node.name.size(), kMaxNameBytes, "bytes in a node's name"));
    INFENCLAVE_RETURN_IF_ERROR(within(node.inputs.size(), kMaxIds, "inputs of a node"));
    INFENCLAVE_RETURN_IF_ERROR(within(node.outputs.size(), kMaxIds, "outputs of a node"));
    INFENCLAVE_RETURN_IF_ERROR(within(node.attributes.size(), kMaxAttributes, "attributes of a node"));
    for (const auto& [name, value] : node.attributes) {
      size_t entries = std::visit(
          [](const auto& v) -> size_t {
            if constexpr (requires { v.size(); }) return v.size();
            return 1;
          },
          value);
      INFENCLAVE_RETURN_IF_ERROR(within(entries, kMaxListEntries, "entries of an attribute"));
    }
  }
  return OkStatus();
}

void WriteIds(ByteWriter& w, const std::vector<ValueId>& ids) {
  w.Count(ids.size());
  for (ValueId id : ids) w.U32(id == kNoValue ? kAbsent : static_cast<uint32_t>(id));
}

std::vector<ValueId> ReadIds(ByteReader& r, size_t values) {
  std::vector<ValueId> ids;
  for (size_t n = r.Count(kMaxIds); n > 0 && r.ok(); --n) {
    uint32_t id = r.U32();
    if (id != kAbsent && id >= values) r.Fail(Concat("value ", id, " of ", values));
    ids.push_back(id == kAbsent ? kNoValue : static_cast<ValueId>(id));
  }
  return ids;
}

void WriteAttribute(ByteWriter& w, const Attribute& attribute) {
  if (auto* i = std::get_if<int64_t>(&attribute)) {
    w.U8(static_cast<uint8_t>(AttributeType::kInt));
    w.I64(*i);
  } else if (auto* f = std::get_if<float>(&attribute)) {
    w.U8(static_cast<uint8_t>(AttributeType::kFloat));
    w.F32(*f);
  } else if (auto* text = std::get_if<std::string>(&attribute)) {
    w.U8(static_cast<uint8_t>(AttributeType::kText));
    w.Text(*text);
  } else if (auto* ints = std::get_if<std::vector<int64_t>>(&attribute)) {
    w.U8(static_cast<uint8_t>(AttributeType::kInts));
    w.Count(ints->size());
    for (int64_t entry : *ints) w.I64(entry);
  } else if (auto* floats = std::get_if<std::vector<float>>(&attribute)) {
    w.U8(static_cast<uint8_t>(AttributeType::kFloats));
    w.Count(floats->size());
    for (float entry : *floats) w.F32(entry);
  }
}

Attribute ReadAttribute(ByteReader& r) {
  uint8_t type = r.U8();
  switch (static_cast<AttributeType>(type)) {
    case AttributeType::kInt:
      return r.I64();
    case AttributeType::kFloat:
      return r.F32();
    case AttributeType::kText:
      return r.Text(kMaxListEntries);
    case AttributeType::kInts: {
      std::vector<int64_t> ints;
      for (size_t n = r.Count(kMaxListEntries); n > 0 && r.ok(); --n) ints.push_back(r.I64());
      return ints;
    }
    case AttributeType::kFloats: {
      std::vector<float> floats;
      for (size_t n = r.Count(kMaxListEntries); n > 0 && r.ok(); --n) floats.push_back(r.F32());
      return floats;
    }
  }
  r.Fail(Concat("attribute type ", int{type}));
  return int64_t{0};
}

void WriteValue(ByteWriter& w, const Value& value) {
  w.Text(value.name);
  w.U8(static_cast<uint8_t>(value.dtype));
  w.U8(static_cast<uint8_t>(value.shape.size()));
  for (int64_t dimension : value.shape) w.I64(dimension);
}

Value ReadValue(ByteReader& r) {
  Value value;
  value.name = r.Text(kMaxNameBytes);
  uint8_t dtype = r.U8(), rank = r.U8();
  if (!IsKnownDType(dtype)) r.Fail(Concat("data type ", int{dtype}));
  if (rank > kMaxRank) r.Fail(Concat("rank ", int{rank}));
  if (!r.ok()) return value;
  value.dtype = static_cast<DType>(dtype);
  for (; rank > 0; --rank) value.shape.push_back(r.I64());
  if (Status shape = CheckShape(value.shape); !shape.ok()) r.Fail(MessageOf(shape));
  return value;
}

void WriteNode(ByteWriter& w, const Node& node) {
  w.Text(node.op);
  w.Text(node.name);
  WriteIds(w, node.inputs);
  WriteIds(w, node.outputs);
  w.Count(node.attributes.size());
  for (const auto& [name, attribute] : node.attributes) {
    w.Text(name);
    WriteAttribute(w, attribute);
  }
  w.U8(static_cast<uint8_t>(node.activation.kind));
  w.F32(node.activation.alpha);
  w.F32(node.activation.beta);
}

Node ReadNode(ByteReader& r, size_t values) {
  Node node;
  node.op = r.Text(kMaxNameBytes);
  node.name = r.Text(kMaxNameBytes);
  node.inputs = ReadIds(r, values);
  node.outputs = ReadIds(r, values);
  for (size_t n = r.Count(kMaxAttributes); n > 0 && r.ok(); --n) {
    std::string name = r.Text(kMaxNameBytes);
    if (!node.attributes.empty() && name <= node.attributes.rbegin()->first) r.Fail("attributes out of order");
    node.attributes.emplace(std::move(name), ReadAttribute(r));
  }
  uint8_t kind = r.U8();
  if (kind > static_cast<uint8_t>(FusedActivation::kLast)) r.Fail(Concat("activation ", int{kind}));
  node.activation.kind = static_cast<FusedActivation::Kind>(kind);
  node.activation.alpha = r.F32();
  node.activation.beta = r.F32();
  return node;
}

void ReadConstants(ByteReader& r, Graph& graph, std::pmr::memory_resource* memory) {
  ValueId last = kNoValue;
  for (size_t n = r.Count(graph.values.size()); n > 0 && r.ok(); --n) {
    uint32_t id = r.U32();
    if (id >= graph.values.size()) r.Fail(Concat("constant ", id, " of ", graph.values.size(), " values"));
    if (!r.ok()) return;
    if (static_cast<ValueId>(id) <= last) r.Fail("constants out of order");
    last = static_cast<ValueId>(id);
    const Value& value = graph.value(last);
    ByteSpan data = r.Raw(static_cast<size_t>(*NumElements(value.shape)) * SizeOf(value.dtype));
    if (!r.ok()) return;
    Tensor tensor(value.dtype, value.shape, memory);
    if (!data.empty()) std::memcpy(tensor.data(), data.data(), data.size());
    graph.SetConstant(last, std::move(tensor));
  }
}

StatusOr<Graph> Decode(ByteSpan bytes, std::pmr::memory_resource* memory) {
  ByteReader r(bytes, "graph");
  if (AsText(r.Raw(kMagic.size())) != kMagic) return InvalidArgument("graph: not a stored graph");
  if (uint16_t version = r.U16(); r.ok() && version != kFormatVersion) {
    return Unimplemented("graph: format version ", version, ", expected ", kFormatVersion);
  }
  Graph graph;
  graph.name = r.Text(kMaxNameBytes);
  for (size_t n = r.Count(kMaxGraphValues); n > 0 && r.ok(); --n) graph.values.push_back(ReadValue(r));
  graph.inputs = ReadIds(r, graph.values.size());
  graph.outputs = ReadIds(r, graph.values.size());
  for (size_t n = r.Count(kMaxGraphNodes); n > 0 && r.ok(); --n) {
    graph.nodes.push_back(ReadNode(r, graph.values.size()));
  }
  ReadConstants(r, graph, memory);
  INFENCLAVE_RETURN_IF_ERROR(r.Finish());
  INFENCLAVE_RETURN_IF_ERROR(Validate(graph));
  INFENCLAVE_RETURN_IF_ERROR(CheckTypes(graph));
  return graph;
}

}  // namespace

StatusOr<Bytes> EncodeGraph(const Graph& graph) {
  INFENCLAVE_RETURN_IF_ERROR(Validate(graph));
  INFENCLAVE_RETURN_IF_ERROR(CheckLimits(graph));
  INFENCLAVE_RETURN_IF_ERROR(CheckTypes(graph));
  ByteWriter w;
  w.Raw(AsBytes(kMagic));
  w.U16(kFormatVersion);
  w.Text(graph.name);
  w.Count(graph.values.size());
  for (const Value& value : graph.values) WriteValue(w, value);
  WriteIds(w, graph.inputs);
  WriteIds(w, graph.outputs);
  w.Count(graph.nodes.size());
  for (const Node& node : graph.nodes) WriteNode(w, node);
  w.Count(graph.constants.size());
  size_t total = w.bytes().size();
  for (const auto& [id, tensor] : graph.constants) total += sizeof(uint32_t) + tensor->bytes();
  if (total > kMaxGraphBytes) return InvalidArgument("graph: ", total, " bytes, expected at most ", kMaxGraphBytes);
  for (const auto& [id, tensor] : graph.constants) {
    w.U32(static_cast<uint32_t>(id));
    w.Raw(tensor->raw());
  }
  return w.Take();
}

StatusOr<Graph> DecodeGraph(ByteSpan bytes, std::pmr::memory_resource* memory) {
  if (bytes.size() > kMaxGraphBytes) {
    return InvalidArgument("graph: ", bytes.size(), " bytes, expected at most ", kMaxGraphBytes);
  }
  try {
    return Decode(bytes, memory);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("graph: no room in memory for a graph of ", bytes.size(), " bytes");
  }
}

}  // namespace infenclave
