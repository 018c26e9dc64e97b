// What every CUDA kernel file needs: the stream, launches, vectors of elements, atomics.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>

#include "tensors.h"

namespace perception {

using torch::stable::accelerator::DeviceGuard;

// The current stream of torch on the device of a tensor (launch.cu: looked up at run time, so that
// the library loads beside a torch without CUDA).
cudaStream_t current_stream(const Tensor& tensor);

// Throws with the reason if the last launch failed.
void check_launch(const char* kernel);

constexpr int kThreads = 256;

// Blocks for `count` threads; kernels run a grid-stride loop, so the number may be clamped.
inline unsigned blocks_for(int64_t count, int threads = kThreads) {
  const int64_t blocks = (count + threads - 1) / threads;
  return static_cast<unsigned>(blocks < 1 ? 1 : (blocks > 1 << 20 ? 1 << 20 : blocks));
}

#define GRID_STRIDE_LOOP(index, count)                                                  \
  for (int64_t index = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;     \
       index < (count); index += static_cast<int64_t>(blockDim.x) * gridDim.x)

// What a dtype is computed in.
template <typename T>
struct device_accumulate {
  using type = float;
};
template <>
struct device_accumulate<double> {
  using type = double;
};
template <typename T>
using accumulate_cuda_t = typename device_accumulate<T>::type;

__device__ inline float widen(float value) { return value; }
__device__ inline double widen(double value) { return value; }
__device__ inline float widen(__half value) { return __half2float(value); }
__device__ inline float widen(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline void narrow(float* to, float value) { *to = value; }
__device__ inline void narrow(double* to, double value) { *to = value; }
__device__ inline void narrow(__half* to, float value) { *to = __float2half_rn(value); }
__device__ inline void narrow(__nv_bfloat16* to, float value) { *to = __float2bfloat16_rn(value); }

// `Count` elements loaded or stored at once where the address allows it.
template <typename T, int Count>
struct alignas(sizeof(T) * Count) Pack {
  T value[Count];
};

// Adds a vector to global memory, four numbers at once where the machine can.
template <typename A, int Vector>
__device__ inline void add_vector(A* to, const A (&part)[Vector]) {
#if __CUDA_ARCH__ >= 900
  if constexpr (Vector % 4 == 0 && sizeof(A) == 4) {
    for (int v = 0; v < Vector; v += 4)
      atomicAdd(reinterpret_cast<float4*>(to + v),
                make_float4(part[v], part[v + 1], part[v + 2], part[v + 3]));
  } else
#endif
  {
    for (int v = 0; v < Vector; ++v) atomicAdd(to + v, part[v]);
  }
}

// f(T{}) for the device type of a floating dtype.
template <typename F>
void dispatch_cuda(ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Float: return f(float{});
    case ScalarType::Double: return f(double{});
    case ScalarType::Half: return f(__half{});
    case ScalarType::BFloat16: return f(__nv_bfloat16{});
    default: refuse("expected float32, float64, float16 or bfloat16");
  }
}

}  // namespace perception
