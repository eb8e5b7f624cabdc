// Gemm and MatMul, and Softmax after them.
#include "engine/compiler.h"
#include "engine/int8.h"
#include "engine/onednn.h"

namespace infenclave::engine {
namespace {

using dnnl::memory;

// [m,k] x constant [k,n] (or [n,k] if `transposed`) + bias -> [m,n], row-major.
struct Dense {
  int64_t m, k, n;
  ValueId weights;
  bool transposed;
  float alpha = 1;
  ValueId bias = kNoValue;
  float beta = 1;
};

Status EmitDense(Compiler& c, const Node& node, const Dense& d) {
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.InPlain(node.inputs[0], c.type()));
  src.desc = PlainDesc({d.m, d.k}, c.type());
  const memory::desc any({d.n, d.k}, c.type(), memory::format_tag::any);
  const memory::desc dst_desc = PlainDesc({d.m, d.n}, memory::data_type::f32);
  const memory::desc bias_desc = PlainDesc({d.n}, memory::data_type::f32);
  dnnl::post_ops ops;
  AppendActivation(node.activation, ops);
  auto describe = [&]() -> dnnl::inner_product_forward::desc {
    if (d.bias == kNoValue) return {dnnl::prop_kind::forward_inference, src.desc, any, dst_desc};
    return {dnnl::prop_kind::forward_inference, src.desc, any, bias_desc, dst_desc};
  };
  dnnl::inner_product_forward::primitive_desc pd(describe(), Attributes(ops), CpuEngine());
  const memory::desc source = d.transposed ? PlainDesc({d.n, d.k}, memory::data_type::f32)
                                           : memory::desc({d.n, d.k}, memory::data_type::f32, memory::dims{1, d.n});
  INFENCLAVE_ASSIGN_OR_RETURN(Place weights, c.Weight(d.weights, pd.weights_desc(), source, d.alpha));
  Place dst = c.NewPlace(dst_desc);
  std::vector<Argument> arguments = {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, dst}};
  if (d.bias != kNoValue) {
    INFENCLAVE_ASSIGN_OR_RETURN(Place bias, c.Weight(d.bias, bias_desc, bias_desc, d.beta));
    arguments.push_back({DNNL_ARG_BIAS, bias});
  }
  c.Emit(node, pd, std::move(arguments));
  return c.DefineReshaped(node, dst);
}

memory::desc Transposed2d(const Shape& stored) {
  return memory::desc({stored[1], stored[0]}, memory::data_type::f32, memory::dims{1, stored[1]});
}

// Any two operands, in f32: a x b, scaled, plus an operand that broadcasts.
Status EmitMatMul(Compiler& c, const Node& node, Place a, Place b, const Shape& out, float alpha, ValueId addend) {
  const memory::desc dst_desc = PlainDesc(out, memory::data_type::f32);
  dnnl::post_ops ops;
  std::vector<Argument> arguments = {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}};
  if (alpha != 1) ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_linear, alpha, 0.0f);
  if (addend != kNoValue) {
    INFENCLAVE_ASSIGN_OR_RETURN(Place c_place, c.InPlain(addend, memory::data_type::f32));
    Shape padded = c.graph().value(addend).shape;
    padded.insert(padded.begin(), out.size() - padded.size(), 1);
    c_place.desc = PlainDesc(padded, memory::data_type::f32);
    arguments.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(ops.len()) | DNNL_ARG_SRC_1, c_place});
    ops.append_binary(dnnl::algorithm::binary_add, c_place.desc);
  }
  AppendActivation(node.activation, ops);
  dnnl::matmul::primitive_desc pd({a.desc, b.desc, dst_desc}, Attributes(ops), CpuEngine());
  Place dst = c.NewPlace(dst_desc);
  arguments.push_back({DNNL_ARG_DST, dst});
  c.Emit(node, pd, std::move(arguments));
  return c.DefineReshaped(node, dst);
}

}  // namespace

Status CompileGemm(Compiler& c, const Node& node, int) {
  INFENCLAVE_ASSIGN_OR_RETURN(bool int8, TryInt8Dense(c, node));
  if (int8) return OkStatus();
  const NodeView view = c.view(node);
  INFENCLAVE_ASSIGN_OR_RETURN(float alpha, FloatAttribute(node, "alpha", 1));
  INFENCLAVE_ASSIGN_OR_RETURN(float beta, FloatAttribute(node, "beta", 1));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t trans_a, IntAttribute(node, "transA", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t trans_b, IntAttribute(node, "transB", 0));
  const Shape& out = view.out().shape;
  const bool has_c = view.Has(2);
  const Tensor *b_constant = nullptr, *c_constant = nullptr;
  INFENCLAVE_ASSIGN_OR_RETURN(b_constant, c.ConstantOf(node.inputs[1]));
  if (has_c) {
    INFENCLAVE_ASSIGN_OR_RETURN(c_constant, c.ConstantOf(node.inputs[2]));
  }
  const bool bias_is_vector =
      c_constant != nullptr && c_constant->elements() == out[1] && view.shape(2).back() == out[1];
  if (trans_a == 0 && b_constant != nullptr && (!has_c || bias_is_vector)) {
    return EmitDense(c, node,
                     {.m = out[0],
                      .k = view.shape(0)[1],
                      .n = out[1],
                      .weights = node.inputs[1],
                      .transposed = trans_b != 0,
                      .alpha = alpha,
                      .bias = has_c ? node.inputs[2] : kNoValue,
                      .beta = beta});
  }
  if (has_c && beta != 1) {
    return Unimplemented("Gemm '", node.name, "': beta ", beta, " where A is transposed or B or C is not a constant");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Place a, c.InPlain(node.inputs[0], memory::data_type::f32));
  INFENCLAVE_ASSIGN_OR_RETURN(Place b, c.InPlain(node.inputs[1], memory::data_type::f32));
  if (trans_a != 0) a.desc = Transposed2d(view.shape(0));
  if (trans_b != 0) b.desc = Transposed2d(view.shape(1));
  return EmitMatMul(c, node, a, b, out, alpha, has_c ? node.inputs[2] : kNoValue);
}

Status CompileMatMul(Compiler& c, const Node& node, int) {
  INFENCLAVE_ASSIGN_OR_RETURN(bool int8, TryInt8Dense(c, node));
  if (int8) return OkStatus();
  const NodeView view = c.view(node);
  Shape a_shape = view.shape(0), b_shape = view.shape(1);
  INFENCLAVE_ASSIGN_OR_RETURN(const Tensor* b_constant, c.ConstantOf(node.inputs[1]));
  if (b_shape.size() == 2 && b_constant != nullptr) {
    const int64_t k = b_shape[0];
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t elements, NumElements(a_shape));
    return EmitDense(c, node,
                     {.m = elements / k, .k = k, .n = b_shape[1], .weights = node.inputs[1], .transposed = false});
  }
  if (a_shape.size() == 1) a_shape.insert(a_shape.begin(), 1);
  if (b_shape.size() == 1) b_shape.push_back(1);
  const size_t rank = std::max(a_shape.size(), b_shape.size());
  a_shape.insert(a_shape.begin(), rank - a_shape.size(), 1);
  b_shape.insert(b_shape.begin(), rank - b_shape.size(), 1);
  Shape out(rank);
  for (size_t i = 0; i + 2 < rank; ++i) out[i] = std::max(a_shape[i], b_shape[i]);
  out[rank - 2] = a_shape[rank - 2];
  out[rank - 1] = b_shape[rank - 1];
  INFENCLAVE_ASSIGN_OR_RETURN(Place a, c.InPlain(node.inputs[0], memory::data_type::f32));
  INFENCLAVE_ASSIGN_OR_RETURN(Place b, c.InPlain(node.inputs[1], memory::data_type::f32));
  a.desc = PlainDesc(a_shape, memory::data_type::f32);
  b.desc = PlainDesc(b_shape, memory::data_type::f32);
  return EmitMatMul(c, node, a, b, out, 1, kNoValue);
}

Status CompileSoftmax(Compiler& c, const Node& node, int index) {
  const Shape& shape = c.view(node).shape(0);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t attribute, IntAttribute(node, "axis", -1));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, NormalizeAxis(attribute, shape.size()));
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.InPlain(node.inputs[0], memory::data_type::f32));
  const int axis_int = static_cast<int>(axis);
  auto emit = [&](const auto& pd) {
    Place dst = c.SameOrNew(node, index, src);
    c.Emit(node, pd, {{DNNL_ARG_SRC, src}, {DNNL_ARG_DST, dst}});
    return c.Define(node, dst, /*activate=*/true);
  };
  if (node.op == "LogSoftmax") {
    return emit(dnnl::logsoftmax_forward::primitive_desc({dnnl::prop_kind::forward_inference, src.desc, axis_int},
                                                         Attributes(), CpuEngine()));
  }
  return emit(dnnl::softmax_forward::primitive_desc({dnnl::prop_kind::forward_inference, src.desc, axis_int},
                                                    Attributes(), CpuEngine()));
}

}  // namespace infenclave::engine
