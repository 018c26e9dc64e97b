// Vectors of the widest registers of the variant being compiled (PERCEPTION_ISA).
#pragma once

#include "cpu/types.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace perception {
namespace PERCEPTION_ISA {

// Sums of several vectors are arrays `V sum[Count]`; their loops carry `#pragma GCC unroll 16`, without
// which gcc 12 unrolls too late to keep them in registers and zeroes, spills and reloads the array.
#if defined(__AVX512F__)
constexpr int kBytes = 64;
constexpr int kAccumulators = 16;  // of 32 registers
#elif defined(__AVX2__)
constexpr int kBytes = 32;
constexpr int kAccumulators = 8;  // of 16 registers
#else
constexpr int kBytes = 16;
constexpr int kAccumulators = 8;
#endif

template <typename A>
struct vector_of;
template <>
struct vector_of<float> {
  typedef float type __attribute__((vector_size(kBytes)));
};
template <>
struct vector_of<double> {
  typedef double type __attribute__((vector_size(kBytes)));
};
using vfloat = vector_of<float>::type;
using vdouble = vector_of<double>::type;

// Vector of what T is computed in, and its number of lanes.
template <typename T>
using vector_t = typename vector_of<accumulate_t<T>>::type;
template <typename T>
constexpr int lanes = kBytes / static_cast<int>(sizeof(accumulate_t<T>));

// ------------------------------------------------------------------- one element

static inline float to_float(bfloat16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float out;
  __builtin_memcpy(&out, &bits, 4);
  return out;
}
static inline bfloat16_t to_bfloat16(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  if (value != value) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}
#if defined(__F16C__)
static inline float to_float(half_t value) { return _cvtsh_ss(value.bits); }
static inline half_t to_half(float value) { return {_cvtss_sh(value, 0)}; }
#else
static inline float to_float(half_t value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
  const uint32_t rest = value.bits & 0x7fff;
  float out;
  if (rest >= 0x7c00) {  // infinite or NaN
    const uint32_t bits = sign | 0x7f800000 | (rest & 0x3ff) << 13;
    __builtin_memcpy(&out, &bits, 4);
    return out;
  }
  // Scaling by 2^112 moves the exponent's bias and makes subnormal numbers normal.
  const uint32_t bits = rest << 13;
  __builtin_memcpy(&out, &bits, 4);
  out *= 5.192296858534828e33f;
  return sign ? -out : out;
}
static inline half_t to_half(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t rest = bits & 0x7fffffff;
  if (rest > 0x7f800000) return {static_cast<uint16_t>(sign | 0x7e00)};
  if (rest >= 0x477ff000) return {static_cast<uint16_t>(sign | 0x7c00)};
  if (rest < 0x38800000) {  // subnormal: adding 0.5 rounds at 2^-24
    float small;
    __builtin_memcpy(&small, &rest, 4);
    small += 0.5f;
    uint32_t rounded;
    __builtin_memcpy(&rounded, &small, 4);
    return {static_cast<uint16_t>(sign | (rounded - 0x3f000000))};
  }
  const uint32_t odd = rest >> 13 & 1;
  return {static_cast<uint16_t>(sign | (rest - 0x38000000 + 0xfff + odd) >> 13)};
}
#endif

static inline float widen(float value) { return value; }
static inline double widen(double value) { return value; }
static inline float widen(half_t value) { return to_float(value); }
static inline float widen(bfloat16_t value) { return to_float(value); }
static inline void narrow(float* to, float value) { *to = value; }
static inline void narrow(double* to, double value) { *to = value; }
static inline void narrow(half_t* to, float value) { *to = to_half(value); }
static inline void narrow(bfloat16_t* to, float value) { *to = to_bfloat16(value); }

// ------------------------------------------------------------------- whole vectors

template <typename V, typename A>
static inline V all(A value) {
  return value - V{};  // broadcasts; -0 and NaN stay what they are
}

static inline vfloat load(const float* from) {
  vfloat out;
  __builtin_memcpy(&out, from, kBytes);
  return out;
}
static inline vdouble load(const double* from) {
  vdouble out;
  __builtin_memcpy(&out, from, kBytes);
  return out;
}
static inline void store(float* to, vfloat value) { __builtin_memcpy(to, &value, kBytes); }
static inline void store(double* to, vdouble value) { __builtin_memcpy(to, &value, kBytes); }

#if defined(__AVX512F__)
static inline vfloat load(const bfloat16_t* from) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from));
  return (vfloat)_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline vfloat load(const half_t* from) {
  return (vfloat)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from));
}
static inline void store(bfloat16_t* to, vfloat value) {
  const __m512i bits = _mm512_castps_si512((__m512)value);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask((__m512)value, (__m512)value, _CMP_UNORD_Q);
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __m512i out = _mm512_srli_epi32(_mm512_mask_blend_epi32(nan, up, quiet), 16);
  _mm256_storeu_si256((__m256i*)to, _mm512_cvtepi32_epi16(out));
}
static inline void store(half_t* to, vfloat value) {
  _mm256_storeu_si256((__m256i*)to, _mm512_cvtps_ph((__m512)value, 0));
}
static inline vfloat fma(vfloat a, vfloat b, vfloat c) {
  return (vfloat)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
static inline vdouble fma(vdouble a, vdouble b, vdouble c) {
  return (vdouble)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
#elif defined(__AVX2__)
static inline vfloat load(const bfloat16_t* from) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)from));
  return (vfloat)_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline vfloat load(const half_t* from) {
  return (vfloat)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from));
}
static inline void store(half_t* to, vfloat value) {
  _mm_storeu_si128((__m128i*)to, _mm256_cvtps_ph((__m256)value, 0));
}
static inline void store(bfloat16_t* to, vfloat value) {
  for (int i = 0; i < lanes<float>; ++i) to[i] = to_bfloat16(value[i]);
}
static inline vfloat fma(vfloat a, vfloat b, vfloat c) {
  return (vfloat)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
static inline vdouble fma(vdouble a, vdouble b, vdouble c) {
  return (vdouble)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
#else
template <typename T>
static inline vfloat load(const T* from) {
  vfloat out;
  for (int i = 0; i < lanes<float>; ++i) out[i] = to_float(from[i]);
  return out;
}
template <typename T>
static inline void store(T* to, vfloat value) {
  for (int i = 0; i < lanes<float>; ++i) narrow(to + i, value[i]);
}
static inline vfloat fma(vfloat a, vfloat b, vfloat c) { return a * b + c; }
static inline vdouble fma(vdouble a, vdouble b, vdouble c) { return a * b + c; }
#endif

// ------------------------------------------------------------------- the first n lanes

template <typename T>
static inline vector_t<T> load_part(const T* from, int n) {
  T padded[lanes<T>] = {};
  __builtin_memcpy(padded, from, n * sizeof(T));
  return load(padded);
}
template <typename T>
static inline void store_part(T* to, vector_t<T> value, int n) {
  T padded[lanes<T>];
  store(padded, value);
  __builtin_memcpy(to, padded, n * sizeof(T));
}

}  // namespace PERCEPTION_ISA
}  // namespace perception
