#include "cpu/simd/roi_pool.h"

#include "cpu/simd/vectors.h"

namespace perception {
namespace PERCEPTION_ISA {
namespace {

struct Bin {
  int64_t y0, y1, x0, x1;
};

// Integers as wide as the lanes.
template <typename A>
struct index_of;
template <>
struct index_of<float> {
  typedef int32_t type;
};
template <>
struct index_of<double> {
  typedef int64_t type;
};
template <typename T>
struct index_vector {
  typedef typename index_of<accumulate_t<T>>::type type __attribute__((vector_size(kBytes)));
};

template <typename T, typename V>
inline void store_index(int32_t* to, V index, int count) {
  for (int i = 0; i < count; ++i) to[i] = static_cast<int32_t>(index[i]);
}

// `Count` vectors of channels of one bin.
template <int Count, typename T>
inline void max_bin(const T* image, int64_t row_stride, int64_t column_stride, int64_t width,
                    Bin bin, T* out, int32_t* argmax) {
  using V = vector_t<T>;
  using I = typename index_vector<T>::type;
  using Scalar = typename index_of<accumulate_t<T>>::type;
  V best[Count];
  I where[Count];
#pragma GCC unroll 16
  for (int c = 0; c < Count; ++c) {
    best[c] = load(image + bin.y0 * row_stride + bin.x0 * column_stride + c * lanes<T>);
    where[c] = static_cast<Scalar>(bin.y0 * width + bin.x0) - I{};
  }
  for (int64_t y = bin.y0; y < bin.y1; ++y) {
    for (int64_t x = bin.x0; x < bin.x1; ++x) {
      const T* pixel = image + y * row_stride + x * column_stride;
      const I here = static_cast<Scalar>(y * width + x) - I{};
#pragma GCC unroll 16
      for (int c = 0; c < Count; ++c) {
        const V value = load(pixel + c * lanes<T>);
        // Replaced by what is greater and by the first NaN: not (value <= best), best no NaN yet.
        const I kept = (I)(value <= best[c]) | (I)(best[c] != best[c]);
        best[c] = kept ? best[c] : value;
        where[c] = kept ? where[c] : here;
      }
    }
  }
#pragma GCC unroll 16
  for (int c = 0; c < Count; ++c) {
    store(out + c * lanes<T>, best[c]);
    store_index<T>(argmax + c * lanes<T>, where[c], lanes<T>);
  }
}

// The last channels, fewer than a vector, one by one.
template <typename T>
inline void max_tail(const T* image, int64_t row_stride, int64_t column_stride, int64_t width,
                     Bin bin, int64_t count, T* out, int32_t* argmax) {
  for (int64_t c = 0; c < count; ++c) {
    auto best = widen(image[bin.y0 * row_stride + bin.x0 * column_stride + c]);
    int64_t where = bin.y0 * width + bin.x0;
    for (int64_t y = bin.y0; y < bin.y1; ++y) {
      for (int64_t x = bin.x0; x < bin.x1; ++x) {
        const auto value = widen(image[y * row_stride + x * column_stride + c]);
        if (!(value <= best) && best == best) best = value, where = y * width + x;
      }
    }
    narrow(out + c, best);
    argmax[c] = static_cast<int32_t>(where);
  }
}

}  // namespace

template <typename T>
void pool_box(const T* image, int64_t row_stride, int64_t column_stride, int64_t width,
              int64_t channels, int64_t rows, int64_t columns, const int64_t* y, const int64_t* x,
              T* out, int32_t* argmax) {
  constexpr int kLanes = lanes<T>;
  constexpr int kCount = kAccumulators / 2;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j, out += channels, argmax += channels) {
      const Bin bin{y[2 * i], y[2 * i + 1], x[2 * j], x[2 * j + 1]};
      if (bin.y0 >= bin.y1 || bin.x0 >= bin.x1) {
        for (int64_t c = 0; c < channels; ++c) out[c] = T{}, argmax[c] = -1;
        continue;
      }
      int64_t c = 0;
      for (; c + kCount * kLanes <= channels; c += kCount * kLanes)
        max_bin<kCount>(image + c, row_stride, column_stride, width, bin, out + c, argmax + c);
      for (; c + kLanes <= channels; c += kLanes)
        max_bin<1>(image + c, row_stride, column_stride, width, bin, out + c, argmax + c);
      max_tail(image + c, row_stride, column_stride, width, bin, channels - c, out + c, argmax + c);
    }
  }
}

#define INSTANTIATE(T)                                                                       \
  template void pool_box<T>(const T*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,  \
                            const int64_t*, const int64_t*, T*, int32_t*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(half_t)
INSTANTIATE(bfloat16_t)

}  // namespace PERCEPTION_ISA
}  // namespace perception
