#include "import/onnx_upgrade.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "graph/operators.h"

namespace infenclave {
namespace {

using Nodes = std::vector<Node>;

// One operator's upgrade: the node is brought to its newest form in place, or replaced by what goes into `out`.
struct Context {
  Node& node;
  int64_t opset;
  Graph& graph;
  ValueNames& names;
  Nodes& out;

  template <typename... Args>
  Status Refuse(const Args&... why) const {
    return Unimplemented(node.op, " '", node.name, "' (opset ", opset, "): ", Concat(why...));
  }
  bool Has(size_t i) const { return i < node.inputs.size() && node.inputs[i] != kNoValue; }
  const Shape& shape(size_t i) const { return graph.value(node.inputs[i]).shape; }

  std::string FreshName(std::string_view what) const { return names.Fresh(graph.value(node.outputs[0]).name, what); }
  void SetInput(size_t i, std::string_view what, Tensor tensor) {
    if (node.inputs.size() <= i) node.inputs.resize(i + 1, kNoValue);
    node.inputs[i] = graph.AddConstant(FreshName(what), std::move(tensor));
  }
  void SetInts(size_t i, std::string_view what, const std::vector<int64_t>& values) {
    SetInput(i, what, Tensor::FromI64({static_cast<int64_t>(values.size())}, values));
  }
};

// Moves the attribute's value into `value`; false if the node has none of that name.
template <typename T>
StatusOr<bool> Take(Node& node, std::string_view name, T& value) {
  auto it = node.attributes.find(name);
  if (it == node.attributes.end()) return false;
  T* typed = std::get_if<T>(&it->second);
  if (typed == nullptr) {
    return InvalidArgument(node.op, " '", node.name, "': attribute '", name, "' has another type than the operator's");
  }
  value = std::move(*typed);
  node.attributes.erase(it);
  return true;
}

// The attribute becomes input i as a list of integers.
Status IntsToInput(Context& c, std::string_view attribute, size_t i) {
  std::vector<int64_t> values;
  INFENCLAVE_ASSIGN_OR_RETURN(bool found, Take(c.node, attribute, values));
  if (found) c.SetInts(i, attribute, values);
  return OkStatus();
}

Status FloatToInput(Context& c, std::string_view attribute, size_t i) {
  float value = 0;
  INFENCLAVE_ASSIGN_OR_RETURN(bool found, Take(c.node, attribute, value));
  if (found) c.SetInput(i, attribute, Tensor::FromF32({}, std::array<float, 1>{value}));
  return OkStatus();
}

Status UpgradeClip(Context& c) {
  if (c.opset >= 11) return OkStatus();
  INFENCLAVE_RETURN_IF_ERROR(FloatToInput(c, "min", 1));
  return FloatToInput(c, "max", 2);
}

// Inference only: the input itself. Newer forms say "training" in input 2, older ones not at all.
Status UpgradeDropout(Context& c) {
  if (c.Has(2)) {
    const Tensor* training = c.graph.IsConstant(c.node.inputs[2]) ? &c.graph.constant(c.node.inputs[2]) : nullptr;
    if (training == nullptr || training->dtype() != DType::kBool || training->elements() != 1 ||
        training->as<uint8_t>()[0] != 0) {
      return c.Refuse("training_mode must be a constant false");
    }
  }
  c.node.op = "Identity";
  c.node.attributes.clear();
  c.node.inputs.resize(1);
  c.node.outputs.resize(1);
  return OkStatus();
}

Status UpgradeBatchNormalization(Context& c) {
  int64_t training = 0, spatial = 1;
  INFENCLAVE_RETURN_IF_ERROR(Take(c.node, "training_mode", training).status());
  INFENCLAVE_RETURN_IF_ERROR(Take(c.node, "spatial", spatial).status());
  if (training != 0 || c.node.outputs.size() > 1) return c.Refuse("training is not supported");
  if (spatial != 1) return c.Refuse("attribute 'spatial' must be 1");
  c.node.attributes.erase("momentum");
  return OkStatus();
}

Status UpgradeAxes(Context& c) { return IntsToInput(c, "axes", 1); }
Status UpgradeSplit(Context& c) { return IntsToInput(c, "split", 1); }

Status UpgradePad(Context& c) {
  if (c.opset >= 11) return OkStatus();
  INFENCLAVE_RETURN_IF_ERROR(IntsToInput(c, "pads", 1));
  return FloatToInput(c, "value", 2);
}

Status UpgradeSlice(Context& c) {
  if (c.opset >= 10) return OkStatus();
  INFENCLAVE_RETURN_IF_ERROR(IntsToInput(c, "starts", 1));
  INFENCLAVE_RETURN_IF_ERROR(IntsToInput(c, "ends", 2));
  return IntsToInput(c, "axes", 3);
}

// Sizes spell out the batch size; scales leave it free. The smallest scale at or above the ratio whose product with the
// input, rounded down, is the size.
Status SizesToScales(Context& c) {
  if (!c.Has(3) || !c.graph.IsConstant(c.node.inputs[3]) || c.node.attributes.contains("axes")) return OkStatus();
  const Tensor& sizes = c.graph.constant(c.node.inputs[3]);
  const Shape& in = c.shape(0);
  if (sizes.dtype() != DType::kI64 || sizes.shape() != Shape{static_cast<int64_t>(in.size())}) return OkStatus();
  std::vector<float> scales;
  for (size_t i = 0; i < in.size(); ++i) {
    const int64_t size = i == 0 && in[0] == 1 ? 1 : sizes.as<int64_t>()[i];
    if (in[i] < 1 || size < 1 || size > (1 << 24)) return OkStatus();
    float scale = static_cast<float>(size) / static_cast<float>(in[i]);
    while (static_cast<int64_t>(static_cast<float>(in[i]) * scale) < size) scale = std::nextafter(scale, 2 * scale);
    scales.push_back(scale);
  }
  c.SetInput(2, "scales", Tensor::FromF32({static_cast<int64_t>(scales.size())}, scales));
  c.node.inputs.resize(3);
  return OkStatus();
}

// Upsample, and Resize of opset 10, are today's Resize with coordinates that are divided by the scale and rounded down.
Status UpgradeResize(Context& c) {
  if (c.node.op == "Resize" && c.opset >= 11) return SizesToScales(c);
  std::vector<float> scales;
  INFENCLAVE_ASSIGN_OR_RETURN(bool found, Take(c.node, "scales", scales));
  if (found) {
    c.SetInput(2, "scales", Tensor::FromF32({static_cast<int64_t>(scales.size())}, scales));
  } else {
    if (!c.Has(1)) return c.Refuse("has no scales");
    c.node.inputs = {c.node.inputs[0], kNoValue, c.node.inputs[1]};
  }
  c.node.op = "Resize";
  c.node.attributes["coordinate_transformation_mode"] = std::string("asymmetric");
  c.node.attributes["nearest_mode"] = std::string("floor");
  return OkStatus();
}

Node MakeReshape(Context& c, ValueId from, ValueId to, std::string_view what, const std::vector<int64_t>& shape) {
  Node node;
  node.op = "Reshape";
  node.name = Concat(c.node.name, "/", what);
  ValueId target = c.graph.AddConstant(c.FreshName(what), Tensor::FromI64({static_cast<int64_t>(shape.size())}, shape));
  node.inputs = {from, target};
  node.outputs = {to};
  return node;
}

// Before opset 13 Softmax worked on a matrix: all dimensions from `axis` on were one. Where at most one of them is
// larger than 1 that is today's Softmax over that one; else the matrix is made.
Status UpgradeSoftmax(Context& c) {
  if (c.opset >= 13) return OkStatus();
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, IntAttribute(c.node, "axis", 1));
  const Shape shape = c.shape(0);
  int64_t rank = static_cast<int64_t>(shape.size());
  if (axis < -rank || axis > rank) return c.Refuse("axis ", axis, " of a tensor of rank ", rank);
  if (axis < 0) axis += rank;
  std::vector<int64_t> wide;
  for (int64_t i = axis; i < rank; ++i) {
    if (shape[static_cast<size_t>(i)] != 1) wide.push_back(i);
  }
  if (rank > 0 && axis < rank && wide.size() <= 1) {
    c.node.attributes["axis"] = wide.empty() ? axis : wide[0];
    return OkStatus();
  }
  // A zero copies the dimension, so that the batch size stays free.
  std::vector<int64_t> matrix(static_cast<size_t>(axis), 0), back(static_cast<size_t>(axis), 0);
  matrix.push_back(-1);
  back.insert(back.end(), shape.begin() + axis, shape.end());
  ValueId flat = c.graph.AddValue(c.FreshName("matrix"), DType::kF32, {});
  c.out.push_back(MakeReshape(c, c.node.inputs[0], flat, "to_matrix", matrix));
  ValueId soft = c.graph.AddValue(c.FreshName("softmax"), DType::kF32, {});
  Node softmax = c.node;
  softmax.inputs = {flat};
  softmax.outputs = {soft};
  softmax.attributes["axis"] = int64_t{-1};
  c.out.push_back(std::move(softmax));
  c.out.push_back(MakeReshape(c, soft, c.node.outputs[0], "from_matrix", back));
  return OkStatus();
}

// An exponent may be an integer; the graph computes in f32.
Status UpgradePow(Context& c) {
  if (!c.Has(1) || !c.graph.IsConstant(c.node.inputs[1])) return OkStatus();
  const Tensor& exponent = c.graph.constant(c.node.inputs[1]);
  if (c.graph.value(c.node.inputs[0]).dtype != DType::kF32 || exponent.dtype() == DType::kF32) return OkStatus();
  c.SetInput(1, "exponent", ToF32(exponent.view()));
  return OkStatus();
}

// Newer attributes that say that nothing new is used go; a type that stands in an attribute becomes a zero point of it.
Status UpgradeQuantize(Context& c) {
  constexpr int64_t kUint8 = 2, kInt8 = 3;  // ONNX's numbers
  int64_t block_size = 0, output_dtype = 0;
  INFENCLAVE_RETURN_IF_ERROR(Take(c.node, "block_size", block_size).status());
  INFENCLAVE_RETURN_IF_ERROR(Take(c.node, "output_dtype", output_dtype).status());
  c.node.attributes.erase("saturate");  // of 8-bit floats
  if (block_size != 0) return c.Refuse("scales per block of ", block_size, " are not supported");
  if (c.node.op != "QuantizeLinear" || output_dtype == 0 || c.Has(2)) return OkStatus();
  if (output_dtype != kUint8 && output_dtype != kInt8)
    return c.Refuse("output_dtype ", output_dtype, " is not supported");
  c.SetInput(2, "zero_point", Tensor(output_dtype == kInt8 ? DType::kI8 : DType::kU8, c.shape(1)));
  return OkStatus();
}

struct Rule {
  std::string_view op;
  Status (*upgrade)(Context&);
};
constexpr Rule kRules[] = {
    {"BatchNormalization", UpgradeBatchNormalization},
    {"Clip", UpgradeClip},
    {"DequantizeLinear", UpgradeQuantize},
    {"Dropout", UpgradeDropout},
    {"LogSoftmax", UpgradeSoftmax},
    {"Pad", UpgradePad},
    {"Pow", UpgradePow},
    {"QuantizeLinear", UpgradeQuantize},
    {"ReduceL1", UpgradeAxes},
    {"ReduceL2", UpgradeAxes},
    {"ReduceLogSum", UpgradeAxes},
    {"ReduceLogSumExp", UpgradeAxes},
    {"ReduceMax", UpgradeAxes},
    {"ReduceMean", UpgradeAxes},
    {"ReduceMin", UpgradeAxes},
    {"ReduceProd", UpgradeAxes},
    {"ReduceSum", UpgradeAxes},
    {"ReduceSumSquare", UpgradeAxes},
    {"Resize", UpgradeResize},
    {"Slice", UpgradeSlice},
    {"Softmax", UpgradeSoftmax},
    {"Split", UpgradeSplit},
    {"Squeeze", UpgradeAxes},
    {"Unsqueeze", UpgradeAxes},
    {"Upsample", UpgradeResize},
};

}  // namespace

std::string ValueNames::Fresh(std::string_view of, std::string_view what) {
  std::string base = Concat(of.substr(0, 256), "/", what);
  std::string name = base;
  for (int i = 1; !used_.insert(name).second; ++i) name = Concat(base, i);
  return name;
}

bool ChangedByOpset13(std::string_view op) {
  static constexpr std::string_view kOthers[] = {"Hardmax", "NonMaxSuppression", "OneHot", "Scatter", "TopK"};
  return std::any_of(std::begin(kRules), std::end(kRules), [&](const Rule& rule) { return rule.op == op; }) ||
         std::find(std::begin(kOthers), std::end(kOthers), op) != std::end(kOthers);
}

StatusOr<std::vector<Node>> UpgradeNode(Node node, int64_t opset, Graph& graph, ValueNames& names) {
  Nodes out;
  for (const Rule& rule : kRules) {
    if (rule.op != node.op) continue;
    Context context{node, opset, graph, names, out};
    INFENCLAVE_RETURN_IF_ERROR(rule.upgrade(context));
  }
  if (out.empty()) out.push_back(std::move(node));
  return out;
}

}  // namespace infenclave
