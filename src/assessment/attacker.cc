#include "assessment/attacker.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "assessment/statistics.h"
#include "engine/compiled_network.h"
#include "graph/cuts.h"

namespace infenclave {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDeviationRows = 64;
constexpr int kLeavesShare = 4;  // one picture of leaves for every so many views
constexpr int kMixedEvery = 8;
constexpr int kIrBatch = 8;
constexpr double kSmallestCrop = 0.45;  // of the short side

uint64_t Mixed(uint64_t seed, uint64_t a, uint64_t b) { return Random(Random(seed ^ a).Next() ^ b).Next(); }

Image Crop(const Image& image, uint32_t left, uint32_t top, uint32_t side_x, uint32_t side_y) {
  Image out{side_x, side_y, Bytes(size_t{3} * side_x * side_y)};
  for (uint32_t y = 0; y < side_y; ++y) {
    const auto from = image.rgb.begin() + 3 * (static_cast<ptrdiff_t>(top + y) * image.width + left);
    std::copy(from, from + ptrdiff_t{3} * side_x, out.rgb.begin() + ptrdiff_t{3} * y * side_x);
  }
  return out;
}

void Mirror(Image& image) {
  for (uint32_t y = 0; y < image.height; ++y) {
    uint8_t* row = &image.rgb[size_t{3} * y * image.width];
    for (uint32_t x = 0; x < image.width / 2; ++x)
      std::swap_ranges(row + 3 * x, row + 3 * x + 3, row + 3 * (image.width - 1 - x));
  }
}

// A crop with the network's aspect, somewhere in the photograph, resized to the network's input.
Image RandomView(const Image& photograph, const Preprocessing& p, Random& random) {
  const double aspect = static_cast<double>(p.width) / p.height;
  const double most = std::min(static_cast<double>(photograph.height), photograph.width / aspect);
  const double share = kSmallestCrop + (1 - kSmallestCrop) * random.Uniform();
  const uint32_t height = std::max(1u, static_cast<uint32_t>(most * share));
  const uint32_t width = std::clamp(static_cast<uint32_t>(height * aspect), 1u, photograph.width);
  const uint32_t left = static_cast<uint32_t>(random.Below(photograph.width - width + 1));
  const uint32_t top = static_cast<uint32_t>(random.Below(photograph.height - height + 1));
  Image view = Resize(Crop(photograph, left, top, width, height), p.width, p.height, p.filter);
  if (random.Below(2) == 1) Mirror(view);
  return view;
}

// A rectangle of `over`, of a quarter to a half of either side, on `view`.
void Cover(Image& view, const Image& over, Random& random) {
  const auto side = [&random](uint32_t n) {
    return std::max<uint32_t>(1, n / 4 + static_cast<uint32_t>(random.Below(n / 4 + 1)));
  };
  const uint32_t width = side(view.width), height = side(view.height);
  const uint32_t left = static_cast<uint32_t>(random.Below(view.width - width + 1));
  const uint32_t top = static_cast<uint32_t>(random.Below(view.height - height + 1));
  for (uint32_t y = top; y < top + height; ++y) {
    const ptrdiff_t at = 3 * (static_cast<ptrdiff_t>(y) * view.width + left);
    std::copy(over.rgb.begin() + at, over.rgb.begin() + at + ptrdiff_t{3} * width, view.rgb.begin() + at);
  }
}

class PictureWriter {
 public:
  static StatusOr<PictureWriter> Create(const std::string& folder, int64_t rows, const Preprocessing& p) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) return FailedPrecondition(folder, ": cannot be created: ", error.message());
    INFENCLAVE_ASSIGN_OR_RETURN(RowWriter pictures,
                                RowWriter::Create(folder + "/pictures.npy", DType::kU8, {rows, p.height, p.width, 3}));
    INFENCLAVE_ASSIGN_OR_RETURN(
        RowWriter rgb, RowWriter::Create(folder + "/rgb.npy", DType::kU8, {rows, kPictureSide, kPictureSide, 3}));
    return PictureWriter(std::move(pictures), std::move(rgb));
  }
  Status Append(const Image& picture) {
    const Image small = Resize(picture, kPictureSide, kPictureSide, Preprocessing::Filter::kBilinear);
    INFENCLAVE_RETURN_IF_ERROR(
        pictures_.Append({DType::kU8, {1, picture.height, picture.width, 3}, picture.rgb.data()}));
    return rgb_.Append({DType::kU8, {1, kPictureSide, kPictureSide, 3}, small.rgb.data()});
  }
  Status Close() {
    INFENCLAVE_RETURN_IF_ERROR(pictures_.Close());
    return rgb_.Close();
  }

 private:
  PictureWriter(RowWriter pictures, RowWriter rgb) : pictures_(std::move(pictures)), rgb_(std::move(rgb)) {}
  RowWriter pictures_, rgb_;
};

Status OpenPictures(PictureFiles& files) {
  INFENCLAVE_ASSIGN_OR_RETURN(files.pictures, RowFile::Open(files.folder + "/pictures.npy"));
  INFENCLAVE_ASSIGN_OR_RETURN(files.rgb, RowFile::Open(files.folder + "/rgb.npy"));
  return OkStatus();
}

Status WritePhotographNumbers(const std::string& path, const std::vector<int32_t>& numbers) {
  const int64_t n = static_cast<int64_t>(numbers.size());
  INFENCLAVE_ASSIGN_OR_RETURN(RowWriter out, RowWriter::Create(path, DType::kI32, {n}));
  INFENCLAVE_RETURN_IF_ERROR(out.Append({DType::kI32, {n}, numbers.data()}));
  return out.Close();
}

StatusOr<std::vector<int32_t>> ReadPhotographNumbers(const std::string& path) {
  INFENCLAVE_ASSIGN_OR_RETURN(const RowFile file, RowFile::Open(path));
  if (file.dtype() != DType::kI32 || file.shape().size() != 1) return InvalidArgument(path, ": not i32 [N]");
  std::vector<int32_t> numbers(static_cast<size_t>(file.rows()));
  for (int64_t i = 0; i < file.rows(); ++i) std::memcpy(&numbers[i], file.Row(i).data(), sizeof(int32_t));
  return numbers;
}

// The readable ones among `files`, and why the others are not.
std::vector<std::string> Readable(const std::vector<std::string>& files, std::vector<Skipped>& skipped) {
  std::vector<std::string> usable;
  for (const std::string& file : files) {
    const auto image = LoadImage(file);
    if (image.ok()) {
      usable.push_back(file);
    } else {
      skipped.push_back({file, MessageOf(image.status())});
    }
  }
  return usable;
}

// Batches of rows through the FrontNet on threads of their own, one network each; written in the rows' order.
class IrWriter {
 public:
  IrWriter(const IrRequest& request, const Graph& front, const RowFile& pictures, const std::vector<int64_t>& rows)
      : request_(request), front_(front), pictures_(pictures), rows_(rows) {}

  Status Write(const std::string& path, const ProgressFn& progress, const std::string& stage) {
    // A graph whose shapes hold for one picture only cannot be compiled for several.
    batch_ = std::min<size_t>(kIrBatch, rows_.size());
    if (batch_ > 1 && !CompileFor(batch_).ok()) batch_ = 1;
    Shape shape = front_.value(front_.outputs[0]).shape;
    INFENCLAVE_ASSIGN_OR_RETURN(const int64_t elements, NumElements(shape));
    if (shape.size() != 4 && shape.size() != 2) shape = {1, elements};
    shape[0] = static_cast<int64_t>(rows_.size());
    INFENCLAVE_ASSIGN_OR_RETURN(RowWriter writer, RowWriter::Create(path, DType::kBf16, shape));
    std::vector<std::thread> threads;
    for (int t = 0; t < request_.threads; ++t) {
      threads.emplace_back([&, t] { Work(static_cast<size_t>(t), writer, shape, progress, stage); });
    }
    for (std::thread& thread : threads) thread.join();
    INFENCLAVE_RETURN_IF_ERROR(status_);
    return writer.Close();
  }

 private:
  StatusOr<CompiledNetwork> CompileFor(size_t batch) const {
    EngineOptions options;
    options.batch = static_cast<int>(batch);
    auto network = CompiledNetwork::Compile(front_, options);
    if (!network.ok()) return Annotate(network.status(), Concat("FrontNet up to '", Name(), "'"));
    return network;
  }
  const std::string& Name() const { return front_.value(front_.outputs[0]).name; }

  // Every `threads`th batch, from number `batch` on.
  void Work(size_t batch, RowWriter& writer, Shape shape, const ProgressFn& progress, const std::string& stage) {
    auto network = CompileFor(batch_);
    if (!network.ok()) return Fail(network.status());
    Tensor input(DType::kF32, network->input_shapes()[0]), output(DType::kF32, network->output_shapes()[0]);
    const size_t in_size = static_cast<size_t>(input.elements()) / batch_;
    for (; batch * batch_ < rows_.size(); batch += static_cast<size_t>(request_.threads)) {
      const size_t begin = batch * batch_, end = std::min(rows_.size(), begin + batch_);
      for (size_t i = begin; i < end; ++i) {
        Normalize(*request_.preprocessing, pictures_.Row(rows_[i]),
                  input.as<float>().subspan((i - begin) * in_size, in_size));
      }
      const TensorView inputs[] = {input.view()};
      const MutableTensorView outputs[] = {output.mutable_view()};
      if (const Status status = network->Run(inputs, outputs); !status.ok()) return Fail(status);
      const size_t out_size = static_cast<size_t>(output.elements()) / batch_;
      const std::span<float> values = output.as<float>().first((end - begin) * out_size);
      if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) {
        return Fail(InvalidArgument("the model gives NaN or infinity at cut '", Name(),
                                    "': check the model and --preprocessing"));
      }
      for (size_t i = begin; i < end; ++i) AddNoise(i, values.subspan((i - begin) * out_size, out_size));
      shape[0] = static_cast<int64_t>(end - begin);
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return turn_ == batch || !status_.ok(); });
      if (!status_.ok()) return;
      status_ = writer.Append({DType::kF32, shape, values.data()});
      ++turn_;
      progress(stage, static_cast<int64_t>(end), static_cast<int64_t>(rows_.size()));
      changed_.notify_all();
    }
  }
  // By the row's number, so that it does not depend on the threads.
  void AddNoise(size_t row, std::span<float> ir) const {
    if (request_.noise.empty()) return;
    Random random(Mixed(request_.noise_seed, 0x9015e, static_cast<uint64_t>(row)));
    const size_t places = ir.size() / request_.noise.size();
    for (size_t i = 0; i < ir.size(); ++i) ir[i] += static_cast<float>(request_.noise[i / places] * random.Normal());
  }
  void Fail(const Status& status) {
    const std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = status;
    changed_.notify_all();
  }

  const IrRequest& request_;
  const Graph& front_;
  const RowFile& pictures_;
  const std::vector<int64_t>& rows_;
  size_t batch_ = 1;
  std::mutex mutex_;  // for what follows
  std::condition_variable changed_;
  size_t turn_ = 0;
  Status status_;
};

}  // namespace

PictureCounts CountPictures(int photographs, int most_views) {
  PictureCounts counts;
  const int64_t most = kMostPictures * kLeavesShare / (kLeavesShare + 1);
  counts.photographs = static_cast<int>(std::min<int64_t>(photographs, most));
  counts.views = static_cast<int>(std::clamp<int64_t>(most / std::max(1, counts.photographs), 1, most_views));
  counts.leaves = counts.photographs * counts.views / kLeavesShare;
  return counts;
}

Image DeadLeaves(uint32_t width, uint32_t height, const Image& palette, uint64_t seed) {
  Random random(seed);
  Image image{width, height, Bytes(size_t{3} * width * height)};
  const auto colour = [&] { return &palette.rgb[3 * random.Below(palette.rgb.size() / 3)]; };
  const double largest = 0.35 * std::min(width, height), smallest = std::min(2.0, largest);
  const auto paint = [&](double cx, double cy, double rx, double ry, bool round, const uint8_t* rgb) {
    const auto bound = [](double v, uint32_t n) {
      return static_cast<uint32_t>(std::clamp(v, 0.0, static_cast<double>(n)));
    };
    for (uint32_t y = bound(cy - ry, height); y < bound(cy + ry + 1, height); ++y) {
      for (uint32_t x = bound(cx - rx, width); x < bound(cx + rx + 1, width); ++x) {
        const double u = (x - cx) / rx, v = (y - cy) / ry;
        if (round && u * u + v * v > 1) continue;
        std::copy_n(rgb, 3, &image.rgb[3 * (static_cast<size_t>(y) * width + x)]);
      }
    }
  };
  paint(0, 0, width, height, false, colour());
  // Radii with density r^-3: their squares' inverses are uniform. Later leaves hide earlier ones.
  const int count = static_cast<int>(std::clamp(width * height / 40.0, 20.0, 1500.0));
  for (int i = 0; i < count; ++i) {
    const double u = random.Uniform();
    const double r = 1 / std::sqrt(u / (smallest * smallest) + (1 - u) / (largest * largest));
    const double stretch = 0.5 + random.Uniform();
    paint(random.Uniform() * width, random.Uniform() * height, r * stretch, r / stretch, random.Below(2) == 0,
          colour());
  }
  return image;
}

StatusOr<PictureFiles> MakeAttackerPictures(const std::string& folder, const std::vector<std::string>& files,
                                            const Preprocessing& preprocessing, uint64_t seed, int most_views,
                                            const ProgressFn& progress) {
  PictureFiles out;
  out.folder = folder;
  std::vector<std::string> usable = Readable(files, out.skipped);
  if (usable.size() < 2) {
    return InvalidArgument("the attacker has ", usable.size(), " readable photographs of ", files.size(),
                           " files: at least 2 are needed, and 24 or more to be an attacker");
  }
  const std::string numbers = folder + "/photograph.npy";
  if (auto old = ReadPhotographNumbers(numbers); old.ok()) {  // written last
    out.photograph = *std::move(old);
    INFENCLAVE_RETURN_IF_ERROR(OpenPictures(out));
    return out;
  }
  const PictureCounts counts = CountPictures(static_cast<int>(usable.size()), most_views);
  Random random(seed);
  std::vector<int> chosen = Sample(static_cast<int>(usable.size()), counts.photographs, random);
  Shuffle(chosen, random);  // a part of the photographs is the first ones, and file names come sorted by subject
  const int64_t total = static_cast<int64_t>(counts.photographs) * counts.views + counts.leaves;
  INFENCLAVE_ASSIGN_OR_RETURN(PictureWriter writer, PictureWriter::Create(folder, total, preprocessing));
  Image palette;
  for (int i = 0; i < counts.photographs; ++i) {
    INFENCLAVE_ASSIGN_OR_RETURN(const Image photograph, LoadImage(usable[chosen[i]]));
    for (int view = 0; view < counts.views; ++view) {
      Random own(Mixed(seed, static_cast<uint64_t>(i) + 1, static_cast<uint64_t>(view)));
      Image picture = view == 0 ? Prepare(photograph, preprocessing) : RandomView(photograph, preprocessing, own);
      if (view % kMixedEvery == kMixedEvery - 1) {
        Cover(picture, DeadLeaves(picture.width, picture.height, photograph, own.Next()), own);
      }
      INFENCLAVE_RETURN_IF_ERROR(writer.Append(picture));
      out.photograph.push_back(i);
    }
    // Leaves follow the photograph whose colours they have.
    for (int leaf = counts.leaves * i / counts.photographs; leaf < counts.leaves * (i + 1) / counts.photographs;
         ++leaf) {
      const uint64_t own = Mixed(seed, 0, static_cast<uint64_t>(leaf));
      INFENCLAVE_RETURN_IF_ERROR(writer.Append(DeadLeaves(preprocessing.width, preprocessing.height, photograph, own)));
      out.photograph.push_back(kNoPhotograph);
    }
    progress("attacker's pictures", static_cast<int64_t>(out.photograph.size()), total);
  }
  INFENCLAVE_RETURN_IF_ERROR(writer.Close());
  INFENCLAVE_RETURN_IF_ERROR(WritePhotographNumbers(numbers, out.photograph));
  INFENCLAVE_RETURN_IF_ERROR(OpenPictures(out));
  return out;
}

StatusOr<PictureFiles> MakeTargetPictures(const std::string& folder, const std::vector<std::string>& files,
                                          const Preprocessing& preprocessing) {
  PictureFiles out;
  out.folder = folder;
  if (fs::exists(folder + "/rgb.npy") && OpenPictures(out).ok() &&
      out.rgb.rows() == static_cast<int64_t>(files.size())) {
    return out;
  }
  INFENCLAVE_ASSIGN_OR_RETURN(PictureWriter writer,
                              PictureWriter::Create(folder, static_cast<int64_t>(files.size()), preprocessing));
  for (const std::string& file : files) {
    INFENCLAVE_ASSIGN_OR_RETURN(const Image photograph, LoadImage(file));
    INFENCLAVE_RETURN_IF_ERROR(writer.Append(Prepare(photograph, preprocessing)));
  }
  INFENCLAVE_RETURN_IF_ERROR(writer.Close());
  INFENCLAVE_RETURN_IF_ERROR(OpenPictures(out));
  return out;
}

StatusOr<std::vector<float>> ChannelDeviations(const IrRequest& request, const RowFile& pictures,
                                               const std::vector<int64_t>& rows) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Graph front, UpTo(*request.model, request.cut));
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(front, {}));
  Tensor input(DType::kF32, network.input_shapes()[0]), output(DType::kF32, network.output_shapes()[0]);
  const Shape& shape = output.shape();
  const size_t channels = shape.size() > 1 ? static_cast<size_t>(shape[1]) : 1;
  const size_t places = static_cast<size_t>(output.elements()) / channels;
  const size_t used = std::min(rows.size(), kDeviationRows);
  std::vector<double> sum(channels), square(channels);
  for (size_t row = 0; row < used; ++row) {
    Normalize(*request.preprocessing, pictures.Row(rows[row * rows.size() / used]), input.as<float>());
    const TensorView inputs[] = {input.view()};
    const MutableTensorView outputs[] = {output.mutable_view()};
    INFENCLAVE_RETURN_IF_ERROR(network.Run(inputs, outputs));
    for (size_t i = 0; i < channels * places; ++i) {
      const double v = output.as<float>()[i];
      sum[i / places] += v;
      square[i / places] += v * v;
    }
  }
  std::vector<float> deviations;
  const double count = static_cast<double>(used * places);
  for (size_t c = 0; c < channels; ++c) {
    const double mean = sum[c] / count, variance = square[c] / count - mean * mean;
    // What rounding leaves of a constant channel is no deviation.
    deviations.push_back(variance > 1e-12 * square[c] / count ? static_cast<float>(std::sqrt(variance)) : 0.0f);
  }
  return deviations;
}

Status WriteIrs(const IrRequest& request, const RowFile& pictures, const std::vector<int64_t>& rows,
                const std::string& path, const ProgressFn& progress, const std::string& stage) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Graph front, UpTo(*request.model, request.cut));
  return IrWriter(request, front, pictures, rows).Write(path, progress, stage);
}

std::vector<int64_t> RowsThatFit(const std::vector<int32_t>& photograph, int64_t elements) {
  const int64_t all = static_cast<int64_t>(photograph.size());
  const int64_t most = std::max<int64_t>(2, kMostIrBytes / (2 * std::max<int64_t>(1, elements)));
  std::vector<int64_t> rows(photograph.size());
  std::iota(rows.begin(), rows.end(), 0);
  if (most >= all) return rows;
  // First views first, then second ones, ...; leaves last.
  std::vector<int64_t> view(photograph.size());
  for (int64_t i = 1; i < all; ++i) view[i] = photograph[i] == photograph[i - 1] ? view[i - 1] + 1 : 0;
  std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) {
    const bool leaf_a = photograph[a] == kNoPhotograph, leaf_b = photograph[b] == kNoPhotograph;
    return leaf_a != leaf_b ? leaf_b : view[a] < view[b];
  });
  rows.resize(most);
  std::sort(rows.begin(), rows.end());
  return rows;
}

}  // namespace infenclave
