// Matrix products of small pieces that stay in the cache; one thread, the same bits everywhere.
#pragma once

#include "cpu/types.h"

namespace perception {

// Columns of the right factor come in panels of this many numbers, the last filled up.
constexpr int64_t kPanel = 32;

// Element (k, n) is data[(n / kPanel) * panel + k * row + n % kPanel].
template <typename A>
struct Panels {
  const A* data;
  int64_t panel, row;
};

// Element (m, k) is data[m * row + k * column].
template <typename A>
struct Factor {
  const A* data;
  int64_t row, column;
};

}  // namespace perception

#define DECLARE_MATRIX(isa)                                                              \
  namespace isa {                                                                        \
  template <typename A>                                                                  \
  void add_product(Factor<A> a, Panels<A> b, int64_t m, int64_t n, int64_t k, A* c,      \
                   int64_t c_row);                                                       \
  }

namespace perception {
// c[i * c_row + j] += sum over k of a(i, k) * b(k, j), in the order of k.
PERCEPTION_FOR_EACH_ISA(DECLARE_MATRIX)
}  // namespace perception
