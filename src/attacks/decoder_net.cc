#include "attacks/decoder_net.h"

#include <cmath>
#include <map>
#include <numbers>

#include "attacks/random.h"

namespace infenclave {
namespace {

struct StageShape {
  int64_t side, width, blocks;
};

// By the IR's side. Deep IRs have little data per weight and need few; shallow ones are cheap to see through.
const std::map<int64_t, std::vector<StageShape>> kStages = {
    {56, {{56, 64, 4}}},
    {28, {{28, 96, 3}, {56, 40, 1}}},
    {14, {{14, 128, 3}, {28, 64, 2}, {56, 32, 1}}},
    {7, {{7, 192, 3}, {14, 96, 2}, {28, 48, 2}, {56, 32, 1}}},
};
constexpr int64_t kFlatStart = 7, kFlatWidth = 48;  // the linear layer's output
constexpr int64_t kMaxStemWork = 120'000'000;       // multiplications for one picture; a larger stem is 1x1
constexpr int64_t kLastShuffle = 2;
constexpr double kOutputGain = 0.1;  // a step of Adam moves every weight alike: pixels must not jump with them
constexpr double kBlockGain = 0.3;   // of what a block adds at first

at::Tensor Normal(at::IntArrayRef shape, double deviation, Random random) {
  at::Tensor out = at::empty(shape);
  float* values = out.data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) {  // Box & Muller
    const double radius = std::sqrt(-2 * std::log(1 - random.Uniform()));
    values[i] = static_cast<float>(deviation * radius * std::cos(2 * std::numbers::pi * random.Uniform()));
  }
  return out;
}

}  // namespace

DecoderNet::DecoderNet(const Grid& grid, uint64_t seed) : grid_(grid), seed_(seed) {
  const std::vector<StageShape>& shapes = kStages.at(grid.flat() ? kFlatStart : grid.side);
  const StageShape& first = shapes.front();
  if (grid.flat()) {
    stem_ = Add(grid.channels, kFlatWidth * kFlatStart * kFlatStart, 1, 1);
  } else {
    const int64_t work = grid.channels * first.width * 9 * first.side * first.side;
    stem_ = Add(grid.channels, first.width, work <= kMaxStemWork ? 3 : 1, 1);
  }
  int64_t width = grid.flat() ? kFlatWidth : first.width;
  for (size_t i = 0; i < shapes.size(); ++i) {
    Stage stage;
    for (int64_t block = 0; block < shapes[i].blocks; ++block) {
      const Layer in = Add(width, shapes[i].width, 3, 1);
      stage.blocks.emplace_back(in, Add(shapes[i].width, width, 3, kBlockGain));
    }
    if (i + 1 < shapes.size()) {
      stage.up = Add(width, shapes[i + 1].width * 4, 1, 1);
      width = shapes[i + 1].width;
    }
    stages_.push_back(std::move(stage));
  }
  join_ = Add(3 * kLastShuffle * kLastShuffle, width, 3, 1);
  head_ = Add(width, 3 * kLastShuffle * kLastShuffle, 3, 0);
}

DecoderNet::Layer DecoderNet::Add(int64_t in, int64_t out, int64_t kernel, double gain) {
  const Layer layer{parameters_.size(), kernel};
  const double deviation = gain * std::sqrt(2.0 / static_cast<double>(in * kernel * kernel));
  parameters_.push_back(
      Normal({out, in, kernel, kernel}, deviation, Random(seed_, "weights", layer.at)).requires_grad_(true));
  parameters_.push_back(at::zeros({out}).requires_grad_(true));
  return layer;
}

int64_t DecoderNet::ParameterCount() const {
  int64_t count = 0;
  for (const at::Tensor& p : parameters_) count += p.numel();
  return count;
}

at::Tensor DecoderNet::Forward(const std::vector<at::Tensor>& parameters, const at::Tensor& ir,
                               const at::Tensor& first) const {
  const auto apply = [&](const Layer& layer, const at::Tensor& x) {
    return at::conv2d(x, parameters[layer.at], parameters[layer.at + 1], 1, layer.kernel / 2);
  };
  at::Tensor x = apply(stem_, ir.contiguous(at::MemoryFormat::ChannelsLast));
  if (grid_.flat()) x = x.reshape({x.size(0), kFlatWidth, kFlatStart, kFlatStart});
  for (size_t i = 0; i < stages_.size(); ++i) {
    const bool last = i + 1 == stages_.size();
    if (last) x = x + apply(join_, at::pixel_unshuffle(first - 0.5, kLastShuffle));
    for (const auto& [in, out] : stages_[i].blocks) x = x + apply(out, at::relu(apply(in, at::relu(x))));
    if (!last) x = at::pixel_shuffle(apply(stages_[i].up, x), 2);
  }
  return first + kOutputGain * at::pixel_shuffle(apply(head_, at::relu(x)), kLastShuffle);
}

}  // namespace infenclave
