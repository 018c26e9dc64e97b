// float16 on the CPU under CUDA's names.
#pragma once

#include <torch/headeronly/util/Half.h>

#include "cuda_runtime.h"

struct __half {
  torch::headeronly::Half value;
};
inline float __half2float(__half x) { return static_cast<float>(x.value); }
inline __half __float2half_rn(float x) { return {torch::headeronly::Half(x)}; }
inline __half __float2half(float x) { return __float2half_rn(x); }
