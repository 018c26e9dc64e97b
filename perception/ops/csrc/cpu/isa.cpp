#include "cpu/isa.h"

#include <cstdlib>
#include <cstring>

namespace perception {
namespace {

Isa best() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool fused = __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  if (wide && fused) return Isa::avx512;
  if (__builtin_cpu_supports("avx2") && fused) return Isa::avx2;
#endif
  return Isa::base;
}

Isa choose() {
  const char* wanted = std::getenv("PERCEPTION_ISA");
  Isa cap = Isa::avx512;
  if (wanted && !std::strcmp(wanted, "base")) cap = Isa::base;
  if (wanted && !std::strcmp(wanted, "avx2")) cap = Isa::avx2;
  const Isa found = best();
  return found < cap ? found : cap;
}

}  // namespace

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

}  // namespace perception

extern "C" __attribute__((visibility("default"))) const char* perception_isa() {
  static const char* const names[] = {"base", "avx2", "avx512"};
  return names[static_cast<int>(perception::isa())];
}
