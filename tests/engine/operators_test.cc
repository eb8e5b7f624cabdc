// Every operator but Conv against its definition (ONNX), written as a plain loop.
#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "tests/engine/one_node.h"

namespace infenclave {
namespace {

using testing::CompileAndRun;
using testing::Count;
using testing::ExpectNear;
using testing::GraphBuilder;
using testing::Random;
using Ints = std::vector<int64_t>;

struct PoolCase {
  const char* name;
  Shape shape;
  Ints kernel, strides = {1, 1}, pads = {0, 0, 0, 0};
  int64_t ceil_mode = 0, count_include_pad = 0;
};

// pads_end from the output's size: with ceil_mode the last window may reach beyond the padding.
std::vector<float> NaivePool(const PoolCase& c, bool max, const Shape& out, const std::vector<float>& x) {
  std::vector<float> y;
  const int64_t h = c.shape[2], w = c.shape[3];
  for (int64_t plane = 0; plane < c.shape[0] * c.shape[1]; ++plane)
    for (int64_t oy = 0; oy < out[2]; ++oy)
      for (int64_t ox = 0; ox < out[3]; ++ox) {
        double best = -std::numeric_limits<double>::infinity(), sum = 0;
        int64_t count = 0;
        for (int64_t ky = 0; ky < c.kernel[0]; ++ky)
          for (int64_t kx = 0; kx < c.kernel[1]; ++kx) {
            const int64_t iy = oy * c.strides[0] - c.pads[0] + ky, ix = ox * c.strides[1] - c.pads[1] + kx;
            if (iy < 0 || iy >= h || ix < 0 || ix >= w) continue;
            const double v = x[static_cast<size_t>((plane * h + iy) * w + ix)];
            best = std::max(best, v), sum += v, ++count;
          }
        if (c.count_include_pad != 0) count = c.kernel[0] * c.kernel[1];
        y.push_back(static_cast<float>(max ? best : sum / static_cast<double>(count)));
      }
  return y;
}

const PoolCase kPoolCases[] = {
    {"2x2", {1, 16, 8, 8}, {2, 2}, {2, 2}},
    {"3x3 stride 2, SqueezeNet", {1, 64, 15, 15}, {3, 3}, {2, 2}},
    {"3x3 stride 2 padded", {3, 20, 14, 13}, {3, 3}, {2, 2}, {1, 1, 1, 1}},
    {"ceil_mode", {1, 16, 14, 12}, {3, 3}, {2, 2}, {0, 0, 0, 0}, 1},
    {"asymmetric pads", {1, 7, 9, 9}, {3, 2}, {1, 2}, {0, 1, 1, 0}},
    {"5x5 stride 3", {3, 3, 17, 11}, {5, 5}, {3, 3}},
    {"count_include_pad", {1, 16, 8, 8}, {3, 3}, {1, 1}, {1, 1, 1, 1}, 0, 1},
};

TEST(Pooling, AgreesWithItsDefinition) {
  for (const PoolCase& c : kPoolCases) {
    for (const char* op : {"MaxPool", "AveragePool"}) {
      const bool max = std::string(op) == "MaxPool";
      if (max && c.count_include_pad != 0) continue;
      Shape one = c.shape;
      one[0] = 1;
      GraphBuilder g;
      decltype(Node::attributes) attributes = {
          {"kernel_shape", c.kernel}, {"strides", c.strides}, {"pads", c.pads}, {"ceil_mode", c.ceil_mode}};
      if (!max) attributes["count_include_pad"] = c.count_include_pad;
      ValueId y = g.Add(op, {g.Input(one)}, attributes);
      Graph graph = g.Build({y});
      std::vector<float> x = Random(Count(c.shape), 1);
      auto out = CompileAndRun(graph, {x}, {.batch = static_cast<int>(c.shape[0])});
      ASSERT_EQ(out.size(), 1u) << c.name;
      ExpectNear(out[0], NaivePool(c, max, graph.value(y).shape, x), 1e-6, std::string(op) + " " + c.name);
    }
  }
}

TEST(Pooling, GlobalPoolsAndMeansAgree) {
  for (const Shape& shape : {Shape{1, 1280, 7, 7}, Shape{1, 5, 9, 11}, Shape{1, 16, 1, 1}}) {
    const size_t plane = static_cast<size_t>(shape[2] * shape[3]);
    std::vector<float> x = Random(Count(shape), 2), mean, max;
    for (size_t c = 0; c < static_cast<size_t>(shape[1]); ++c) {
      auto begin = x.begin() + static_cast<std::ptrdiff_t>(c * plane), end = begin + static_cast<std::ptrdiff_t>(plane);
      mean.push_back(static_cast<float>(std::accumulate(begin, end, 0.0) / static_cast<double>(plane)));
      max.push_back(*std::max_element(begin, end));
    }
    GraphBuilder g;
    ValueId in = g.Input(shape);
    Graph graph = g.Build({g.Add("GlobalAveragePool", {in}), g.Add("GlobalMaxPool", {in}),
                           g.Add("ReduceMean", {in}, {{"axes", Ints{2, 3}}, {"keepdims", int64_t{0}}})});
    auto out = CompileAndRun(graph, {x});
    ExpectNear(out[0], mean, 1e-6, "GlobalAveragePool");
    ExpectNear(out[1], max, 1e-6, "GlobalMaxPool");
    ExpectNear(out[2], mean, 1e-6, "ReduceMean");
  }
}

struct GemmCase {
  const char* name;
  int64_t m, k, n, trans_a, trans_b;
  float alpha, beta;
  Shape c;  // empty: none
  bool constant = true;
};

TEST(Dense, GemmAgreesWithItsDefinition) {
  const GemmCase cases[] = {
      {"classifier", 1, 1280, 1000, 0, 1, 1, 1, {1000}},
      {"batch", 3, 40, 17, 0, 0, 1, 1, {17}},
      {"scaled", 3, 40, 17, 0, 1, 0.5f, 2, {1, 17}},
      {"no addend", 2, 9, 5, 0, 1, 1, 1, {}},
      {"A transposed", 3, 8, 16, 1, 0, 1.5f, 1, {16}},
      {"addend per row", 3, 8, 16, 0, 0, 1, 1, {3, 1}},
      {"scalar addend", 3, 8, 16, 0, 1, 1, 1, {1}},
      {"full addend", 3, 8, 16, 0, 0, 1, 1, {3, 16}},
      {"B computed", 3, 8, 16, 0, 1, 2, 1, {16}, false},
      {"both transposed, B computed", 5, 7, 3, 1, 1, 1, 1, {3}, false},
  };
  for (const GemmCase& t : cases) {
    const Shape a_shape = t.trans_a ? Shape{t.k, t.m} : Shape{t.m, t.k};
    const Shape b_shape = t.trans_b ? Shape{t.n, t.k} : Shape{t.k, t.n};
    std::vector<float> a = Random(Count(a_shape), 1), b = Random(Count(b_shape), 2), c = Random(Count(t.c), 3);
    GraphBuilder g;
    std::vector<ValueId> inputs = {g.Input(a_shape)};
    inputs.push_back(t.constant ? g.Constant(b_shape, b) : g.Input(b_shape));
    if (!t.c.empty()) inputs.push_back(g.Constant(t.c, c));
    Graph graph = g.Build(
        {g.Add("Gemm", inputs, {{"alpha", t.alpha}, {"beta", t.beta}, {"transA", t.trans_a}, {"transB", t.trans_b}})});
    std::vector<float> expected;
    for (int64_t i = 0; i < t.m; ++i)
      for (int64_t j = 0; j < t.n; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < t.k; ++k) {
          sum += static_cast<double>(a[static_cast<size_t>(t.trans_a ? k * t.m + i : i * t.k + k)]) *
                 b[static_cast<size_t>(t.trans_b ? j * t.k + k : k * t.n + j)];
        }
        sum *= t.alpha;
        if (!t.c.empty()) {
          const int64_t columns = t.c.back(), rows = t.c.size() == 2 ? t.c[0] : 1;
          sum += t.beta * c[static_cast<size_t>((rows == 1 ? 0 : i) * columns + (columns == 1 ? 0 : j))];
        }
        expected.push_back(static_cast<float>(sum));
      }
    std::vector<std::vector<float>> in = {a};
    if (!t.constant) in.push_back(b);
    auto out = CompileAndRun(graph, in);
    ASSERT_EQ(out.size(), 1u) << t.name;
    ExpectNear(out[0], expected, 2e-6, t.name);
  }
}

TEST(Dense, MatMulAgreesWithItsDefinition) {
  struct MatMulCase {
    Shape a, b, out;
    bool constant;
  };
  const MatMulCase cases[] = {
      {{1, 1280}, {1280, 10}, {1, 10}, true},
      {{1, 5, 8}, {8, 6}, {1, 5, 6}, true},
      {{1, 5, 8}, {8, 6}, {1, 5, 6}, false},
      {{2, 5, 8}, {2, 8, 6}, {2, 5, 6}, false},
      {{2, 1, 5, 8}, {3, 8, 6}, {2, 3, 5, 6}, false},
      {{5, 8}, {8}, {5}, false},
      {{8}, {2, 8, 3}, {2, 3}, false},
  };
  for (const MatMulCase& t : cases) {
    std::vector<float> a = Random(Count(t.a), 1), b = Random(Count(t.b), 2), expected;
    Shape as = t.a, bs = t.b;
    if (as.size() == 1) as.insert(as.begin(), 1);
    if (bs.size() == 1) bs.push_back(1);
    const int64_t m = as[as.size() - 2], k = as.back(), n = bs.back();
    const Shape batch(t.out.begin(), t.out.end() - (t.a.size() > 1) - (t.b.size() > 1));
    // Which matrix of an operand batch index `i` of the result reads.
    auto matrix = [&](const Shape& s, int64_t i) {
      int64_t at = 0, stride = 1;
      for (size_t d = batch.size(), e = s.size() - 2; d-- > 0; i /= batch[d]) {
        if (e == 0) continue;
        --e;
        if (s[e] != 1) at += i % batch[d] * stride;
        stride *= s[e];
      }
      return at;
    };
    for (int64_t i = 0; i < static_cast<int64_t>(Count(batch)); ++i)
      for (int64_t r = 0; r < m; ++r)
        for (int64_t col = 0; col < n; ++col) {
          double sum = 0;
          for (int64_t q = 0; q < k; ++q) {
            sum += static_cast<double>(a[static_cast<size_t>((matrix(as, i) * m + r) * k + q)]) *
                   b[static_cast<size_t>((matrix(bs, i) * k + q) * n + col)];
          }
          expected.push_back(static_cast<float>(sum));
        }
    GraphBuilder g;
    ValueId in = g.Input(t.a);
    Graph graph = g.Build({g.Add("MatMul", {in, t.constant ? g.Constant(t.b, b) : g.Input(t.b)})});
    ASSERT_EQ(graph.value(graph.outputs[0]).shape, t.out);
    std::vector<std::vector<float>> inputs = {a};
    if (!t.constant) inputs.push_back(b);
    auto out = CompileAndRun(graph, inputs);
    ASSERT_EQ(out.size(), 1u);
    ExpectNear(out[0], expected, 2e-6, ToString(t.a) + ToString(t.b));
  }
}

TEST(Softmax, AgreesWithItsDefinitionOnEveryAxis) {
  for (const Shape& shape : {Shape{1, 1000}, Shape{2, 3, 5}, Shape{1, 10, 4, 3}}) {
    for (int64_t axis = -1; axis < static_cast<int64_t>(shape.size()); ++axis) {
      std::vector<float> x = Random(Count(shape), 5, -20, 20), soft(x.size()), log_soft(x.size());
      const size_t at = axis < 0 ? shape.size() - 1 : static_cast<size_t>(axis);
      size_t inner = 1;
      for (size_t i = at + 1; i < shape.size(); ++i) inner *= static_cast<size_t>(shape[i]);
      const size_t n = static_cast<size_t>(shape[at]);
      for (size_t base = 0; base < x.size(); ++base) {
        if (base / inner % n != 0) continue;
        double sum = 0;
        for (size_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(x[base + i * inner]));
        for (size_t i = 0; i < n; ++i) {
          log_soft[base + i * inner] = static_cast<float>(x[base + i * inner] - std::log(sum));
          soft[base + i * inner] = std::exp(log_soft[base + i * inner]);
        }
      }
      GraphBuilder g;
      ValueId in = g.Input(shape);
      auto out = CompileAndRun(
          g.Build({g.Add("Softmax", {in}, {{"axis", axis}}), g.Add("LogSoftmax", {in}, {{"axis", axis}})}), {x});
      ExpectNear(out[0], soft, 2e-6, "Softmax " + ToString(shape));
      ExpectNear(out[1], log_soft, 2e-6, "LogSoftmax " + ToString(shape));
    }
  }
}

using Function2 = std::function<double(double, double)>;
const std::pair<const char*, Function2> kBinary[] = {
    {"Add", [](double a, double b) { return a + b; }},
    {"Sub", [](double a, double b) { return a - b; }},
    {"Mul", [](double a, double b) { return a * b; }},
    {"Div", [](double a, double b) { return a / b; }},
    {"Min", [](double a, double b) { return std::min(a, b); }},
    {"Max", [](double a, double b) { return std::max(a, b); }},
    {"Pow", [](double a, double b) { return std::pow(a, b); }},
};

std::vector<float> NaiveBinary(const Function2& f, const Shape& as, const std::vector<float>& a, const Shape& bs,
                               const std::vector<float>& b, const Shape& out) {
  auto offset = [&](const Shape& s, size_t flat) {
    size_t at = 0, stride = 1;
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t d = out.size() - 1 - i;
      const size_t index = flat % static_cast<size_t>(out[d]);
      flat /= static_cast<size_t>(out[d]);
      if (i >= s.size()) continue;
      const size_t size = static_cast<size_t>(s[s.size() - 1 - i]);
      if (size != 1) at += index * stride;
      stride *= size;
    }
    return at;
  };
  std::vector<float> y;
  for (size_t i = 0; i < Count(out); ++i) y.push_back(static_cast<float>(f(a[offset(as, i)], b[offset(bs, i)])));
  return y;
}

TEST(Elementwise, BroadcastsAsNumpyDoes) {
  const std::pair<Shape, Shape> shapes[] = {
      {{1, 16, 5, 5}, {1, 16, 5, 5}},
      {{1, 16, 5, 5}, {1, 16, 1, 1}},
      {{1, 16, 5, 5}, {16, 1, 1}},
      {{1, 16, 5, 5}, {}},
      {{1, 16, 5, 5}, {5}},
      {{1, 16, 5, 1}, {1, 1, 1, 7}},
      {{1, 16, 1, 1}, {1, 16, 5, 5}},
      {{2, 3}, {2, 1}},
      {{}, {}},
  };
  for (const auto& [name, f] : kBinary) {
    for (const auto& [as, bs] : shapes) {
      for (bool constant : {false, true}) {
        std::vector<float> a = Random(Count(as), 1, 0.5f, 2), b = Random(Count(bs), 2, 0.5f, 2);
        GraphBuilder g;
        ValueId in = g.Input(as);
        ValueId y = g.Add(name, {in, constant ? g.Constant(bs, b) : g.Input(bs)}, {}, {FusedActivation::Kind::kTanh});
        Graph graph = g.Build({y});
        std::vector<float> expected = NaiveBinary(f, as, a, bs, b, graph.value(y).shape);
        for (float& v : expected) v = std::tanh(v);
        std::vector<std::vector<float>> inputs = {a};
        if (!constant) inputs.push_back(b);
        auto out = CompileAndRun(graph, inputs);
        ASSERT_EQ(out.size(), 1u);
        ExpectNear(out[0], expected, 5e-6, std::string(name) + ToString(as) + ToString(bs));
      }
    }
  }
}

// Squeeze and excite: a convolution's blocked result times a computed value per channel.
TEST(Elementwise, MultipliesAConvolutionByAComputedValuePerChannel) {
  for (int64_t channels : {16, 24, 7}) {
    const size_t n = static_cast<size_t>(channels);
    std::vector<float> x = Random(n * 36, 1), w = Random(n * n, 2), scaled(n * 36);
    GraphBuilder g;
    ValueId conv = g.Add("Conv", {g.Input({1, channels, 6, 6}), g.Constant({channels, channels, 1, 1}, w)});
    ValueId gate = g.Add("Sigmoid", {g.Add("GlobalAveragePool", {conv})});
    Graph graph = g.Build({conv, g.Add("Mul", {conv, gate}), g.Add("Mul", {gate, conv})});
    auto out = CompileAndRun(graph, {x});
    for (size_t c = 0; c < n; ++c) {
      double mean = 0;
      for (size_t i = 0; i < 36; ++i) mean += out[0][c * 36 + i] / 36;
      for (size_t i = 0; i < 36; ++i) {
        scaled[c * 36 + i] = static_cast<float>(out[0][c * 36 + i] / (1 + std::exp(-mean)));
      }
    }
    ExpectNear(out[1], scaled, 2e-6, "x * gate");
    ExpectNear(out[2], scaled, 2e-6, "gate * x");
  }
}

TEST(Elementwise, PReluHasASlopePerChannel) {
  std::vector<float> x = Random(2 * 9, 1), expected = x;
  for (size_t i = 0; i < 18; ++i) expected[i] = x[i] < 0 ? x[i] * (i < 9 ? 0.25f : -2.0f) : x[i];
  GraphBuilder g;
  Graph graph = g.Build({g.Add("PRelu", {g.Input({1, 2, 3, 3}), g.Constant({2, 1, 1}, {0.25f, -2})})});
  ExpectNear(CompileAndRun(graph, {x})[0], expected, 1e-6, "PRelu");
}

TEST(Elementwise, FunctionsOfOneVariable) {
  const std::pair<const char*, std::function<double(double)>> cases[] = {
      {"Relu", [](double x) { return std::max(x, 0.0); }},
      {"Sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"Tanh", [](double x) { return std::tanh(x); }},
      {"LeakyRelu", [](double x) { return x < 0 ? 0.01 * x : x; }},
      {"Elu", [](double x) { return x < 0 ? std::expm1(x) : x; }},
      {"HardSwish", [](double x) { return x * std::min(std::max(x / 6 + 0.5, 0.0), 1.0); }},
      {"HardSigmoid", [](double x) { return std::min(std::max(0.2 * x + 0.5, 0.0), 1.0); }},
      {"Exp", [](double x) { return std::exp(x); }},
      {"Abs", [](double x) { return std::abs(x); }},
      {"Neg", [](double x) { return -x; }},
      {"Softplus", [](double x) { return std::log1p(std::exp(x)); }},
      {"Erf", [](double x) { return std::erf(x); }},
      {"Floor", [](double x) { return std::floor(x); }},
  };
  for (const auto& [name, f] : cases) {
    std::vector<float> x = Random(300, 3, -6, 6), expected;
    for (float v : x) expected.push_back(static_cast<float>(f(v)));
    GraphBuilder g;
    Graph graph = g.Build({g.Add(name, {g.Input({1, 3, 10, 10})})});
    auto out = CompileAndRun(graph, {x});
    ASSERT_EQ(out.size(), 1u) << name;
    ExpectNear(out[0], expected, 5e-6, name);
  }
}

TEST(Elementwise, ClipTakesBoundsAsInputs) {
  std::vector<float> x = Random(100, 3, -10, 10), both = x, upper = x;
  for (float& v : both) v = std::min(std::max(v, -1.0f), 6.0f);
  for (float& v : upper) v = std::min(v, 6.0f);
  GraphBuilder g;
  ValueId in = g.Input({1, 4, 5, 5}), low = g.Constant({}, {-1}), high = g.Constant({}, {6});
  auto out = CompileAndRun(g.Build({g.Add("Clip", {in, low, high}), g.Add("Clip", {in, kNoValue, high})}), {x});
  ExpectNear(out[0], both, 1e-6, "both");
  ExpectNear(out[1], upper, 1e-6, "upper");
}

// Channels in multiples of a block and not, from convolutions and from elsewhere, on each axis.
TEST(Layout, ConcatAgreesWithItsDefinition) {
  for (int64_t batch : {1, 3}) {
    for (auto [c0, c1] : {std::pair<int64_t, int64_t>{64, 64}, {24, 16}, {7, 9}}) {
      const size_t n0 = static_cast<size_t>(c0), n1 = static_cast<size_t>(c1), plane = 25;
      GraphBuilder g;
      ValueId in = g.Input({1, 8, 5, 5});
      ValueId a = g.Add("Conv", {in, g.Constant({c0, 8, 1, 1}, Random(n0 * 8, 1))});
      ValueId b = g.Add("Conv", {in, g.Constant({c1, 8, 3, 3}, Random(n1 * 72, 2))}, {{"pads", Ints{1, 1, 1, 1}}});
      ValueId joined = g.Add("Concat", {a, b}, {{"axis", int64_t{1}}});
      ValueId again = g.Add("Concat", {joined, in, a}, {{"axis", int64_t{-3}}});
      Graph graph = g.Build({a, b, joined, again});
      std::vector<float> x = Random(static_cast<size_t>(batch) * 8 * plane, 3), both, all;
      auto out = CompileAndRun(graph, {x}, {.batch = static_cast<int>(batch)});
      ASSERT_EQ(out.size(), 4u);
      auto append = [](std::vector<float>& to, const std::vector<float>& from, size_t row, size_t width) {
        auto begin = from.begin() + static_cast<std::ptrdiff_t>(row * width);
        to.insert(to.end(), begin, begin + static_cast<std::ptrdiff_t>(width));
      };
      for (size_t n = 0; n < static_cast<size_t>(batch); ++n) {
        append(both, out[0], n, n0 * plane);
        append(both, out[1], n, n1 * plane);
        append(all, both, n, (n0 + n1) * plane);
        append(all, x, n, 8 * plane);
        append(all, out[0], n, n0 * plane);
      }
      ExpectNear(out[2], both, 1e-7, "a, b");
      ExpectNear(out[3], all, 1e-7, "a, b, input, a");
    }
  }
}

TEST(Layout, ConcatOfOneValueTwiceAndOfHeights) {
  std::vector<float> x = Random(12, 1), relu = x, expected;
  for (float& v : relu) v = std::max(v, 0.0f);
  for (int i = 0; i < 2; ++i) {
    for (size_t row = 0; row < 2; ++row) {
      for (size_t j = 0; j < 6; ++j) expected.push_back(relu[static_cast<size_t>(i) * 6 + j]);
    }
  }
  GraphBuilder g;
  ValueId r = g.Add("Relu", {g.Input({1, 2, 2, 3})});
  ExpectNear(CompileAndRun(g.Build({g.Add("Concat", {r, r}, {{"axis", int64_t{2}}})}), {x})[0], expected, 1e-7, "rows");
}

TEST(Layout, TransposeFeedsConvolutionAndOutput) {
  std::vector<float> nhwc = Random(6 * 5 * 3, 1), nchw(nhwc.size());
  for (size_t c = 0; c < 3; ++c)
    for (size_t i = 0; i < 30; ++i) nchw[c * 30 + i] = nhwc[i * 3 + c];
  std::vector<float> w = Random(8 * 3 * 9, 2);
  GraphBuilder with, without;
  ValueId t = with.Add("Transpose", {with.Input({1, 6, 5, 3})}, {{"perm", Ints{0, 3, 1, 2}}});
  Graph a = with.Build({t, with.Add("Conv", {t, with.Constant({8, 3, 3, 3}, w)}),
                        with.Add("Transpose", {with.Add("Relu", {t})}, {{"perm", Ints{3, 1, 0, 2}}})});
  ValueId in = without.Input({1, 3, 6, 5});
  Graph b = without.Build({without.Add("Conv", {in, without.Constant({8, 3, 3, 3}, w)})});
  auto out = CompileAndRun(a, {nhwc});
  ExpectNear(out[0], nchw, 0, "transposed");
  ExpectNear(out[1], CompileAndRun(b, {nchw})[0], 1e-6, "convolution");
  std::vector<float> relu;  // [1,3,6,5] -> [5,3,1,6]
  for (size_t x = 0; x < 5; ++x)
    for (size_t c = 0; c < 3; ++c)
      for (size_t y = 0; y < 6; ++y) relu.push_back(std::max(0.0f, nchw[(c * 6 + y) * 5 + x]));
  ExpectNear(out[2], relu, 0, "twice");
}

TEST(Layout, ViewsOfConvolutionsAreInRowMajorOrder) {
  std::vector<float> x = Random(8 * 20, 1);
  GraphBuilder g;
  ValueId conv = g.Add("Conv", {g.Input({1, 8, 4, 5}), g.Constant({24, 8, 1, 1}, Random(24 * 8, 2))});
  Graph graph = g.Build({conv, g.Add("Flatten", {conv}), g.Add("Reshape", {conv, g.Ints({1, 3, -1, 10})}),
                         g.Add("Relu", {g.Add("Unsqueeze", {conv, g.Ints({0})})})});
  auto out = CompileAndRun(graph, {x});
  ExpectNear(out[1], out[0], 0, "Flatten");
  ExpectNear(out[2], out[0], 0, "Reshape");
  for (float& v : out[0]) v = std::max(v, 0.0f);
  ExpectNear(out[3], out[0], 0, "Unsqueeze, Relu");
}

}  // namespace
}  // namespace infenclave
