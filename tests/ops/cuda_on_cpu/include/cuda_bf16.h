// bfloat16 on the CPU under CUDA's names.
#pragma once

#include <torch/headeronly/util/BFloat16.h>

#include "cuda_runtime.h"

struct __nv_bfloat16 {
  torch::headeronly::BFloat16 value;
};
inline float __bfloat162float(__nv_bfloat16 x) { return static_cast<float>(x.value); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return {torch::headeronly::BFloat16(x)}; }
inline __nv_bfloat16 __float2bfloat16(float x) { return __float2bfloat16_rn(x); }
