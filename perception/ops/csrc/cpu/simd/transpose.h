// Transposes of 2, 4 and 8 byte elements, in registers.
#pragma once

#include "cpu/types.h"

#define DECLARE_TRANSPOSE(isa)                                                        \
  namespace isa {                                                                     \
  template <typename Word>                                                            \
  void transpose(const Word* from, int64_t from_stride, int64_t rows, int64_t columns, \
                 Word* to, int64_t to_stride);                                        \
  }

namespace perception {
// to[column * to_stride + row] = from[row * from_stride + column]; uint16_t, uint32_t, uint64_t.
PERCEPTION_FOR_EACH_ISA(DECLARE_TRANSPOSE)
}  // namespace perception
