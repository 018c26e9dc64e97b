// RoIAlign of one box on memory whose channels lie together.
#pragma once

#include "cpu/types.h"

#define DECLARE_ROI_ALIGN(isa)                                                             \
  namespace isa {                                                                          \
  template <typename T>                                                                    \
  void align_box(const T* image, int64_t channels, int64_t rows, int64_t columns,          \
                 Taps<accumulate_t<T>> y, Taps<accumulate_t<T>> x, T* out);                \
  }

namespace perception {
// out (rows, columns, channels): the weighted sum of the taps of each bin.
PERCEPTION_FOR_EACH_ISA(DECLARE_ROI_ALIGN)
}  // namespace perception
