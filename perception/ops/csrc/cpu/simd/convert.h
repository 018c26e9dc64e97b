// Between storage dtypes and what they are computed in.
#pragma once

#include "cpu/types.h"

#define DECLARE_CONVERT(isa)                                                  \
  namespace isa {                                                             \
  template <typename T>                                                       \
  void convert(const accumulate_t<T>* from, int64_t count, T* to);            \
  template <typename T>                                                       \
  void widen_all(const T* from, int64_t count, accumulate_t<T>* to);          \
  }

namespace perception {
// Rounded to nearest even, element by element; and the way back, exact.
PERCEPTION_FOR_EACH_ISA(DECLARE_CONVERT)
}  // namespace perception
