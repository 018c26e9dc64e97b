// Suppression on CUDA. Boxes are sorted by torch (stable), then walked in chunks of 2048: a bit mask
// of the chunk's own overlaps, one block that walks it, and all later boxes against its survivors.
// The number of launches depends on the number of boxes alone; the host waits only to size a result.
#include <array>
#include <optional>

#include "cuda/suppress.cuh"

namespace perception {
namespace {

constexpr int kChunk = 2048;          // boxes walked at a time
constexpr int kWords = kChunk / 64;   // words of 64 boxes
constexpr int kWalkers = 32 * kWords; // threads of the walk: a warp for each word
constexpr int kAhead = 4;             // words whose part of the mask the walk loads ahead
constexpr int kTileRows = 8;          // rows of a 64 x 64 tile of the mask that one warp fills
constexpr int kStaged = kThreads;     // survivors that a block compares with later boxes
constexpr unsigned kAll = 0xffffffffu;
static_assert(kWalkers <= 1024 && 64 / kTileRows * 32 == kThreads);

// The boxes by descending score.
template <typename Box>
struct Ranked {
  Box* box;
  int64_t* group;      // of each; null: all are of one
  uint8_t* gone;       // not usable, or removed
  const int64_t* row;  // in the caller's tensors
  int64_t count;

  __device__ int64_t group_of(int64_t i) const { return group ? group[i] : 0; }
};

// Boxes begin .. begin + count - 1. mask[w * kChunk + i]: which boxes of word w (64 w .. 64 w + 63)
// the earlier box i removes; for i of that word itself: which earlier boxes of it remove i.
struct Chunk {
  int64_t begin;
  int count;
  uint64_t* mask;
  int* survivor;  // places in the chunk, in order; behind kChunk of them their number

  __device__ int words() const { return (count + 63) / 64; }
};

// Survivors of all chunks so far, at most `size`.
struct Found {
  int64_t* row;
  int64_t* number;
  int64_t size;
  bool padded;  // with -1 behind them

  __device__ int64_t before(const Chunk& chunk) const { return chunk.begin > 0 ? *number : 0; }
  __device__ bool full(const Chunk& chunk) const { return chunk.begin > 0 && *number >= size; }
};

template <typename Box>
__global__ void gather_kernel(DeviceRows boxes, DeviceRows scores, const int64_t* idxs,
                              int64_t idx_step, Ranked<Box> ranked) {
  GRID_STRIDE_LOOP(i, boxes.count) {
    const int64_t row = ranked.row[i];
    double zero = 0;  // NaN unless all numbers are finite
    for (int j = 0; j < Box::kColumns; ++j) zero += boxes.at(row, j) * 0;
    const double score = scores.at(row);
    ranked.box[i] = Box::read(boxes, row);
    if (ranked.group) ranked.group[i] = idxs[row * idx_step];
    ranked.gone[i] = !(zero == 0 && score == score);
  }
}

// One block per tile of 64 x 64 pairs; a lane holds two boxes of the word, a warp tests eight others.
template <typename Box>
__global__ void __launch_bounds__(kThreads)
    mask_kernel(Ranked<Box> ranked, Chunk chunk, Limit limit, Found found) {
  const int word = blockIdx.x, tile = blockIdx.y;
  if (tile > word || found.full(chunk)) return;
  const int lane = threadIdx.x % 32, first = 64 * tile + kTileRows * (threadIdx.x / 32);
  const bool diagonal = tile == word;
  Box held[2];
  int64_t group[2];
  bool here[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int j = 64 * word + 32 * half + lane;
    here[half] = j < chunk.count && !ranked.gone[chunk.begin + j];
    held[half] = ranked.box[chunk.begin + (j < chunk.count ? j : 0)];
    group[half] = ranked.group_of(chunk.begin + (j < chunk.count ? j : 0));
  }
  uint64_t mine = 0;
  for (int k = 0; k < kTileRows; ++k) {
    const int i = first + k;
    if (i >= chunk.count || ranked.gone[chunk.begin + i]) continue;
    const Box box = ranked.box[chunk.begin + i];
    const int64_t own_group = ranked.group_of(chunk.begin + i);
    uint64_t bits = 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      bool hit = here[half] && group[half] == own_group;
      if (diagonal)
        hit = hit && 64 * word + 32 * half + lane < i && held[half].removes(box, limit);
      else
        hit = hit && box.removes(held[half], limit);
      bits |= static_cast<uint64_t>(__ballot_sync(kAll, hit)) << (32 * half);
    }
    if (lane == k) mine = bits;
  }
  if (lane < kTileRows) chunk.mask[word * kChunk + first + lane] = mine;
}

// Bit b: the predicates of the warp's lanes, `low` for boxes 0 .. 31 and `high` for 32 .. 63.
__device__ uint64_t ballot64(bool low, bool high) {
  const uint64_t bits = __ballot_sync(kAll, low);
  return bits | static_cast<uint64_t>(__ballot_sync(kAll, high)) << 32;
}

// The survivors of one word's `open` boxes; `low` and `high` hold which earlier boxes of the word
// remove boxes `lane` and `lane + 32`. A box stays once none of those is open: as many rounds as
// the longest chain of such boxes, seldom more than five.
__device__ uint64_t resolved(uint64_t open, uint64_t low, uint64_t high, int lane) {
  uint64_t kept = 0;
  while (open) {
    const bool low_open = open >> lane & 1, high_open = open >> (lane + 32) & 1;
    const uint64_t fresh = ballot64(low_open && !(low & open), high_open && !(high & open));
    const uint64_t removed = ballot64(low_open && (low & fresh), high_open && (high & fresh));
    kept |= fresh;
    open &= ~(fresh | removed);
  }
  return kept;
}

// All bits that the lanes hold.
__device__ uint64_t united(uint64_t bits) {
  for (int step = 16; step > 0; step /= 2) bits |= __shfl_xor_sync(kAll, bits, step);
  return bits;
}

__device__ int summed(int value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kAll, value, step);
  return value;
}

// Which boxes of each word survive: word by word, warp w keeping what is removed of word w. The
// mask does not depend on that, so it is in registers before its turn comes: a word costs one
// barrier and a few shuffles, no memory access.
__device__ void walk(const uint8_t* gone, const Chunk& chunk, uint64_t* alive) {
  const int lane = threadIdx.x % 32, own = threadIdx.x / 32, words = chunk.words();
  const uint64_t* mask = chunk.mask + own * kChunk + lane;
  const auto load = [&](int word, uint64_t (&to)[2]) {
    const bool wanted = word <= own && own < words;
    to[0] = wanted ? mask[64 * word] : 0;
    to[1] = wanted ? mask[64 * word + 32] : 0;
  };
  uint64_t ahead[kAhead][2], inside[2];
  load(own, inside);
  for (int k = 0; k < kAhead; ++k) load(k, ahead[k]);
  const int low = 64 * own + lane, high = low + 32;
  uint64_t removed = ballot64(low >= chunk.count || gone[chunk.begin + low],
                              high >= chunk.count || gone[chunk.begin + high]);
  for (int start = 0; start < words; start += kAhead) {
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int word = start + k;
      if (word >= words) break;
      if (word == own) {
        const uint64_t kept = resolved(~removed, inside[0], inside[1], lane);
        if (lane == 0) alive[word] = kept;
      }
      __syncthreads();
      const uint64_t kept = alive[word];
      if (word < own && kept)
        removed |= united((kept >> lane & 1 ? ahead[k][0] : 0) |
                          (kept >> (lane + 32) & 1 ? ahead[k][1] : 0));
      load(word + kAhead, ahead[k]);
    }
  }
}

// The chunk's survivors, for the comparison with later boxes and for the result. One block.
__global__ void __launch_bounds__(kWalkers)
    walk_kernel(const uint8_t* gone, const int64_t* row, Chunk chunk, Found found, bool last) {
  __shared__ uint64_t alive[kWords];
  if (found.full(chunk)) return;
  const int64_t before = found.before(chunk);
  walk(gone, chunk, alive);
  const int lane = threadIdx.x % 32, own = threadIdx.x / 32, words = chunk.words();
  const int kept = lane < words ? __popcll(alive[lane]) : 0;
  const int number = summed(kept), earlier = summed(lane < own ? kept : 0);
  const uint64_t mine = own < words ? alive[own] : 0;
  for (int b = lane; b < 64; b += 32) {
    if (!(mine >> b & 1)) continue;
    const int rank = earlier + __popcll(mine & ((uint64_t{1} << b) - 1)), i = 64 * own + b;
    chunk.survivor[rank] = i;
    if (before + rank < found.size) found.row[before + rank] = row[chunk.begin + i];
  }
  const int64_t total = before + number < found.size ? before + number : found.size;
  if (threadIdx.x == 0) {
    chunk.survivor[kChunk] = number;
    *found.number = total;
  }
  if (last && found.padded)
    for (int64_t i = total + threadIdx.x; i < found.size; i += kWalkers) found.row[i] = -1;
}

// The boxes behind the chunk against kStaged of its survivors: blockIdx.y says which.
template <typename Box>
__global__ void __launch_bounds__(kThreads)
    apply_kernel(Ranked<Box> ranked, Chunk chunk, Limit limit, Found found) {
  __shared__ Box survivor[kStaged];
  __shared__ int64_t group[kStaged];
  const int first = kStaged * blockIdx.y, left = chunk.survivor[kChunk] - first;
  const int number = left < kStaged ? left : kStaged, own = threadIdx.x;
  if (number <= 0 || *found.number >= found.size) return;
  if (own < number) {
    const int64_t i = chunk.begin + chunk.survivor[first + own];
    survivor[own] = ranked.box[i];
    group[own] = ranked.group_of(i);
  }
  __syncthreads();
  const int64_t from = chunk.begin + kChunk;
  GRID_STRIDE_LOOP(k, ranked.count - from) {
    const int64_t j = from + k;
    if (ranked.gone[j]) continue;
    const Box box = ranked.box[j];
    const int64_t own_group = ranked.group_of(j);
    for (int s = 0; s < number; ++s) {
      if ((ranked.group && group[s] != own_group) || !survivor[s].removes(box, limit)) continue;
      ranked.gone[j] = 1;
      break;
    }
  }
}

// Rows by descending score, equal ones in order.
Tensor sorted_rows(const Tensor& scores) {
  std::array<StableIValue, 4> stack{
      torch::stable::detail::from(scores), torch::stable::detail::from(std::optional<bool>(true)),
      torch::stable::detail::from(int64_t{0}), torch::stable::detail::from(true)};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  const Tensor values = torch::stable::detail::to<Tensor>(stack[0]);  // owns and drops it
  return torch::stable::detail::to<Tensor>(stack[1]);
}

// The chunks of the ranked boxes, one after the other.
template <typename Box>
void suppress(const Ranked<Box>& ranked, Chunk chunk, const Found& found, const Limit& limit,
              cudaStream_t stream) {
  do {  // once also for no boxes at all
    const int64_t left = ranked.count - chunk.begin;
    const bool last = left <= kChunk;
    chunk.count = static_cast<int>(last ? left : kChunk);
    const unsigned words = static_cast<unsigned>(chunk.count + 63) / 64;
    if (words > 0)
      mask_kernel<Box><<<dim3(words, words), kThreads, 0, stream>>>(ranked, chunk, limit, found);
    walk_kernel<<<1, kWalkers, 0, stream>>>(ranked.gone, ranked.row, chunk, found, last);
    if (!last) {
      const dim3 grid(blocks_for(left - kChunk), kChunk / kStaged);
      apply_kernel<Box><<<grid, kThreads, 0, stream>>>(ranked, chunk, limit, found);
    }
    chunk.begin += kChunk;
  } while (chunk.begin < ranked.count);
}

template <typename Box>
std::tuple<Tensor, Tensor> kept_rows(const Tensor& boxes, const Tensor& scores,
                                     const std::optional<Tensor>& idxs, double threshold,
                                     int64_t size, bool padded) {
  const DeviceGuard guard(boxes.get_device_index());
  const cudaStream_t stream = current_stream(boxes);
  const int64_t count = boxes.size(0);
  const auto rows = static_cast<size_t>(count);
  Tensor out = torch::stable::empty({size}, ScalarType::Long, std::nullopt, boxes.device());
  Tensor number = torch::stable::empty({}, ScalarType::Long, std::nullopt, boxes.device());
  const Tensor order = sorted_rows(scores);
  Parts parts;
  const int64_t at_box = parts.add(rows * sizeof(Box)), at_gone = parts.add(rows);
  const int64_t at_group = parts.add(idxs ? rows * sizeof(int64_t) : 0);
  const int64_t at_mask = parts.add(sizeof(uint64_t) * kChunk * kWords);
  const int64_t at_survivor = parts.add(sizeof(int) * (kChunk + 1));
  const Tensor memory = parts.allocate(boxes);
  auto* start = static_cast<char*>(memory.data_ptr());
  const Ranked<Box> ranked{reinterpret_cast<Box*>(start + at_box),
                           idxs ? reinterpret_cast<int64_t*>(start + at_group) : nullptr,
                           reinterpret_cast<uint8_t*>(start + at_gone),
                           static_cast<const int64_t*>(order.data_ptr()), count};
  if (count > 0)
    gather_kernel<Box><<<blocks_for(count), kThreads, 0, stream>>>(
        device_rows(boxes), device_rows(scores),
        idxs ? static_cast<const int64_t*>(idxs->data_ptr()) : nullptr,
        idxs ? idxs->stride(0) : 0, ranked);
  const Chunk chunk{0, 0, reinterpret_cast<uint64_t*>(start + at_mask),
                    reinterpret_cast<int*>(start + at_survivor)};
  const Found found{static_cast<int64_t*>(out.data_ptr()),
                    static_cast<int64_t*>(number.data_ptr()), size, padded};
  suppress(ranked, chunk, found, limit_of(threshold), stream);
  check_launch("nms");
  return {out, number};
}

std::tuple<Tensor, Tensor> kept_corners(const Tensor& boxes, const Tensor& scores,
                                        const std::optional<Tensor>& idxs, double threshold,
                                        int64_t size, bool padded) {
  check_candidates(boxes, scores, 4);
  check(threshold >= 0 && threshold <= 1, "iou_threshold must lie in [0, 1], got ", threshold);
  if (idxs)
    check(idxs->dim() == 1 && idxs->size(0) == boxes.size(0) &&
              idxs->scalar_type() == ScalarType::Long,
          "idxs must be int64 with as many rows as boxes");
  return boxes.scalar_type() == ScalarType::Double
             ? kept_rows<CornerBox<double>>(boxes, scores, idxs, threshold, size, padded)
             : kept_rows<CornerBox<float>>(boxes, scores, idxs, threshold, size, padded);
}

// The part of a result that is used.
Tensor used(const std::tuple<Tensor, Tensor>& result) {
  Tensor rows = std::get<0>(result);
  return torch::stable::narrow(rows, 0, 0, number_on_host(std::get<1>(result)));
}

std::tuple<Tensor, Tensor> nms_padded(const Tensor& boxes, const Tensor& scores,
                                      const std::optional<Tensor>& idxs, double threshold,
                                      int64_t max_output) {
  check(max_output >= 0, "max_output must be at least 0, got ", max_output);
  return kept_corners(boxes, scores, idxs, threshold, max_output, true);
}

Tensor nms(const Tensor& boxes, const Tensor& scores, double threshold) {
  return used(kept_corners(boxes, scores, std::nullopt, threshold, boxes.size(0), false));
}

Tensor batched_nms(const Tensor& boxes, const Tensor& scores, const Tensor& idxs,
                   double threshold) {
  return used(kept_corners(boxes, scores, idxs, threshold, boxes.size(0), false));
}

Tensor nms_rotated(const Tensor& boxes, const Tensor& scores, double threshold) {
  check_candidates(boxes, scores, 5);
  check(threshold >= 0 && threshold <= 1, "iou_threshold must lie in [0, 1], got ", threshold);
  return used(kept_rows<RotatedBox>(boxes, scores, std::nullopt, threshold, boxes.size(0), false));
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("nms", TORCH_BOX(&nms));
  m.impl("batched_nms", TORCH_BOX(&batched_nms));
  m.impl("nms_padded", TORCH_BOX(&nms_padded));
  m.impl("nms_rotated", TORCH_BOX(&nms_rotated));
}

}  // namespace perception
