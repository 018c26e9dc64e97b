#include "cpu/simd/deform_conv.h"

#include "cpu/simd/vectors.h"

namespace perception {
namespace PERCEPTION_ISA {
namespace {

// `Count` vectors of channels of one sample.
template <int Count, typename T>
inline void read(const T* image, const Sample<accumulate_t<T>>& sample, accumulate_t<T>* out) {
  using V = vector_t<T>;
  V sum[Count] = {};
  for (int i = 0; i < 4; ++i) {
    if (sample.place[i] < 0 || sample.weight[i] == 0) continue;
    const V weight = all<V>(sample.weight[i]);
    const T* pixel = image + sample.place[i];
#pragma GCC unroll 16
    for (int c = 0; c < Count; ++c) sum[c] = fma(weight, load(pixel + c * lanes<T>), sum[c]);
  }
#pragma GCC unroll 16
  for (int c = 0; c < Count; ++c) store(out + c * lanes<T>, sum[c]);
}

template <typename T>
inline void read_tail(const T* image, const Sample<accumulate_t<T>>& sample, int count,
                      accumulate_t<T>* out) {
  using V = vector_t<T>;
  V sum = {};
  for (int i = 0; i < 4; ++i) {
    if (sample.place[i] < 0 || sample.weight[i] == 0) continue;
    sum = fma(all<V>(sample.weight[i]), load_part(image + sample.place[i], count), sum);
  }
  store_part(out, sum, count);
}

// Sum over channels of grad times pixel, while weight * grad is added to the pixel's gradient.
// `safe`: infinite and NaN pixels count as 0, because their weight is 0.
template <typename T>
inline accumulate_t<T> spread(const T* pixel, accumulate_t<T>* grad_pixel, accumulate_t<T> weight,
                              bool safe, const accumulate_t<T>* grad, int64_t channels) {
  using A = accumulate_t<T>;
  using V = vector_t<T>;
  constexpr int kLanes = lanes<T>;
  const V factor = all<V>(weight);
  V sum = {};
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    const V g = load(grad + c);
    V value = load(pixel + c);
    if (safe) value = value - value == 0 ? value : V{};
    sum = fma(g, value, sum);
    if (weight != 0) store(grad_pixel + c, fma(factor, g, load(grad_pixel + c)));
  }
  A total = 0;
  for (int i = 0; i < kLanes; ++i) total += sum[i];
  for (; c < channels; ++c) {
    const A value = widen(pixel[c]);
    if (!safe || value - value == 0) total += grad[c] * value;
    if (weight != 0) grad_pixel[c] += weight * grad[c];
  }
  return total;
}

}  // namespace

template <typename T>
void read_samples(const T* image, const Sample<accumulate_t<T>>* samples, int64_t count,
                  int64_t channels, accumulate_t<T>* out, int64_t row) {
  constexpr int kLanes = lanes<T>;
  for (int64_t p = 0; p < count; ++p, out += row) {
    int64_t c = 0;
    for (; c + kAccumulators * kLanes <= channels; c += kAccumulators * kLanes)
      read<kAccumulators>(image + c, samples[p], out + c);
    for (; c + 4 * kLanes <= channels; c += 4 * kLanes) read<4>(image + c, samples[p], out + c);
    for (; c + kLanes <= channels; c += kLanes) read<1>(image + c, samples[p], out + c);
    if (c < channels) read_tail(image + c, samples[p], static_cast<int>(channels - c), out + c);
  }
}

template <typename T>
void spread_samples(const T* image, accumulate_t<T>* grad_image,
                    const Sample<accumulate_t<T>>* samples, const accumulate_t<T>* factors,
                    int64_t count, int64_t channels, const accumulate_t<T>* grad,
                    accumulate_t<T>* products) {
  for (int64_t p = 0; p < count; ++p, grad += channels, products += 4) {
    for (int i = 0; i < 4; ++i) {
      const int64_t place = samples[p].place[i];
      products[i] = 0;
      if (place < 0) continue;
      const accumulate_t<T> weight = samples[p].weight[i];
      products[i] = spread(image + place, grad_image + place, weight * factors[p], weight == 0,
                           grad, channels);
    }
  }
}

#define INSTANTIATE(T)                                                                            \
  template void read_samples<T>(const T*, const Sample<accumulate_t<T>>*, int64_t, int64_t,      \
                                accumulate_t<T>*, int64_t);                                      \
  template void spread_samples<T>(const T*, accumulate_t<T>*, const Sample<accumulate_t<T>>*,    \
                                  const accumulate_t<T>*, int64_t, int64_t,                      \
                                  const accumulate_t<T>*, accumulate_t<T>*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(half_t)
INSTANTIATE(bfloat16_t)

}  // namespace PERCEPTION_ISA
}  // namespace perception
