// The deterministic backward of the pooling ops: one block per pixel of the map gathers from the
// boxes that reach it, in their order. Without atomics the bits are the same every time.
#pragma once

#include "cuda/pooling.cuh"

namespace perception {

constexpr int kGatherers = 128;    // threads of a block
constexpr int kChannelsEach = 4;   // channels that a thread sums at a time

// Which bins of a box a channel of the map belongs to: all; its own one (position-sensitive); those
// whose maximum the pixel was.
enum class Reads { every_bin, own_bin, maximum };

// The gradient of a result, and for Reads::maximum where the maxima were; strides in elements.
template <typename T>
struct Upper {
  const T* data;
  const int32_t* argmax;
  int64_t boxes, rows, columns, box, channel, row, column;
};

template <typename T>
Upper<T> as_upper(const Tensor& grad, const int32_t* argmax = nullptr) {
  return {static_cast<const T*>(grad.data_ptr()), argmax, grad.size(0), grad.size(2), grad.size(3),
          grad.stride(0), grad.stride(1), grad.stride(2), grad.stride(3)};
}

struct PixelPlace {
  int64_t image, y, x;
};

// Axes along which boxes are split into bins: where a box can reach, and the weight of a pixel in a
// bin. `Levels` decides which boxes belong to this map.
template <typename T>
struct BoxAxes {
  RoiTable rois;
  Rule rule;
  Levels<T> levels;
  int level;

  __device__ bool reaches(int64_t k, const PixelPlace& at) const {
    if (rois.image(k, levels.map[0].images) != at.image || level_of(rois, levels, k) != level)
      return false;
    return near(k, 1, at.x) && near(k, 2, at.y);
  }
  __device__ double row_weight(int64_t k, int64_t bin, const PixelPlace& at) const {
    return weight(axis_of(rois, k, 2, levels.scale[level], rule, bin, levels.map[level].height), at.y);
  }
  __device__ double column_weight(int64_t k, int64_t bin, const PixelPlace& at) const {
    return weight(axis_of(rois, k, 1, levels.scale[level], rule, bin, levels.map[level].width), at.x);
  }

 private:
  __device__ bool near(int64_t k, int first, int64_t pixel) const {
    const double a = rois.at(k, first) * levels.scale[level];
    const double b = rois.at(k, first + 2) * levels.scale[level], p = static_cast<double>(pixel);
    return fmin(a, b) - 2 <= p && p <= fmax(a, b) + 3;
  }
  __device__ static double weight(const Axis& axis, int64_t pixel) {
    return pixel >= axis.low() && pixel < axis.high() ? axis.weight(pixel) : 0;
  }
};

// Calls each(k) for the boxes with near(k), in order; all threads of the block take part.
template <typename Near, typename Each>
__device__ void for_boxes_near(int64_t boxes, const Near& near, const Each& each) {
  __shared__ int found[kGatherers], counts[kGatherers / 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t from = 0; from < boxes; from += kGatherers) {
    const int64_t mine = from + threadIdx.x;
    const bool hit = mine < boxes && near(mine);
    const unsigned votes = __ballot_sync(0xffffffffu, hit);
    if (lane == 0) counts[warp] = __popc(votes);
    __syncthreads();
    int place = __popc(votes & ((1u << lane) - 1)), total = 0;
    for (int w = 0; w < kGatherers / 32; ++w) {
      if (w < warp) place += counts[w];
      total += counts[w];
    }
    if (hit) found[place] = static_cast<int>(threadIdx.x);
    __syncthreads();
    for (int i = 0; i < total; ++i) each(from + found[i]);
    __syncthreads();
  }
}

// What one channel of one pixel gets from one box.
template <Reads kReads, typename T, typename A>
__device__ inline A from_box(const Upper<T>& grad, int64_t k, int64_t c, int64_t pixel,
                             const A* y_weight, const A* x_weight, A sum) {
  if constexpr (kReads == Reads::own_bin) {
    const int64_t j = c % grad.columns, i = c / grad.columns % grad.rows;
    const A weight = y_weight[i] * x_weight[j];
    const int64_t at = k * grad.box + c / grad.columns / grad.rows * grad.channel + i * grad.row +
                       j * grad.column;
    return weight == 0 ? sum : fma(weight, A(widen(grad.data[at])), sum);
  } else {
    for (int64_t i = 0; i < grad.rows; ++i) {
      if (y_weight[i] == 0) continue;
      for (int64_t j = 0; j < grad.columns; ++j) {
        if (x_weight[j] == 0) continue;
        const int64_t at = k * grad.box + c * grad.channel + i * grad.row + j * grad.column;
        if (kReads == Reads::maximum && grad.argmax[at] != pixel) continue;
        sum = fma(A(y_weight[i] * x_weight[j]), A(widen(grad.data[at])), sum);
      }
    }
    return sum;
  }
}

template <Reads kReads, typename Axes, typename T>
__global__ void __launch_bounds__(kGatherers, 8) gather_kernel(Axes axes, Upper<T> grad, Plane<accumulate_cuda_t<T>> sums) {
  using A = accumulate_cuda_t<T>;
  extern __shared__ double memory[];
  A* y_weight = reinterpret_cast<A*>(memory);
  A* x_weight = y_weight + grad.rows;
  const int64_t pixels = sums.images * sums.height * sums.width;
  for (int64_t block = blockIdx.x; block < pixels; block += gridDim.x) {
    const PixelPlace at{block / sums.width / sums.height, block / sums.width % sums.height,
                        block % sums.width};
    for (int64_t from = 0; from < sums.channels; from += kChannelsEach * kGatherers) {
      A sum[kChannelsEach] = {};
      for_boxes_near(grad.boxes, [&](int64_t k) { return axes.reaches(k, at); }, [&](int64_t k) {
        for (int64_t t = threadIdx.x; t < grad.rows + grad.columns; t += kGatherers)
          y_weight[t] = static_cast<A>(t < grad.rows
                                           ? axes.row_weight(k, t, at)
                                           : axes.column_weight(k, t - grad.rows, at));
        __syncthreads();
        for (int v = 0; v < kChannelsEach; ++v) {
          const int64_t c = from + v * kGatherers + threadIdx.x;
          if (c < sums.channels)
            sum[v] = from_box<kReads>(grad, k, c, at.y * sums.width + at.x, y_weight, x_weight,
                                      sum[v]);
        }
        __syncthreads();
      });
      for (int v = 0; v < kChannelsEach; ++v) {
        const int64_t c = from + v * kGatherers + threadIdx.x;
        if (c < sums.channels) sums.at(at.image, c)[at.y * sums.row + at.x * sums.column] = sum[v];
      }
    }
  }
}

template <Reads kReads, typename Axes, typename T>
void launch_gather(const Axes& axes, const Upper<T>& grad,
                   const Plane<accumulate_cuda_t<T>>& sums, cudaStream_t stream) {
  using A = accumulate_cuda_t<T>;
  const size_t shared = static_cast<size_t>(grad.rows + grad.columns) * sizeof(A);
  check(shared <= 40 << 10, "the deterministic backward takes up to ", 40 * 1024 / sizeof(A),
        " rows and columns of bins together, got ", grad.rows + grad.columns);
  const int64_t pixels = sums.images * sums.height * sums.width;
  if (pixels > 0)
    gather_kernel<kReads, Axes, T><<<blocks_for(pixels, 1), kGatherers, shared, stream>>>(
        axes, grad, sums);
}

}  // namespace perception
