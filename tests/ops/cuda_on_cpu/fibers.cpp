// The scheduler of cuda_runtime.h: every thread of a block is a fiber with a stack of its own.
#include "cuda_runtime.h"

#include <ucontext.h>

#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <vector>

#include "cuda/launch.cuh"

namespace cuda_on_cpu {

uint3 thread, block;
dim3 threads{1}, blocks{1};

namespace {

constexpr size_t kStack = 128 << 10;
constexpr size_t kSharedLimit = 48 << 10;

enum class Wait { none, block, warp, over };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  uint3 index;
  Wait wait;
  const char* place;
  unsigned mask;       // of a warp exchange
  bool vote;           // of a barrier that counts
  int parity;          // exchanges alternate between two sets of slots
};

struct Warp {
  uint64_t slots[2][32];
  unsigned there[2];
};

std::mutex one_launch;  // two Python threads take turns, as __shared__ is static here
std::vector<Fiber> fibers;
std::vector<Warp> warps;
std::vector<char> shared;
ucontext_t scheduler;
Fiber* current;
const std::function<void()>* work;
std::exception_ptr failure;
const char* kernel_name;
int votes;

int number_of(const Fiber* fiber) { return static_cast<int>(fiber - fibers.data()); }

void yield(Wait wait, const char* place) {
  Fiber* self = current;
  self->wait = wait;
  self->place = place;
  swapcontext(&self->context, &scheduler);
}

void entry() {
  try {
    (*work)();
  } catch (...) {
    failure = std::current_exception();
  }
  current->wait = Wait::over;
  swapcontext(&current->context, &scheduler);
}

void start(Fiber& fiber) {
  if (!fiber.stack) fiber.stack.reset(new char[kStack]);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = &scheduler;
  makecontext(&fiber.context, entry, 0);
  fiber.wait = Wait::none;
  fiber.parity = 0;
}

[[noreturn]] void stop(const std::string& why) {
  throw std::runtime_error(std::string(kernel_name) + ": " + why);
}

void resume(Fiber& fiber) {
  current = &fiber;
  thread = fiber.index;
  fiber.wait = Wait::none;
  swapcontext(&scheduler, &fiber.context);
  if (failure) std::rethrow_exception(std::exchange(failure, nullptr));
}

// Lets the lanes of one warp go on whose partners have all come; false if none could.
bool release_warp(int w, int count) {
  const int first = 32 * w, lanes = std::min(32, count - first);
  unsigned waiting = 0, alive = 0;
  const Fiber* one = nullptr;
  for (int i = 0; i < lanes; ++i) {
    const Fiber& fiber = fibers[first + i];
    if (fiber.wait != Wait::over) alive |= 1u << i;
    if (fiber.wait != Wait::warp) continue;
    waiting |= 1u << i;
    if (!one) one = &fiber;
  }
  if (!one || (one->mask & alive & ~waiting)) return false;
  for (int i = 0; i < lanes; ++i) {
    Fiber& fiber = fibers[first + i];
    if (fiber.wait != Wait::warp || !(one->mask >> i & 1)) continue;
    if (std::strcmp(fiber.place, one->place) || fiber.mask != one->mask)
      stop(std::string("lanes of a warp meet at ") + one->place + " and " + fiber.place);
    fiber.wait = Wait::none;
  }
  warps[w].there[one->parity ^ 1] = one->mask & waiting;
  return true;
}

// All threads that are left wait at one barrier: they may go on.
bool release_block(int count) {
  const Fiber* one = nullptr;
  int total = 0;
  for (int i = 0; i < count; ++i) {
    const Fiber& fiber = fibers[i];
    if (fiber.wait == Wait::over) continue;
    if (fiber.wait != Wait::block) return false;
    if (!one) one = &fiber;
    if (std::strcmp(fiber.place, one->place))
      stop(std::string("threads of a block meet at ") + one->place + " and " + fiber.place);
    total += fiber.vote;
  }
  if (!one) return false;
  votes = total;
  for (int i = 0; i < count; ++i)
    if (fibers[i].wait == Wait::block) fibers[i].wait = Wait::none;
  return true;
}

std::vector<int> order_of(int count, uint64_t seed) {
  std::vector<int> order(count);
  std::iota(order.begin(), order.end(), 0);
  const char* setting = std::getenv("CUDA_ON_CPU_ORDER");
  const std::string wanted = setting ? setting : "forward";
  if (wanted == "reverse") std::reverse(order.begin(), order.end());
  if (wanted == "shuffle") std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
  return order;
}

void run_block(int count, const std::vector<int>& order) {
  for (int i = 0; i < count; ++i) start(fibers[i]);
  std::fill(shared.begin(), shared.end(), static_cast<char>(0xcd));  // as undefined as on a GPU
  for (;;) {
    bool ran = false, left = false;
    for (const int i : order) {
      if (fibers[i].wait == Wait::none) resume(fibers[i]), ran = true;
      left |= fibers[i].wait != Wait::over;
    }
    if (!left) return;
    for (int w = 0; w * 32 < count; ++w) ran |= release_warp(w, count);
    ran |= release_block(count);
    if (!ran) stop("its threads wait for each other for ever");
  }
}

}  // namespace

void run(dim3 grid, dim3 block_size, size_t shared_bytes, const char* kernel,
         const std::function<void()>& body) {
  const std::lock_guard<std::mutex> alone(one_launch);
  kernel_name = kernel;
  const uint64_t count = uint64_t{block_size.x} * block_size.y * block_size.z;
  if (count < 1 || count > 1024 || block_size.z > 64) stop("wrong number of threads per block");
  if (grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.x > 2147483647u || grid.y > 65535 ||
      grid.z > 65535)
    stop("wrong number of blocks");
  if (shared_bytes > kSharedLimit) stop("more than 48 KB of shared memory");
  threads = block_size, blocks = grid, work = &body;
  if (fibers.size() < count) fibers.resize(count);
  warps.resize((count + 31) / 32);
  shared.resize(shared_bytes + 16);
  for (uint64_t i = 0; i < count; ++i)
    fibers[i].index = {static_cast<unsigned>(i % block_size.x),
                       static_cast<unsigned>(i / block_size.x % block_size.y),
                       static_cast<unsigned>(i / block_size.x / block_size.y)};
  const uint64_t total = uint64_t{grid.x} * grid.y * grid.z;
  const bool listed = total <= 1 << 20;
  const auto thread_order = order_of(static_cast<int>(count), 1);
  const auto block_order = order_of(listed ? static_cast<int>(total) : 0, 2);
  for (uint64_t b = 0; b < total; ++b) {
    const uint64_t at = listed ? block_order[b] : b;
    block = {static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
             static_cast<unsigned>(at / grid.x / grid.y)};
    run_block(static_cast<int>(count), thread_order);
  }
}

void* dynamic_shared() {
  return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(shared.data()) + 15) / 16 * 16);
}

void block_barrier(const char* place) {
  current->vote = false;
  yield(Wait::block, place);
}

int count_of_block(bool condition, const char* place) {
  current->vote = condition;
  yield(Wait::block, place);
  return votes;
}

int lane() { return number_of(current) % 32; }

const uint64_t* exchange(unsigned mask, uint64_t value, const char* place) {
  Warp& warp = warps[number_of(current) / 32];
  const int parity = current->parity;
  if (!(mask >> lane() & 1)) throw std::runtime_error(std::string(place) + ": not in its own mask");
  warp.slots[parity][lane()] = value;
  current->mask = mask;
  current->parity ^= 1;
  yield(Wait::warp, place);
  return warp.slots[parity];
}

unsigned lanes_there() { return warps[number_of(current) / 32].there[current->parity ^ 1]; }

}  // namespace cuda_on_cpu

// What launch.cu gives on a GPU.
namespace perception {

cudaStream_t current_stream(const Tensor&) { return nullptr; }
void check_launch(const char*) {}

}  // namespace perception
