// CUDA's thread model on one CPU thread, enough of it to run this project's kernels.
//
// Blocks run one after the other, the threads of a block as fibers that are switched at barriers
// and warp exchanges. What a GPU would leave undefined is an error here: a barrier that not every
// thread of the block reaches, two different barriers at once, a launch beyond the limits. The
// order of blocks and threads is a setting (CUDA_ON_CPU_ORDER=forward, reverse or shuffle): a
// kernel that lacks a barrier, or whose result depends on the order of its threads, shows it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __constant__ static
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) double2 {
  double x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t = nullptr) {
  if (bytes) std::memset(to, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                                   cudaStream_t = nullptr) {
  if (bytes) std::memcpy(to, from, bytes);
  return cudaSuccess;
}

namespace cuda_on_cpu {

extern uint3 thread, block;
extern dim3 threads, blocks;

// Runs `body` once per thread of every block.
void run(dim3 grid, dim3 block_size, size_t shared_bytes, const char* kernel,
         const std::function<void()>& body);
void* dynamic_shared();

// Returns when every thread of the block that is left has come to the same place.
void block_barrier(const char* place);
// The values (up to 8 bytes each) that the lanes of `mask` bring to the same place.
const uint64_t* exchange(unsigned mask, uint64_t value, const char* place);
// Which lanes of the warp took part in the last exchange.
unsigned lanes_there();
int lane();

template <typename... P>
struct Launcher {
  dim3 grid, block_size;
  size_t shared;
  const char* name;
  void (*kernel)(P...);

  void operator()(P... arguments) const {
    run(grid, block_size, shared, name, [&] { kernel(arguments...); });
  }
};

template <typename... P>
Launcher<P...> launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block_size,
                      size_t shared = 0, cudaStream_t = nullptr) {
  return {grid, block_size, shared, name, kernel};
}

template <typename T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

template <typename T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Lane `source` of the caller's group of `width` lanes; the caller's own where there is none.
template <typename T>
T shuffle(unsigned mask, T value, int source, int width, const char* place) {
  const uint64_t* all = exchange(mask, to_bits(value), place);
  const int first = lane() / width * width;
  if (source < 0 || source >= width) return value;
  if (!(lanes_there() >> (first + source) & 1))
    throw std::runtime_error(std::string(place) + ": read a lane that takes no part");
  return from_bits<T>(all[first + source]);
}

}  // namespace cuda_on_cpu

#define threadIdx (cuda_on_cpu::thread)
#define blockIdx (cuda_on_cpu::block)
#define blockDim (cuda_on_cpu::threads)
#define gridDim (cuda_on_cpu::blocks)
constexpr int warpSize = 32;

#define CUDA_ON_CPU_TEXT2(x) #x
#define CUDA_ON_CPU_TEXT(x) CUDA_ON_CPU_TEXT2(x)
#define CUDA_ON_CPU_HERE __FILE__ ":" CUDA_ON_CPU_TEXT(__LINE__)

#define __syncthreads() cuda_on_cpu::block_barrier(CUDA_ON_CPU_HERE)
#define __syncthreads_or(c) cuda_on_cpu::any_of_block(c, CUDA_ON_CPU_HERE)
#define __syncthreads_count(c) cuda_on_cpu::count_of_block(c, CUDA_ON_CPU_HERE)
#define __syncwarp(...) cuda_on_cpu::exchange(0xffffffffu, 0, CUDA_ON_CPU_HERE)
#define __shfl_sync(mask, value, ...) \
  cuda_on_cpu::shuffle_at(mask, value, CUDA_ON_CPU_HERE, __VA_ARGS__)
#define __shfl_down_sync(mask, value, ...) \
  cuda_on_cpu::shuffle_down(mask, value, CUDA_ON_CPU_HERE, __VA_ARGS__)
#define __shfl_up_sync(mask, value, ...) \
  cuda_on_cpu::shuffle_up(mask, value, CUDA_ON_CPU_HERE, __VA_ARGS__)
#define __shfl_xor_sync(mask, value, ...) \
  cuda_on_cpu::shuffle_xor(mask, value, CUDA_ON_CPU_HERE, __VA_ARGS__)
#define __ballot_sync(mask, condition) cuda_on_cpu::ballot(mask, condition, CUDA_ON_CPU_HERE)
#define __any_sync(mask, condition) (cuda_on_cpu::ballot(mask, condition, CUDA_ON_CPU_HERE) != 0)
#define __all_sync(mask, condition) (cuda_on_cpu::ballot(mask, !(condition), CUDA_ON_CPU_HERE) == 0)
#define __activemask() static_assert(false, "ask for all lanes by name instead")

namespace cuda_on_cpu {

int count_of_block(bool condition, const char* place);
inline int any_of_block(bool condition, const char* place) {
  return count_of_block(condition, place) > 0;
}

template <typename T>
T shuffle_at(unsigned mask, T value, const char* place, int source, int width = 32) {
  return shuffle(mask, value, source & (width - 1), width, place);
}
template <typename T>
T shuffle_down(unsigned mask, T value, const char* place, int delta, int width = 32) {
  return shuffle(mask, value, lane() % width + delta, width, place);
}
template <typename T>
T shuffle_up(unsigned mask, T value, const char* place, int delta, int width = 32) {
  return shuffle(mask, value, lane() % width - delta, width, place);
}
template <typename T>
T shuffle_xor(unsigned mask, T value, const char* place, int bits, int width = 32) {
  return shuffle(mask, value, lane() % width ^ bits, width, place);
}
inline unsigned ballot(unsigned mask, bool condition, const char* place) {
  const uint64_t* all = exchange(mask, condition, place);
  unsigned votes = 0;
  for (int i = 0; i < 32; ++i)
    if (lanes_there() >> i & 1) votes |= static_cast<unsigned>(all[i]) << i;
  return votes;
}

}  // namespace cuda_on_cpu

// ------------------------------------------------------------------- device functions

template <typename T>
inline T __ldg(const T* from) { return *from; }
template <typename T>
inline T __ldcs(const T* from) { return *from; }
template <typename T>
inline void __stcs(T* to, T value) { *to = value; }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __ffsll(long long bits) { return __builtin_ffsll(bits); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
inline int __clz(int bits) { return bits ? __builtin_clz(static_cast<unsigned>(bits)) : 32; }
inline int __clzll(long long bits) {
  return bits ? __builtin_clzll(static_cast<unsigned long long>(bits)) : 64;
}
inline long long __double_as_longlong(double value) {
  return cuda_on_cpu::from_bits<long long>(cuda_on_cpu::to_bits(value));
}
inline double __longlong_as_double(long long bits) {
  return cuda_on_cpu::from_bits<double>(cuda_on_cpu::to_bits(bits));
}
inline unsigned __float_as_uint(float value) {
  return cuda_on_cpu::from_bits<unsigned>(cuda_on_cpu::to_bits(value));
}
inline float __uint_as_float(unsigned bits) {
  return cuda_on_cpu::from_bits<float>(cuda_on_cpu::to_bits(bits));
}
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return std::exp(x); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline void sincospi(double x, double* sine, double* cosine) {
  const double turn = std::fmod(x, 2.0), quarter = std::round(turn * 2);
  const double rest = (turn - quarter / 2) * 3.14159265358979323846;
  const double s = std::sin(rest), c = std::cos(rest);
  switch (static_cast<int>(quarter) & 3) {
    case 0: *sine = s, *cosine = c; break;
    case 1: *sine = c, *cosine = -s; break;
    case 2: *sine = -s, *cosine = -c; break;
    default: *sine = -c, *cosine = s;
  }
}

using std::isfinite;
using std::isinf;
using std::isnan;

template <typename A, typename B>
inline std::common_type_t<A, B> min(A a, B b) {
  return b < a ? b : a;
}
template <typename A, typename B>
inline std::common_type_t<A, B> max(A a, B b) {
  return a < b ? b : a;
}

// One CPU thread runs everything, so plain arithmetic is atomic.
template <typename T>
inline T atomicAdd(T* to, std::type_identity_t<T> value) {
  const T before = *to;
  *to = before + value;
  return before;
}
inline float4 atomicAdd(float4* to, float4 value) {
  if (reinterpret_cast<uintptr_t>(to) % 16)
    throw std::runtime_error("atomicAdd(float4*): the address is not a multiple of 16");
  const float4 before = *to;
  *to = {before.x + value.x, before.y + value.y, before.z + value.z, before.w + value.w};
  return before;
}
template <typename T>
inline T atomicMax(T* to, std::type_identity_t<T> value) {
  const T before = *to;
  *to = before < value ? value : before;
  return before;
}
template <typename T>
inline T atomicMin(T* to, std::type_identity_t<T> value) {
  const T before = *to;
  *to = value < before ? value : before;
  return before;
}
template <typename T>
inline T atomicOr(T* to, std::type_identity_t<T> value) {
  const T before = *to;
  *to = before | value;
  return before;
}
template <typename T>
inline T atomicExch(T* to, std::type_identity_t<T> value) {
  const T before = *to;
  *to = value;
  return before;
}
template <typename T>
inline T atomicCAS(T* to, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  const T before = *to;
  if (before == compare) *to = value;
  return before;
}
