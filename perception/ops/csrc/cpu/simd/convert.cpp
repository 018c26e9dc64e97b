#include "cpu/simd/convert.h"

#include "cpu/simd/vectors.h"

namespace perception {
namespace PERCEPTION_ISA {

template <typename T>
void convert(const accumulate_t<T>* from, int64_t count, T* to) {
  int64_t i = 0;
  for (; i + lanes<T> <= count; i += lanes<T>) store(to + i, load(from + i));
  for (; i < count; ++i) narrow(to + i, from[i]);
}

template <typename T>
void widen_all(const T* from, int64_t count, accumulate_t<T>* to) {
  int64_t i = 0;
  for (; i + lanes<T> <= count; i += lanes<T>) store(to + i, load(from + i));
  for (; i < count; ++i) to[i] = widen(from[i]);
}

#define INSTANTIATE(T)                                                    \
  template void convert<T>(const accumulate_t<T>*, int64_t, T*);          \
  template void widen_all<T>(const T*, int64_t, accumulate_t<T>*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(half_t)
INSTANTIATE(bfloat16_t)

}  // namespace PERCEPTION_ISA
}  // namespace perception
