// Plain types shared with the SIMD kernels. No header of the standard library or of torch may be
// included here: an inline function compiled for AVX-512 could be linked into everything.
#pragma once

#include <stdint.h>

namespace perception {

struct half_t {
  uint16_t bits;
};
struct bfloat16_t {
  uint16_t bits;
};

// What a dtype is computed in.
template <typename T>
struct accumulate {
  using type = float;
};
template <>
struct accumulate<double> {
  using type = double;
};
template <typename T>
using accumulate_t = typename accumulate<T>::type;

// Weighted pixels of every bin of one box along one axis: bin p has first[p] .. first[p + 1].
template <typename A>
struct Taps {
  const int32_t* first;
  const int64_t* offset;  // in elements from the start of the image
  const A* weight;
};

}  // namespace perception

// Declares an op's kernels once per compiled variant: PERCEPTION_FOR_EACH_ISA(DECLARE).
#if defined(__x86_64__)
#define PERCEPTION_FOR_EACH_ISA(macro) macro(base) macro(avx2) macro(avx512)
#else
#define PERCEPTION_FOR_EACH_ISA(macro) macro(base)
#endif
