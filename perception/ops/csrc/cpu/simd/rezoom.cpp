#include "cpu/simd/rezoom.h"

#include "cpu/simd/vectors.h"

namespace perception {
namespace PERCEPTION_ISA {

template <typename T>
void read_point(const T* image, const Point<accumulate_t<T>>& point, int64_t channels, T* out) {
  using V = vector_t<T>;
  int64_t c = 0;
  for (; c < channels; c += lanes<T>) {
    const int count = static_cast<int>(channels - c < lanes<T> ? channels - c : lanes<T>);
    V sum = {};
    for (int i = 0; i < 4; ++i) {
      if (point.weight[i] == 0) continue;
      const T* pixel = image + point.offset[i] + c;
      const V value = count == lanes<T> ? load(pixel) : load_part(pixel, count);
      sum = fma(all<V>(point.weight[i]), value, sum);
    }
    count == lanes<T> ? store(out + c, sum) : store_part(out + c, sum, count);
  }
}

template <typename T>
void add_point(const T* grad, const Point<accumulate_t<T>>& point, int64_t channels,
               accumulate_t<T>* image) {
  using V = vector_t<T>;
  for (int i = 0; i < 4; ++i) {
    if (point.weight[i] == 0) continue;
    accumulate_t<T>* pixel = image + point.offset[i];
    const V weight = all<V>(point.weight[i]);
    int64_t c = 0;
    for (; c + lanes<T> <= channels; c += lanes<T>)
      store(pixel + c, fma(weight, load(grad + c), load(pixel + c)));
    if (c < channels) {
      const int count = static_cast<int>(channels - c);
      store_part(pixel + c, fma(weight, load_part(grad + c, count), load_part(pixel + c, count)),
                 count);
    }
  }
}

template <typename T>
void slope_point(const T* grad, const T* image, const Point<accumulate_t<T>>& point,
                 int64_t channels, accumulate_t<T>* slope) {
  using V = vector_t<T>;
  using A = accumulate_t<T>;
  V dots[4] = {};  // gradient times the value of each of the four pixels
  for (int64_t c = 0; c < channels; c += lanes<T>) {
    const int count = static_cast<int>(channels - c < lanes<T> ? channels - c : lanes<T>);
    const V upper = count == lanes<T> ? load(grad + c) : load_part(grad + c, count);
    for (int i = 0; i < 4; ++i) {
      const T* pixel = image + point.offset[i] + c;
      const V value = count == lanes<T> ? load(pixel) : load_part(pixel, count);
      dots[i] = fma(upper, value, dots[i]);
    }
  }
  A dot[4] = {};
  for (int i = 0; i < 4; ++i)
    for (int lane = 0; lane < lanes<T>; ++lane) dot[i] += dots[i][lane];
  const A y = point.y_part, x = point.x_part;
  slope[0] = (1 - x) * (dot[2] - dot[0]) + x * (dot[3] - dot[1]);
  slope[1] = (1 - y) * (dot[1] - dot[0]) + y * (dot[3] - dot[2]);
}

#define INSTANTIATE(T)                                                                          \
  template void read_point<T>(const T*, const Point<accumulate_t<T>>&, int64_t, T*);           \
  template void add_point<T>(const T*, const Point<accumulate_t<T>>&, int64_t,                 \
                             accumulate_t<T>*);                                                \
  template void slope_point<T>(const T*, const T*, const Point<accumulate_t<T>>&, int64_t,     \
                               accumulate_t<T>*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(half_t)
INSTANTIATE(bfloat16_t)

}  // namespace PERCEPTION_ISA
}  // namespace perception
