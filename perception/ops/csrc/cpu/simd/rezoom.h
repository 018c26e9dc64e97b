// Bilinear lookups at points of memory whose channels lie together, forward and backward.
#pragma once

#include "cpu/types.h"

#define DECLARE_REZOOM(isa)                                                                  \
  namespace isa {                                                                            \
  template <typename T>                                                                      \
  void read_point(const T* image, const Point<accumulate_t<T>>& point, int64_t channels,     \
                  T* out);                                                                   \
  template <typename T>                                                                      \
  void add_point(const T* grad, const Point<accumulate_t<T>>& point, int64_t channels,       \
                 accumulate_t<T>* image);                                                    \
  template <typename T>                                                                      \
  void slope_point(const T* grad, const T* image, const Point<accumulate_t<T>>& point,       \
                   int64_t channels, accumulate_t<T>* slope);                                \
  }

namespace perception {

// The four pixels around a point, row by row, and the fractions; a weight of 0 reads nothing.
template <typename A>
struct Point {
  int64_t offset[4];
  A weight[4];
  A y_part, x_part;
};

// read_point: out (channels), the weighted sum. add_point: adds the weighted gradient to the map.
// slope_point: slope[0] and slope[1], the derivatives of sum(grad * value) in y and in x.
PERCEPTION_FOR_EACH_ISA(DECLARE_REZOOM)
}  // namespace perception
