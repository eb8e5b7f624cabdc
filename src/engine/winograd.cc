#include "engine/winograd.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/onednn.h"
#include "engine/team.h"
#include "engine/vectors.h"

namespace infenclave::engine {
namespace {

constexpr int64_t kPoints = 16;        // of a transformed tile: 4x4
constexpr int64_t kChunk = 32;         // output channels that are computed at a time
constexpr int64_t kMostRows = 14;      // tiles that are: 14 x 2 sums, 2 weights and a pixel fill the 32 registers
constexpr int64_t kPlanePadding = 64;  // elements between the points' planes: else they meet in few sets of the cache
constexpr int64_t kBlockBytes = 384 << 10;  // of transformed pixels: with a chunk's weights they fit the L2 cache

INFENCLAVE_AVX512_INLINE __m512bh Weights(const Bf16* p) { return *reinterpret_cast<const __m512bh*>(p); }
INFENCLAVE_AVX512_INLINE __m512bh Pair(const Bf16* p) {
  return (__m512bh)_mm512_maskz_broadcastd_epi32(kAll, _mm_loadu_si32(p));
}

// sums[row][vector] = the products of `pairs` pairs of channels. `kSum` counts the sums; written without loops, they
// stay in registers.
template <int kVectors, int... kSum>
INFENCLAVE_AVX512_INLINE void Multiply(const Bf16* pixels, int64_t row_stride, const Bf16* weights, int64_t pairs,
                                       float* sums, std::integer_sequence<int, kSum...>) {
  __m512 sum[] = {((void)kSum, _mm512_setzero_ps())...};
  for (int64_t k = 0; k < pairs; ++k) {
    const __m512bh w[] = {Weights(weights), Weights(weights + (kVectors - 1) * 2 * kLanes)};
    ((sum[kSum] = _mm512_dpbf16_ps(sum[kSum], w[kSum % kVectors], Pair(pixels + kSum / kVectors * row_stride))), ...);
    weights += kVectors * 2 * kLanes;
    pixels += 2;
  }
  (_mm512_store_ps(sums + kSum * kLanes, sum[kSum]), ...);
}

using MultiplyFunction = void (*)(const Bf16*, int64_t, const Bf16*, int64_t, float*);
template <int kRows, int kVectors>
INFENCLAVE_AVX512 void MultiplyRows(const Bf16* pixels, int64_t row_stride, const Bf16* weights, int64_t pairs,
                                    float* sums) {
  Multiply<kVectors>(pixels, row_stride, weights, pairs, sums, std::make_integer_sequence<int, kRows * kVectors>());
}
template <int kVectors, int... kBefore>
constexpr std::array<MultiplyFunction, sizeof...(kBefore)> MultiplyTable(std::integer_sequence<int, kBefore...>) {
  return {MultiplyRows<kBefore + 1, kVectors>...};
}
constexpr auto kMultiply1 = MultiplyTable<1>(std::make_integer_sequence<int, kMostRows>());
constexpr auto kMultiply2 = MultiplyTable<2>(std::make_integer_sequence<int, kMostRows>());

}  // namespace

// One convolution on one thread of the team.
struct WinogradRun {
  using Plan = Winograd::Plan;
  const Plan& p;
  const Bf16 *src, *weights;
  Bf16* dst;
  const float* bias;

  int64_t plane() const { return p.block * p.in + kPlanePadding; }

  // Where a tile is; the next one follows without a division.
  struct Tile {
    int64_t picture, row, column;
  };
  Tile At(int64_t tile) const {
    const int64_t in_picture = tile % (p.tile_rows * p.tile_columns);
    return {tile / (p.tile_rows * p.tile_columns), in_picture / p.tile_columns, in_picture % p.tile_columns};
  }
  void Advance(Tile& tile) const {
    if (++tile.column < p.tile_columns) return;
    tile.column = 0;
    if (++tile.row < p.tile_rows) return;
    tile.row = 0;
    ++tile.picture;
  }

  INFENCLAVE_AVX512_INLINE void LoadTile(const Bf16* image, int64_t top, int64_t left, __m512 (&d)[4][4]) const {
    alignas(64) static constexpr Bf16 kZeros[kLanes] = {};
    for (int64_t y = 0; y < 4; ++y) {
      const bool row = top + y >= 0 && top + y < p.height;
      const int64_t from = ((top + y) * p.width + left) * kLanes;
      for (int64_t x = 0; x < 4; ++x) {
        const bool there = row && left + x >= 0 && left + x < p.width;
        d[y][x] = Load(there ? image + from + x * kLanes : kZeros);
      }
    }
  }

  // Of tiles first + begin..first + end, to their places in `pixels` [point][begin..end][in].
  INFENCLAVE_AVX512 void TransformPixels(int64_t first, int64_t begin, int64_t end, Bf16* pixels) const {
    const int64_t blocks = p.in / kLanes;
    for (int64_t block = 0; block < blocks; ++block) {
      Tile tile = At(first + begin);
      for (int64_t t = begin; t < end; ++t, Advance(tile)) {
        const Bf16* image = src + (tile.picture * blocks + block) * p.height * p.width * kLanes;
        __m512 d[4][4], e[4][4];
        LoadTile(image, 2 * tile.row - p.pad_top, 2 * tile.column - p.pad_left, d);
        for (int x = 0; x < 4; ++x) {
          e[0][x] = _mm512_sub_ps(d[0][x], d[2][x]);
          e[1][x] = _mm512_add_ps(d[1][x], d[2][x]);
          e[2][x] = _mm512_sub_ps(d[2][x], d[1][x]);
          e[3][x] = _mm512_sub_ps(d[1][x], d[3][x]);
        }
        Bf16* to = pixels + t * p.in + block * kLanes;
        for (int y = 0; y < 4; ++y) {
          Store(to + (4 * y + 0) * plane(), _mm512_sub_ps(e[y][0], e[y][2]));
          Store(to + (4 * y + 1) * plane(), _mm512_add_ps(e[y][1], e[y][2]));
          Store(to + (4 * y + 2) * plane(), _mm512_sub_ps(e[y][2], e[y][1]));
          Store(to + (4 * y + 3) * plane(), _mm512_sub_ps(e[y][1], e[y][3]));
        }
      }
    }
  }

  INFENCLAVE_AVX512_INLINE void StoreResult(Bf16* to, __m512 y) const {
    if (p.sum) y = _mm512_add_ps(y, Load(to));
    Store(to, Rectify(p.rectifier, y));
  }

  // Results of `rows` tiles from `tile` on, whose `sums` are [point][row][vectors * 16].
  INFENCLAVE_AVX512 void TransformSums(int64_t tile, int64_t rows, int64_t channel, int64_t vectors,
                                       const float* sums) const {
    const int64_t stride = rows * vectors * kLanes;
    Tile at = At(tile);
    for (int64_t r = 0; r < rows; ++r, Advance(at)) {
      const int64_t height = std::min<int64_t>(2, p.out_height - 2 * at.row);
      const int64_t width = std::min<int64_t>(2, p.out_width - 2 * at.column);
      for (int64_t v = 0; v < vectors; ++v) {
        const float* m = sums + (r * vectors + v) * kLanes;
        const int64_t first = channel + v * kLanes;
        const __m512 b = p.bias ? _mm512_loadu_ps(bias + first) : _mm512_setzero_ps();
        __m512 e[2][4];
        for (int x = 0; x < 4; ++x) {
          const __m512 m0 = _mm512_load_ps(m + x * stride), m1 = _mm512_load_ps(m + (4 + x) * stride),
                       m2 = _mm512_load_ps(m + (8 + x) * stride), m3 = _mm512_load_ps(m + (12 + x) * stride);
          e[0][x] = _mm512_add_ps(_mm512_add_ps(m0, m1), m2);
          e[1][x] = _mm512_sub_ps(_mm512_sub_ps(m1, m2), m3);
        }
        Bf16* to = dst + (((at.picture * (p.out / kLanes) + first / kLanes) * p.out_height + 2 * at.row) * p.out_width +
                          2 * at.column) *
                             kLanes;
        for (int64_t y = 0; y < height; ++y) {
          const __m512* row = e[y];
          StoreResult(to, _mm512_add_ps(_mm512_add_ps(_mm512_add_ps(row[0], row[1]), row[2]), b));
          if (width > 1) {
            StoreResult(to + kLanes, _mm512_add_ps(_mm512_sub_ps(_mm512_sub_ps(row[1], row[2]), row[3]), b));
          }
          to += p.out_width * kLanes;
        }
      }
    }
  }

  // The work on a block of `count` tiles after their pixels are transformed is groups of tiles times chunks of
  // channels, chunk after chunk: so many pieces.
  static int64_t Groups(int64_t count) { return DivideUp(count, kMostRows); }
  int64_t Pieces(int64_t count) const { return DivideUp(p.out, kChunk) * Groups(count); }

  void MultiplyPieces(int64_t first, int64_t count, const Bf16* pixels, int64_t begin, int64_t end, float* sums) const {
    const int64_t groups = Groups(count);
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t channel = piece / groups * kChunk, group = piece % groups;
      const int64_t width = std::min(kChunk, p.out - channel), vectors = width / kLanes;
      const int64_t from = count * group / groups, rows = count * (group + 1) / groups - from;
      const auto multiply = (vectors == 1 ? kMultiply1 : kMultiply2)[static_cast<size_t>(rows - 1)];
      for (int64_t point = 0; point < kPoints; ++point) {
        multiply(pixels + point * plane() + from * p.in, p.in, weights + (channel * kPoints + point * width) * p.in,
                 p.in / 2, sums + point * rows * width);
      }
      TransformSums(first + from, rows, channel, vectors, sums);
    }
  }
};

namespace {

constexpr size_t kSumBytes = static_cast<size_t>(kPoints * kMostRows * kChunk) * sizeof(float);

size_t PixelBytes(int64_t block, int64_t in) {
  return static_cast<size_t>(kPoints * (block * in + kPlanePadding)) * sizeof(Bf16);
}

}  // namespace

bool Winograd::Takes(const ConvShape& s, memory::data_type type) {
  const auto all = [](const memory::dims& dims, int64_t value) {
    return std::all_of(dims.begin(), dims.end(), [&](int64_t d) { return d == value; });
  };
  return type == memory::data_type::bf16 && HasBf16() && s.src.size() == 4 && s.weights.size() == 4 &&
         s.weights[2] == 3 && s.weights[3] == 3 && all(s.strides, 1) && all(s.dilations, 0) && s.src[1] % kLanes == 0 &&
         s.dst[1] % kLanes == 0;
}

Winograd::Winograd(const ConvShape& s, const Rectifier& rectifier, bool sum, int threads)
    : plan_{.batch = s.src[0],
            .in = s.src[1],
            .out = s.dst[1],
            .height = s.src[2],
            .width = s.src[3],
            .out_height = s.dst[2],
            .out_width = s.dst[3],
            .pad_top = s.pads_begin[0],
            .pad_left = s.pads_begin[1],
            .tile_rows = DivideUp(s.dst[2], 2),
            .tile_columns = DivideUp(s.dst[3], 2),
            .tiles = 0,
            .block = 0,
            .shared = false,
            .threads = threads,
            .bias = !s.bias.empty(),
            .sum = sum,
            .rectifier = rectifier} {
  Plan& p = plan_;
  p.tiles = p.batch * p.tile_rows * p.tile_columns;
  // With few tiles a thread reads all weights for little work: rather all threads share the tiles, and the weights.
  p.shared = threads > 1 && p.tiles < 4 * kMostRows * threads;
  const int64_t each = p.shared ? p.tiles : DivideUp(p.tiles, threads);
  const int64_t most = std::max(kMostRows, kBlockBytes / (kPoints * p.in * int64_t{sizeof(Bf16)}));
  p.block = DivideUp(each, DivideUp(each, most));
}

memory::desc Winograd::src_desc() const {
  return {{plan_.batch, plan_.in, plan_.height, plan_.width}, memory::data_type::bf16, memory::format_tag::nChw16c};
}

memory::desc Winograd::dst_desc() const {
  return {{plan_.batch, plan_.out, plan_.out_height, plan_.out_width},
          memory::data_type::bf16,
          memory::format_tag::nChw16c};
}

memory::desc Winograd::weights_desc() const {
  return PlainDesc({kPoints * plan_.in * plan_.out}, memory::data_type::bf16);
}

memory::desc Winograd::scratch_desc() const {
  const size_t blocks = plan_.shared ? 1 : static_cast<size_t>(plan_.threads);
  const size_t bytes = blocks * PixelBytes(plan_.block, plan_.in) + static_cast<size_t>(plan_.threads) * kSumBytes;
  return PlainDesc({static_cast<int64_t>(bytes)}, memory::data_type::u8);
}

// [chunk of output channels][point][pair of input channels][output channel][of the pair].
Packer Winograd::packer() const {
  return [p = plan_](const Tensor& source, std::byte* data) {
    for (int64_t o = 0; o < p.out; ++o) {
      const int64_t chunk = o / kChunk * kChunk, width = std::min(kChunk, p.out - chunk), plane = p.in * width;
      for (int64_t i = 0; i < p.in; ++i) {
        const float* g = source.as<float>().data() + (o * p.in + i) * 9;
        Bf16* to = reinterpret_cast<Bf16*>(data) + chunk * kPoints * p.in + (i / 2 * width + o - chunk) * 2 + i % 2;
        const auto transform = [](float a, float b, float c) {
          return std::array{a, (a + b + c) / 2, (a - b + c) / 2, c};
        };
        const std::array columns = {transform(g[0], g[3], g[6]), transform(g[1], g[4], g[7]),
                                    transform(g[2], g[5], g[8])};
        for (size_t y = 0; y < 4; ++y) {
          for (float u : transform(columns[0][y], columns[1][y], columns[2][y])) {
            *to = RoundToBf16(u);
            to += plane;
          }
        }
      }
    }
  };
}

Kernel Winograd::kernel() const {
  return [p = plan_](const std::vector<void*>& args) {
    const WinogradRun run{p, static_cast<const Bf16*>(args[0]), static_cast<const Bf16*>(args[1]),
                          static_cast<Bf16*>(args[2]), p.bias ? static_cast<const float*>(args[4]) : nullptr};
    std::byte* scratch = static_cast<std::byte*>(args[3]);
    const size_t pixel_bytes = PixelBytes(p.block, p.in);
    const auto sums = [&](int thread) {
      return reinterpret_cast<float*>(scratch + static_cast<size_t>(thread) * kSumBytes);
    };
    const auto pixels = [&](int thread) {
      const size_t before = static_cast<size_t>(p.threads) * kSumBytes;
      return reinterpret_cast<Bf16*>(scratch + before + static_cast<size_t>(thread) * pixel_bytes);
    };
    if (!p.shared) {
      RunOnTeam(p.threads, [&](int i, int n) {
        const int64_t end = p.tiles * (i + 1) / n;
        for (int64_t first = p.tiles * i / n; first < end; first += p.block) {
          const int64_t count = std::min(p.block, end - first);
          run.TransformPixels(first, 0, count, pixels(i));
          run.MultiplyPieces(first, count, pixels(i), 0, run.Pieces(count), sums(i));
        }
      });
      return;
    }
    for (int64_t first = 0; first < p.tiles; first += p.block) {
      const int64_t count = std::min(p.block, p.tiles - first), pieces = run.Pieces(count);
      RunOnTeam(p.threads,
                [&](int i, int n) { run.TransformPixels(first, count * i / n, count * (i + 1) / n, pixels(0)); });
      RunOnTeam(p.threads, [&](int i, int n) {
        run.MultiplyPieces(first, count, pixels(0), pieces * i / n, pieces * (i + 1) / n, sums(i));
      });
    }
  };
}

}  // namespace infenclave::engine
