#include "cpu/simd/roi_align.h"

#include "cpu/simd/vectors.h"

namespace perception {
namespace PERCEPTION_ISA {
namespace {

// `Count` vectors of channels of one bin, kept in registers over all its taps.
template <int Count, typename T, typename O>
inline void sum_bin(const T* image, Taps<accumulate_t<T>> y, Taps<accumulate_t<T>> x, int64_t row,
                    int64_t column, O* out) {
  using V = vector_t<T>;
  V sum[Count] = {};
  for (int32_t i = y.first[row]; i < y.first[row + 1]; ++i) {
    const T* line = image + y.offset[i];
    for (int32_t j = x.first[column]; j < x.first[column + 1]; ++j) {
      const V weight = all<V>(y.weight[i] * x.weight[j]);
      const T* pixel = line + x.offset[j];
#pragma GCC unroll 16
      for (int c = 0; c < Count; ++c) sum[c] = fma(weight, load(pixel + c * lanes<T>), sum[c]);
    }
  }
#pragma GCC unroll 16
  for (int c = 0; c < Count; ++c) store(out + c * lanes<T>, sum[c]);
}

// The last `count` channels, fewer than a vector.
template <typename T, typename O>
inline void sum_tail(const T* image, Taps<accumulate_t<T>> y, Taps<accumulate_t<T>> x, int64_t row,
                     int64_t column, int count, O* out) {
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

// `Count` vectors of channels of one pixel, kept in registers over all its bins.
template <int Count, typename T>
inline void add_pixel(const T* grad, int64_t grad_stride, int64_t columns,
                      const BinTaps<accumulate_t<T>>& y, int64_t row,
                      const BinTaps<accumulate_t<T>>& x, int64_t column, accumulate_t<T>* pixel) {
  using V = vector_t<T>;
  V sum[Count];
#pragma GCC unroll 16
  for (int c = 0; c < Count; ++c) sum[c] = load(pixel + c * lanes<T>);
  for (int32_t i = y.first[row]; i < y.first[row + 1]; ++i) {
    const T* line = grad + y.bin[i] * columns * grad_stride;
    for (int32_t j = x.first[column]; j < x.first[column + 1]; ++j) {
      const V weight = all<V>(y.weight[i] * x.weight[j]);
      const T* from = line + x.bin[j] * grad_stride;
#pragma GCC unroll 16
      for (int c = 0; c < Count; ++c) sum[c] = fma(weight, load(from + c * lanes<T>), sum[c]);
    }
  }
#pragma GCC unroll 16
  for (int c = 0; c < Count; ++c) store(pixel + c * lanes<T>, sum[c]);
}

// The last `count` channels, fewer than a vector.
template <typename T>
inline void add_tail(const T* grad, int64_t grad_stride, int64_t columns,
                     const BinTaps<accumulate_t<T>>& y, int64_t row,
                     const BinTaps<accumulate_t<T>>& x, int64_t column, int count,
                     accumulate_t<T>* pixel) {
  using V = vector_t<T>;
  V sum = load_part(pixel, count);
  for (int32_t i = y.first[row]; i < y.first[row + 1]; ++i) {
    for (int32_t j = x.first[column]; j < x.first[column + 1]; ++j) {
      const V weight = all<V>(y.weight[i] * x.weight[j]);
      const T* from = grad + (y.bin[i] * columns + x.bin[j]) * grad_stride;
      sum = fma(weight, load_part(from, count), sum);
    }
  }
  store_part(pixel, sum, count);
}

}  // namespace

template <typename T, typename O>
void align_box(const T* image, int64_t channels, int64_t rows, int64_t columns,
               Taps<accumulate_t<T>> y, Taps<accumulate_t<T>> x, O* out) {
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

template <typename T>
void align_box_backward(const T* grad, int64_t grad_stride, int64_t channels, int64_t columns,
                        BinTaps<accumulate_t<T>> y, BinTaps<accumulate_t<T>> x,
                        accumulate_t<T>* image) {
  constexpr int kLanes = lanes<T>;
  for (int64_t row = 0; row < y.pixels; ++row) {
    for (int64_t column = 0; column < x.pixels; ++column) {
      accumulate_t<T>* pixel = image + y.offset[row] + x.offset[column];
      int64_t c = 0;
      for (; c + kAccumulators * kLanes <= channels; c += kAccumulators * kLanes)
        add_pixel<kAccumulators>(grad + c, grad_stride, columns, y, row, x, column, pixel + c);
      for (; c + 8 * kLanes <= channels; c += 8 * kLanes)
        add_pixel<8>(grad + c, grad_stride, columns, y, row, x, column, pixel + c);
      for (; c + kLanes <= channels; c += kLanes)
        add_pixel<1>(grad + c, grad_stride, columns, y, row, x, column, pixel + c);
      if (c < channels)
        add_tail(grad + c, grad_stride, columns, y, row, x, column,
                 static_cast<int>(channels - c), pixel + c);
    }
  }
}

#define INSTANTIATE_BOX(T, O)                                                                   \
  template void align_box<T, O>(const T*, int64_t, int64_t, int64_t, Taps<accumulate_t<T>>,    \
                                Taps<accumulate_t<T>>, O*);
INSTANTIATE_BOX(half_t, float)
INSTANTIATE_BOX(bfloat16_t, float)

#define INSTANTIATE(T)                                                                          \
  INSTANTIATE_BOX(T, T)                                                                        \
  template void align_box_backward<T>(const T*, int64_t, int64_t, int64_t,                     \
                                      BinTaps<accumulate_t<T>>, BinTaps<accumulate_t<T>>,      \
                                      accumulate_t<T>*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(half_t)
INSTANTIATE(bfloat16_t)

}  // namespace PERCEPTION_ISA
}  // namespace perception
