// Which compiled variant of the SIMD kernels runs on this machine.
#pragma once

#include "cpu/types.h"

namespace perception {

enum class Isa { base, avx2, avx512 };

// Chosen once; PERCEPTION_ISA=base|avx2|avx512 asks for a lower one.
Isa isa();

}  // namespace perception

// SELECT_ISA(kernel): the pointer of `kernel` (may be a template instance) for this machine.
#if defined(__x86_64__)
#define SELECT_ISA(...)                                                  \
  (perception::isa() == perception::Isa::avx512 ? &avx512::__VA_ARGS__   \
   : perception::isa() == perception::Isa::avx2 ? &avx2::__VA_ARGS__     \
                                                : &base::__VA_ARGS__)
#else
#define SELECT_ISA(...) (&base::__VA_ARGS__)
#endif
