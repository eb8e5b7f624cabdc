// Convolutions against the definition (ONNX Conv), written as a plain loop in double.
#include <map>
#include <set>
#include <sstream>

#include "tests/engine/one_node.h"

namespace infenclave {
namespace {

using testing::CompileAndRun;
using testing::Count;
using testing::ExpectNear;
using testing::GraphBuilder;
using testing::Random;
using Kind = FusedActivation::Kind;

struct ConvCase {
  const char* name;
  int64_t batch, in, out, groups, height, width, kernel_h, kernel_w;
  std::vector<int64_t> strides = {1, 1}, pads = {0, 0, 0, 0}, dilations = {1, 1};
  bool bias = true;
  FusedActivation activation = {};
};

float Activate(const FusedActivation& a, double x) {
  switch (a.kind) {
    case Kind::kNone:
      return static_cast<float>(x);
    case Kind::kRelu:
      return static_cast<float>(std::max(x, 0.0));
    case Kind::kClip:
      return static_cast<float>(std::min<double>(std::max<double>(x, a.alpha), a.beta));
    case Kind::kSwish:
      return static_cast<float>(x / (1 + std::exp(-x)));
    case Kind::kSigmoid:
      return static_cast<float>(1 / (1 + std::exp(-x)));
    case Kind::kLeakyRelu:
      return static_cast<float>(x < 0 ? a.alpha * x : x);
    case Kind::kHardSwish:
      return static_cast<float>(x * std::min(std::max(x / 6 + 0.5, 0.0), 1.0));
    case Kind::kElu:
      return static_cast<float>(x < 0 ? a.alpha * std::expm1(x) : x);
    case Kind::kTanh:
      return static_cast<float>(std::tanh(x));
    case Kind::kGelu:
      return static_cast<float>(a.alpha != 0
                                    ? 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
                                    : 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))));
    case Kind::kMish:
      return static_cast<float>(x * std::tanh(std::log1p(std::exp(x))));
  }
  return 0;
}

struct ConvResult {
  Shape shape;
  std::vector<float> values;
};

ConvResult NaiveConv(const ConvCase& c, const std::vector<float>& x, const std::vector<float>& w,
                     const std::vector<float>& b) {
  auto extent = [&](int64_t in, int64_t kernel, size_t i) {
    return (in + c.pads[i] + c.pads[i + 2] - ((kernel - 1) * c.dilations[i] + 1)) / c.strides[i] + 1;
  };
  const int64_t oh = extent(c.height, c.kernel_h, 0), ow = extent(c.width, c.kernel_w, 1);
  const int64_t in_per_group = c.in / c.groups, out_per_group = c.out / c.groups;
  ConvResult r{{c.batch, c.out, oh, ow}, {}};
  for (int64_t n = 0; n < c.batch; ++n)
    for (int64_t o = 0; o < c.out; ++o)
      for (int64_t y = 0; y < oh; ++y)
        for (int64_t z = 0; z < ow; ++z) {
          double sum = b.empty() ? 0 : b[static_cast<size_t>(o)];
          for (int64_t i = 0; i < in_per_group; ++i)
            for (int64_t ky = 0; ky < c.kernel_h; ++ky)
              for (int64_t kx = 0; kx < c.kernel_w; ++kx) {
                const int64_t iy = y * c.strides[0] - c.pads[0] + ky * c.dilations[0];
                const int64_t ix = z * c.strides[1] - c.pads[1] + kx * c.dilations[1];
                if (iy < 0 || iy >= c.height || ix < 0 || ix >= c.width) continue;
                const int64_t channel = o / out_per_group * in_per_group + i;
                sum +=
                    static_cast<double>(x[static_cast<size_t>(((n * c.in + channel) * c.height + iy) * c.width + ix)]) *
                    w[static_cast<size_t>(((o * in_per_group + i) * c.kernel_h + ky) * c.kernel_w + kx)];
              }
          r.values.push_back(Activate(c.activation, sum));
        }
  return r;
}

const ConvCase kConvCases[] = {
    {"1x1", 1, 16, 24, 1, 14, 14, 1, 1},
    {"1x1 odd channels", 3, 13, 7, 1, 5, 9, 1, 1, {1, 1}, {0, 0, 0, 0}, {1, 1}, true, {Kind::kRelu}},
    {"1x1 stride 2", 1, 32, 48, 1, 13, 13, 1, 1, {2, 2}},
    {"stem, TensorFlow's SAME", 1, 3, 32, 1, 28, 28, 3, 3, {2, 2}, {0, 0, 1, 1}, {1, 1}, true, {Kind::kClip, 0, 6}},
    {"stem on an odd size", 3, 3, 32, 1, 29, 31, 3, 3, {2, 2}, {1, 1, 1, 1}},
    {"stem without padding", 1, 3, 64, 1, 27, 27, 3, 3, {2, 2}, {0, 0, 0, 0}, {1, 1}, true, {Kind::kRelu}},
    {"stem 7x7", 1, 3, 64, 1, 32, 32, 7, 7, {2, 2}, {3, 3, 3, 3}, {1, 1}, true, {Kind::kRelu}},
    {"one channel", 1, 1, 8, 1, 28, 28, 5, 5, {1, 1}, {2, 2, 2, 2}},
    {"3x3", 1, 16, 64, 1, 13, 13, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, true, {Kind::kRelu}},
    {"3x3 batch", 3, 64, 64, 1, 14, 14, 3, 3, {1, 1}, {1, 1, 1, 1}},
    {"3x3 wide", 1, 128, 128, 1, 28, 28, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, true, {Kind::kRelu}},
    {"3x3 leaky", 1, 64, 96, 1, 27, 28, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, true, {Kind::kLeakyRelu, 0.1f}},
    {"3x3 clipped, no bias", 2, 48, 64, 1, 14, 9, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, false, {Kind::kClip, -1, 1}},
    {"3x3 odd", 3, 5, 19, 1, 11, 7, 3, 3, {2, 1}, {1, 0, 0, 1}, {1, 1}, false},
    {"dilated", 1, 16, 16, 1, 17, 15, 3, 3, {1, 1}, {2, 3, 2, 3}, {2, 3}},
    {"dilated and strided", 3, 6, 10, 1, 17, 15, 3, 2, {2, 2}, {2, 1, 2, 2}, {2, 2}},
    {"depthwise", 1, 32, 32, 32, 28, 28, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, true, {Kind::kClip, 0, 6}},
    {"depthwise stride 2", 1, 96, 96, 96, 28, 28, 3, 3, {2, 2}, {0, 0, 1, 1}, {1, 1}, true, {Kind::kClip, 0, 6}},
    {"depthwise 5x5 stride 2", 3, 24, 24, 24, 15, 17, 5, 5, {2, 2}, {1, 1, 2, 2}, {1, 1}, true, {Kind::kSwish}},
    {"depthwise, 20 channels", 1, 20, 20, 20, 9, 10, 5, 5, {1, 1}, {2, 2, 2, 2}, {1, 1}, false},
    {"depthwise dilated", 1, 16, 16, 16, 9, 10, 3, 3, {1, 1}, {2, 2, 2, 2}, {2, 2}},
    {"depthwise, two outputs a channel", 1, 8, 16, 8, 9, 10, 3, 3, {1, 1}, {1, 1, 1, 1}},
    {"grouped", 3, 12, 18, 3, 9, 9, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, true, {Kind::kLeakyRelu, 0.1f}},
    {"grouped by 32", 1, 64, 64, 2, 9, 9, 3, 3, {1, 1}, {1, 1, 1, 1}},
    {"grouped 1x1", 1, 24, 48, 3, 7, 7, 1, 1, {1, 1}, {0, 0, 0, 0}, {1, 1}, true, {Kind::kSigmoid}},
    {"kernel as large as the input", 1, 16, 10, 1, 5, 5, 5, 5},
    {"1x1 on a vector", 3, 40, 10, 1, 1, 1, 1, 1, {1, 1}, {0, 0, 0, 0}, {1, 1}, true, {Kind::kHardSwish}},
    {"padding wider than the kernel", 1, 4, 4, 1, 5, 5, 1, 1, {1, 1}, {2, 2, 2, 2}, {1, 1}, true, {Kind::kElu, 0.5f}},
    {"gelu", 1, 32, 48, 1, 12, 12, 1, 1, {1, 1}, {0, 0, 0, 0}, {1, 1}, true, {Kind::kGelu}},
    {"gelu by tanh", 1, 32, 32, 1, 12, 12, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, true, {Kind::kGelu, 1}},
    {"mish", 1, 16, 16, 16, 12, 12, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, true, {Kind::kMish}},
    {"1x7", 1, 32, 32, 1, 17, 17, 1, 7, {1, 1}, {0, 3, 0, 3}, {1, 1}, true, {Kind::kTanh}},
    {"7x1", 3, 16, 24, 1, 17, 17, 7, 1, {1, 1}, {3, 0, 3, 0}},
};

Graph ConvGraph(const ConvCase& c, const std::vector<float>& w, const std::vector<float>& b) {
  GraphBuilder g;
  std::vector<ValueId> inputs = {g.Input({1, c.in, c.height, c.width}),
                                 g.Constant({c.out, c.in / c.groups, c.kernel_h, c.kernel_w}, w)};
  if (!b.empty()) inputs.push_back(g.Constant({c.out}, b));
  ValueId y = g.Add("Conv", inputs,
                    {{"group", c.groups},
                     {"kernel_shape", std::vector<int64_t>{c.kernel_h, c.kernel_w}},
                     {"strides", c.strides},
                     {"pads", c.pads},
                     {"dilations", c.dilations}},
                    c.activation);
  return g.Build({y});
}

// Adds the implementations that ran to `used`.
void CheckConv(const ConvCase& c, const EngineOptions& base, double tolerance, std::set<std::string>* used = nullptr) {
  std::vector<float> x = Random(Count({c.batch, c.in, c.height, c.width}), 1);
  const float range = 2 / std::sqrt(static_cast<float>(c.in / c.groups * c.kernel_h * c.kernel_w));
  std::vector<float> w = Random(Count({c.out, c.in / c.groups, c.kernel_h, c.kernel_w}), 2, -range, range);
  std::vector<float> b = c.bias ? Random(static_cast<size_t>(c.out), 3) : std::vector<float>();
  EngineOptions options = base;
  options.batch = static_cast<int>(c.batch);
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(ConvGraph(c, w, b), options);
  ASSERT_TRUE(network.ok()) << c.name << ": " << network.status();
  for (const CompiledNetwork::Layer& layer : network->layers()) {
    if (used != nullptr) used->insert(layer.implementation);
  }
  static std::map<std::string, ConvResult> known;
  ConvResult& expected = known[c.name];
  if (expected.values.empty()) expected = NaiveConv(c, x, w, b);
  ASSERT_EQ(network->output_shapes()[0], expected.shape) << c.name;
  // Twice: nothing may be left over from the run before.
  for (int i = 0; i < 2; ++i) {
    ExpectNear(testing::RunNetwork(*network, {x})[0], expected.values, tolerance, c.name);
  }
}

TEST(Convolution, AgreesWithItsDefinition) {
  for (const ConvCase& c : kConvCases) CheckConv(c, {}, 5e-6);
}

// Whatever is the fastest here, every implementation that could be chosen elsewhere is right. A choice that does not
// exist for a layer is ignored, so all can be named for all.
TEST(Convolution, EveryAlternativeAgreesWithItsDefinition) {
  const EngineOptions measured{.measuring = std::chrono::seconds(5)};
  for (const ConvCase& c : kConvCases) CheckConv(c, measured, 5e-6);
  const std::string choices = LayerChoices();
  std::set<std::string> used;
  for (const char* name : {"jit:avx512_core", "jit_1x1:avx512_core", "brgconv:avx512_core", "brgconv_1x1:avx512_core",
                           "jit_fp32_wino_2x3:avx512_core", "jit_fp32_wino_2x3:avx512_core apart",
                           "jit_wino_4x3:avx512_core", "jit_wino_4x3:avx512_core apart", "pointwise:avx512_core"}) {
    std::string forced;
    std::istringstream lines(choices);
    for (std::string line; std::getline(lines, line);) forced += line.substr(0, line.find('\t') + 1) + name + "\n";
    AddLayerChoices(forced);
    for (const ConvCase& c : kConvCases) CheckConv(c, measured, 2e-5, &used);
  }
  AddLayerChoices(choices);
  if (!EffectiveIsa().starts_with("avx512")) GTEST_SKIP() << "SKIPPED: no AVX-512, so no alternatives";
  for (const char* name : {"jit:avx512_core", "brgconv:avx512_core", "brgconv_1x1:avx512_core",
                           "jit_fp32_wino_2x3:avx512_core", "jit_wino_4x3:avx512_core"}) {
    EXPECT_TRUE(used.contains(name)) << name;
  }
}

TEST(Convolution, AgreesWithItsDefinitionOnTwoThreads) {
  for (const ConvCase& c : kConvCases) CheckConv(c, {.threads = 2}, 5e-6);
}

// bf16 has 8 bits of significand; sums are in f32.
TEST(Convolution, AgreesWithItsDefinitionInBf16) {
  for (const ConvCase& c : kConvCases) CheckConv(c, {.precision = Precision::kBf16}, 1.5e-2);
}

// Our own kernel: sizes that tiles of 2x2 do not fill, chunks of channels that are not full, more tiles than fit a
// block, on one thread, on two with tiles of their own, on two that share them.
TEST(Convolution, WinogradInBf16AgreesWithItsDefinition) {
  const ConvCase cases[] = {
      {"wino 13x13", 1, 16, 64, 1, 13, 13, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, true, {Kind::kRelu}},
      {"wino batch", 3, 32, 48, 1, 8, 9, 3, 3, {1, 1}, {1, 1, 1, 1}},
      {"wino without padding", 1, 64, 32, 1, 9, 12, 3, 3, {1, 1}, {0, 0, 0, 0}, {1, 1}, true, {Kind::kLeakyRelu, 0.1f}},
      {"wino lopsided, no bias", 2, 32, 16, 1, 17, 19, 3, 3, {1, 1}, {0, 2, 1, 0}, {1, 1}, false, {Kind::kClip, -1, 1}},
      {"wino three rows", 1, 32, 32, 1, 3, 40, 3, 3, {1, 1}, {1, 1, 1, 1}},
      {"wino, activation apart", 1, 64, 64, 1, 16, 16, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, true, {Kind::kSwish}},
      {"wino blocks", 1, 256, 32, 1, 20, 22, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, true, {Kind::kRelu}},
      {"wino large", 1, 128, 16, 1, 31, 32, 3, 3, {1, 1}, {1, 1, 1, 1}},
  };
  for (const ConvCase& c : cases) {
    for (int threads : {1, 2}) {
      std::set<std::string> used;
      CheckConv(c, {.precision = Precision::kBf16, .threads = threads}, 1.5e-2, &used);
      EXPECT_EQ(used.contains("winograd_2x3:avx512_core_bf16"), HasBf16()) << c.name;
    }
  }
}

// Our own kernel: all its numbers of vectors with and without a half, one to three pictures, pixels that fill no group.
TEST(Convolution, PointwiseWithChannelsThatFillNoBlockAgreesWithItsDefinition) {
  std::vector<ConvCase> cases;
  for (int64_t out : {8, 16, 24, 32, 40, 48, 56, 72, 144}) {
    for (int64_t in : {8, 24, 40}) {
      if (in % 16 == 0 && out % 16 == 0) continue;
      const FusedActivation activations[] = {{}, {Kind::kClip, 0, 6}, {Kind::kLeakyRelu, 0.1f}};
      cases.push_back({"", 1 + out / 8 % 3, in, out, 1, 1 + in % 9, out / 2, 1, 1});
      cases.back().bias = out % 32 != 0;
      cases.back().activation = activations[cases.size() % 3];
    }
  }
  for (ConvCase& c : cases) {
    const std::string name = Concat("pointwise ", c.in, " to ", c.out);
    c.name = name.c_str();
    for (int threads : {1, 2}) {
      std::set<std::string> used;
      CheckConv(c, {.threads = threads}, 5e-6, &used);
      CheckConv(c, {.precision = Precision::kBf16, .threads = threads}, 1.5e-2, &used);
      EXPECT_EQ(used.contains("pointwise:avx512_core"), EffectiveIsa().starts_with("avx512")) << name;
      EXPECT_EQ(used.contains("pointwise:avx512_core_bf16"), HasBf16()) << name;
    }
  }
}

// y = relu(act(conv(f(x)) + x)): fused in place of x if nobody reads x later and f is not the identity.
struct ResidualCase {
  int64_t kernel;
  bool through_another, x_is_read_later;
  FusedActivation activation;
};

void CheckResidual(const ResidualCase& r, Precision precision, double tolerance) {
  const int64_t channels = r.kernel == 1 ? 24 : 64, k = r.kernel, pad = k / 2;
  const ConvCase c{"residual", 1, channels, channels, 1, 14, 14, k, k, {1, 1}, {pad, pad, pad, pad}};
  std::vector<float> x = Random(Count({1, channels, 14, 14}), 4), w[3];
  const float range = 1.5f / std::sqrt(static_cast<float>(channels * k * k));
  GraphBuilder g;
  ValueId weights[3];
  for (size_t i = 0; i < 3; ++i) {
    w[i] = Random(Count({channels, channels, k, k}), static_cast<uint32_t>(5 + i), -range, range);
    weights[i] = g.Constant({channels, channels, k, k}, w[i]);
  }
  const decltype(Node::attributes) pads = {{"pads", c.pads}};
  ValueId stem = g.Add("Conv", {g.Input({1, channels, 14, 14}), weights[0]}, pads);
  ValueId inner = r.through_another ? g.Add("Conv", {stem, weights[1]}, pads, {Kind::kRelu}) : stem;
  ValueId sum = g.Add("Add", {stem, g.Add("Conv", {inner, weights[2]}, pads)}, {}, r.activation);
  std::vector<ValueId> outputs = {g.Add("Relu", {sum})};
  if (r.x_is_read_later) outputs.push_back(g.Add("Sigmoid", {stem}));
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(g.Build(outputs), {.precision = precision});
  ASSERT_TRUE(network.ok()) << network.status();
  bool add = false;
  for (const CompiledNetwork::Layer& layer : network->layers()) add |= layer.op == "Add";
  EXPECT_EQ(add, r.x_is_read_later || !r.through_another)
      << NameOf(precision) << ", kernel " << k << ", activation " << static_cast<int>(r.activation.kind);

  ConvCase relu = c;
  relu.activation = {Kind::kRelu};
  std::vector<float> s = NaiveConv(c, x, w[0], {}).values, sigmoid;
  std::vector<float> t = NaiveConv(c, r.through_another ? NaiveConv(relu, s, w[1], {}).values : s, w[2], {}).values;
  for (size_t i = 0; i < s.size(); ++i) {
    t[i] = std::max(0.0f, Activate(r.activation, t[i] + s[i]));
    sigmoid.push_back(Activate({Kind::kSigmoid}, s[i]));
  }
  auto out = testing::RunNetwork(*network, {x});
  ExpectNear(out[0], t, tolerance, "sum");
  if (r.x_is_read_later) ExpectNear(out[1], sigmoid, tolerance, "sigmoid");
}

TEST(Convolution, AddsItsResidualOnTheWayOut) {
  for (int64_t kernel : {1, 3}) {
    for (bool through_another : {false, true}) {
      for (bool later : {false, true}) {
        for (FusedActivation a :
             {FusedActivation{}, FusedActivation{Kind::kRelu}, FusedActivation{Kind::kClip, -1, 1}}) {
          CheckResidual({kernel, through_another, later, a}, Precision::kF32, 5e-6);
          CheckResidual({kernel, through_another, later, a}, Precision::kBf16, 2e-2);
        }
      }
    }
  }
}

// Both operands of the sum are convolutions, as in ResNet's first block of a stage.
TEST(Convolution, AddsTwoBranches) {
  const ConvCase c{"branch", 1, 16, 32, 1, 8, 8, 1, 1};
  std::vector<float> x = Random(Count({1, 16, 8, 8}), 7), w0 = Random(32 * 16, 8), w1 = Random(32 * 16, 9);
  GraphBuilder g;
  ValueId in = g.Input({1, 16, 8, 8});
  ValueId a = g.Add("Conv", {in, g.Constant({32, 16, 1, 1}, w0)});
  ValueId b = g.Add("Conv", {in, g.Constant({32, 16, 1, 1}, w1)});
  ValueId sum = g.Add("Add", {a, b}, {}, {Kind::kRelu});
  std::vector<float> expected = NaiveConv(c, x, w0, {}).values, other = NaiveConv(c, x, w1, {}).values;
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = std::max(0.0f, expected[i] + other[i]);
  ExpectNear(CompileAndRun(g.Build({sum}), {x})[0], expected, 2e-6, "sum");
}

TEST(Convolution, WeightsMustBeConstant) {
  GraphBuilder g;
  ValueId y = g.Add("Conv", {g.Input({1, 4, 8, 8}), g.Input({4, 4, 1, 1})});
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(g.Build({y}), {});
  EXPECT_EQ(network.status().code(), StatusCode::kUnimplemented) << network.status();
}

}  // namespace
}  // namespace infenclave
