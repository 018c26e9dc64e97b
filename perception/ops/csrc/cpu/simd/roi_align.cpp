#include "cpu/simd/roi_align.h"

#include "cpu/simd/vectors.h"

namespace perception {
namespace PERCEPTION_ISA {
namespace {

// `Count` vectors of channels of one bin, kept in registers over all its taps.
template <int Count, typename T>
inline void sum_bin(const T* image, Taps<accumulate_t<T>> y, Taps<accumulate_t<T>> x, int64_t row,
                    int64_t column, T* out) {
  using V = vector_t<T>;
  V sum[Count] = {};
  for (int32_t i = y.first[row]; i < y.first[row + 1]; ++i) {
    const T* line = image + y.offset[i];
    for (int32_t j = x.first[column]; j < x.first[column + 1]; ++j) {
      const V weight = all<V>(y.weight[i] * x.weight[j]);
      const T* pixel = line + x.offset[j];
      for (int c = 0; c < Count; ++c) sum[c] = fma(weight, load(pixel + c * lanes<T>), sum[c]);
    }
  }
  for (int c = 0; c < Count; ++c) store(out + c * lanes<T>, sum[c]);
}

// The last `count` channels, fewer than a vector.
template <typename T>
inline void sum_tail(const T* image, Taps<accumulate_t<T>> y, Taps<accumulate_t<T>> x, int64_t row,
                     int64_t column, int count, T* out) {
  using V = vector_t<T>;
  V sum = {};
  for (int32_t i = y.first[row]; i < y.first[row + 1]; ++i) {
    for (int32_t j = x.first[column]; j < x.first[column + 1]; ++j) {
      const V weight = all<V>(y.weight[i] * x.weight[j]);
      sum = fma(weight, load_part(image + y.offset[i] + x.offset[j], count), sum);
    }
  }
  store_part(out, sum, count);
}

}  // namespace

template <typename T>
void align_box(const T* image, int64_t channels, int64_t rows, int64_t columns,
               Taps<accumulate_t<T>> y, Taps<accumulate_t<T>> x, T* out) {
  constexpr int kLanes = lanes<T>;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column, out += channels) {
      int64_t c = 0;
      for (; c + kAccumulators * kLanes <= channels; c += kAccumulators * kLanes)
        sum_bin<kAccumulators>(image + c, y, x, row, column, out + c);
      for (; c + 4 * kLanes <= channels; c += 4 * kLanes)
        sum_bin<4>(image + c, y, x, row, column, out + c);
      for (; c + kLanes <= channels; c += kLanes)
        sum_bin<1>(image + c, y, x, row, column, out + c);
      if (c < channels)
        sum_tail(image + c, y, x, row, column, static_cast<int>(channels - c), out + c);
    }
  }
}

#define INSTANTIATE(T)                                                                      \
  template void align_box<T>(const T*, int64_t, int64_t, int64_t, Taps<accumulate_t<T>>,   \
                             Taps<accumulate_t<T>>, T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(half_t)
INSTANTIATE(bfloat16_t)

}  // namespace PERCEPTION_ISA
}  // namespace perception
