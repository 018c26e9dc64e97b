// Copies of maps from one layout to another, with coalesced reads and writes.
#include "cuda/maps.cuh"

namespace perception {
namespace {

constexpr int kSide = 32;  // of a tile of channels x pixels

// to = from, through tiles in shared memory: each side is walked along its own fast axis.
template <typename From, typename To>
__global__ void reorder_kernel(Plane<const From> from, Plane<To> to) {
  __shared__ accumulate_cuda_t<From> tile[kSide][kSide + 1];  // [channel][pixel]
  const int64_t pixels = from.height * from.width;
  const int64_t across = (pixels + kSide - 1) / kSide, down = (from.channels + kSide - 1) / kSide;
  const auto place = [&](const auto& map, int64_t n, int64_t c, int64_t pixel) {
    return n * map.image + c * map.channel + pixel / map.width * map.row +
           pixel % map.width * map.column;
  };
  for (int64_t block = blockIdx.x; block < from.images * across * down; block += gridDim.x) {
    const int64_t first_pixel = block % across * kSide, first_channel = block / across % down * kSide;
    const int64_t n = block / across / down;
    __syncthreads();
    for (int t = threadIdx.x; t < kSide * kSide; t += blockDim.x) {
      const bool by_channel = from.channel < from.column;
      const int i = by_channel ? t % kSide : t / kSide, j = by_channel ? t / kSide : t % kSide;
      const int64_t c = first_channel + i, pixel = first_pixel + j;
      if (c < from.channels && pixel < pixels)
        tile[i][j] = widen(from.data[place(from, n, c, pixel)]);
    }
    __syncthreads();
    for (int t = threadIdx.x; t < kSide * kSide; t += blockDim.x) {
      const bool by_channel = to.channel < to.column;
      const int i = by_channel ? t % kSide : t / kSide, j = by_channel ? t / kSide : t % kSide;
      const int64_t c = first_channel + i, pixel = first_pixel + j;
      if (c < from.channels && pixel < pixels)
        narrow(to.data + place(to, n, c, pixel), tile[i][j]);
    }
  }
}

template <typename From, typename To>
void reorder(const Tensor& from, const Tensor& to) {
  if (from.numel() == 0) return;
  const int64_t across = (from.size(2) * from.size(3) + kSide - 1) / kSide;
  const int64_t tiles = from.size(0) * across * ((from.size(1) + kSide - 1) / kSide);
  reorder_kernel<From, To><<<blocks_for(tiles, 1), kThreads, 0, current_stream(from)>>>(
      as_plane<const From>(from), as_plane<To>(to));
  check_launch("reorder");
}

}  // namespace

Tensor channels_together(const Tensor& tensor) {
  const Map map = as_map("input", tensor);
  int64_t expected = 1;
  bool together = true;
  for (const int d : {1, 3, 2, 0}) {
    together &= tensor.size(d) == 1 || tensor.stride(d) == expected;
    expected *= tensor.size(d);
  }
  if (together) return tensor;
  const Tensor packed =
      empty_map(tensor, {map.images, map.channels, map.height, map.width}, true);
  dispatch_cuda(tensor.scalar_type(), [&](auto zero) {
    reorder<decltype(zero), decltype(zero)>(tensor, packed);
  });
  return packed;
}

Tensor in_form_of(const Tensor& like, const Tensor& sums) {
  const bool last = is_channels_last(like);
  if (sums.scalar_type() == like.scalar_type() && (last ? is_channels_last(sums)
                                                        : sums.is_contiguous()))
    return sums;
  const Tensor out = empty_map(like, {sums.size(0), sums.size(1), sums.size(2), sums.size(3)}, last);
  dispatch_cuda(like.scalar_type(), [&](auto zero) {
    reorder<accumulate_cuda_t<decltype(zero)>, decltype(zero)>(sums, out);
  });
  return out;
}

}  // namespace perception
