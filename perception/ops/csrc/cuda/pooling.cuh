// What the pooling kernels share: boxes, bins, and the sums that a backward pass adds up.
#pragma once

#include "cuda/bins.cuh"

namespace perception {

// Box, channel, row and column of an element of a result (K, C, rows, columns) in memory order.
struct Output {
  int64_t box, channel, row, column;
};

// `index` counts vectors of channels where they lie together in memory.
template <int Vector = 1>
__device__ inline Output output_of(int64_t index, int64_t channels, int64_t rows, int64_t columns,
                                   bool channels_last) {
  if (channels_last) {
    const int64_t vectors = channels / Vector, bin = index / vectors;
    return {bin / columns / rows, index % vectors * Vector, bin / columns % rows, bin % columns};
  }
  return {index / columns / rows / channels, index / columns / rows % channels,
          index / columns % rows, index % columns};
}

// Whether vectors of channels can be read from (and written to) this map at once.
template <typename T>
bool vectors_fit(const Tensor& map, int64_t vector) {
  return map.stride(1) == 1 && map.size(1) % vector == 0 && map.stride(0) % vector == 0 &&
         map.stride(2) % vector == 0 && map.stride(3) % vector == 0 &&
         reinterpret_cast<uintptr_t>(map.data_ptr()) % (vector * sizeof(T)) == 0;
}

// Zeroed float32 (float64) sums in the layout of the result; converted to its dtype at the end.
inline Tensor zero_sums(const Tensor& like, const std::vector<int64_t>& shape,
                        bool channels_last) {
  const bool wide = like.scalar_type() == ScalarType::Double;
  Tensor sums = torch::stable::empty(
      shape, wide ? ScalarType::Double : ScalarType::Float, std::nullopt, like.device(),
      std::nullopt, channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  torch::stable::zero_(sums);
  return sums;
}

inline Tensor in_dtype_of(const Tensor& sums, const Tensor& grad) {
  return sums.scalar_type() == grad.scalar_type() ? sums
                                                  : torch::stable::to(sums, grad.scalar_type());
}

// A gradient as the kernels read it: channels-last or contiguous.
inline Tensor dense(const Tensor& grad) {
  return is_channels_last(grad) || grad.is_contiguous() ? grad : torch::stable::contiguous(grad);
}

}  // namespace perception
