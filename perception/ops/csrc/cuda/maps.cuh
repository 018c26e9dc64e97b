// Maps whose dtype the kernel does not know, and copies of maps in another layout.
#pragma once

#include "cuda/pooling.cuh"

namespace perception {

// A (N, C, H, W) tensor of any floating dtype, for the few numbers that are read one by one.
struct AnyMap {
  const void* data;
  ScalarType type;
  int64_t image, channel, row, column;

  __device__ double at(int64_t n, int64_t c, int64_t y, int64_t x) const {
    const int64_t place = n * image + c * channel + y * row + x * column;
    switch (type) {
      case ScalarType::Float: return static_cast<const float*>(data)[place];
      case ScalarType::Double: return static_cast<const double*>(data)[place];
      case ScalarType::Half: return widen(static_cast<const __half*>(data)[place]);
      default: return widen(static_cast<const __nv_bfloat16*>(data)[place]);
    }
  }
};

constexpr AnyMap kNoMap{nullptr, ScalarType::Float, 0, 0, 0, 0};

inline AnyMap any_map(const char* name, const Tensor& tensor) {
  const Map map = as_map(name, tensor);
  return {map.data, tensor.scalar_type(), map.stride_image, map.stride_channel, map.stride_row,
          map.stride_column};
}

// A contiguous tensor of any floating dtype that is written one by one; without data: nowhere.
struct AnyOut {
  void* data;
  ScalarType type;

  __device__ void put(int64_t place, double value) const {
    const auto narrowed = static_cast<float>(value);
    switch (type) {
      case ScalarType::Float: static_cast<float*>(data)[place] = narrowed; break;
      case ScalarType::Double: static_cast<double*>(data)[place] = value; break;
      case ScalarType::Half: narrow(static_cast<__half*>(data) + place, narrowed); break;
      default: narrow(static_cast<__nv_bfloat16*>(data) + place, narrowed);
    }
  }
};

constexpr AnyOut kNowhere{nullptr, ScalarType::Float};

inline AnyOut any_out(const Tensor& tensor) { return {tensor.data_ptr(), tensor.scalar_type()}; }

// The tensor itself where its images are (H, W, C) without gaps, else a copy of that layout.
Tensor channels_together(const Tensor& tensor);

// Sums of any layout as a tensor like another one: its dtype, and channels-last or contiguous.
Tensor in_form_of(const Tensor& like, const Tensor& sums);

// Whether the memory of a tensor begins where 16-byte vectors may.
inline bool is_aligned(const Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 16 == 0;
}

}  // namespace perception
