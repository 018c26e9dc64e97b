// How a block of RoIAlign works, forward and backward: one row of bins of one box, the weights of
// the pixels it touches in shared memory, a tile of pixels at a time.
#pragma once

#include "cuda/pooling.cuh"

namespace perception {

constexpr int kAligners = 128;  // threads of a block
constexpr int kTaps = 32;       // pixels of a bin handled at a time, per axis
constexpr int kColumns = 16;    // columns of bins of one block

// The weights of one row of bins, for a tile of the pixels that they touch.
template <typename A>
struct Tile {
  A y[kTaps], x[kColumns][kTaps];
  int64_t y0, x0[kColumns];
  int y_count, x_count[kColumns];
};

// Where a block works: box, row of bins, first column.
struct Place {
  int64_t box, row, column;
  int columns;
};

__device__ inline Place place_of(int64_t block, const Grid& grid) {
  const int64_t groups = (grid.columns + kColumns - 1) / kColumns;
  Place place;
  place.column = block % groups * kColumns;
  place.row = block / groups % grid.rows;
  place.box = block / groups / grid.rows;
  const int64_t left = grid.columns - place.column;
  place.columns = static_cast<int>(left < kColumns ? left : kColumns);
  return place;
}

// The bins of a block; `tiles_*` how many tiles the widest of them needs.
struct Bins {
  BinSamples y, x[kColumns];
  int64_t tiles_y, tiles_x;
};

template <typename T>
__device__ inline void set_bins(const RoiTable& rois, const Levels<T>& levels, int level,
                                const Grid& grid, const Place& place, Bins* bins) {
  const double scale = levels.scale[level];
  const int64_t k = place.box;
  if (threadIdx.x == 0)
    bins->y = bin_samples(rois.at(k, 2), rois.at(k, 4), scale, grid, grid.rows, place.row,
                          levels.map[level].height);
  if (threadIdx.x < place.columns)
    bins->x[threadIdx.x] = bin_samples(rois.at(k, 1), rois.at(k, 3), scale, grid, grid.columns,
                                       place.column + threadIdx.x, levels.map[level].width);
  __syncthreads();
  if (threadIdx.x == 0) {
    int64_t widest = 0;
    for (int j = 0; j < place.columns; ++j)
      widest = max(widest, bins->x[j].high - bins->x[j].low);
    bins->tiles_y = (bins->y.high - bins->y.low + kTaps - 1) / kTaps;
    bins->tiles_x = (widest + kTaps - 1) / kTaps;
  }
  __syncthreads();
}

template <typename A>
__device__ inline void set_tile(const Bins& bins, int64_t ty, int64_t tx, const Place& place,
                                Tile<A>* tile) {
  __syncthreads();
  const int total = kTaps * (1 + place.columns);
  for (int t = threadIdx.x; t < total; t += blockDim.x) {
    const int tap = t % kTaps, axis = t / kTaps - 1;
    const BinSamples& bin = axis < 0 ? bins.y : bins.x[axis];
    const int64_t first = bin.low + (axis < 0 ? ty : tx) * kTaps;
    const int64_t left = bin.high - first;
    const int count = static_cast<int>(left < 0 ? 0 : (left < kTaps ? left : kTaps));
    const A weight = tap < count ? static_cast<A>(pixel_weight(bin, first + tap)) : A{0};
    if (axis < 0) {
      tile->y[tap] = weight;
      if (tap == 0) tile->y0 = first, tile->y_count = count;
    } else {
      tile->x[axis][tap] = weight;
      if (tap == 0) tile->x0[axis] = first, tile->x_count[axis] = count;
    }
  }
  __syncthreads();
}

// Which column of bins and which channels an item is: channels next to each other where they lie
// together in memory, columns otherwise.
struct Item {
  int column;
  int64_t channel;
};

template <int Vector>
__device__ inline Item item_of(int64_t item, int columns, int64_t channels) {
  if (Vector > 1) {
    const int64_t vectors = channels / Vector;
    return {static_cast<int>(item / vectors), item % vectors * Vector};
  }
  return {static_cast<int>(item % columns), item / columns};
}

template <typename T>
bool vectors_fit(const std::vector<Tensor>& maps, int64_t vector) {
  for (const Tensor& map : maps)
    if (!vectors_fit<T>(map, vector)) return false;
  return true;
}

inline int64_t blocks_of(int64_t boxes, const Grid& grid) {
  return boxes * grid.rows * ((grid.columns + kColumns - 1) / kColumns);
}

inline unsigned launched_of(int64_t blocks) {
  return static_cast<unsigned>(blocks < (1 << 30) ? blocks : (1 << 30));
}

}  // namespace perception
