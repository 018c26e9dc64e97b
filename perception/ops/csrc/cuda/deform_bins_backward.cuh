// The gradient of a pooling over moved bins (deform_bins.cuh) to its input: every bin adds to its
// pixels, or every pixel gathers from the boxes in their order.
#pragma once

#include <optional>

#include "cuda/deform_bins.cuh"
#include "cuda/gather.cuh"

namespace perception {

template <typename T, int Vector, typename Rule>
__global__ void scatter_kernel(Rule rule, Pooled<const T> grad, Plane<accumulate_cuda_t<T>> sums) {
  using A = accumulate_cuda_t<T>;
  __shared__ MovedBins<typename Rule::Axis> bins;
  __shared__ Taps<A> taps;
  for (int64_t block = blockIdx.x; block < blocks_of(rule); block += gridDim.x) {
    const BinPlace place = place_of(block, rule);
    const int64_t image = rule.image(place.box);
    set_bins(rule, place, &bins);
    const int64_t tiles = image < 0 ? 0 : bins.tiles[0] * bins.tiles[1];
    const int64_t items = place.bins * (rule.dims / Vector);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      set_taps(bins, tile, place, &taps);
      for (int64_t mine = threadIdx.x; mine < items; mine += blockDim.x) {
        const BinItem item = item_of<Vector>(mine, place.bins, rule.dims, sums.channel == 1);
        const int64_t d = place.kind * rule.dims + item.channel, bin = place.bin + item.bin;
        const auto upper = *reinterpret_cast<const Pack<T, Vector>*>(grad.at(place.box, d, bin));
        A* plane = sums.at(image, rule.channel(d, bin));
        for_pixels(taps, item.bin, sums.row, sums.column, [&](int64_t pixel, int i, int j) {
          const A weight = taps.weight[0][item.bin][i] * taps.weight[1][item.bin][j];
          if (weight == 0) return;
          A part[Vector];
          for (int v = 0; v < Vector; ++v) part[v] = weight * A(widen(upper.value[v]));
          add_vector(plane + pixel, part);
        });
      }
    }
  }
}

// ------------------------------------------------------------------- in a fixed order

// The pixels that the bins of one box touch: low .. high - 1 of rows and of columns.
struct Extent {
  int64_t image;
  int low[2], high[2];

  __device__ bool contains(int64_t n, int64_t y, int64_t x) const {
    return n == image && y >= low[0] && y < high[0] && x >= low[1] && x < high[1];
  }
};

// One block per box.
template <typename Rule>
__global__ void extents_kernel(Rule rule, Extent* extents) {
  __shared__ int low[2], high[2];
  for (int64_t k = blockIdx.x; k < rule.boxes; k += gridDim.x) {
    __syncthreads();
    if (threadIdx.x < 2) low[threadIdx.x] = INT32_MAX, high[threadIdx.x] = 0;
    __syncthreads();
    for (int64_t t = threadIdx.x; t < rule.classes * rule.bins(); t += blockDim.x) {
      typename Rule::Axis axis[2];
      rule.place(k, t / rule.bins(), t % rule.bins(), axis);
      for (int side = 0; side < 2; ++side) {
        if (axis[side].low >= axis[side].high) continue;
        atomicMin(low + side, static_cast<int>(axis[side].low));
        atomicMax(high + side, static_cast<int>(axis[side].high));
      }
    }
    __syncthreads();
    if (threadIdx.x == 0)
      extents[k] = {rule.image(k), {low[0], low[1]}, {high[0], high[1]}};
  }
}

// Adds what one box gives to one pixel: its bins in order, every thread for its output channels.
template <typename T, int Vector, typename Rule>
__device__ inline void gather_box(const Rule& rule, int64_t k, int64_t y, int64_t x,
                                  Pooled<const T> grad, const Plane<accumulate_cuda_t<T>>& sums,
                                  accumulate_cuda_t<T>* pixel, accumulate_cuda_t<T>* weights) {
  using A = accumulate_cuda_t<T>;
  for (int64_t kind = 0; kind < rule.classes; ++kind) {
    for (int64_t first = 0; first < rule.bins(); first += blockDim.x) {
      const int64_t left = rule.bins() - first;
      const int count = static_cast<int>(left < blockDim.x ? left : blockDim.x);
      __syncthreads();
      if (threadIdx.x < count) {
        typename Rule::Axis axis[2];
        rule.place(k, kind, first + threadIdx.x, axis);
        const bool inside = y >= axis[0].low && y < axis[0].high && x >= axis[1].low &&
                            x < axis[1].high;
        weights[threadIdx.x] =
            inside ? static_cast<A>(axis[0].weight(y)) * static_cast<A>(axis[1].weight(x)) : A{0};
      }
      __syncthreads();
      for (int64_t c = threadIdx.x * Vector; c < rule.dims; c += blockDim.x * Vector) {
        const int64_t d = kind * rule.dims + c;
        for (int b = 0; b < count; ++b) {
          if (weights[b] == 0) continue;
          const auto upper = *reinterpret_cast<const Pack<T, Vector>*>(grad.at(k, d, first + b));
          A* to = pixel + rule.channel(d, first + b) * sums.channel;
          for (int v = 0; v < Vector; ++v)
            to[v] = fma(weights[b], A(widen(upper.value[v])), to[v]);
        }
      }
    }
  }
}

// One block per pixel.
template <typename T, int Vector, typename Rule>
__global__ void gather_bins_kernel(Rule rule, const Extent* extents, Pooled<const T> grad,
                                   Plane<accumulate_cuda_t<T>> sums) {
  using A = accumulate_cuda_t<T>;
  __shared__ A weights[kGatherers];
  for (int64_t block = blockIdx.x; block < rule.images * rule.height * rule.width;
       block += gridDim.x) {
    const int64_t x = block % rule.width, y = block / rule.width % rule.height;
    const int64_t n = block / rule.width / rule.height;
    A* pixel = sums.at(n, 0) + y * sums.row + x * sums.column;
    for_boxes_near(rule.boxes, [&](int64_t k) { return extents[k].contains(n, y, x); },
                   [&](int64_t k) {
                     gather_box<T, Vector>(rule, k, y, x, grad, sums, pixel, weights);
                   });
  }
}

// ------------------------------------------------------------------- host

// Zeros like the offsets, contiguous; empty if there are none.
inline Tensor offset_gradient(const std::optional<Tensor>& offset, const Tensor& input) {
  if (!offset)
    return torch::stable::empty({0}, input.scalar_type(), std::nullopt, input.device());
  Tensor made = empty_map(
      *offset, {offset->size(0), offset->size(1), offset->size(2), offset->size(3)}, false);
  return torch::stable::zero_(made);
}

// sums += the gradient to the input; `to_offset` (may be nowhere) = that to the offsets.
template <typename T, int Vector, typename Rule>
void pool_backward(const Rule& rule, const Tensor& input, const Tensor& grad, const Tensor& sums,
                   int64_t columns, const AnyOut& to_offset, bool deterministic) {
  using A = accumulate_cuda_t<T>;
  const cudaStream_t stream = current_stream(input);
  const auto upper = as_pooled<const T>(grad);
  const auto plane = as_plane<A>(sums);
  const unsigned blocks = blocks_for(blocks_of(rule), 1);
  const auto bytes = [&](size_t size) {
    return torch::stable::empty({static_cast<int64_t>(size)}, ScalarType::Byte, std::nullopt,
                                input.device());
  };
  if (to_offset.data) {
    const Tensor room = bytes(rule.boxes * rule.classes * rule.bins() * sizeof(Move<A>));
    auto* moves = static_cast<Move<A>*>(room.data_ptr());
    moves_kernel<T, Vector, Rule><<<blocks, kPoolThreads, 0, stream>>>(rule, as_plane<const T>(input),
                                                                 upper, moves);
    const int64_t parts = rule.boxes * rule.classes * rule.part_rows * rule.part_columns;
    offsets_kernel<A, Rule><<<blocks_for(parts), kThreads, 0, stream>>>(rule, moves, columns, to_offset);
  }
  if (!deterministic) {
    scatter_kernel<T, Vector, Rule><<<blocks, kPoolThreads, 0, stream>>>(rule, upper, plane);
    return;
  }
  const Tensor room = bytes(rule.boxes * sizeof(Extent));
  auto* extents = static_cast<Extent*>(room.data_ptr());
  extents_kernel<Rule><<<blocks_for(rule.boxes, 1), kPoolThreads, 0, stream>>>(rule, extents);
  const unsigned pixels = blocks_for(rule.images * rule.height * rule.width, 1);
  gather_bins_kernel<T, Vector, Rule><<<pixels, kGatherers, 0, stream>>>(rule, extents, upper,
                                                                         plane);
}

}  // namespace perception
