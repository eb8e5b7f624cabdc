#include "engine/pointwise.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "engine/onednn.h"
#include "engine/team.h"
#include "engine/vectors.h"

namespace infenclave::engine {
namespace {

constexpr int64_t kHalf = kLanes / 2;
constexpr int64_t kMostVectors = 3;    // of output channels that are computed at a time
constexpr int64_t kBlockPixels = 126;  // that stay in the cache while one chunk of channels after the other is computed
constexpr int kFewRows = 4;
// Pixels at a time: their sums, the weights and a pixel fill the 32 registers.
constexpr int RowsOf(int vectors) { return vectors == kMostVectors ? 9 : 14; }

// Some output channels: vectors of 16, the last one perhaps a half.
struct Chunk {
  int64_t channel, vectors;
  bool half;
  int64_t width() const { return vectors * kLanes - (half ? kHalf : 0); }
};
int64_t Chunks(int64_t out) { return DivideUp(DivideUp(out, kLanes), kMostVectors); }
Chunk ChunkAt(int64_t out, int64_t i) {
  const int64_t vectors = DivideUp(out, kLanes), chunks = Chunks(out);
  const int64_t begin = vectors * i / chunks, end = vectors * (i + 1) / chunks;
  return {begin * kLanes, end - begin, end * kLanes > out};
}

// What the microkernels are told beside pixels, weights and results.
struct Task {
  int64_t in, src_block, dst_block;  // elements from one block of channels to the next
  const float* bias;                 // null: none
  bool sum;
  Rectifier rectifier;
};

// In f32 an input is multiplied in one step, in bf16 a pair of them.
template <typename T>
constexpr int64_t kInputs = 4 / static_cast<int64_t>(sizeof(T));

INFENCLAVE_AVX512_INLINE __m512 Add(const float* x, const float* w, __m512 sum) {
  return _mm512_fmadd_ps(_mm512_loadu_ps(w), _mm512_set1_ps(*x), sum);
}
INFENCLAVE_AVX512_INLINE __m256 Add(const float* x, const float* w, __m256 sum) {
  return _mm256_fmadd_ps(_mm256_loadu_ps(w), _mm256_set1_ps(*x), sum);
}
INFENCLAVE_AVX512_INLINE __m512 Add(const Bf16* x, const Bf16* w, __m512 sum) {
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_loadu_si512(w),
                          (__m512bh)_mm512_maskz_broadcastd_epi32(kAll, _mm_loadu_si32(x)));
}
INFENCLAVE_AVX512_INLINE __m256 Add(const Bf16* x, const Bf16* w, __m256 sum) {
  return _mm256_dpbf16_ps(sum, (__m256bh)_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)),
                          (__m256bh)_mm256_broadcastd_epi32(_mm_loadu_si32(x)));
}

template <typename T>
INFENCLAVE_AVX512_INLINE void Finish(const Task& task, __m512 sum, T* dst) {
  if (task.sum) sum = _mm512_add_ps(sum, Load(dst));
  Store(dst, Rectify(task.rectifier, sum));
}

// The products of some pixels with kFull vectors of weights, which kSum counts row by row, and with half a vector of
// them where there are kRow. Written without loops over the sums, so that these stay in registers.
template <int kFull, typename T, int... kSum, int... kRow>
INFENCLAVE_AVX512_INLINE void Multiply(const Task& task, const T* src, const T* weights, const float* bias, T* dst,
                                       std::integer_sequence<int, kSum...>, std::integer_sequence<int, kRow...>) {
  constexpr int64_t kStep = kInputs<T>, kWidth = (kFull * kLanes + (sizeof...(kRow) > 0 ? kHalf : 0)) * kStep;
  constexpr int kDivisor = std::max(kFull, 1);
  [[maybe_unused]] __m512 sum[] = {
      (bias != nullptr ? _mm512_loadu_ps(bias + kSum % kDivisor * kLanes) : _mm512_setzero_ps())...,
      _mm512_setzero_ps()};
  [[maybe_unused]] __m256 half[] = {
      ((void)kRow, bias != nullptr ? _mm256_loadu_ps(bias + kFull * kLanes) : _mm256_setzero_ps())...,
      _mm256_setzero_ps()};
  for (int64_t left = task.in; left > 0; left -= kLanes, src += task.src_block) {
    const T* const end = src + std::min(left, kLanes);
    for (const T* x = src; x < end; x += kStep, weights += kWidth) {
      ((sum[kSum] = Add(x + kSum / kDivisor * kLanes, weights + kSum % kDivisor * kLanes * kStep, sum[kSum])), ...);
      ((half[kRow] = Add(x + kRow * kLanes, weights + kFull * kLanes * kStep, half[kRow])), ...);
    }
  }
  (Finish(task, sum[kSum], dst + kSum % kDivisor * task.dst_block + kSum / kDivisor * kLanes), ...);
  (Finish(task, _mm512_maskz_insertf32x8(kAll, _mm512_setzero_ps(), half[kRow], 0),
          dst + kFull * task.dst_block + kRow * kLanes),
   ...);
}

template <typename T>
using Microkernel = void (*)(const Task&, const T* src, const T* weights, const float* bias, T* dst);
template <typename T, int kFull, bool kHalfToo, int kRows>
INFENCLAVE_AVX512 void MultiplyRows(const Task& task, const T* src, const T* weights, const float* bias, T* dst) {
  Multiply<kFull>(task, src, weights, bias, dst, std::make_integer_sequence<int, kFull * kRows>(),
                  std::make_integer_sequence < int, kHalfToo ? kRows : 0 > ());
}

// For many pixels at a time, some, and one.
template <typename T>
struct Microkernels {
  int rows;
  Microkernel<T> many, few, one;
};
template <typename T, int kFull, bool kHalfToo>
constexpr Microkernels<T> For() {
  constexpr int kRows = RowsOf(kFull + (kHalfToo ? 1 : 0));
  return {kRows, MultiplyRows<T, kFull, kHalfToo, kRows>, MultiplyRows<T, kFull, kHalfToo, kFewRows>,
          MultiplyRows<T, kFull, kHalfToo, 1>};
}
template <typename T>
constexpr Microkernels<T> kMicrokernels[] = {For<T, 1, false>(), For<T, 0, true>(),  For<T, 2, false>(),
                                             For<T, 1, true>(),  For<T, 3, false>(), For<T, 2, true>()};

}  // namespace

template <typename T>
struct PointwiseRun {
  const Pointwise::Plan& p;
  const T *src, *weights;
  T* dst;
  const float* bias;

  // Of one picture, pixels begin..end.
  void Compute(int64_t picture, int64_t begin, int64_t end) const {
    const int64_t pixels = p.height * p.width;
    const Task task{p.in, pixels * kLanes, pixels * kLanes, bias, p.sum, p.rectifier};
    const T* from = src + (picture * DivideUp(p.in, kLanes) * pixels + begin) * kLanes;
    T* to = dst + (picture * DivideUp(p.out, kLanes) * pixels + begin) * kLanes;
    for (int64_t i = 0; i < Chunks(p.out); ++i) {
      const Chunk chunk = ChunkAt(p.out, i);
      const Microkernels<T>& kernels = kMicrokernels<T>[2 * (chunk.vectors - 1) + (chunk.half ? 1 : 0)];
      const T* w = weights + chunk.channel * p.in;
      const float* b = bias == nullptr ? nullptr : bias + chunk.channel;
      for (int64_t at = 0, left = end - begin; left > 0;) {
        const int rows = left >= kernels.rows ? kernels.rows : left >= kFewRows ? kFewRows : 1;
        const Microkernel<T> multiply = rows == 1 ? kernels.one : rows == kFewRows ? kernels.few : kernels.many;
        multiply(task, from + at * kLanes, w, b, to + chunk.channel * pixels + at * kLanes);
        at += rows;
        left -= rows;
      }
    }
  }

  // Share i of n.
  void Compute(int i, int n) const {
    const int64_t pixels = p.height * p.width, end = p.batch * pixels * (i + 1) / n;
    for (int64_t at = p.batch * pixels * i / n; at < end;) {
      const int64_t picture = at / pixels, begin = at % pixels;
      const int64_t count = std::min({kBlockPixels, pixels - begin, end - at});
      Compute(picture, begin, begin + count);
      at += count;
    }
  }
};

bool Pointwise::Takes(const ConvShape& s, memory::data_type type, const Rectifier& rectifier) {
  const auto all = [](const memory::dims& dims, int64_t value) {
    return std::all_of(dims.begin(), dims.end(), [&](int64_t d) { return d == value; });
  };
  return (type == memory::data_type::f32 ? HasAvx512() : HasBf16()) && s.src.size() == 4 && s.weights.size() == 4 &&
         s.weights[2] == 1 && s.weights[3] == 1 && all(s.strides, 1) && all(s.pads_begin, 0) && all(s.pads_end, 0) &&
         s.src[1] % kHalf == 0 && s.dst[1] % kHalf == 0 && (s.src[1] % kLanes != 0 || s.dst[1] % kLanes != 0) &&
         rectifier.KeepsZero();
}

Pointwise::Pointwise(const ConvShape& s, memory::data_type type, const Rectifier& rectifier, bool sum, int threads)
    : plan_{.batch = s.src[0],
            .in = s.src[1],
            .out = s.dst[1],
            .height = s.dst[2],
            .width = s.dst[3],
            .type = type,
            .threads = threads,
            .bias = !s.bias.empty(),
            .sum = sum,
            .rectifier = rectifier} {}

std::string_view Pointwise::name() const {
  return plan_.type == memory::data_type::f32 ? "pointwise:avx512_core" : "pointwise:avx512_core_bf16";
}

memory::desc Pointwise::src_desc() const {
  return {{plan_.batch, plan_.in, plan_.height, plan_.width}, plan_.type, memory::format_tag::nChw16c};
}
memory::desc Pointwise::dst_desc() const {
  return {{plan_.batch, plan_.out, plan_.height, plan_.width}, plan_.type, memory::format_tag::nChw16c};
}
memory::desc Pointwise::weights_desc() const { return PlainDesc({plan_.in * plan_.out}, plan_.type); }

// [chunk][input, or pair of them][output channel][of the pair].
Packer Pointwise::packer() const {
  return [p = plan_](const Tensor& source, std::byte* data) {
    const bool f32 = p.type == memory::data_type::f32;
    const int64_t step = f32 ? 1 : 2;
    for (int64_t c = 0; c < Chunks(p.out); ++c) {
      const Chunk chunk = ChunkAt(p.out, c);
      for (int64_t o = 0; o < chunk.width(); ++o) {
        for (int64_t i = 0; i < p.in; ++i) {
          const float w = source.as<float>()[static_cast<size_t>((chunk.channel + o) * p.in + i)];
          const int64_t to = chunk.channel * p.in + (i / step * chunk.width() + o) * step + i % step;
          if (f32) {
            reinterpret_cast<float*>(data)[to] = w;
          } else {
            reinterpret_cast<Bf16*>(data)[to] = RoundToBf16(w);
          }
        }
      }
    }
  };
}

Kernel Pointwise::kernel() const {
  const auto make = [&](auto zero) -> Kernel {
    using T = decltype(zero);
    return [p = plan_](const std::vector<void*>& args) {
      const PointwiseRun<T> run{p, static_cast<const T*>(args[0]), static_cast<const T*>(args[1]),
                                static_cast<T*>(args[2]), p.bias ? static_cast<const float*>(args[4]) : nullptr};
      RunOnTeam(p.threads, [&](int i, int n) { run.Compute(i, n); });
    };
  };
  return plan_.type == memory::data_type::f32 ? make(float{}) : make(Bf16{});
}

}  // namespace infenclave::engine
