// Kernels with the mistakes that the thread model must catch; test_cuda_on_cpu.py runs them.
#include "cuda/launch.cuh"

namespace perception {
namespace {

// Two barriers where all threads must come to one.
__global__ void two_barriers_kernel(int*) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}

// One thread waits for the block, the others of its warp for that thread.
__global__ void deadlock_kernel(int* out) {
  if (threadIdx.x == 0)
    __syncthreads();
  else
    out[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 0);
}

// Reads what the neighbour writes without waiting for it.
__global__ void racing_kernel(int* out) {
  __shared__ int values[64];
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  out[threadIdx.x] = values[(threadIdx.x + 1) % 64];
  values[threadIdx.x] = -1;
}

Tensor broken(const Tensor& like, int64_t which) {
  Tensor out = torch::stable::new_zeros(like, {64}, ScalarType::Int);
  int* data = static_cast<int*>(out.data_ptr());
  switch (which) {
    case 0: two_barriers_kernel<<<1, 64>>>(data); break;
    case 1: deadlock_kernel<<<1, 64>>>(data); break;
    case 2: racing_kernel<<<1, 2048>>>(data); break;
    default: racing_kernel<<<1, 64>>>(data);
  }
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY(perception_broken, m) { m.def("broken(Tensor like, int which) -> Tensor"); }
STABLE_TORCH_LIBRARY_IMPL(perception_broken, CPU, m) { m.impl("broken", TORCH_BOX(&broken)); }

}  // namespace perception
