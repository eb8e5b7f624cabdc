#include "assessment/defence.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/compiled_network.h"
#include "graph/cuts.h"
#include "graph/passes.h"

namespace infenclave {
namespace {

constexpr int kMostSensitivityPhotographs = 16;
constexpr double kStep = 0.03;      // of the differences, in deviations of the channel
constexpr double kJitter = 1e-4;    // on the diagonal of correlations, which may be singular
constexpr int kSubspaceSteps = 40;  // of orthogonal iteration
constexpr int kCodeSamples = 2048;  // of each channel
// From the first code to the last, in deviations: from 1 to 32.
constexpr double kLeastCodeWidth = 1, kCodeWidthRatio = 1.189207115002721;  // the fourth root of 2
constexpr size_t kCodeWidths = 21;
constexpr double kLowestShares[] = {0, 0.001, 0.003, 0.01, 0.03, 0.1};  // of a channel's values, below code 0

using Matrix = std::vector<double>;  // row by row, square unless said otherwise

// A network with one input and one output, and their memory.
class Runner {
 public:
  static StatusOr<Runner> Create(const Graph& graph, int threads) {
    EngineOptions options;
    options.threads = threads;
    INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(graph, options));
    return Runner(std::move(network));
  }
  std::span<float> input() { return input_.as<float>(); }
  StatusOr<std::span<const float>> Run() {
    const TensorView inputs[] = {input_.view()};
    const MutableTensorView outputs[] = {output_.mutable_view()};
    INFENCLAVE_RETURN_IF_ERROR(network_.Run(inputs, outputs));
    const auto values = std::as_const(output_).as<float>();
    if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) {
      return InvalidArgument("the model gives NaN or infinity: check it and --preprocessing");
    }
    return values;
  }

 private:
  explicit Runner(CompiledNetwork network)
      : network_(std::move(network)),
        input_(DType::kF32, network_.input_shapes()[0]),
        output_(DType::kF32, network_.output_shapes()[0]) {}
  CompiledNetwork network_;
  Tensor input_, output_;
};

// Of a network in two parts, the IR in between.
struct Halves {
  Runner front, back;
  static StatusOr<Halves> Create(const Graph& model, ValueId cut, int threads) {
    INFENCLAVE_ASSIGN_OR_RETURN(const Partition parts, SplitAt(model, cut));
    INFENCLAVE_ASSIGN_OR_RETURN(Runner front, Runner::Create(parts.front, threads));
    INFENCLAVE_ASSIGN_OR_RETURN(Runner back, Runner::Create(parts.back, threads));
    return Halves{std::move(front), std::move(back)};
  }
};

// Lower triangle of a symmetric positive definite matrix.
Matrix Cholesky(const Matrix& a, int n) {
  Matrix l(a.size());
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j <= i; ++j) {
      double sum = a[i * n + j];
      for (int k = 0; k < j; ++k) sum -= l[i * n + k] * l[j * n + k];
      l[i * n + j] = i == j ? std::sqrt(std::max(sum, kJitter * kJitter)) : sum / l[j * n + j];
    }
  }
  return l;
}

// a' b for a [n,p], b [n,q]: [p,q].
Matrix TransposedTimes(const Matrix& a, const Matrix& b, int n, int p, int q) {
  Matrix out(static_cast<size_t>(p) * q);
  for (int k = 0; k < n; ++k) {
    for (int i = 0; i < p; ++i) {
      const double v = a[static_cast<size_t>(k) * p + i];
      if (v == 0) continue;
      for (int j = 0; j < q; ++j) out[static_cast<size_t>(i) * q + j] += v * b[static_cast<size_t>(k) * q + j];
    }
  }
  return out;
}

// The columns of v [n,r] made orthonormal (Gram and Schmidt, twice).
void Orthonormalise(Matrix& v, int n, int r) {
  for (int j = 0; j < r; ++j) {
    for (int pass = 0; pass < 2; ++pass) {
      for (int k = 0; k < j; ++k) {
        double dot = 0;
        for (int i = 0; i < n; ++i) dot += v[i * r + j] * v[i * r + k];
        for (int i = 0; i < n; ++i) v[i * r + j] -= dot * v[i * r + k];
      }
    }
    double norm = 0;
    for (int i = 0; i < n; ++i) norm += v[i * r + j] * v[i * r + j];
    norm = std::sqrt(std::max(norm, 1e-300));
    for (int i = 0; i < n; ++i) v[i * r + j] /= norm;
  }
}

// An orthonormal basis [n,r] of the leading eigenvectors of symmetric s, by orthogonal iteration.
Matrix LeadingSubspace(const Matrix& s, int n, int r, uint64_t seed) {
  Random random(seed);
  Matrix v(static_cast<size_t>(n) * r);
  for (double& value : v) value = random.Normal();
  Orthonormalise(v, n, r);
  for (int step = 0; r < n && step < kSubspaceSteps; ++step) {
    v = TransposedTimes(s, v, n, n, r);
    Orthonormalise(v, n, r);
  }
  return v;
}

class Fitter {
 public:
  Fitter(const Graph& model, ValueId cut, const ProjectionOptions& options, const LoadPhotograph& load,
         const std::function<void(double)>& progress)
      : model_(model), cut_(cut), options_(options), load_(load), progress_(progress) {
    const Shape& shape = model.value(cut).shape;
    channels_ = static_cast<int>(shape[1]);
    places_ = static_cast<int>(shape[2] * shape[3]);
  }

  StatusOr<Projection> Fit() {
    INFENCLAVE_ASSIGN_OR_RETURN(Halves halves, Halves::Create(model_, cut_, options_.threads));
    INFENCLAVE_RETURN_IF_ERROR(Observe(halves));
    if (options_.rank == 0) return Diagonal();
    INFENCLAVE_RETURN_IF_ERROR(Differentiate(halves));
    return Project();
  }

 private:
  // Mean, deviation and correlations of the channels.
  Status Observe(Halves& halves) {
    const int n = channels_;
    mean_.assign(n, 0);
    Matrix sum(static_cast<size_t>(n) * n);
    std::vector<float> placewise(static_cast<size_t>(n) * places_);
    for (int i = 0; i < options_.photographs; ++i) {
      INFENCLAVE_RETURN_IF_ERROR(load_(i, halves.front.input()));
      INFENCLAVE_ASSIGN_OR_RETURN(const std::span<const float> ir, halves.front.Run());
      for (int c = 0; c < n; ++c) {
        for (int p = 0; p < places_; ++p) mean_[c] += ir[static_cast<size_t>(c) * places_ + p];
      }
      for (int a = 0; a < n; ++a) {
        for (int b = options_.rank == 0 ? a : 0; b <= a; ++b) {
          const float *x = &ir[static_cast<size_t>(a) * places_], *y = &ir[static_cast<size_t>(b) * places_];
          double dot = 0;
          for (int p = 0; p < places_; ++p) dot += static_cast<double>(x[p]) * y[p];
          sum[a * n + b] += dot;
        }
      }
      progress_(Share() * (i + 1) / options_.photographs);
    }
    const double count = static_cast<double>(options_.photographs) * places_;
    for (double& m : mean_) m /= count;
    deviation_.assign(n, 1);
    for (int c = 0; c < n; ++c) {
      const double square = sum[c * n + c] / count, variance = square - mean_[c] * mean_[c];
      if (variance > 1e-12 * square) deviation_[c] = std::sqrt(variance);
    }
    correlation_.assign(sum.size(), 0);
    for (int a = 0; a < n; ++a) {
      for (int b = 0; b <= a; ++b) {
        const double value = (sum[a * n + b] / count - mean_[a] * mean_[b]) / (deviation_[a] * deviation_[b]);
        correlation_[a * n + b] = correlation_[b * n + a] = value;
      }
      correlation_[a * n + a] += kJitter;
    }
    return OkStatus();
  }

  double Share() const { return options_.rank == 0 ? 1.0 : 0.2; }  // of the work

  // The mean of J'J.
  Status Differentiate(Halves& halves) {
    const int n = channels_, photographs = std::min(options_.photographs, kMostSensitivityPhotographs);
    sensitivity_.assign(static_cast<size_t>(n) * n, 0);
    Random random(options_.seed);
    for (int i = 0; i < photographs; ++i) {
      INFENCLAVE_RETURN_IF_ERROR(load_(i, halves.front.input()));
      INFENCLAVE_ASSIGN_OR_RETURN(const std::span<const float> made, halves.front.Run());
      const std::vector<float> ir(made.begin(), made.end());
      std::copy(ir.begin(), ir.end(), halves.back.input().begin());
      INFENCLAVE_ASSIGN_OR_RETURN(const std::span<const float> first, halves.back.Run());
      const std::vector<float> scores(first.begin(), first.end());
      std::vector<float> sign(places_);
      for (float& s : sign) s = random.Below(2) == 0 ? -1.0f : 1.0f;
      std::vector<std::vector<double>> rows(n, std::vector<double>(scores.size()));
      for (int c = 0; c < n; ++c) {
        const std::span<float> in = halves.back.input().subspan(static_cast<size_t>(c) * places_, places_);
        for (int p = 0; p < places_; ++p) in[p] += static_cast<float>(kStep * deviation_[c]) * sign[p];
        INFENCLAVE_ASSIGN_OR_RETURN(const std::span<const float> moved, halves.back.Run());
        std::copy_n(&ir[static_cast<size_t>(c) * places_], places_, in.begin());
        double mean = 0;  // what all scores share changes no answer
        for (size_t k = 0; k < scores.size(); ++k) mean += rows[c][k] = (moved[k] - scores[k]) / kStep;
        for (double& v : rows[c]) v -= mean / static_cast<double>(scores.size());
      }
      for (int a = 0; a < n; ++a) {
        for (int b = 0; b <= a; ++b) {
          double dot = 0;
          for (size_t k = 0; k < scores.size(); ++k) dot += rows[a][k] * rows[b][k];
          sensitivity_[a * n + b] += dot;
          if (b < a) sensitivity_[b * n + a] += dot;
        }
      }
      progress_(Share() + (1 - Share()) * (i + 1) / photographs);
    }
    return OkStatus();
  }

  Projection Diagonal() const {
    Projection out{channels_, channels_, {}, {}, {}, {}, 1};
    for (int c = 0; c < channels_; ++c) {
      out.down.push_back(static_cast<float>(1 / deviation_[c]));
      out.down_bias.push_back(static_cast<float>(-mean_[c] / deviation_[c]));
      out.up.push_back(static_cast<float>(deviation_[c]));
      out.up_bias.push_back(static_cast<float>(mean_[c]));
    }
    return out;
  }

  Projection Project() const {
    const int n = channels_, r = options_.rank;
    const Matrix l = Cholesky(correlation_, n);
    const Matrix gl = TransposedTimes(sensitivity_, l, n, n, n);
    const Matrix s = TransposedTimes(l, gl, n, n, n);
    const Matrix v = LeadingSubspace(s, n, r, options_.seed);
    const Matrix sv = TransposedTimes(s, v, n, n, r);
    double all = 0, kept = 0;
    for (int i = 0; i < n; ++i) all += s[i * n + i];
    for (size_t i = 0; i < v.size(); ++i) kept += v[i] * sv[i];
    // L^-1' V: backwards through the upper triangle L'.
    Matrix inverse = v;
    for (int i = n - 1; i >= 0; --i) {
      for (int j = 0; j < r; ++j) {
        double sum = inverse[i * r + j];
        for (int k = i + 1; k < n; ++k) sum -= l[k * n + i] * inverse[k * r + j];
        inverse[i * r + j] = sum / l[i * n + i];
      }
    }
    Projection out{n, r, {}, {}, {}, {}, all > 0 ? kept / all : 1};
    for (int j = 0; j < r; ++j) {
      double bias = 0;
      for (int c = 0; c < n; ++c) {
        const double weight = inverse[c * r + j] / deviation_[c];
        out.down.push_back(static_cast<float>(weight));
        bias -= weight * mean_[c];
      }
      out.down_bias.push_back(static_cast<float>(bias));
    }
    for (int c = 0; c < n; ++c) {
      for (int j = 0; j < r; ++j) {
        double weight = 0;
        for (int k = 0; k <= c; ++k) weight += l[c * n + k] * v[k * r + j];
        out.up.push_back(static_cast<float>(weight * deviation_[c]));
      }
      out.up_bias.push_back(static_cast<float>(mean_[c]));
    }
    return out;
  }

  const Graph& model_;
  const ValueId cut_;
  const ProjectionOptions options_;
  const LoadPhotograph& load_;
  const std::function<void(double)>& progress_;
  int channels_ = 0, places_ = 0;
  std::vector<double> mean_, deviation_;
  Matrix correlation_, sensitivity_;
};

Tensor Constant(const std::vector<float>& values, Shape shape) {
  Tensor tensor(DType::kF32, std::move(shape));
  std::copy(values.begin(), values.end(), tensor.as<float>().begin());
  return tensor;
}

int TopClass(std::span<const float> scores) {
  return static_cast<int>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

}  // namespace

StatusOr<Projection> FitProjection(const Graph& model, ValueId cut, const ProjectionOptions& options,
                                   const LoadPhotograph& load, const std::function<void(double)>& progress) {
  const Value& value = model.value(cut);
  if (value.shape.size() != 4 || value.shape[0] != 1) {
    return InvalidArgument("cut '", value.name, "' has the shape ", ToString(value.shape),
                           ": maps [1,C,H,W] can be narrowed");
  }
  if (options.rank > value.shape[1]) {
    return InvalidArgument("--ir-rank ", options.rank, ": cut '", value.name, "' has ", value.shape[1], " channels");
  }
  if (options.photographs < 2) return InvalidArgument("a projection is fitted on 2 photographs at least");
  return Fitter(model, cut, options, load, progress).Fit();
}

Projection WithLowestAtZero(Projection projection, const std::vector<float>& lowest) {
  const bool alone = projection.up.size() == projection.up_bias.size() && projection.rank == projection.channels;
  for (size_t j = 0; j < lowest.size(); ++j) {
    projection.down_bias[j] -= lowest[j];
    if (alone) projection.up_bias[j] += projection.up[j] * lowest[j];
  }
  for (size_t c = 0; !alone && c < projection.up_bias.size(); ++c) {
    for (size_t j = 0; j < lowest.size(); ++j) {
      projection.up_bias[c] += projection.up[c * lowest.size() + j] * lowest[j];
    }
  }
  return projection;
}

float Rounded(const IrCodes& codes, float value) {
  const float code = std::nearbyint(value * (1 / codes.step));  // ties to even, as the enclave
  return codes.step * std::clamp(code, 0.0f, static_cast<float>(codes.largest));
}

namespace {

// The mean square of what is lost of these values.
double LossOf(std::span<const float> values, float lowest, const IrCodes& codes) {
  double sum = 0;
  for (const float value : values) {
    const double lost = Rounded(codes, value - lowest) + lowest - value;
    sum += lost * lost;
  }
  return sum / static_cast<double>(values.size());
}

}  // namespace

StatusOr<IrCodes> FitCodes(const Graph& narrowed_model, ValueId narrowed, int largest, int photographs, int threads,
                           uint64_t seed, const LoadPhotograph& load, const std::function<void(double)>& progress) {
  const Shape& shape = narrowed_model.value(narrowed).shape;
  const auto channels = static_cast<size_t>(shape[1]);
  const auto places = static_cast<uint64_t>(shape[2] * shape[3]);
  INFENCLAVE_ASSIGN_OR_RETURN(const Graph front, UpTo(narrowed_model, narrowed));
  INFENCLAVE_ASSIGN_OR_RETURN(Runner runner, Runner::Create(front, threads));
  Random random(seed);
  std::vector<std::vector<float>> values(channels);
  const int each = std::max(1, kCodeSamples / std::max(1, photographs));
  for (int i = 0; i < photographs; ++i) {
    INFENCLAVE_RETURN_IF_ERROR(load(i, runner.input()));
    INFENCLAVE_ASSIGN_OR_RETURN(const std::span<const float> ir, runner.Run());
    for (size_t c = 0; c < channels; ++c) {
      for (int k = 0; k < each; ++k) values[c].push_back(ir[c * places + random.Below(places)]);
    }
    progress(0.5 * (i + 1) / photographs);
  }
  for (std::vector<float>& channel : values) std::sort(channel.begin(), channel.end());
  IrCodes best;
  for (size_t w = 0; w < kCodeWidths; ++w) {
    IrCodes codes{largest, static_cast<float>(kLeastCodeWidth * std::pow(kCodeWidthRatio, w) / largest), {}, 0};
    for (const std::vector<float>& channel : values) {
      double least = std::numeric_limits<double>::infinity();
      float lowest = 0;
      for (const double share : kLowestShares) {
        const float value = channel[static_cast<size_t>(share * static_cast<double>(channel.size() - 1))];
        if (const double loss = LossOf(channel, value, codes); loss < least) {
          least = loss;
          lowest = value;
        }
      }
      codes.lowest.push_back(lowest);
      codes.error += least / static_cast<double>(channels);
    }
    if (best.step == 0 || codes.error < best.error) best = std::move(codes);
    progress(0.5 + 0.5 * static_cast<double>(w + 1) / kCodeWidths);
  }
  best.error = std::sqrt(best.error);
  return best;
}

StatusOr<Graph> InsertRounding(Graph model, ValueId narrowed, const IrCodes& codes) {
  const std::string name = model.value(narrowed).name;
  const Shape shape = model.value(narrowed).shape;
  model.value(narrowed).name = model.nodes[static_cast<size_t>(Producers(model)[narrowed])].name = name + "/exact";
  std::vector<Node> rounding;
  const auto add = [&](const char* op, const std::string& made, std::vector<ValueId> inputs) {
    Node node;
    node.op = op;
    node.name = made;
    node.inputs = std::move(inputs);
    node.outputs = {model.AddValue(made, DType::kF32, shape)};
    rounding.push_back(node);
    return node.outputs[0];
  };
  const auto number = [&](const char* what, float value) {
    return model.AddConstant(Concat(name, "/", what), Tensor::FromF32({}, std::array<float, 1>{value}));
  };
  const ValueId steps = add("Mul", name + "/steps", {narrowed, number("per step", 1 / codes.step)});
  const ValueId code = add("Clip", name + "/codes",
                           {add("Round", name + "/rounded", {steps}), number("least", 0),
                            number("largest", static_cast<float>(codes.largest))});
  const ValueId rounded = add("Mul", name, {code, number("step", codes.step)});
  for (Node& node : model.nodes) std::replace(node.inputs.begin(), node.inputs.end(), narrowed, rounded);
  const std::vector<int> producers = Producers(model);
  model.nodes.insert(model.nodes.begin() + producers[narrowed] + 1, rounding.begin(), rounding.end());
  INFENCLAVE_RETURN_IF_ERROR(Validate(model));
  return model;
}

std::string NarrowedName(std::string_view cut) { return Concat(cut, "/narrowed"); }

StatusOr<Graph> InsertProjection(Graph model, ValueId cut, const Projection& projection) {
  const std::string name = model.value(cut).name;
  const Shape shape = model.value(cut).shape;
  const int64_t c = projection.channels, r = projection.rank;
  // Without a rank every channel is on its own.
  const bool alone = r == c && static_cast<int64_t>(projection.down.size()) == c;
  const auto convolution = [&](const std::string& made, ValueId from, int64_t in, int64_t out,
                               const std::vector<float>& weights, const std::vector<float>& bias) {
    Node node;
    node.op = "Conv";
    node.name = made;
    if (alone) node.attributes["group"] = in;
    node.attributes["kernel_shape"] = std::vector<int64_t>{1, 1};
    node.inputs = {from, model.AddConstant(made + "/weight", Constant(weights, {out, alone ? 1 : in, 1, 1})),
                   model.AddConstant(made + "/bias", Constant(bias, {out}))};
    node.outputs = {model.AddValue(made, DType::kF32, {1, out, shape[2], shape[3]})};
    return node;
  };
  const Node down = convolution(NarrowedName(name), cut, c, r, projection.down, projection.down_bias);
  const Node up = convolution(Concat(name, "/restored"), down.outputs[0], r, c, projection.up, projection.up_bias);
  for (Node& node : model.nodes) std::replace(node.inputs.begin(), node.inputs.end(), cut, up.outputs[0]);
  std::replace(model.outputs.begin(), model.outputs.end(), cut, up.outputs[0]);
  const std::vector<int> producers = Producers(model);
  const auto after = model.nodes.begin() + producers[cut] + 1;
  model.nodes.insert(model.nodes.insert(after, up), down);
  INFENCLAVE_RETURN_IF_ERROR(Validate(model));
  return model;
}

StatusOr<DefencePrice> PriceDefence(const Graph& model, const Graph& defended, std::string_view narrowed, double noise,
                                    const IrCodes* codes, const std::vector<int64_t>& truth, int threads, uint64_t seed,
                                    const LoadPhotograph& load, const std::function<void(double)>& progress) {
  INFENCLAVE_ASSIGN_OR_RETURN(const ValueId cut, FindCut(defended, narrowed));
  INFENCLAVE_ASSIGN_OR_RETURN(Runner whole, Runner::Create(model, threads));
  INFENCLAVE_ASSIGN_OR_RETURN(Halves halves, Halves::Create(defended, cut, threads));
  DefencePrice price;
  int same = 0, right = 0, right_after = 0, lost = 0, won = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    INFENCLAVE_RETURN_IF_ERROR(load(static_cast<int>(i), whole.input()));
    INFENCLAVE_ASSIGN_OR_RETURN(const std::span<const float> scores, whole.Run());
    const int was = TopClass(scores);
    std::copy(whole.input().begin(), whole.input().end(), halves.front.input().begin());
    INFENCLAVE_ASSIGN_OR_RETURN(const std::span<const float> ir, halves.front.Run());
    Random random(seed ^ (i + 1) * 0x9e3779b97f4a7c15);
    for (size_t k = 0; k < ir.size(); ++k) {
      const float sent = ir[k] + (noise > 0 ? static_cast<float>(noise * random.Normal()) : 0.0f);
      halves.back.input()[k] = codes != nullptr ? Rounded(*codes, sent) : sent;
    }
    INFENCLAVE_ASSIGN_OR_RETURN(const std::span<const float> defended_scores, halves.back.Run());
    const int is = TopClass(defended_scores);
    ++price.photographs;
    same += was == is;
    if (truth[i] >= 0) {
      ++price.labelled;
      right += was == truth[i];
      right_after += is == truth[i];
      lost += was == truth[i] && is != truth[i];
      won += was != truth[i] && is == truth[i];
    }
    progress(static_cast<double>(i + 1) / static_cast<double>(truth.size()));
  }
  if (price.photographs == 0) return InvalidArgument("no photograph is left to price the defence on");
  price.same_top1 = ShareOf(same, price.photographs);
  if (price.labelled > 0) {
    price.before = ShareOf(right, price.labelled);
    price.after = ShareOf(right_after, price.labelled);
    price.loss = PairedShareDifference(lost, won, price.labelled);
  }
  return price;
}

}  // namespace infenclave
