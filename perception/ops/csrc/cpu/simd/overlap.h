// IoU, generalized, distance and complete IoU of one box with many, and their gradients.
#pragma once

#include "cpu/types.h"
#include "overlap_pair.h"

namespace perception {

// Boxes as arrays of float64, filled up to whole vectors (kOverlapPad numbers).
struct OverlapBoxes {
  const double *x1, *y1, *x2, *y2, *area;
  const double *angle;           // atan2(width, height), 0 for a point
  const double *turn_w, *turn_h;  // derivatives of the angle
};
constexpr int64_t kOverlapPad = 8;
constexpr int kOverlapNumbers = 8;

}  // namespace perception

#define DECLARE_OVERLAP(isa)                                                                   \
  namespace isa {                                                                              \
  template <typename T>                                                                        \
  void overlap_row(Overlap kind, const OverlapBoxes& a, int64_t i, const OverlapBoxes& b,      \
                   int64_t count, double eps, T* out);                                         \
  void overlap_gradient_first(Overlap kind, const OverlapBoxes& a, int64_t i,                  \
                              const OverlapBoxes& b, int64_t count, double eps,                \
                              const double* grad, double* out);                                \
  void overlap_gradient_second(Overlap kind, const OverlapBoxes& a, int64_t rows,              \
                               const OverlapBoxes& b, int64_t j, double eps, const double* grad, \
                               int64_t stride, double* out);                                   \
  }

namespace perception {
// overlap_row: out[j] for box i of a and the `count` boxes of b.
// overlap_gradient_first: out[0 .. 3], the gradient to box i of a; grad[j] per box of b.
// overlap_gradient_second: out[0 .. 3][lane], the gradients to boxes j .. j + kOverlapPad - 1 of b;
// grad[i * stride + lane] per box of a.
PERCEPTION_FOR_EACH_ISA(DECLARE_OVERLAP)
}  // namespace perception
