// Bilinear samples of all channels of a pixel, and their gradient.
#pragma once

#include "cpu/types.h"

namespace perception {

// Where one tap of one output pixel looks: elements of its four neighbours in (H, W, C) memory
// (-1: outside the map), and their weights.
template <typename A>
struct Sample {
  int64_t place[4];  // top left, top right, bottom left, bottom right
  A weight[4];
};

}  // namespace perception

#define DECLARE_DEFORM_CONV(isa)                                                                \
  namespace isa {                                                                               \
  template <typename T>                                                                         \
  void read_samples(const T* image, const Sample<accumulate_t<T>>* samples, int64_t count,      \
                    int64_t channels, accumulate_t<T>* out, int64_t row);                       \
  template <typename T>                                                                         \
  void spread_samples(const T* image, accumulate_t<T>* grad_image,                              \
                      const Sample<accumulate_t<T>>* samples, const accumulate_t<T>* factors,   \
                      int64_t count, int64_t channels, const accumulate_t<T>* grad,             \
                      accumulate_t<T>* products);                                               \
  }

namespace perception {
// read_samples: out[p * row + c], the weighted sum of sample p's neighbours.
// spread_samples: adds factors[p] * weight * grad[p * channels + c] to the neighbours of sample p
// in grad_image, and sets products[4 * p + i] to the sum over c of grad times neighbour i.
PERCEPTION_FOR_EACH_ISA(DECLARE_DEFORM_CONV)
}  // namespace perception
