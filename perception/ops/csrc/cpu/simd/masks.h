// Smaller, larger, and comparisons of vectors as bit masks (bit i: lane i).
#pragma once

#include "cpu/simd/vectors.h"

namespace perception {
namespace PERCEPTION_ISA {

#if defined(__AVX512F__)
static inline vfloat lower(vfloat a, vfloat b) { return (vfloat)_mm512_min_ps((__m512)a, (__m512)b); }
static inline vfloat upper(vfloat a, vfloat b) { return (vfloat)_mm512_max_ps((__m512)a, (__m512)b); }
static inline vdouble lower(vdouble a, vdouble b) {
  return (vdouble)_mm512_min_pd((__m512d)a, (__m512d)b);
}
static inline vdouble upper(vdouble a, vdouble b) {
  return (vdouble)_mm512_max_pd((__m512d)a, (__m512d)b);
}
static inline unsigned greater(vfloat a, vfloat b) {
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
}
static inline unsigned greater(vdouble a, vdouble b) {
  return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ);
}
#elif defined(__AVX2__)
static inline vfloat lower(vfloat a, vfloat b) { return (vfloat)_mm256_min_ps((__m256)a, (__m256)b); }
static inline vfloat upper(vfloat a, vfloat b) { return (vfloat)_mm256_max_ps((__m256)a, (__m256)b); }
static inline vdouble lower(vdouble a, vdouble b) {
  return (vdouble)_mm256_min_pd((__m256d)a, (__m256d)b);
}
static inline vdouble upper(vdouble a, vdouble b) {
  return (vdouble)_mm256_max_pd((__m256d)a, (__m256d)b);
}
static inline unsigned greater(vfloat a, vfloat b) {
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ));
}
static inline unsigned greater(vdouble a, vdouble b) {
  return _mm256_movemask_pd(_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_GT_OQ));
}
#elif defined(__x86_64__)
static inline vfloat lower(vfloat a, vfloat b) { return (vfloat)_mm_min_ps((__m128)a, (__m128)b); }
static inline vfloat upper(vfloat a, vfloat b) { return (vfloat)_mm_max_ps((__m128)a, (__m128)b); }
static inline vdouble lower(vdouble a, vdouble b) {
  return (vdouble)_mm_min_pd((__m128d)a, (__m128d)b);
}
static inline vdouble upper(vdouble a, vdouble b) {
  return (vdouble)_mm_max_pd((__m128d)a, (__m128d)b);
}
static inline unsigned greater(vfloat a, vfloat b) {
  return _mm_movemask_ps(_mm_cmpgt_ps((__m128)a, (__m128)b));
}
static inline unsigned greater(vdouble a, vdouble b) {
  return _mm_movemask_pd(_mm_cmpgt_pd((__m128d)a, (__m128d)b));
}
#else
template <typename V>
static inline V lower(V a, V b) {
  return a < b ? a : b;
}
template <typename V>
static inline V upper(V a, V b) {
  return a > b ? a : b;
}
template <typename V>
static inline unsigned greater(V a, V b) {
  unsigned mask = 0;
  for (unsigned i = 0; i < sizeof(V) / sizeof(a[0]); ++i) mask |= (a[i] > b[i] ? 1u : 0u) << i;
  return mask;
}
#endif

}  // namespace PERCEPTION_ISA
}  // namespace perception
