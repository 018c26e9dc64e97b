// Does one of the kept boxes overlap a candidate too much?
#pragma once

#include "cpu/types.h"

namespace perception {

// Kept boxes, one array per number; arrays are filled up to whole vectors (kSuppressPad numbers)
// with boxes that overlap nothing.
template <typename A>
struct KeptBoxes {
  A *x1, *y1, *x2, *y2, *area;
};
constexpr int64_t kSuppressPad = 16;

template <typename A>
struct Candidate {
  A x1, y1, x2, y2, area;
};

struct SuppressRule {
  double threshold;
  bool huge;  // areas may overflow float32: such pairs are decided in float64
};

}  // namespace perception

#define DECLARE_SUPPRESS(isa)                                                               \
  namespace isa {                                                                           \
  template <typename A>                                                                     \
  bool suppressed(const Candidate<A>& candidate, const KeptBoxes<A>& kept, int64_t begin,   \
                  int64_t end, const SuppressRule& rule);                                   \
  }

namespace perception {
// True if the IoU with one of the kept boxes begin .. end - 1 is above the threshold.
PERCEPTION_FOR_EACH_ISA(DECLARE_SUPPRESS)
}  // namespace perception
