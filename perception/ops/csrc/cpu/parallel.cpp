#include "cpu/parallel.h"

#include <pthread.h>
#include <sys/mman.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

namespace perception {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
std::atomic<bool> forked{false};

[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { forked = true; });

struct alignas(64) Range {
  std::atomic<int64_t> next;
  int64_t end;
};

int64_t threads() { return forked ? 1 : static_cast<int64_t>(torch::stable::get_num_threads()); }

}  // namespace

void for_chunks(int64_t count, int64_t chunk, const std::function<void(int64_t, int64_t)>& f) {
  chunk = std::max<int64_t>(chunk, 1);
  const int64_t workers = std::min(threads(), (count + chunk - 1) / chunk);
  if (workers <= 1) {
    if (count > 0) f(0, count);
    return;
  }
  // Every worker has a range of its own and helps with the others' when that is done: neighbouring
  // chunks stay with one thread, which so finds its input in its cache and maps its own pages
  // (two threads that meet in one new huge page would both clear 2 MiB).
  std::vector<Range> ranges(static_cast<size_t>(workers));
  const int64_t chunks = (count + chunk - 1) / chunk;
  for (int64_t w = 0; w < workers; ++w) {
    ranges[static_cast<size_t>(w)].next = chunks * w / workers * chunk;
    ranges[static_cast<size_t>(w)].end = std::min(chunks * (w + 1) / workers * chunk, count);
  }
  torch::stable::parallel_for(0, workers, 1, [&](int64_t own, int64_t) {
    for (int64_t w = 0; w < workers; ++w) {
      Range& range = ranges[static_cast<size_t>((own + w) % workers)];
      for (int64_t begin; (begin = range.next.fetch_add(chunk)) < range.end;)
        f(begin, std::min(begin + chunk, range.end));
    }
  });
}

void for_parts(int64_t most, const std::function<void(int64_t, int64_t)>& f) {
  const int64_t parts = std::min(threads(), most);
  if (parts <= 1) {
    if (most > 0) f(0, 1);
    return;
  }
  torch::stable::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) f(part, parts);
  });
}

void advise_huge(void* data, std::size_t bytes) {
#ifdef MADV_HUGEPAGE
  const auto begin = (reinterpret_cast<std::uintptr_t>(data) + kHugePage - 1) & ~(kHugePage - 1);
  const auto end = (reinterpret_cast<std::uintptr_t>(data) + bytes) & ~(kHugePage - 1);
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

Scratch::Scratch(std::size_t bytes) {
  if (bytes == 0) return;
  void* memory = nullptr;
  const std::size_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
  if (posix_memalign(&memory, alignment, bytes)) throw std::bad_alloc();
  memory_.reset(memory);
  advise_huge(memory, bytes);
}

void Scratch::Free::operator()(void* memory) const { std::free(memory); }

}  // namespace perception
