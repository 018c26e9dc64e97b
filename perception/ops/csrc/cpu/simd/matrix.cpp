#include "cpu/simd/matrix.h"

#include "cpu/simd/vectors.h"

namespace perception {
namespace PERCEPTION_ISA {
namespace {

// Rows of c that are summed in registers at a time, two vectors each.
#if defined(__AVX512F__)
constexpr int kRows = 12;  // 24 of 32 registers
#elif defined(__AVX2__)
constexpr int kRows = 6;  // 12 of 16
#else
constexpr int kRows = 4;
#endif

// One block of kRows x (two vectors); only `m` rows and `n` columns of it are read and written.
template <typename A>
inline void block(const A* const* a, int64_t a_column, const A* b, int64_t b_row, int m, int64_t n,
                  int64_t k, A* c, int64_t c_row) {
  using V = vector_t<A>;
  constexpr int kLanes = lanes<A>;
  V sum[kRows][2] = {};
  for (int64_t step = 0; step < k; ++step) {
    const V left = load(b + step * b_row), right = load(b + step * b_row + kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const V factor = all<V>(a[i][step * a_column]);
      sum[i][0] = fma(factor, left, sum[i][0]);
      sum[i][1] = fma(factor, right, sum[i][1]);
    }
  }
  if (n >= 2 * kLanes) {
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      if (i >= m) break;
      A* row = c + i * c_row;
      store(row, load(row) + sum[i][0]);
      store(row + kLanes, load(row + kLanes) + sum[i][1]);
    }
    return;
  }
  A sums[kRows][2 * kLanes];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    store(sums[i], sum[i][0]);
    store(sums[i] + kLanes, sum[i][1]);
  }
  for (int i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) c[i * c_row + j] += sums[i][j];
}

}  // namespace

template <typename A>
void add_product(Factor<A> a, Panels<A> b, int64_t m, int64_t n, int64_t k, A* c, int64_t c_row) {
  constexpr int64_t kColumns = 2 * lanes<A>;
  for (int64_t j = 0; j < n; j += kColumns) {
    const A* panel = b.data + j / kPanel * b.panel + j % kPanel;
    for (int64_t i = 0; i < m; i += kRows) {
      const int rows = static_cast<int>(m - i < kRows ? m - i : kRows);
      const A* starts[kRows];
      for (int r = 0; r < kRows; ++r)  // rows beyond the last repeat it and are not stored
        starts[r] = a.data + (i + (r < rows ? r : rows - 1)) * a.row;
      block(starts, a.column, panel, b.row, rows, n - j, k, c + i * c_row + j, c_row);
    }
  }
}

template void add_product<float>(Factor<float>, Panels<float>, int64_t, int64_t, int64_t, float*,
                                 int64_t);
template void add_product<double>(Factor<double>, Panels<double>, int64_t, int64_t, int64_t,
                                  double*, int64_t);

}  // namespace PERCEPTION_ISA
}  // namespace perception
