#include "tests/graph/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "graph/operators.h"

namespace infenclave {
namespace {

using Kind = FusedActivation::Kind;

float Activate(const FusedActivation& a, float x) {
  float sigmoid = 1 / (1 + std::exp(-x));
  switch (a.kind) {
    case Kind::kNone:
      return x;
    case Kind::kRelu:
      return std::max(x, 0.0f);
    case Kind::kClip:
      return std::min(std::max(x, a.alpha), a.beta);
    case Kind::kSwish:
      return x * sigmoid;
    case Kind::kSigmoid:
      return sigmoid;
    case Kind::kLeakyRelu:
      return x < 0 ? a.alpha * x : x;
    case Kind::kHardSwish:
      return x * std::min(std::max(x + 3, 0.0f), 6.0f) / 6;
    case Kind::kElu:
      return x < 0 ? a.alpha * (std::exp(x) - 1) : x;
    case Kind::kTanh:
      return std::tanh(x);
    case Kind::kGelu:
      return a.alpha != 0 ? 0.5f * x * (1 + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x)))
                          : 0.5f * x * (1 + std::erf(x / std::sqrt(2.0f)));
    case Kind::kMish:
      return x * std::tanh(std::log1p(std::exp(x)));
  }
  return NAN;
}

// Calls tap(output index, input index or -1 in the padding, kernel index) for every tap of every window in H and W.
void ForEachTap(const Shape& in, const Shape& out, const Window& w,
                const std::function<void(int64_t, int64_t, int64_t)>& tap) {
  for (int64_t oy = 0; oy < out[2]; ++oy) {
    for (int64_t ox = 0; ox < out[3]; ++ox) {
      for (int64_t ky = 0; ky < w.kernel[0]; ++ky) {
        for (int64_t kx = 0; kx < w.kernel[1]; ++kx) {
          int64_t y = oy * w.strides[0] + ky * w.dilations[0] - w.pads_begin[0];
          int64_t x = ox * w.strides[1] + kx * w.dilations[1] - w.pads_begin[1];
          bool inside = y >= 0 && x >= 0 && y < in[2] && x < in[3];
          tap(oy * out[3] + ox, inside ? y * in[3] + x : -1, ky * w.kernel[1] + kx);
        }
      }
    }
  }
}

Tensor Conv(const NodeView& v) {
  Window w = *WindowOf(v);
  const Shape &in = v.shape(0), &out = v.out().shape, &ws = v.shape(1);
  auto x = v.Constant(0)->as<float>(), weights = v.Constant(1)->as<float>();
  Tensor result(DType::kF32, out);
  int64_t per_group = out[1] / *IntAttribute(v.node, "group", 1), taps = ws[2] * ws[3];
  for (int64_t n = 0; n < out[0]; ++n) {
    for (int64_t m = 0; m < out[1]; ++m) {
      std::vector<double> sum(static_cast<size_t>(out[2] * out[3]), v.Has(2) ? v.Constant(2)->as<float>()[m] : 0);
      for (int64_t c = 0; c < ws[1]; ++c) {
        int64_t channel = m / per_group * ws[1] + c;
        ForEachTap(in, out, w, [&](int64_t o, int64_t i, int64_t k) {
          if (i < 0) return;
          sum[o] += double{x[(n * in[1] + channel) * in[2] * in[3] + i]} * weights[(m * ws[1] + c) * taps + k];
        });
      }
      for (size_t o = 0; o < sum.size(); ++o) {
        result.as<float>()[static_cast<size_t>((n * out[1] + m)) * sum.size() + o] = static_cast<float>(sum[o]);
      }
    }
  }
  return result;
}

Tensor Pool(const NodeView& v) {
  Window w = *WindowOf(v);
  const Shape &in = v.shape(0), &out = v.out().shape;
  auto x = v.Constant(0)->as<float>();
  Tensor result(DType::kF32, out);
  bool max = v.node.op == "MaxPool", include_pad = *IntAttribute(v.node, "count_include_pad", 0) != 0;
  size_t plane = static_cast<size_t>(out[2] * out[3]);
  for (int64_t c = 0; c < out[0] * out[1]; ++c) {
    std::vector<double> sum(plane, max ? -INFINITY : 0), count(plane, 0);
    ForEachTap(in, out, w, [&](int64_t o, int64_t i, int64_t) {
      if (i < 0) {
        count[o] += include_pad;
        return;
      }
      double value = x[c * in[2] * in[3] + i];
      sum[o] = max ? std::max(sum[o], value) : sum[o] + value;
      ++count[o];
    });
    for (size_t o = 0; o < plane; ++o) {
      result.as<float>()[c * plane + o] = static_cast<float>(max ? sum[o] : sum[o] / count[o]);
    }
  }
  return result;
}

Tensor Pad(const NodeView& v) {
  PadAmounts pads = *PadAmountsOf(v);
  const Shape &in = v.shape(0), &out = v.out().shape;
  Tensor result(DType::kF32, out);
  for (float& e : result.as<float>()) e = v.Has(2) ? v.Constant(2)->as<float>()[0] : 0;
  for (int64_t c = 0; c < in[0] * in[1]; ++c) {
    for (int64_t y = 0; y < in[2]; ++y) {
      for (int64_t x = 0; x < in[3]; ++x) {
        result.as<float>()[(c * out[2] + y + pads.begin[2]) * out[3] + x + pads.begin[3]] =
            v.Constant(0)->as<float>()[(c * in[2] + y) * in[3] + x];
      }
    }
  }
  return result;
}

Tensor Matrix(const NodeView& v) {
  int64_t trans_a = *IntAttribute(v.node, "transA", 0), trans_b = *IntAttribute(v.node, "transB", 0);
  float alpha = *FloatAttribute(v.node, "alpha", 1), beta = *FloatAttribute(v.node, "beta", 1);
  const Shape &as = v.shape(0), &bs = v.shape(1);
  int64_t m = v.out().shape[0], n = v.out().shape[1], depth = as[trans_a ? 0 : 1];
  Tensor result(DType::kF32, v.out().shape);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k) {
        sum += double{v.Constant(0)->as<float>()[trans_a ? k * as[1] + i : i * as[1] + k]} *
               v.Constant(1)->as<float>()[trans_b ? j * bs[1] + k : k * bs[1] + j];
      }
      double bias = v.Has(2) ? v.Constant(2)->as<float>()[v.Constant(2)->elements() == 1 ? 0 : j] : 0;
      result.as<float>()[i * n + j] = static_cast<float>(alpha * sum + beta * bias);
    }
  }
  return result;
}

Tensor BatchNorm(const NodeView& v) {
  Tensor result = v.Constant(0)->Clone();
  int64_t channels = v.shape(0)[1], plane = result.elements() / (v.shape(0)[0] * channels);
  float epsilon = *FloatAttribute(v.node, "epsilon", 1e-5f);
  for (int64_t i = 0; i < result.elements(); ++i) {
    int64_t c = i / plane % channels;
    auto parameter = [&](size_t p) { return double{v.Constant(p)->as<float>()[c]}; };
    double x = result.as<float>()[i];
    result.as<float>()[i] =
        static_cast<float>(parameter(1) * (x - parameter(3)) / std::sqrt(parameter(4) + epsilon) + parameter(2));
  }
  return result;
}

Tensor GlobalAverage(const NodeView& v) {
  Tensor result(DType::kF32, v.out().shape);
  auto x = v.Constant(0)->as<float>();
  size_t plane = x.size() / static_cast<size_t>(result.elements());
  for (size_t i = 0; i < x.size(); ++i) result.as<float>()[i / plane] += x[i] / static_cast<float>(plane);
  return result;
}

// Over the last axis.
Tensor Softmax(const NodeView& v) {
  Tensor result = v.Constant(0)->Clone();
  std::span<float> y = result.as<float>();
  size_t row = static_cast<size_t>(v.out().shape.back());
  for (size_t from = 0; from < y.size(); from += row) {
    double sum = 0;
    for (size_t i = from; i < from + row; ++i) sum += std::exp(double{y[i]});
    for (size_t i = from; i < from + row; ++i) y[i] = static_cast<float>(std::exp(double{y[i]}) / sum);
  }
  return result;
}

Tensor EvaluateNode(const NodeView& v) {
  const std::string& op = v.node.op;
  if (op == "GlobalAveragePool") return GlobalAverage(v);
  if (op == "Softmax") return Softmax(v);
  if (op == "Conv") return Conv(v);
  if (op == "MaxPool" || op == "AveragePool") return Pool(v);
  if (op == "Pad") return Pad(v);
  if (op == "Gemm" || op == "MatMul") return Matrix(v);
  if (op == "BatchNormalization") return BatchNorm(v);
  if (op == "Dropout") return v.Constant(0)->Clone();
  const Operator* known = OperatorOf(v.node);
  if (known == nullptr || known->evaluate == nullptr) {
    ADD_FAILURE() << "the reference does not know " << op;
    return Tensor(DType::kF32, v.out().shape);
  }
  return *known->evaluate(v);
}

}  // namespace

std::map<std::string, Tensor> Evaluate(const Graph& original, const std::map<std::string, Tensor>& given) {
  Graph graph = original.Clone();
  uint32_t random = 12345;
  for (ValueId id : graph.inputs) {
    if (auto value = given.find(graph.value(id).name); value != given.end()) {
      graph.SetConstant(id, value->second.Clone());
      continue;
    }
    Tensor input(DType::kF32, graph.value(id).shape);
    for (float& x : input.as<float>()) {
      random = random * 1664525 + 1013904223;
      x = static_cast<float>(random >> 8) / 8388608.0f - 1;
    }
    graph.SetConstant(id, std::move(input));
  }
  for (const Node& node : graph.nodes) {
    StatusOr<std::vector<TensorType>> types = InferNode({graph, node});
    EXPECT_TRUE(types.ok()) << types.status();
    if (!types.ok()) return {};
    graph.value(node.outputs[0]).dtype = types->at(0).dtype;
    graph.value(node.outputs[0]).shape = types->at(0).shape;
    Tensor result = EvaluateNode({graph, node});
    if (node.activation.kind != Kind::kNone) {
      for (float& x : result.as<float>()) x = Activate(node.activation, x);
    }
    graph.SetConstant(node.outputs[0], std::move(result));
  }
  std::map<std::string, Tensor> outputs;
  for (ValueId id : graph.outputs) outputs.emplace(graph.value(id).name, graph.constant(id).Clone());
  return outputs;
}

void ExpectSame(const std::map<std::string, Tensor>& want, const std::map<std::string, Tensor>& have) {
  ASSERT_EQ(want.size(), have.size());
  for (const auto& [name, tensor] : want) {
    ASSERT_TRUE(have.contains(name)) << name;
    const Tensor& other = have.at(name);
    ASSERT_EQ(tensor.shape(), other.shape()) << name;
    float most = 0;
    for (float x : tensor.as<float>()) most = std::max(most, std::abs(x));
    ASSERT_GT(most, 0) << name << " is zero everywhere: the test says nothing";
    for (size_t i = 0; i < tensor.as<float>().size(); ++i) {
      ASSERT_NEAR(tensor.as<float>()[i], other.as<float>()[i], 1e-5f * most) << name << " at " << i;
    }
  }
}

void ExpectSameFunction(const Graph& expected, const Graph& actual) {
  ExpectSame(Evaluate(expected), Evaluate(actual));
}

}  // namespace infenclave
