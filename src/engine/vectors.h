// What our own AVX-512 kernels share. They are compiled for such processors whatever the rest is compiled for, and run
// only where HasAvx512() or, those that compute in bf16, HasBf16() say so.
#ifndef INFENCLAVE_ENGINE_VECTORS_H_
#define INFENCLAVE_ENGINE_VECTORS_H_

#include <immintrin.h>

#include <bit>
#include <cstdint>

#include "engine/rectifier.h"

#define INFENCLAVE_AVX512 __attribute__((target("fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define INFENCLAVE_AVX512_INLINE INFENCLAVE_AVX512 __attribute__((always_inline)) inline

namespace infenclave::engine {

using Bf16 = uint16_t;

constexpr int64_t kLanes = 16;  // floats of a vector: the channels of a block
// Masked forms where GCC 12 would warn that the plain ones start from an undefined register.
constexpr __mmask16 kAll = 0xffff;

constexpr int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// To the nearest, to even in the middle. Weights are finite.
inline Bf16 RoundToBf16(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v);
  return static_cast<Bf16>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INFENCLAVE_AVX512_INLINE __m512 Load(const Bf16* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(kAll, _mm512_maskz_cvtepu16_epi32(kAll, bits), 16));
}
INFENCLAVE_AVX512_INLINE __m512 Load(const float* p) { return _mm512_loadu_ps(p); }

INFENCLAVE_AVX512_INLINE void Store(Bf16* p, __m512 v) { *reinterpret_cast<__m256bh*>(p) = _mm512_cvtneps_pbh(v); }
INFENCLAVE_AVX512_INLINE void Store(float* p, __m512 v) { _mm512_storeu_ps(p, v); }

INFENCLAVE_AVX512_INLINE __m512 Rectify(const Rectifier& r, __m512 v) {
  if (r.slope != 1) v = _mm512_maskz_max_ps(kAll, _mm512_mul_ps(v, _mm512_set1_ps(r.slope)), v);
  v = _mm512_maskz_max_ps(kAll, v, _mm512_set1_ps(r.low));
  return _mm512_maskz_min_ps(kAll, v, _mm512_set1_ps(r.high));
}

}  // namespace infenclave::engine

#endif  // INFENCLAVE_ENGINE_VECTORS_H_
