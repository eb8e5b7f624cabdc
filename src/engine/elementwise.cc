// Elementwise operators of one or two operands. What oneDNN does in any layout it does; the rest is a plain loop.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "engine/compiler.h"
#include "engine/int8.h"
#include "engine/onednn.h"

namespace infenclave::engine {
namespace {

using dnnl::algorithm;
constexpr auto kF32 = memory::data_type::f32;

struct BinaryOp {
  algorithm onednn = algorithm::undef;
  bool commutes = false;
  float (*f)(float, float) = nullptr;
};

const BinaryOp& FindBinary(std::string_view op) {
  static const auto* table = new std::unordered_map<std::string_view, BinaryOp>{
      {"Add", {algorithm::binary_add, true, [](float a, float b) { return a + b; }}},
      {"Sub", {algorithm::binary_sub, false, [](float a, float b) { return a - b; }}},
      {"Mul", {algorithm::binary_mul, true, [](float a, float b) { return a * b; }}},
      {"Div", {algorithm::binary_div, false, [](float a, float b) { return a / b; }}},
      {"Min", {algorithm::binary_min, true, [](float a, float b) { return b < a ? b : a; }}},
      {"Max", {algorithm::binary_max, true, [](float a, float b) { return a < b ? b : a; }}},
      {"Pow", {algorithm::undef, false, [](float a, float b) { return std::pow(a, b); }}},
      {"PRelu", {algorithm::undef, false, [](float a, float b) { return a < 0 ? a * b : a; }}},
  };
  static const BinaryOp none;
  auto it = table->find(op);
  return it == table->end() ? none : it->second;
}

// Strides of an operand along the output's dimensions, 0 where it is repeated.
std::vector<int64_t> BroadcastStrides(const Shape& shape, const Shape& out) {
  std::vector<int64_t> strides(out.size(), 0);
  int64_t stride = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    const size_t from_end = shape.size() - 1 - i;
    if (shape[from_end] != 1) strides[out.size() - 1 - i] = stride;
    stride *= shape[from_end];
  }
  return strides;
}

Kernel BroadcastKernel(float (*f)(float, float), const Shape& a, const Shape& b, const Shape& out) {
  return [f, out, sa = BroadcastStrides(a, out), sb = BroadcastStrides(b, out),
          index = std::vector<int64_t>(out.size())](const std::vector<void*>& args) mutable {
    const float* pa = static_cast<const float*>(args[0]);
    const float* pb = static_cast<const float*>(args[1]);
    float* dst = static_cast<float*>(args[2]);
    std::fill(index.begin(), index.end(), 0);
    int64_t oa = 0, ob = 0;
    for (;;) {
      *dst++ = f(pa[oa], pb[ob]);
      size_t d = out.size();
      while (d > 0) {
        --d;
        oa += sa[d], ob += sb[d];
        if (++index[d] < out[d]) break;
        oa -= sa[d] * out[d], ob -= sb[d] * out[d];
        index[d] = 0;
        if (d == 0) return;
      }
      if (out.empty()) return;
    }
  };
}

Status EmitBroadcastLoop(Compiler& c, const Node& node, const BinaryOp& op) {
  const Shape& out = c.view(node).out().shape;
  INFENCLAVE_ASSIGN_OR_RETURN(Place a, c.InPlain(node.inputs[0], kF32));
  INFENCLAVE_ASSIGN_OR_RETURN(Place b, c.InPlain(node.inputs[1], kF32));
  Place dst = c.NewPlace(PlainDesc(out, kF32));
  c.EmitKernel(node, "loop", BroadcastKernel(op.f, c.view(node).shape(0), c.view(node).shape(1), out),
               {{0, a}, {0, b}, {0, dst}});
  return c.Define(node, dst, /*activate=*/true);
}

// full (op) other, where `full` has the output's shape: in full's layout. False if oneDNN is not fast at it.
StatusOr<bool> TryOneDnn(Compiler& c, const Node& node, int index, algorithm op, ValueId full, ValueId other) {
  const Shape& out = c.view(node).out().shape;
  if (op == algorithm::undef || c.graph().value(full).shape != out || out.empty()) return false;
  const Shape& other_shape = c.graph().value(other).shape;
  INFENCLAVE_ASSIGN_OR_RETURN(Place a, c.In(full));
  Shape padded = other_shape;
  padded.insert(padded.begin(), out.size() - padded.size(), 1);
  const memory::desc b_desc = other_shape == out ? a.desc : PlainDesc(padded, a.desc.data_type());
  dnnl::post_ops ops;
  // oneDNN 2.6's binary primitive gets an activation wrong where blocks are padded.
  const bool activate = IsPadded(a.desc);
  if (!activate) AppendActivation(node.activation, ops);
  try {
    dnnl::binary::primitive_desc pd({op, a.desc, b_desc, a.desc}, Attributes(ops), CpuEngine());
    if (std::string_view(pd.impl_info_str()).starts_with("ref")) return false;
    Place b;
    if (other_shape == out) {
      INFENCLAVE_ASSIGN_OR_RETURN(b, c.InAs(other, b_desc));
    } else {
      INFENCLAVE_ASSIGN_OR_RETURN(b, c.InPlain(other, a.desc.data_type()));
      b.desc = b_desc;
    }
    Place dst = full == other ? c.NewPlace(a.desc) : c.SameOrNew(node, index, a);
    c.Emit(node, pd, {{DNNL_ARG_SRC_0, a}, {DNNL_ARG_SRC_1, b}, {DNNL_ARG_DST, dst}});
    INFENCLAVE_RETURN_IF_ERROR(c.Define(node, dst, activate));
    return true;
  } catch (const dnnl::error& e) {
    if (e.status != dnnl_unimplemented) throw;
    return false;
  }
}

}  // namespace

Status CompileBinary(Compiler& c, const Node& node, int index) {
  INFENCLAVE_ASSIGN_OR_RETURN(bool int8, TryInt8Add(c, node, index));
  if (int8) return OkStatus();
  const BinaryOp& op = FindBinary(node.op);
  if (op.f == nullptr || node.inputs.size() != 2) {
    return Unimplemented(node.op, " '", node.name, "': ", node.inputs.size(), " operands, expected 2");
  }
  ValueId a = node.inputs[0], b = node.inputs[1];
  // The operand that is computed sets the layout.
  if (op.commutes && c.graph().IsConstant(a)) std::swap(a, b);
  INFENCLAVE_ASSIGN_OR_RETURN(bool done, TryOneDnn(c, node, index, op.onednn, a, b));
  if (!done && op.commutes) {
    INFENCLAVE_ASSIGN_OR_RETURN(done, TryOneDnn(c, node, index, op.onednn, b, a));
  }
  return done ? OkStatus() : EmitBroadcastLoop(c, node, op);
}

Status CompileScalar(Compiler& c, const Node& node, int index) {
  const Operator& op = *OperatorOf(node);
  INFENCLAVE_ASSIGN_OR_RETURN(ScalarParameters parameters, ScalarParametersOf(c.view(node)));
  dnnl::post_ops ops;
  AppendActivation({op.activation, parameters.alpha, parameters.beta}, ops);
  if (ops.len() > 0) {
    float scale, alpha, beta;
    algorithm kind;
    ops.get_params_eltwise(0, scale, kind, alpha, beta);
    INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.In(node.inputs[0]));
    dnnl::eltwise_forward::primitive_desc pd({dnnl::prop_kind::forward_inference, kind, src.desc, alpha, beta},
                                             Attributes(), CpuEngine());
    Place dst = c.SameOrNew(node, index, src);
    c.Emit(node, pd, {{DNNL_ARG_SRC, src}, {DNNL_ARG_DST, dst}});
    return c.Define(node, dst, /*activate=*/true);
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Place src, c.InPlain(node.inputs[0], kF32));
  Place dst = c.NewPlace(src.desc);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t elements, NumElements(c.view(node).out().shape));
  c.EmitKernel(node, "loop",
               [f = op.scalar.f, elements, parameters](const std::vector<void*>& args) {
                 const float* in = static_cast<const float*>(args[0]);
                 float* out = static_cast<float*>(args[1]);
                 for (int64_t i = 0; i < elements; ++i) out[i] = f(in[i], parameters.alpha, parameters.beta);
               },
               {{0, src}, {0, dst}});
  return c.Define(node, dst, /*activate=*/true);
}

}  // namespace infenclave::engine
