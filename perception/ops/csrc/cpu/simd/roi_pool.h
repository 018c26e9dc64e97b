// RoIPool of one box on memory whose channels lie together.
#pragma once

#include "cpu/types.h"

#define DECLARE_ROI_POOL(isa)                                                                  \
  namespace isa {                                                                              \
  template <typename T>                                                                        \
  void pool_box(const T* image, int64_t row_stride, int64_t column_stride, int64_t width,      \
                int64_t channels, int64_t rows, int64_t columns, const int64_t* y,             \
                const int64_t* x, T* out, int32_t* argmax);                                    \
  }

namespace perception {
// Bin (i, j) covers rows y[2 i] .. y[2 i + 1] - 1 and columns x[2 j] .. x[2 j + 1] - 1.
// out and argmax (rows, columns, channels): the maximum, NaN if there is one, and where it was
// found first, as row * width + column; 0 and -1 for an empty bin.
PERCEPTION_FOR_EACH_ISA(DECLARE_ROI_POOL)
}  // namespace perception
