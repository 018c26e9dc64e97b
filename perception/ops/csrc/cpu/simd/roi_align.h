// RoIAlign of one box on memory whose channels lie together.
#pragma once

#include "cpu/types.h"

#define DECLARE_ROI_ALIGN(isa)                                                                \
  namespace isa {                                                                             \
  template <typename T, typename O = T>                                                       \
  void align_box(const T* image, int64_t channels, int64_t rows, int64_t columns,             \
                 Taps<accumulate_t<T>> y, Taps<accumulate_t<T>> x, O* out);                   \
  template <typename T>                                                                       \
  void align_box_backward(const T* grad, int64_t grad_stride, int64_t channels,               \
                          int64_t columns, BinTaps<accumulate_t<T>> y,                        \
                          BinTaps<accumulate_t<T>> x, accumulate_t<T>* image);                \
  }

namespace perception {

// Weighted bins of every touched pixel of one box along one axis: pixel i of `pixels` lies at
// offset[i] and belongs to the bins first[i] .. first[i + 1] of `bin`.
template <typename A>
struct BinTaps {
  int64_t pixels;
  const int64_t* offset;
  const int32_t* first;
  const int32_t* bin;
  const A* weight;
};

// align_box: out (rows, columns, channels), the weighted sum of the taps of each bin, in the dtype
// of the map or in that of the sums.
// align_box_backward: adds to `image` what each touched pixel got from the bins of grad
// (rows, columns, grad_stride), in the order of the bins.
PERCEPTION_FOR_EACH_ISA(DECLARE_ROI_ALIGN)
}  // namespace perception
