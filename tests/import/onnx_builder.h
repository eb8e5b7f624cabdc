// ONNX models for tests, a line a node.
#ifndef INFENCLAVE_TESTS_IMPORT_ONNX_BUILDER_H_
#define INFENCLAVE_TESTS_IMPORT_ONNX_BUILDER_H_

#include <onnx/onnx_pb.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "tensor/tensor.h"

namespace infenclave {

class OnnxBuilder {
 public:
  explicit OnnxBuilder(int64_t opset = 17) {
    model_.set_ir_version(8);
    auto* import = model_.add_opset_import();
    import->set_domain("");
    import->set_version(opset);
    model_.mutable_graph()->set_name("test");
  }

  onnx::ModelProto& model() { return model_; }
  onnx::GraphProto& graph() { return *model_.mutable_graph(); }

  // A negative dimension is symbolic.
  OnnxBuilder& Input(const std::string& name, const Shape& shape, int type = onnx::TensorProto::FLOAT) {
    SetType(*graph().add_input(), name, shape, type);
    return *this;
  }
  OnnxBuilder& Output(const std::string& name) {
    graph().add_output()->set_name(name);
    return *this;
  }
  OnnxBuilder& Output(const std::string& name, const Shape& shape) {
    SetType(*graph().add_output(), name, shape, onnx::TensorProto::FLOAT);
    return *this;
  }

  onnx::NodeProto& Node(const std::string& op, std::initializer_list<std::string> inputs,
                        std::initializer_list<std::string> outputs) {
    onnx::NodeProto& node = *graph().add_node();
    node.set_op_type(op);
    for (const std::string& name : inputs) node.add_input(name);
    for (const std::string& name : outputs) node.add_output(name);
    node.set_name("node_" + *outputs.begin());
    return node;
  }

  onnx::TensorProto& Floats(const std::string& name, const Shape& dims, const std::vector<float>& values) {
    onnx::TensorProto& tensor = *graph().add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    for (int64_t d : dims) tensor.add_dims(d);
    for (float v : values) tensor.add_float_data(v);
    return tensor;
  }
  // Of type INT8, UINT8 or INT32.
  onnx::TensorProto& Integers(const std::string& name, int type, const Shape& dims, const std::vector<int>& values) {
    onnx::TensorProto& tensor = *graph().add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(type);
    for (int64_t d : dims) tensor.add_dims(d);
    for (int v : values) tensor.add_int32_data(v);
    return tensor;
  }
  onnx::TensorProto& Ints(const std::string& name, const std::vector<int64_t>& values) {
    onnx::TensorProto& tensor = *graph().add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(onnx::TensorProto::INT64);
    tensor.add_dims(static_cast<int64_t>(values.size()));
    for (int64_t v : values) tensor.add_int64_data(v);
    return tensor;
  }

  Bytes Encode() const {
    std::string text = model_.SerializeAsString();
    return Bytes(text.begin(), text.end());
  }

  static void Set(onnx::NodeProto& node, const std::string& name, int64_t value) {
    Add(node, name, onnx::AttributeProto::INT).set_i(value);
  }
  static void Set(onnx::NodeProto& node, const std::string& name, float value) {
    Add(node, name, onnx::AttributeProto::FLOAT).set_f(value);
  }
  static void Set(onnx::NodeProto& node, const std::string& name, const std::string& value) {
    Add(node, name, onnx::AttributeProto::STRING).set_s(value);
  }
  static void Set(onnx::NodeProto& node, const std::string& name, const std::vector<int64_t>& values) {
    onnx::AttributeProto& attribute = Add(node, name, onnx::AttributeProto::INTS);
    for (int64_t v : values) attribute.add_ints(v);
  }

 private:
  static onnx::AttributeProto& Add(onnx::NodeProto& node, const std::string& name,
                                   onnx::AttributeProto::AttributeType type) {
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(type);
    return attribute;
  }

  static void SetType(onnx::ValueInfoProto& info, const std::string& name, const Shape& shape, int type) {
    info.set_name(name);
    auto* tensor = info.mutable_type()->mutable_tensor_type();
    tensor->set_elem_type(type);
    tensor->mutable_shape();
    for (int64_t d : shape) {
      auto* dim = tensor->mutable_shape()->add_dim();
      if (d < 0) {
        dim->set_dim_param("N");
      } else {
        dim->set_dim_value(d);
      }
    }
  }

  onnx::ModelProto model_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_IMPORT_ONNX_BUILDER_H_
