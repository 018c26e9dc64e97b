// Suppression on CUDA. Boxes are sorted by torch (stable), then walked in chunks: a bit mask of the
// chunk's own overlaps, one block that walks it, and all later boxes against its survivors. The
// number of launches depends on the number of boxes alone; the host waits only to size a result.
#include <array>
#include <optional>

#include "cuda/suppress.cuh"

namespace perception {
namespace {

constexpr int kChunk = 2048;       // boxes walked at a time
constexpr int kWords = kChunk / 64;
constexpr int kWalkers = 32;       // threads of the walk: one word of the mask each
static_assert(kWords == kWalkers);

// Sorted boxes with their group and whether they are gone.
template <typename Box>
__global__ void gather_kernel(DeviceRows boxes, DeviceRows scores, const int64_t* idxs,
                              int64_t idx_step, const int64_t* order, Box* sorted, int64_t* group,
                              uint8_t* gone) {
  GRID_STRIDE_LOOP(i, boxes.count) {
    const int64_t row = order[i];
    double zero = 0;  // NaN unless all numbers are finite
    for (int j = 0; j < Box::kColumns; ++j) zero += boxes.at(row, j) * 0;
    const double score = scores.at(row);
    sorted[i] = Box::read(boxes, row);
    group[i] = idxs ? idxs[row * idx_step] : 0;
    gone[i] = !(zero == 0 && score == score);
  }
}

// mask[i * kWords + w]: which of the chunk's boxes 64 w .. 64 w + 63 box i (earlier) removes.
template <typename Box>
__global__ void mask_kernel(const Box* sorted, const int64_t* group, const uint8_t* gone,
                            int64_t begin, int count, double threshold, uint64_t* mask) {
  const int i = blockIdx.y * blockDim.y + threadIdx.y, word = blockIdx.x;
  if (i >= count) return;
  const int lane = threadIdx.x;  // 32 lanes test two boxes each
  uint64_t bits = 0;
  if (!gone[begin + i] && 64 * word + 63 > i) {
    const Box box = sorted[begin + i];
    for (int half = 0; half < 2; ++half) {
      const int j = 64 * word + 32 * half + lane;
      const bool hit = j > i && j < count && group[begin + i] == group[begin + j] &&
                       box.removes(sorted[begin + j], threshold);
      bits |= static_cast<uint64_t>(__ballot_sync(0xffffffffu, hit)) << (32 * half);
    }
  }
  if (lane == 0) mask[static_cast<int64_t>(i) * kWords + word] = bits;
}

// Survivors of a chunk, in order: keep[i], and their places in `chosen`.
__global__ void walk_kernel(const uint64_t* mask, const uint8_t* gone, int64_t begin, int count,
                            uint8_t* keep, int* chosen, int* number) {
  const int lane = threadIdx.x;
  uint64_t removed = 0;  // of boxes 64 lane .. 64 lane + 63
  for (int b = 0; b < 64; ++b) {
    const int i = 64 * lane + b;
    if (i >= count || gone[begin + i]) removed |= uint64_t{1} << b;
  }
  int kept = 0;
  for (int word = 0; word * 64 < count; ++word) {
    uint64_t here = __shfl_sync(0xffffffffu, removed, word);
    while (~here) {  // the first box that is left; all lanes take the same steps
      const int b = __ffsll(static_cast<long long>(~here)) - 1, i = 64 * word + b;
      const uint64_t row = mask[static_cast<int64_t>(i) * kWords + lane];
      removed |= row;
      here |= __shfl_sync(0xffffffffu, row, word) | uint64_t{1} << b;
      if (lane == 0) {
        keep[begin + i] = 1;
        chosen[kept] = i;
      }
      ++kept;
    }
  }
  if (lane == 0) *number = kept;
}

// All boxes behind the chunk against its survivors.
template <typename Box>
__global__ void apply_kernel(const Box* sorted, const int64_t* group, int64_t begin,
                             const int* chosen, const int* number, int64_t from, int64_t count,
                             double threshold, uint8_t* gone) {
  const int survivors = *number;
  GRID_STRIDE_LOOP(k, count - from) {
    const int64_t j = from + k;
    if (gone[j]) continue;
    const Box other = sorted[j];
    for (int s = 0; s < survivors; ++s) {
      const int64_t i = begin + chosen[s];
      if (group[i] == group[j] && sorted[i].removes(other, threshold)) {
        gone[j] = 1;
        break;
      }
    }
  }
}

// The kept rows in order, at most `size`, then -1; and their number. One block.
__global__ void compact_kernel(const uint8_t* keep, const int64_t* order, int64_t count,
                               int64_t size, int64_t* out, int64_t* number) {
  __shared__ int sums[1024];
  int64_t before = 0;
  for (int64_t start = 0; start < count; start += 1024) {
    const int64_t i = start + threadIdx.x;
    const int mine = i < count && keep[i];
    sums[threadIdx.x] = mine;
    __syncthreads();
    for (int step = 1; step < 1024; step *= 2) {
      const int left = static_cast<int>(threadIdx.x) >= step ? sums[threadIdx.x - step] : 0;
      __syncthreads();
      sums[threadIdx.x] += left;
      __syncthreads();
    }
    const int64_t place = before + sums[threadIdx.x] - 1;
    if (mine && place < size) out[place] = order[i];
    before += sums[1023];
    __syncthreads();
  }
  const int64_t total = before < size ? before : size;
  for (int64_t i = total + threadIdx.x; i < size; i += 1024) out[i] = -1;
  if (threadIdx.x == 0) *number = total;
}

Tensor bytes_like(const Tensor& like, int64_t bytes) {
  return torch::stable::empty({bytes}, ScalarType::Byte, std::nullopt, like.device());
}

// Rows by descending score, equal ones in order.
Tensor sorted_rows(const Tensor& scores) {
  std::array<StableIValue, 4> stack{
      torch::stable::detail::from(scores), torch::stable::detail::from(std::optional<bool>(true)),
      torch::stable::detail::from(int64_t{0}), torch::stable::detail::from(true)};
  STABLE_TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  const Tensor values = torch::stable::detail::to<Tensor>(stack[0]);  // owns and drops it
  return torch::stable::detail::to<Tensor>(stack[1]);
}

template <typename Box>
std::tuple<Tensor, Tensor> padded(const Tensor& boxes, const Tensor& scores,
                                  const std::optional<Tensor>& idxs, double threshold,
                                  int64_t size) {
  const DeviceGuard guard(boxes.get_device_index());
  const cudaStream_t stream = current_stream(boxes);
  const int64_t count = boxes.size(0);
  Tensor out = torch::stable::empty({size}, ScalarType::Long, std::nullopt, boxes.device());
  Tensor number = torch::stable::empty({}, ScalarType::Long, std::nullopt, boxes.device());
  const Tensor order = sorted_rows(scores), room = bytes_like(boxes, count * sizeof(Box) + 16);
  const Tensor groups = torch::stable::empty({count}, ScalarType::Long, std::nullopt, boxes.device());
  const Tensor flags = bytes_like(boxes, 2 * count + 1);
  const Tensor bits = bytes_like(boxes, int64_t{kChunk} * kWords * 8);
  const Tensor picked = bytes_like(boxes, (kChunk + 1) * sizeof(int));
  auto* sorted = static_cast<Box*>(room.data_ptr());
  auto* group = static_cast<int64_t*>(groups.data_ptr());
  auto* gone = static_cast<uint8_t*>(flags.data_ptr());
  auto* mask = static_cast<uint64_t*>(bits.data_ptr());
  auto* chosen = static_cast<int*>(picked.data_ptr());
  uint8_t* keep = gone + count;
  const auto* rows = static_cast<const int64_t*>(order.data_ptr());
  cudaMemsetAsync(keep, 0, static_cast<size_t>(count), stream);
  gather_kernel<Box><<<blocks_for(count), kThreads, 0, stream>>>(
      device_rows(boxes), device_rows(scores),
      idxs ? static_cast<const int64_t*>(idxs->data_ptr()) : nullptr, idxs ? idxs->stride(0) : 0,
      rows, sorted, group, gone);
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int here = static_cast<int>(count - begin < kChunk ? count - begin : kChunk);
    const dim3 grid((here + 63) / 64, (here + 7) / 8);
    mask_kernel<Box><<<grid, dim3(32, 8), 0, stream>>>(sorted, group, gone, begin, here, threshold,
                                                       mask);
    walk_kernel<<<1, kWalkers, 0, stream>>>(mask, gone, begin, here, keep, chosen, chosen + kChunk);
    const int64_t from = begin + here;
    if (from < count)
      apply_kernel<Box><<<blocks_for(count - from), kThreads, 0, stream>>>(
          sorted, group, begin, chosen, chosen + kChunk, from, count, threshold, gone);
  }
  compact_kernel<<<1, 1024, 0, stream>>>(keep, rows, count, size,
                                         static_cast<int64_t*>(out.data_ptr()),
                                         static_cast<int64_t*>(number.data_ptr()));
  check_launch("nms");
  return {out, number};
}

void check_call(const Tensor& boxes, const Tensor& scores, const std::optional<Tensor>& idxs,
                double threshold, int64_t columns) {
  check(boxes.dim() == 2 && boxes.size(1) == columns, "boxes must have shape (N, ", columns, ")");
  check(scores.dim() == 1 && scores.size(0) == boxes.size(0),
        "scores must have as many rows as boxes");
  check(threshold >= 0 && threshold <= 1, "iou_threshold must lie in [0, 1], got ", threshold);
  if (idxs)
    check(idxs->dim() == 1 && idxs->size(0) == boxes.size(0) &&
              idxs->scalar_type() == ScalarType::Long,
          "idxs must be int64 with as many rows as boxes");
}

std::tuple<Tensor, Tensor> nms_padded(const Tensor& boxes, const Tensor& scores,
                                      const std::optional<Tensor>& idxs, double threshold,
                                      int64_t max_output) {
  check_call(boxes, scores, idxs, threshold, 4);
  check(max_output >= 0, "max_output must be at least 0, got ", max_output);
  return boxes.scalar_type() == ScalarType::Double
             ? padded<CornerBox<double>>(boxes, scores, idxs, threshold, max_output)
             : padded<CornerBox<float>>(boxes, scores, idxs, threshold, max_output);
}

// The part of a padded result that is used: here the host waits.
Tensor used(const std::tuple<Tensor, Tensor>& result, const Tensor& like) {
  Tensor rows = std::get<0>(result);
  const cudaStream_t stream = current_stream(like);
  int64_t number = 0;
  cudaMemcpyAsync(&number, std::get<1>(result).data_ptr(), sizeof number, cudaMemcpyDeviceToHost,
                  stream);
  const cudaError_t error = cudaStreamSynchronize(stream);
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
  return torch::stable::narrow(rows, 0, 0, number);
}

Tensor nms(const Tensor& boxes, const Tensor& scores, double threshold) {
  return used(nms_padded(boxes, scores, std::nullopt, threshold, boxes.size(0)), boxes);
}

Tensor batched_nms(const Tensor& boxes, const Tensor& scores, const Tensor& idxs,
                   double threshold) {
  return used(nms_padded(boxes, scores, idxs, threshold, boxes.size(0)), boxes);
}

Tensor nms_rotated(const Tensor& boxes, const Tensor& scores, double threshold) {
  check_call(boxes, scores, std::nullopt, threshold, 5);
  return used(padded<RotatedBox>(boxes, scores, std::nullopt, threshold, boxes.size(0)), boxes);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("nms", TORCH_BOX(&nms));
  m.impl("batched_nms", TORCH_BOX(&batched_nms));
  m.impl("nms_padded", TORCH_BOX(&nms_padded));
  m.impl("nms_rotated", TORCH_BOX(&nms_rotated));
}

}  // namespace perception
