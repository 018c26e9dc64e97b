// IoU of one rotated box with many.
#pragma once

#include "cpu/types.h"

namespace perception {

// Rotated boxes as arrays of float64, filled up to whole vectors (kRotatedPad numbers) with boxes
// far away. `radius` is that of the circle around the box, negative for a box that is none.
struct RotatedBoxes {
  const double *cx, *cy, *half_w, *half_h, *cosine, *sine, *area, *radius;
};
constexpr int64_t kRotatedPad = 8;
constexpr int kRotatedNumbers = 8;

}  // namespace perception

#define DECLARE_ROTATED(isa)                                                               \
  namespace isa {                                                                          \
  template <typename T>                                                                    \
  void rotated_row(const RotatedBoxes& a, int64_t i, const RotatedBoxes& b, int64_t count, \
                   T* out);                                                                \
  bool rotated_suppressed(const RotatedBoxes& boxes, int64_t i, const RotatedBoxes& kept,  \
                          int64_t begin, int64_t end, double threshold);                   \
  }

namespace perception {
// rotated_row: out[j] for box i of a and the `count` boxes of b.
// rotated_suppressed: true if the IoU of box i with one of kept begin .. end - 1 is above threshold.
PERCEPTION_FOR_EACH_ISA(DECLARE_ROTATED)
}  // namespace perception
