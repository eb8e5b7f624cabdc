// The ONNX project's own node tests (Debian's libonnx-testdata, opset 17 at most; INFENCLAVE_ONNX_NODES may name the
// node folder of a newer package), for every operator of the table: import, compile, run, compare with the outputs that
// come with them.
//
// A node test gives weights as inputs; a classifier has them as constants, and that is what the engine compiles. So all
// inputs but the first of type f32 become initializers before import. What is refused must be on the list below, with
// the reason that the import or the engine gives.
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "base/file.h"
#include "engine/compiled_network.h"
#include "graph/operators.h"
#include "import/model.h"
#include "import/onnx_tensor.h"

namespace infenclave {
namespace {

namespace fs = std::filesystem;

constexpr double kRelative = 1e-3, kAbsolute = 1e-5;

// Refusals that the operator table's documentation names: a test whose name starts with `prefix` (a test is known by
// its longest entry) fails with a message that contains `reason`.
struct Refusal {
  std::string_view prefix, reason;
};
#include "onnx_node_refusals.inc"

std::string Folder() {
  const char* named = std::getenv("INFENCLAVE_ONNX_NODES");
  return named != nullptr ? named : "/usr/share/libonnx-testdata/data/node";
}

struct Case {
  std::string name;
  onnx::ModelProto model;
  std::vector<Tensor> inputs;   // that the graph still has
  std::vector<Tensor> outputs;  // expected
};

// Older packages store bfloat16 as the integer of its bits.
StatusOr<onnx::TensorProto> ReadProto(const fs::path& path, const onnx::ValueInfoProto& declared) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes bytes, ReadFile(path, 64 << 20));
  onnx::TensorProto proto;
  if (!proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return InvalidArgument(path, ": no tensor");
  const int type = declared.type().tensor_type().elem_type();
  if (type == onnx::TensorProto::BFLOAT16 && proto.data_type() == onnx::TensorProto::UINT16) proto.set_data_type(type);
  return proto;
}

StatusOr<Tensor> ReadTensor(const onnx::TensorProto& proto) { return TensorReader("", 64 << 20).Read(proto); }

// Inputs other than the first f32 one become initializers.
StatusOr<Case> Load(const fs::path& folder) {
  Case c;
  c.name = folder.filename();
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes bytes, ReadFile(folder / "model.onnx", 64 << 20));
  if (!c.model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return InvalidArgument("no model");
  fs::path data = folder / "test_data_set_0";
  onnx::GraphProto& graph = *c.model.mutable_graph();
  onnx::GraphProto kept = graph;
  kept.clear_input();
  bool have_data = false;
  for (int i = 0; i < graph.input_size(); ++i) {
    INFENCLAVE_ASSIGN_OR_RETURN(onnx::TensorProto proto, ReadProto(data / Concat("input_", i, ".pb"), graph.input(i)));
    // Pad's cases are of integers, which move as floats do.
    if (c.model.graph().node(0).op_type() == "Pad" && i == 0 && proto.data_type() == onnx::TensorProto::INT32) {
      INFENCLAVE_ASSIGN_OR_RETURN(Tensor integers, ReadTensor(proto));
      proto.Clear();
      WriteTensor(ToF32(integers.view()), proto);
      for (auto* value : {graph.mutable_input(0), kept.mutable_output(0)}) {
        value->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
      }
    }
    // What is quantised at import is a constant; what the engine quantises is tested against ONNX Runtime.
    const bool quantizes =
        graph.node(0).op_type().ends_with("quantizeLinear") || graph.node(0).op_type().ends_with("QuantizeLinear");
    if (!have_data && !quantizes && proto.data_type() == onnx::TensorProto::FLOAT) {
      have_data = true;
      *kept.add_input() = graph.input(i);
      INFENCLAVE_ASSIGN_OR_RETURN(Tensor tensor, ReadTensor(proto));
      c.inputs.push_back(std::move(tensor));
    } else {
      proto.set_name(graph.input(i).name());
      *kept.add_initializer() = proto;
    }
  }
  if (graph.node(0).op_type() == "LayerNormalization") {
    // Mean and deviation are for training.
    auto* outputs = kept.mutable_node(0)->mutable_output();
    outputs->DeleteSubrange(1, outputs->size() - 1);
    kept.mutable_output()->DeleteSubrange(1, kept.output_size() - 1);
  }
  for (int i = 0; i < kept.output_size(); ++i) {
    INFENCLAVE_ASSIGN_OR_RETURN(onnx::TensorProto proto,
                                ReadProto(data / Concat("output_", i, ".pb"), graph.output(i)));
    INFENCLAVE_ASSIGN_OR_RETURN(Tensor tensor, ReadTensor(proto));
    c.outputs.push_back(std::move(tensor));
  }
  if (!have_data) {
    // A network has an input, even if nothing reads it.
    onnx::ValueInfoProto& unused = *kept.add_input();
    unused.set_name("unused");
    unused.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
    unused.mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(1);
    c.inputs.emplace_back(DType::kF32, Shape{1});
  }
  graph = std::move(kept);
  // A case names the opset that brought its form of the operator. That form holds in opset 7, the first that import
  // reads; opsets 22 and 23 brought our operators no more than element types.
  for (onnx::OperatorSetIdProto& opset : *c.model.mutable_opset_import()) {
    if (opset.domain().empty()) opset.set_version(std::clamp<int64_t>(opset.version(), 7, 21));
  }
  return c;
}

// `relative`: results that the model narrows to half precision stay f32 here.
Status Compare(const Tensor& got, const Tensor& want, int64_t index, double relative) {
  if (got.shape() != want.shape()) {
    return Internal("output ", index, " is ", ToString(got.shape()), ", expected ", ToString(want.shape()));
  }
  Tensor a = ToF32(got.view()), b = ToF32(want.view());
  for (size_t i = 0; i < a.as<float>().size(); ++i) {
    double x = a.as<float>()[i], y = b.as<float>()[i];
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    if (!(std::abs(x - y) <= kAbsolute + relative * std::abs(y))) {
      return Internal("output ", index, " at ", i, " is ", x, ", expected ", y);
    }
  }
  return OkStatus();
}

double ToleranceOf(const Case& c, size_t output) {
  const int type = c.model.graph().output(static_cast<int>(output)).type().tensor_type().elem_type();
  return type == onnx::TensorProto::BFLOAT16 ? 0x1p-7 : kRelative;
}

Status RunCase(const Case& c) {
  std::string bytes = c.model.SerializeAsString();
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportOnnx(AsBytes(bytes), ""));
  if (!model.opaque.empty()) return Unimplemented("operator ", model.opaque[0], " is opaque");
  Graph& graph = model.graph;
  // What folded to a constant needs no engine.
  std::vector<ValueId> computed;
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    if (auto it = graph.constants.find(graph.outputs[i]); it != graph.constants.end()) {
      INFENCLAVE_RETURN_IF_ERROR(Compare(*it->second, c.outputs[i], static_cast<int64_t>(i), ToleranceOf(c, i)));
    } else {
      computed.push_back(graph.outputs[i]);
    }
  }
  if (computed.empty()) return OkStatus();
  std::vector<ValueId> all = std::exchange(graph.outputs, computed);
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(graph, {}));
  std::vector<TensorView> inputs;
  for (const Tensor& t : c.inputs) inputs.push_back(t.view());
  std::vector<Tensor> results;
  std::vector<MutableTensorView> outputs;
  for (const Shape& shape : network.output_shapes()) results.emplace_back(DType::kF32, shape);
  for (Tensor& t : results) outputs.push_back(t.mutable_view());
  INFENCLAVE_RETURN_IF_ERROR(network.Run(inputs, outputs));
  for (size_t i = 0; i < results.size(); ++i) {
    const size_t position = static_cast<size_t>(std::find(all.begin(), all.end(), computed[i]) - all.begin());
    INFENCLAVE_RETURN_IF_ERROR(
        Compare(results[i], c.outputs[position], static_cast<int64_t>(position), ToleranceOf(c, position)));
  }
  return OkStatus();
}

const Refusal* FindRefusal(const std::string& name) {
  const Refusal* best = nullptr;
  for (const Refusal& r : kRefusals) {
    if (name.starts_with(r.prefix) && (best == nullptr || r.prefix.size() > best->prefix.size())) best = &r;
  }
  return best;
}

TEST(OnnxNodes, EveryCaseOfEveryOperatorOfTheTableAgreesOrIsRefusedForTheReasonNamed) {
  if (!fs::is_directory(Folder())) GTEST_SKIP() << "SKIPPED: no node tests at " << Folder();
  struct Count {
    int passed = 0, refused = 0;
  };
  std::map<std::string, Count> counts;
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(Folder())) names.insert(entry.path());
  for (const std::string& path : names) {
    StatusOr<Case> c = Load(path);
    if (!c.ok()) continue;  // sequences, optionals, strings: no tensors, so no operator of ours
    const auto& nodes = c->model.graph().node();
    bool ours = std::all_of(nodes.begin(), nodes.end(), [](const onnx::NodeProto& node) {
      return node.domain().empty() && (FindOperator("", node.op_type()) != nullptr || node.op_type() == "Constant");
    });
    if (!ours || nodes.empty()) continue;
    std::string op = nodes.size() == 1 ? nodes[0].op_type() : "(several)";
    Status status = RunCase(*c);
    const Refusal* refusal = FindRefusal(c->name);
    if (status.ok()) {
      ++counts[op].passed;
      continue;
    }
    ++counts[op].refused;
    if (refusal == nullptr) {
      ADD_FAILURE() << c->name << " (" << op << "): " << status;
    } else if (MessageOf(status).find(refusal->reason) == std::string::npos) {
      ADD_FAILURE() << c->name << " (" << op << "): " << status << ", expected '" << refusal->reason << "'";
    }
  }
  int passed = 0, refused = 0;
  for (const auto& [op, count] : counts) {
    std::printf("%-24s %4d pass %4d refused\n", op.c_str(), count.passed, count.refused);
    passed += count.passed;
    refused += count.refused;
  }
  std::printf("%zu operators: %d cases pass, %d are refused by name\n", counts.size(), passed, refused);
  EXPECT_GT(passed, 200);
}

}  // namespace
}  // namespace infenclave
