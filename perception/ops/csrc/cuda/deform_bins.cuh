// Pooling over bins that learned offsets move, as both deformable poolings do it: every bin is some
// weighted rows times some weighted columns of pixels. Weights are worked out once per bin, in
// shared memory, whatever the number of channels.
//
// A `Rule` says where bins lie. It has `images`, `height`, `width`, `boxes`, `classes` (groups of
// output channels that move together), `dims` (output channels of one class), bins() and
//   image(box)                  its image, -1 for none
//   place(box, class, bin, axis)  the rows (axis[0]) and columns (axis[1]) of one bin: an `Axis`
//                               with pixels low .. high - 1, weight(pixel), slope(pixel)
//   move(box, axis)             by how many pixels an offset of 1 moves a bin
//   channel(d, bin)             the input channel of output channel d
//   part_rows, part_columns, rows_of(part), columns_of(part)   the bins that share an offset
#pragma once

#include "cuda/maps.cuh"

namespace perception {

constexpr int kBins = 16;        // bins of one block
constexpr int kTaps = 16;        // pixels of a bin handled at a time, per axis
constexpr int kPoolThreads = 128;

// The gradient of the output (boxes, classes * dims, bins), and the output itself.
template <typename T>
struct Pooled {
  T* data;
  int64_t box, channel, bin;  // strides

  __device__ T* at(int64_t k, int64_t d, int64_t b) const {
    return data + k * box + d * channel + b * bin;
  }
};

template <typename T>
Pooled<T> as_pooled(const Tensor& tensor) {  // contiguous or channels-last
  const bool last = is_channels_last(tensor);
  return {static_cast<T*>(tensor.data_ptr()), tensor.size(1) * tensor.size(2) * tensor.size(3),
          last ? 1 : tensor.size(2) * tensor.size(3), last ? tensor.size(1) : 1};
}

// First and last + 1 of some bins along one axis.
struct Span {
  int64_t begin, end;
};

// ------------------------------------------------------------------- a block's bins

struct BinPlace {
  int64_t box, kind, bin;  // kind: the class
  int bins;
};

template <typename Rule>
__host__ __device__ inline int64_t blocks_of(const Rule& rule) {
  return rule.boxes * rule.classes * ((rule.bins() + kBins - 1) / kBins);
}

template <typename Rule>
__device__ inline BinPlace place_of(int64_t block, const Rule& rule) {
  const int64_t chunks = (rule.bins() + kBins - 1) / kBins;
  const int64_t bin = block % chunks * kBins, left = rule.bins() - bin;
  return {block / chunks / rule.classes, block / chunks % rule.classes, bin,
          static_cast<int>(left < kBins ? left : kBins)};
}

template <typename Axis>
struct MovedBins {
  Axis axis[2][kBins];  // rows, columns
  int64_t tiles[2];     // how many the widest bin needs
};

template <typename Rule>
__device__ inline void set_bins(const Rule& rule, const BinPlace& place,
                                MovedBins<typename Rule::Axis>* bins) {
  __syncthreads();
  if (threadIdx.x < place.bins) {
    typename Rule::Axis axis[2];
    rule.place(place.box, place.kind, place.bin + threadIdx.x, axis);
    bins->axis[0][threadIdx.x] = axis[0], bins->axis[1][threadIdx.x] = axis[1];
  }
  __syncthreads();
  if (threadIdx.x < 2) {
    int64_t widest = 0;
    for (int b = 0; b < place.bins; ++b) {
      const auto& axis = bins->axis[threadIdx.x][b];
      if (axis.high - axis.low > widest) widest = axis.high - axis.low;
    }
    bins->tiles[threadIdx.x] = (widest + kTaps - 1) / kTaps;
  }
  __syncthreads();
}

// The weights of a tile of pixels of every bin.
template <typename A>
struct Taps {
  A weight[2][kBins][kTaps];
  int64_t first[2][kBins];
  int count[2][kBins];
};

// How the weights change when the bin moves.
template <typename A>
struct Slopes {
  A slope[2][kBins][kTaps];
};

template <typename A, typename Axis>
__device__ inline void set_taps(const MovedBins<Axis>& bins, int64_t tile, const BinPlace& place,
                                Taps<A>* taps, Slopes<A>* slopes = nullptr) {
  __syncthreads();
  for (int t = threadIdx.x; t < 2 * place.bins * kTaps; t += blockDim.x) {
    const int tap = t % kTaps, b = t / kTaps % place.bins, side = t / kTaps / place.bins;
    const Axis& axis = bins.axis[side][b];
    const int64_t number = side ? tile % bins.tiles[1] : tile / bins.tiles[1];
    const int64_t first = axis.low + number * kTaps, left = axis.high - first;
    const int count = static_cast<int>(left < 0 ? 0 : (left < kTaps ? left : kTaps));
    taps->weight[side][b][tap] = tap < count ? static_cast<A>(axis.weight(first + tap)) : A{0};
    if (slopes)
      slopes->slope[side][b][tap] = tap < count ? static_cast<A>(axis.slope(first + tap)) : A{0};
    if (tap == 0) taps->first[side][b] = first, taps->count[side][b] = count;
  }
  __syncthreads();
}

// One bin and some channels of a block's work: neighbouring threads take neighbouring channels or,
// where those do not lie together, neighbouring bins.
struct BinItem {
  int bin;
  int64_t channel;
};

template <int Vector>
__device__ inline BinItem item_of(int64_t item, int bins, int64_t dims, bool by_channel) {
  const int64_t vectors = dims / Vector;
  if (by_channel) return {static_cast<int>(item / vectors), item % vectors * Vector};
  return {static_cast<int>(item % bins), item / bins * Vector};
}

// f(element offset, i, j) for the pixels of a bin: row i and column j of the tile.
template <typename A, typename F>
__device__ inline void for_pixels(const Taps<A>& taps, int b, int64_t row, int64_t column,
                                  const F& f) {
  for (int i = 0; i < taps.count[0][b]; ++i)
    for (int j = 0; j < taps.count[1][b]; ++j)
      f((taps.first[0][b] + i) * row + (taps.first[1][b] + j) * column, i, j);
}

// ------------------------------------------------------------------- forward

template <typename T, int Vector, typename Rule>
__global__ void pool_kernel(Rule rule, Plane<const T> map, Pooled<T> out) {
  using A = accumulate_cuda_t<T>;
  __shared__ MovedBins<typename Rule::Axis> bins;
  __shared__ Taps<A> taps;
  for (int64_t block = blockIdx.x; block < blocks_of(rule); block += gridDim.x) {
    const BinPlace place = place_of(block, rule);
    const int64_t image = rule.image(place.box);
    set_bins(rule, place, &bins);
    const int64_t tiles = image < 0 ? 0 : bins.tiles[0] * bins.tiles[1];
    const int64_t items = place.bins * (rule.dims / Vector);
    for (int64_t from = 0; from < items; from += blockDim.x) {
      const int64_t mine = from + threadIdx.x;
      const BinItem item =
          item_of<Vector>(mine < items ? mine : 0, place.bins, rule.dims, out.channel == 1);
      const int64_t d = place.kind * rule.dims + item.channel, bin = place.bin + item.bin;
      A sum[Vector] = {};
      for (int64_t tile = 0; tile < tiles; ++tile) {
        if (tiles > 1 || from == 0) set_taps(bins, tile, place, &taps);
        if (mine >= items) continue;
        const T* plane = map.at(image, rule.channel(d, bin));
        for_pixels(taps, item.bin, map.row, map.column, [&](int64_t pixel, int i, int j) {
          const A weight = taps.weight[0][item.bin][i] * taps.weight[1][item.bin][j];
          if (weight == 0) return;
          const auto value = *reinterpret_cast<const Pack<T, Vector>*>(plane + pixel);
          for (int v = 0; v < Vector; ++v) sum[v] = fma(weight, A(widen(value.value[v])), sum[v]);
        });
      }
      if (mine >= items) continue;
      Pack<T, Vector> result;
      for (int v = 0; v < Vector; ++v) narrow(&result.value[v], sum[v]);
      *reinterpret_cast<Pack<T, Vector>*>(out.at(place.box, d, bin)) = result;
    }
  }
}

// ------------------------------------------------------------------- gradient to the offsets

// What a bin's move does to the sum of its output times the output's gradient.
template <typename A>
struct Move {
  A y, x;
};

template <typename T, int Vector, typename Rule>
__global__ void moves_kernel(Rule rule, Plane<const T> map, Pooled<const T> grad,
                             Move<accumulate_cuda_t<T>>* moves) {
  using A = accumulate_cuda_t<T>;
  __shared__ MovedBins<typename Rule::Axis> bins;
  __shared__ Taps<A> taps;
  __shared__ Slopes<A> slopes;
  __shared__ Move<A> total[kBins];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  for (int64_t block = blockIdx.x; block < blocks_of(rule); block += gridDim.x) {
    const BinPlace place = place_of(block, rule);
    const int64_t image = rule.image(place.box);
    set_bins(rule, place, &bins);
    if (threadIdx.x < kBins) total[threadIdx.x] = {0, 0};
    const int64_t tiles = image < 0 ? 0 : bins.tiles[0] * bins.tiles[1];
    for (int64_t tile = 0; tile < tiles; ++tile) {
      set_taps(bins, tile, place, &taps, &slopes);
      for (int b = warp; b < place.bins; b += warps) {
        Move<A> sum{0, 0};
        for (int64_t c = lane * Vector; c < rule.dims; c += 32 * Vector) {
          const int64_t d = place.kind * rule.dims + c, bin = place.bin + b;
          const T* plane = map.at(image, rule.channel(d, bin));
          const auto upper =
              *reinterpret_cast<const Pack<T, Vector>*>(grad.at(place.box, d, bin));
          for_pixels(taps, b, map.row, map.column, [&](int64_t pixel, int i, int j) {
            const A y = slopes.slope[0][b][i] * taps.weight[1][b][j];
            const A x = taps.weight[0][b][i] * slopes.slope[1][b][j];
            if (y == 0 && x == 0) return;
            const auto value = *reinterpret_cast<const Pack<T, Vector>*>(plane + pixel);
            for (int v = 0; v < Vector; ++v) {
              const A product = A(widen(value.value[v])) * A(widen(upper.value[v]));
              if (y != 0) sum.y = fma(y, product, sum.y);
              if (x != 0) sum.x = fma(x, product, sum.x);
            }
          });
        }
        for (int step = 16; step > 0; step /= 2) {
          sum.y += __shfl_xor_sync(0xffffffffu, sum.y, step);
          sum.x += __shfl_xor_sync(0xffffffffu, sum.x, step);
        }
        if (lane == 0) total[b].y += sum.y, total[b].x += sum.x;
      }
    }
    __syncthreads();
    if (threadIdx.x < place.bins) {
      const Move<A> sum = total[threadIdx.x];
      moves[(place.box * rule.classes + place.kind) * rule.bins() + place.bin + threadIdx.x] = {
          sum.y == 0 ? A{0} : static_cast<A>(sum.y * rule.move(place.box, 0)),
          sum.x == 0 ? A{0} : static_cast<A>(sum.x * rule.move(place.box, 1))};
    }
  }
}

// Adds up the bins that share an offset, in order: (boxes, 2 * classes, parts), x before y.
template <typename A, typename Rule>
__global__ void offsets_kernel(Rule rule, const Move<A>* moves, int64_t columns, AnyOut to_offset) {
  const int64_t parts = rule.part_rows * rule.part_columns;
  GRID_STRIDE_LOOP(index, rule.boxes * rule.classes * parts) {
    const int64_t part = index % parts, kind = index / parts;  // of all boxes
    const Span rows = rule.rows_of(part / rule.part_columns);
    const Span across = rule.columns_of(part % rule.part_columns);
    Move<A> sum{0, 0};
    for (int64_t i = rows.begin; i < rows.end; ++i)
      for (int64_t j = across.begin; j < across.end; ++j) {
        const Move<A> move = moves[kind * rule.bins() + i * columns + j];
        sum.y += move.y, sum.x += move.x;
      }
    to_offset.put(2 * kind * parts + part, sum.x);
    to_offset.put((2 * kind + 1) * parts + part, sum.y);
  }
}

}  // namespace perception
