// Threads and memory: torch's own pool, work handed out in chunks, huge pages for large buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace perception {

// f(begin, end) over [0, count) in chunks; which thread does which chunk is left open, so f must
// give the same result for any split. Runs on the calling thread when there is one chunk or when
// the process was forked (the pool does not survive a fork).
void for_chunks(int64_t count, int64_t chunk,
                const std::function<void(int64_t, int64_t)>& f);

// f(part, parts) for every part; `parts` is at most `most` and at most the number of threads.
void for_parts(int64_t most, const std::function<void(int64_t, int64_t)>& f);

// Asks for 2 MiB pages inside [data, data + bytes); new memory is otherwise mapped 4 KiB at a time.
void advise_huge(void* data, std::size_t bytes);

// Uninitialised scratch memory, 64-byte aligned, in huge pages where large.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes = 0);
  template <typename T>
  T* as() const {
    return static_cast<T*>(memory_.get());
  }

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  std::unique_ptr<void, Free> memory_;
};

}  // namespace perception
