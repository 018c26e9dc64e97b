// Single elements of every storage dtype, for loops that are bound by memory and not by arithmetic.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "cpu/types.h"

namespace perception {

inline float as_sum(float value) { return value; }
inline double as_sum(double value) { return value; }
inline float as_sum(half_t value) { return c10::Half(value.bits, c10::Half::from_bits()); }
inline float as_sum(bfloat16_t value) {
  return c10::BFloat16(value.bits, c10::BFloat16::from_bits());
}

inline void store_sum(float* to, float value) { *to = value; }
inline void store_sum(double* to, double value) { *to = value; }
inline void store_sum(half_t* to, float value) { to->bits = c10::Half(value).x; }
inline void store_sum(bfloat16_t* to, float value) { to->bits = c10::BFloat16(value).x; }

}  // namespace perception
