#include "import/darknet.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "graph/passes.h"
#include "import/darknet_cfg.h"

namespace infenclave {
namespace {

// The `.weights` file as a stream of little-endian floats behind its header.
class WeightReader {
 public:
  explicit WeightReader(ByteSpan bytes) : bytes_(bytes) {}

  // major, minor, revision as int32, then the number of images seen: 8 bytes from version 0.2 on, 4 before.
  Status ReadHeader() {
    uint32_t header[3];
    if (bytes_.size() < 16) return InvalidArgument("weights: ", bytes_.size(), " bytes are too few for a header");
    std::memcpy(header, bytes_.data(), sizeof(header));
    uint64_t major = header[0], minor = header[1];
    transposed_ = major > 1000 || minor > 1000;
    bool wide = major * 10 + minor >= 2 && major < 1000 && minor < 1000;
    position_ = sizeof(header) + (wide ? 8 : 4);
    if (bytes_.size() < position_) return InvalidArgument("weights: the header is cut off");
    return OkStatus();
  }

  StatusOr<Tensor> Read(const DarknetSection& layer, Shape shape) {
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t n, NumElements(shape));
    size_t need = static_cast<size_t>(n) * sizeof(float), left = bytes_.size() - position_;
    if (need > left) {
      return InvalidArgument(layer.Where(), ": weights end early: needs ", need, " bytes, ", left, " are left");
    }
    Tensor out(DType::kF32, std::move(shape));
    if (need > 0) std::memcpy(out.data(), bytes_.data() + position_, need);
    position_ += need;
    for (float v : out.as<float>()) {
      if (!std::isfinite(v)) return InvalidArgument(layer.Where(), ": a weight is not finite");
    }
    return out;
  }

  bool transposed() const { return transposed_; }
  size_t left() const { return bytes_.size() - position_; }

 private:
  ByteSpan bytes_;
  size_t position_ = 0;
  bool transposed_ = false;
};

Tensor Transposed(const Tensor& in, int64_t rows, int64_t cols) {
  Tensor out(DType::kF32, in.shape());
  std::span<const float> from = in.as<float>();
  std::span<float> to = out.as<float>();
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) to[static_cast<size_t>(c * rows + r)] = from[static_cast<size_t>(r * cols + c)];
  }
  return out;
}

// Per output channel: y = scale * x + shift.
struct Affine {
  std::vector<float> scale, shift;
};

// Darknet: y = scales * (x - mean) / (sqrt(variance) + 1e-6) + biases.
StatusOr<Affine> NormalizationOf(const DarknetSection& layer, const Tensor& biases, const Tensor& scales,
                                 const Tensor& mean, const Tensor& variance) {
  Affine out;
  for (size_t i = 0; i < biases.as<float>().size(); ++i) {
    float scale = scales.as<float>()[i] / (std::sqrt(variance.as<float>()[i]) + 1e-6f);
    if (!std::isfinite(scale)) return InvalidArgument(layer.Where(), ": variance ", variance.as<float>()[i], " at ", i);
    out.scale.push_back(scale);
    out.shift.push_back(biases.as<float>()[i] - mean.as<float>()[i] * scale);
  }
  return out;
}

class Importer {
 public:
  Importer(std::vector<DarknetSection> sections, ByteSpan weights)
      : sections_(std::move(sections)), weights_(weights) {}

  StatusOr<Graph> Build() {
    INFENCLAVE_RETURN_IF_ERROR(weights_.ReadHeader());
    INFENCLAVE_RETURN_IF_ERROR(Input(sections_[0]));
    for (size_t i = 1; i < sections_.size(); ++i) {
      name_ = LayerName(i - 1);
      INFENCLAVE_RETURN_IF_ERROR(Layer(sections_[i]));
      outputs_.push_back(current_);
    }
    if (weights_.left() != 0) {
      return InvalidArgument("weights: ", weights_.left(), " bytes are left over: not the weights of this cfg");
    }
    if (graph_.nodes.empty()) return InvalidArgument("the cfg has no layer");
    graph_.outputs = {current_};
    return Simplify(std::move(graph_));
  }

 private:
  std::string LayerName(size_t index) const {
    return Concat("layer", index < 10 ? "00" : index < 100 ? "0" : "", index);
  }
  const Shape& shape() const { return graph_.value(current_).shape; }
  int64_t Channels() const { return shape()[1]; }

  Status Input(const DarknetSection& net) {
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t h, net.Int("height", 0, 1, 1 << 14));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t w, net.Int("width", 0, 1, 1 << 14));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t c, net.Int("channels", 0, 1, 1 << 10));
    graph_.name = "darknet";
    current_ = graph_.AddValue("input", DType::kF32, {1, c, h, w});
    graph_.inputs = {current_};
    return OkStatus();
  }

  Status Layer(const DarknetSection& layer) {
    for (std::string_view option : {"dontload", "numload", "dontloadscales", "binary", "xnor"}) {
      INFENCLAVE_ASSIGN_OR_RETURN(int64_t v, layer.Int(option, 0, INT32_MIN, INT32_MAX));
      if (v != 0) return Unimplemented(layer.Where(), ": option ", option, " is not supported");
    }
    const std::string& kind = layer.kind;
    if (kind == "convolutional" || kind == "conv") return Convolutional(layer);
    if (kind == "connected" || kind == "conn") return Connected(layer);
    if (kind == "maxpool" || kind == "max") return MaxPool(layer);
    if (kind == "avgpool" || kind == "avg") return AveragePool(layer);
    if (kind == "softmax" || kind == "soft") return Softmax(layer);
    if (kind == "route") return Route(layer);
    if (kind == "shortcut") return Shortcut(layer);
    if (kind == "crop") return Crop(layer);
    if (kind == "batchnorm") return BatchNorm(layer);
    if (kind == "activation") return Activate(layer, layer.Text("activation", "linear"));
    if (kind == "dropout" || kind == "cost") return OkStatus();  // identities when a network is only run
    return Unimplemented(layer.Where(),
                         ": layer kind not known; Darknet's classifiers are read, not its detectors or "
                         "recurrent networks");
  }

  // Appends a node; its result becomes the current value.
  void Emit(std::string op, std::string name, std::vector<ValueId> inputs, Shape result,
            std::map<std::string, Attribute, std::less<>> attributes = {}) {
    Node node;
    node.op = std::move(op);
    node.name = name;
    node.inputs = std::move(inputs);
    node.attributes = std::move(attributes);
    current_ = graph_.AddValue(std::move(name), DType::kF32, std::move(result));
    node.outputs = {current_};
    graph_.nodes.push_back(std::move(node));
  }
  ValueId Constant(std::string_view suffix, Tensor tensor) {
    return graph_.AddConstant(Concat(name_, "/", suffix), std::move(tensor));
  }
  ValueId Vector(std::string_view suffix, std::span<const float> values, Shape shape) {
    return Constant(suffix, Tensor::FromF32(std::move(shape), values));
  }
  ValueId Indices(std::string_view suffix, std::vector<int64_t> values) {
    return Constant(suffix, Tensor::FromI64({static_cast<int64_t>(values.size())}, values));
  }
  void Scale(float factor, std::string_view suffix) {
    ValueId constant = Vector(Concat(suffix, "_factor"), std::vector<float>{factor}, {1});
    Emit("Mul", Concat(name_, "/", suffix), {current_, constant}, shape());
  }

  Status NeedImage(const DarknetSection& layer) const {
    if (shape().size() == 4) return OkStatus();
    return InvalidArgument(layer.Where(), ": needs an image [N,C,H,W], the layer before gives ", ToString(shape()));
  }
  void Flatten() {
    if (shape().size() == 2) return;
    Emit("Flatten", Concat(name_, "/flat"), {current_}, {1, shape()[1] * shape()[2] * shape()[3]},
         {{"axis", int64_t{1}}});
  }

  // The value before the activation is called "layerNN/linear"; the layer's result "layerNN".
  Status Activate(const DarknetSection& layer, const std::string& activation) {
    struct Known {
      std::string_view name, op;
      float alpha = 0, gain = 1, gamma = 0;
    };
    static constexpr Known kKnown[] = {
        {"relu", "Relu"},
        {"leaky", "LeakyRelu", 0.1f},
        {"relie", "LeakyRelu", 0.01f},
        {"logistic", "Sigmoid"},
        {"tanh", "Tanh"},
        {"elu", "Elu", 1.0f},
        {"selu", "Selu", 1.6732f, 1, 1.0507f},
        {"ramp", "LeakyRelu", 0.1f / 1.1f, 1.1f},  // x*(x>0) + .1*x
    };
    if (activation == "linear") return OkStatus();
    for (const Known& known : kKnown) {
      if (known.name != activation) continue;
      std::map<std::string, Attribute, std::less<>> attributes;
      if (known.alpha != 0) attributes["alpha"] = known.alpha;
      if (known.gamma != 0) attributes["gamma"] = known.gamma;
      bool scaled = known.gain != 1;
      Emit(std::string(known.op), scaled ? Concat(name_, "/leaky") : name_, {current_}, shape(), attributes);
      if (scaled) {
        ValueId gain = Vector("gain", std::vector<float>{known.gain}, {1});
        Emit("Mul", name_, {current_, gain}, shape());
      }
      return OkStatus();
    }
    return Unimplemented(layer.Where(), ": activation ", activation, " is not supported");
  }
  std::string LinearName(const std::string& activation) const {
    return activation == "linear" ? name_ : Concat(name_, "/linear");
  }

  StatusOr<Affine> ReadNormalization(const DarknetSection& layer, const Tensor& biases) {
    INFENCLAVE_ASSIGN_OR_RETURN(Tensor scales, weights_.Read(layer, biases.shape()));
    INFENCLAVE_ASSIGN_OR_RETURN(Tensor mean, weights_.Read(layer, biases.shape()));
    INFENCLAVE_ASSIGN_OR_RETURN(Tensor variance, weights_.Read(layer, biases.shape()));
    return NormalizationOf(layer, biases, scales, mean, variance);
  }
  // Multiplies each output channel's row of weights, and replaces the biases.
  static void Fold(const Affine& affine, Tensor& weights, Tensor& biases) {
    size_t row = weights.as<float>().size() / affine.scale.size();
    for (size_t o = 0; o < affine.scale.size(); ++o) {
      for (float& w : weights.as<float>().subspan(o * row, row)) w *= affine.scale[o];
      biases.as<float>()[o] = affine.shift[o];
    }
  }

  Status Convolutional(const DarknetSection& layer) {
    INFENCLAVE_RETURN_IF_ERROR(NeedImage(layer));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t n, layer.Int("filters", 1, 1, 1 << 16));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t size, layer.Int("size", 1, 1, 64));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t stride, layer.Int("stride", 1, 1, 64));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t groups, layer.Int("groups", 1, 1, 1 << 16));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t pad, layer.Int("pad", 0, 0, 1));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t padding, layer.Int("padding", 0, 0, 64));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t normalize, layer.Int("batch_normalize", 0, 0, 1));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t flipped, layer.Int("flipped", 0, 0, 1));
    if (pad != 0) padding = size / 2;
    int64_t c = Channels(), h = shape()[2] + 2 * padding - size, w = shape()[3] + 2 * padding - size;
    if (c % groups != 0 || n % groups != 0) {
      return InvalidArgument(layer.Where(), ": ", c, " channels to ", n, " filters in ", groups, " groups");
    }
    if (h < 0 || w < 0)
      return InvalidArgument(layer.Where(), ": size ", size, " exceeds the input ", ToString(shape()));

    INFENCLAVE_ASSIGN_OR_RETURN(Tensor biases, weights_.Read(layer, {n}));
    Affine affine;
    if (normalize != 0) {
      INFENCLAVE_ASSIGN_OR_RETURN(affine, ReadNormalization(layer, biases));
    }
    INFENCLAVE_ASSIGN_OR_RETURN(Tensor kernel, weights_.Read(layer, {n, c / groups, size, size}));
    if (flipped != 0) kernel = Transposed(kernel, c / groups * size * size, n);
    if (normalize != 0) Fold(affine, kernel, biases);

    std::string activation = layer.Text("activation", "logistic");
    Emit("Conv", LinearName(activation),
         {current_, Constant("weights", std::move(kernel)), Constant("biases", std::move(biases))},
         {1, n, h / stride + 1, w / stride + 1},
         {{"group", groups},
          {"kernel_shape", std::vector<int64_t>{size, size}},
          {"strides", std::vector<int64_t>{stride, stride}},
          {"pads", std::vector<int64_t>{padding, padding, padding, padding}}});
    return Activate(layer, activation);
  }

  Status Connected(const DarknetSection& layer) {
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t n, layer.Int("output", 1, 1, 1 << 20));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t normalize, layer.Int("batch_normalize", 0, 0, 1));
    Flatten();
    int64_t inputs = shape()[1];
    INFENCLAVE_ASSIGN_OR_RETURN(Tensor biases, weights_.Read(layer, {n}));
    INFENCLAVE_ASSIGN_OR_RETURN(Tensor matrix, weights_.Read(layer, {n, inputs}));
    if (weights_.transposed()) matrix = Transposed(matrix, inputs, n);
    if (normalize != 0) {
      INFENCLAVE_ASSIGN_OR_RETURN(Affine affine, ReadNormalization(layer, biases));
      Fold(affine, matrix, biases);
    }
    std::string activation = layer.Text("activation", "logistic");
    Emit("Gemm", LinearName(activation),
         {current_, Constant("weights", std::move(matrix)), Constant("biases", std::move(biases))}, {1, n},
         {{"transB", int64_t{1}}});
    return Activate(layer, activation);
  }

  Status BatchNorm(const DarknetSection& layer) {
    INFENCLAVE_RETURN_IF_ERROR(NeedImage(layer));
    // The layer of its own has no biases in the file.
    Tensor biases(DType::kF32, {Channels()});
    INFENCLAVE_ASSIGN_OR_RETURN(Affine affine, ReadNormalization(layer, biases));
    ValueId scale = Vector("scales", affine.scale, {1, Channels(), 1, 1});
    Emit("Mul", Concat(name_, "/scaled"), {current_, scale}, shape());
    ValueId shift = Vector("shifts", affine.shift, {1, Channels(), 1, 1});
    Emit("Add", name_, {current_, shift}, shape());
    return OkStatus();
  }

  Status MaxPool(const DarknetSection& layer) {
    INFENCLAVE_RETURN_IF_ERROR(NeedImage(layer));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t stride, layer.Int("stride", 1, 1, 64));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t size, layer.Int("size", stride, 1, 64));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t padding, layer.Int("padding", size - 1, 0, 2 * (size - 1)));
    int64_t h = shape()[2] + padding - size, w = shape()[3] + padding - size;
    if (h < 0 || w < 0)
      return InvalidArgument(layer.Where(), ": size ", size, " exceeds the input ", ToString(shape()));
    int64_t before = padding / 2, after = padding - before;
    Emit("MaxPool", name_, {current_}, {1, Channels(), h / stride + 1, w / stride + 1},
         {{"kernel_shape", std::vector<int64_t>{size, size}},
          {"strides", std::vector<int64_t>{stride, stride}},
          {"pads", std::vector<int64_t>{before, before, after, after}}});
    return OkStatus();
  }

  Status AveragePool(const DarknetSection& layer) {
    INFENCLAVE_RETURN_IF_ERROR(NeedImage(layer));
    Emit("GlobalAveragePool", name_, {current_}, {1, Channels(), 1, 1});
    return OkStatus();
  }

  Status Softmax(const DarknetSection& layer) {
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t groups, layer.Int("groups", 1, 1, 1 << 16));
    INFENCLAVE_ASSIGN_OR_RETURN(float temperature, layer.Float("temperature", 1));
    INFENCLAVE_ASSIGN_OR_RETURN(float spatial, layer.Float("spatial", 0));
    if (groups != 1 || spatial != 0 || layer.options.contains("tree")) {
      return Unimplemented(layer.Where(), ": a softmax over groups, places or a tree is not supported");
    }
    if (temperature <= 0) return InvalidArgument(layer.Where(), ": temperature=", temperature);
    Flatten();
    if (temperature != 1) Scale(1 / temperature, "tempered");
    Emit("Softmax", name_, {current_}, shape(), {{"axis", int64_t{1}}});
    return OkStatus();
  }

  // The result of an earlier layer: by its number, or counted back from this layer where negative.
  StatusOr<ValueId> Earlier(const DarknetSection& layer, int64_t index) const {
    int64_t here = static_cast<int64_t>(outputs_.size()), at = index < 0 ? here + index : index;
    if (at < 0 || at >= here) return InvalidArgument(layer.Where(), ": layer ", index, " is not before this one");
    return outputs_[static_cast<size_t>(at)];
  }

  Status Route(const DarknetSection& layer) {
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> indices, layer.Ints("layers", 64));
    std::vector<ValueId> inputs;
    Shape result;
    for (int64_t index : indices) {
      INFENCLAVE_ASSIGN_OR_RETURN(ValueId value, Earlier(layer, index));
      const Shape& next = graph_.value(value).shape;
      if (inputs.empty()) {
        result = next;
      } else if (next.size() != 4 || result.size() != 4 || next[2] != result[2] || next[3] != result[3]) {
        return InvalidArgument(layer.Where(), ": cannot join ", ToString(result), " and ", ToString(next));
      } else {
        result[1] += next[1];
      }
      inputs.push_back(value);
    }
    if (inputs.size() == 1) {
      current_ = inputs[0];
    } else {
      Emit("Concat", name_, std::move(inputs), std::move(result), {{"axis", int64_t{1}}});
    }
    return OkStatus();
  }

  // Brings `from` to the shape of the current value as Darknet's shortcut does: every stride-th place, the channels
  // that both have, zeros for the rest.
  StatusOr<ValueId> Fit(const DarknetSection& layer, ValueId from) {
    ValueId keep = current_;
    Shape want = shape(), have = graph_.value(from).shape;
    int64_t stride = want[2] > 0 ? std::max<int64_t>(1, have[2] / want[2]) : 1;
    if ((have[2] - 1) / stride + 1 != want[2] || (have[3] - 1) / stride + 1 != want[3]) {
      return Unimplemented(layer.Where(), ": cannot add ", ToString(have), " to ", ToString(want));
    }
    current_ = from;
    if (stride > 1) {
      Emit("MaxPool", Concat(name_, "/strided"), {current_}, {1, have[1], want[2], want[3]},
           {{"kernel_shape", std::vector<int64_t>{1, 1}}, {"strides", std::vector<int64_t>{stride, stride}}});
    }
    if (have[1] > want[1]) {
      ValueId begin = Indices("begin", {0}), end = Indices("end", {want[1]}), axis = Indices("axis", {1});
      Emit("Slice", Concat(name_, "/common"), {current_, begin, end, axis}, want);
    } else if (have[1] < want[1]) {
      ValueId pads = Indices("pads", {0, 0, 0, 0, 0, want[1] - have[1], 0, 0});
      Emit("Pad", Concat(name_, "/padded"), {current_, pads}, want);
    }
    return std::exchange(current_, keep);
  }

  Status Shortcut(const DarknetSection& layer) {
    INFENCLAVE_RETURN_IF_ERROR(NeedImage(layer));
    INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> index, layer.Ints("from", 1));
    INFENCLAVE_ASSIGN_OR_RETURN(ValueId from, Earlier(layer, index[0]));
    INFENCLAVE_ASSIGN_OR_RETURN(float alpha, layer.Float("alpha", 1));
    INFENCLAVE_ASSIGN_OR_RETURN(float beta, layer.Float("beta", 1));
    if (alpha != 1 || beta != 1) return Unimplemented(layer.Where(), ": a weighted shortcut is not supported");
    if (graph_.value(from).shape.size() != 4)
      return InvalidArgument(layer.Where(), ": layer ", index[0], " is no image");
    if (graph_.value(from).shape != shape()) {
      INFENCLAVE_ASSIGN_OR_RETURN(from, Fit(layer, from));
    }
    std::string activation = layer.Text("activation", "linear");
    Emit("Add", LinearName(activation), {current_, from}, shape());
    return Activate(layer, activation);
  }

  // The centre of the picture, brought from 0..1 to -1..1 unless noadjust says otherwise.
  Status Crop(const DarknetSection& layer) {
    INFENCLAVE_RETURN_IF_ERROR(NeedImage(layer));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t h, layer.Int("crop_height", 1, 1, shape()[2]));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t w, layer.Int("crop_width", 1, 1, shape()[3]));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t noadjust, layer.Int("noadjust", 0, 0, 1));
    int64_t top = (shape()[2] - h) / 2, left = (shape()[3] - w) / 2;
    Shape result = {1, Channels(), h, w};
    ValueId begin = Indices("begin", {top, left}), end = Indices("end", {top + h, left + w});
    ValueId axes = Indices("axes", {2, 3});
    Emit("Slice", noadjust != 0 ? name_ : Concat(name_, "/centre"), {current_, begin, end, axes}, result);
    if (noadjust != 0) return OkStatus();
    Scale(2, "doubled");
    ValueId one = Vector("shift", std::vector<float>{-1}, {1});
    Emit("Add", name_, {current_, one}, result);
    return OkStatus();
  }

  std::vector<DarknetSection> sections_;
  WeightReader weights_;
  Graph graph_;
  std::string name_;              // of the layer at hand
  ValueId current_ = kNoValue;    // the result so far
  std::vector<ValueId> outputs_;  // of each layer
};

}  // namespace

StatusOr<Graph> ImportDarknet(std::string_view cfg, ByteSpan weights) {
  if (cfg.size() > kMaxDarknetCfgBytes) return InvalidArgument("cfg: more than ", kMaxDarknetCfgBytes, " bytes");
  if (weights.size() > kMaxDarknetWeightBytes)
    return InvalidArgument("weights: more than ", kMaxDarknetWeightBytes, " bytes");
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<DarknetSection> sections, ParseDarknetCfg(cfg, kMaxDarknetLayers + 1));
  return Importer(std::move(sections), weights).Build();
}

}  // namespace infenclave
