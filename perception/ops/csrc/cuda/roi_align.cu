// RoIAlign on CUDA: one launch for all levels; a fast and a deterministic backward.
#include <optional>

#include "cuda/pooling.cuh"

namespace perception {
namespace {

constexpr int kTaps = 32;     // pixels of a bin handled at a time, per axis
constexpr int kColumns = 16;  // columns of bins of one block

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
                          levels.height[level]);
  if (threadIdx.x < place.columns)
    bins->x[threadIdx.x] = bin_samples(rois.at(k, 1), rois.at(k, 3), scale, grid, grid.columns,
                                       place.column + threadIdx.x, levels.width[level]);
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

template <typename T, int Vector>
__global__ void align_kernel(Levels<const T> levels, RoiTable rois, Grid grid, int64_t channels,
                             int64_t blocks, T* out, int64_t out_channel, int64_t out_bin) {
  using A = accumulate_cuda_t<T>;
  __shared__ Bins bins;
  __shared__ Tile<A> tile;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const Place place = place_of(block, grid);
    const int level = level_of(rois, levels, place.box);
    const int64_t image = rois.image(place.box, levels.images);
    __syncthreads();
    set_bins(rois, levels, level, grid, place, &bins);
    const int64_t tiles = image < 0 ? 0 : bins.tiles_y * bins.tiles_x;
    const int64_t items = place.columns * (channels / Vector);
    for (int64_t from = 0; from < items; from += blockDim.x) {
      const int64_t mine = from + threadIdx.x;
      const Item item = item_of<Vector>(mine < items ? mine : 0, place.columns, channels);
      A sum[Vector] = {};
      for (int64_t t = 0; t < tiles; ++t) {
        if (tiles > 1 || from == 0)
          set_tile(bins, t / bins.tiles_x, t % bins.tiles_x, place, &tile);
        if (mine >= items) continue;
        const T* plane = levels.data[level] + image * levels.image[level] +
                         item.channel * levels.channel[level];
        for (int i = 0; i < tile.y_count; ++i) {
          if (tile.y[i] == 0) continue;
          const T* line = plane + (tile.y0 + i) * levels.row[level];
          for (int j = 0; j < tile.x_count[item.column]; ++j) {
            const A weight = tile.y[i] * tile.x[item.column][j];
            if (tile.x[item.column][j] == 0) continue;
            const auto pixel = *reinterpret_cast<const Pack<T, Vector>*>(
                line + (tile.x0[item.column] + j) * levels.column[level]);
            for (int v = 0; v < Vector; ++v) sum[v] = fma(weight, A(widen(pixel.value[v])), sum[v]);
          }
        }
      }
      if (mine >= items) continue;
      Pack<T, Vector> result;
      for (int v = 0; v < Vector; ++v) narrow(&result.value[v], sum[v]);
      const int64_t bin = place.row * grid.columns + place.column + item.column;
      *reinterpret_cast<Pack<T, Vector>*>(out + place.box * channels * grid.rows * grid.columns +
                                          item.channel * out_channel + bin * out_bin) = result;
    }
  }
}

// Adds a vector to global memory: at once where the machine can.
template <typename A, int Vector>
__device__ inline void add_vector(A* to, const A (&part)[Vector]) {
#if __CUDA_ARCH__ >= 900
  if constexpr (Vector == 4 && sizeof(A) == 4) {
    atomicAdd(reinterpret_cast<float4*>(to), make_float4(part[0], part[1], part[2], part[3]));
  } else
#endif
  {
    for (int v = 0; v < Vector; ++v) atomicAdd(to + v, part[v]);
  }
}

// Fast backward: every bin adds to its pixels. The sums are float32 (float64), so are the atomics.
template <typename T, int Vector>
__global__ void align_scatter_kernel(const T* grad, int64_t grad_channel, int64_t grad_bin,
                                     RoiTable rois, Grid grid, int64_t channels, int64_t blocks,
                                     Levels<accumulate_cuda_t<T>> levels) {
  using A = accumulate_cuda_t<T>;
  __shared__ Bins bins;
  __shared__ Tile<A> tile;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const Place place = place_of(block, grid);
    const int level = level_of(rois, levels, place.box);
    const int64_t image = rois.image(place.box, levels.images);
    __syncthreads();
    set_bins(rois, levels, level, grid, place, &bins);
    const int64_t tiles = image < 0 ? 0 : bins.tiles_y * bins.tiles_x;
    const int64_t items = place.columns * (channels / Vector);
    for (int64_t t = 0; t < tiles; ++t) {
      set_tile(bins, t / bins.tiles_x, t % bins.tiles_x, place, &tile);
      for (int64_t mine = threadIdx.x; mine < items; mine += blockDim.x) {
        const Item item = item_of<Vector>(mine, place.columns, channels);
        const int64_t bin = place.row * grid.columns + place.column + item.column;
        const auto upper = *reinterpret_cast<const Pack<T, Vector>*>(
            grad + place.box * channels * grid.rows * grid.columns + item.channel * grad_channel +
            bin * grad_bin);
        A* plane = levels.data[level] + image * levels.image[level] +
                   item.channel * levels.channel[level];
        for (int i = 0; i < tile.y_count; ++i) {
          if (tile.y[i] == 0) continue;
          for (int j = 0; j < tile.x_count[item.column]; ++j) {
            const A weight = tile.y[i] * tile.x[item.column][j];
            if (tile.x[item.column][j] == 0) continue;
            A* pixel = plane + (tile.y0 + i) * levels.row[level] +
                       (tile.x0[item.column] + j) * levels.column[level];
            A part[Vector];
            for (int v = 0; v < Vector; ++v) part[v] = weight * A(widen(upper.value[v]));
            add_vector(pixel, part);
          }
        }
      }
    }
  }
}

// Deterministic backward: one block per pixel gathers from the boxes in their order.
template <typename T>
__global__ void align_gather_kernel(const T* grad, int64_t grad_channel, int64_t grad_bin,
                                    RoiTable rois, int64_t boxes, Grid grid, int64_t channels,
                                    int level, Levels<accumulate_cuda_t<T>> levels) {
  using A = accumulate_cuda_t<T>;
  extern __shared__ char memory[];
  A* y_weight = reinterpret_cast<A*>(memory);
  A* x_weight = y_weight + grid.rows;
  const int64_t height = levels.height[level], width = levels.width[level];
  const int64_t pixels = levels.images * height * width;
  for (int64_t block = blockIdx.x; block < pixels; block += gridDim.x) {
    const int64_t x = block % width, y = block / width % height, n = block / width / height;
    A* pixel = levels.data[level] + n * levels.image[level] + y * levels.row[level] +
               x * levels.column[level];
    for (int64_t k = 0; k < boxes; ++k) {
      if (rois.image(k, levels.images) != n || level_of(rois, levels, k) != level) continue;
      const double scale = levels.scale[level];
      const double x1 = rois.at(k, 1) * scale, x2 = rois.at(k, 3) * scale;
      const double y1 = rois.at(k, 2) * scale, y2 = rois.at(k, 4) * scale;
      if (!(fmin(x1, x2) - 2 <= x && x <= fmax(x1, x2) + 3 && fmin(y1, y2) - 2 <= y &&
            y <= fmax(y1, y2) + 3))
        continue;  // the same for every thread of the block
      __syncthreads();
      for (int64_t t = threadIdx.x; t < grid.rows + grid.columns; t += blockDim.x) {
        const bool vertical = t < grid.rows;
        const BinSamples bin =
            vertical ? bin_samples(rois.at(k, 2), rois.at(k, 4), scale, grid, grid.rows, t, height)
                     : bin_samples(rois.at(k, 1), rois.at(k, 3), scale, grid, grid.columns,
                                   t - grid.rows, width);
        const int64_t p = vertical ? y : x;
        y_weight[t] = p >= bin.low && p < bin.high ? static_cast<A>(pixel_weight(bin, p)) : A{0};
      }
      __syncthreads();
      const T* from = grad + k * channels * grid.rows * grid.columns;
      for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) {
        A sum = pixel[c * levels.channel[level]];
        for (int64_t i = 0; i < grid.rows; ++i) {
          if (y_weight[i] == 0) continue;
          for (int64_t j = 0; j < grid.columns; ++j)
            if (x_weight[j] != 0)
              sum = fma(A(y_weight[i] * x_weight[j]),
                        A(widen(from[c * grad_channel + (i * grid.columns + j) * grad_bin])), sum);
        }
        pixel[c * levels.channel[level]] = sum;
      }
    }
  }
}

// ------------------------------------------------------------------- host

template <typename T>
Levels<T> make_levels(const std::vector<Tensor>& maps, const std::vector<double>& scales,
                      double canonical_size, int64_t canonical_level) {
  check(maps.size() <= kMaxLevels, "at most ", kMaxLevels, " levels, got ", maps.size());
  Levels<T> levels{};
  levels.count = static_cast<int>(maps.size());
  levels.images = maps[0].size(0);
  levels.lowest = std::round(-std::log2(scales[0]));
  levels.canonical_size = canonical_size;
  levels.canonical_level = static_cast<double>(canonical_level);
  for (size_t l = 0; l < maps.size(); ++l) {
    const Map map = as_map("input", maps[l]);
    levels.data[l] = static_cast<T*>(const_cast<void*>(map.data));
    levels.image[l] = map.stride_image, levels.channel[l] = map.stride_channel;
    levels.row[l] = map.stride_row, levels.column[l] = map.stride_column;
    levels.height[l] = map.height, levels.width[l] = map.width;
    levels.scale[l] = scales[l];
  }
  return levels;
}

// Whether 16-byte vectors of channels can be read from (and written to) all of these maps.
template <typename T>
bool vectors_fit(const std::vector<Tensor>& maps, int64_t vector) {
  for (const Tensor& map : maps) {
    const bool dense = map.stride(1) == 1 && map.size(1) % vector == 0 &&
                       map.stride(0) % vector == 0 && map.stride(2) % vector == 0 &&
                       map.stride(3) % vector == 0;
    if (!dense || reinterpret_cast<uintptr_t>(map.data_ptr()) % 16) return false;
  }
  return true;
}

RoiTable with_levels(const Tensor& rois, const std::optional<Tensor>& given) {
  RoiTable table = as_table(rois);
  if (given) {
    check(given->dim() == 1 && given->scalar_type() == ScalarType::Long &&
              given->size(0) == rois.size(0),
          "levels must be int64 with one entry per box");
    table.levels = static_cast<const int64_t*>(given->data_ptr());
    table.level_stride = given->stride(0);
  }
  return table;
}

int64_t blocks_of(int64_t boxes, const Grid& grid) {
  return boxes * grid.rows * ((grid.columns + kColumns - 1) / kColumns);
}

Tensor align(const std::vector<Tensor>& maps, const Tensor& rois,
             const std::optional<Tensor>& given, const std::vector<double>& scales,
             const Grid& grid, double canonical_size, int64_t canonical_level) {
  const DeviceGuard guard(maps[0].get_device_index());
  const bool channels_last = is_channels_last(maps[0]);
  const int64_t channels = maps[0].size(1), boxes = rois.size(0), bins = grid.rows * grid.columns;
  for (const Tensor& map : maps)
    check(boxes == 0 || (map.size(0) * map.size(2) * map.size(3) > 0), "input is empty");
  Tensor out = empty_map(maps[0], {boxes, channels, grid.rows, grid.columns}, channels_last);
  if (out.numel() == 0) return out;
  const RoiTable table = with_levels(rois, given);
  const cudaStream_t stream = current_stream(maps[0]);
  const int64_t blocks = blocks_of(boxes, grid);
  const auto launched = static_cast<unsigned>(blocks < (1 << 30) ? blocks : (1 << 30));
  dispatch_cuda(out.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    constexpr int kVector = 16 / sizeof(T);
    const auto levels = make_levels<const T>(maps, scales, canonical_size, canonical_level);
    T* data = static_cast<T*>(out.data_ptr());
    if (channels_last && vectors_fit<T>(maps, kVector))
      align_kernel<T, kVector><<<launched, 128, 0, stream>>>(levels, table, grid, channels, blocks,
                                                             data, 1, channels);
    else
      align_kernel<T, 1><<<launched, kThreads, 0, stream>>>(
          levels, table, grid, channels, blocks, data, channels_last ? 1 : bins,
          channels_last ? channels : 1);
  });
  check_launch("roi_align");
  return out;
}

// Zeroed float32 (float64) sums in the layout of the result; converted to its dtype at the end.
Tensor zero_sums(const Tensor& like, const std::vector<int64_t>& shape, bool channels_last) {
  const auto type = like.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  Tensor sums = torch::stable::empty(
      shape, type, std::nullopt, like.device(), std::nullopt,
      channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  torch::stable::zero_(sums);
  return sums;
}

template <typename T>
void launch_backward(const Tensor& grad, const RoiTable& table, const Grid& grid,
                     const std::vector<Tensor>& sums, const std::vector<double>& scales,
                     double canonical_size, int64_t canonical_level, bool deterministic,
                     cudaStream_t stream) {
  using A = accumulate_cuda_t<T>;
  const bool last = is_channels_last(grad);
  const int64_t channels = grad.size(1), boxes = grad.size(0), bins = grid.rows * grid.columns;
  const T* data = static_cast<const T*>(grad.data_ptr());
  const int64_t by_channel = last ? 1 : bins, by_bin = last ? channels : 1;
  const auto levels = make_levels<A>(sums, scales, canonical_size, canonical_level);
  if (deterministic) {
    const size_t shared = static_cast<size_t>(grid.rows + grid.columns) * sizeof(A);
    check(shared <= 48 << 10, "the deterministic backward takes outputs up to ", 48 * 1024 / sizeof(A),
          " rows and columns together");
    for (int l = 0; l < levels.count; ++l) {
      const int64_t pixels = levels.images * levels.height[l] * levels.width[l];
      align_gather_kernel<T><<<blocks_for(pixels, 1), 128, shared, stream>>>(
          data, by_channel, by_bin, table, boxes, grid, channels, l, levels);
    }
    return;
  }
  const int64_t blocks = blocks_of(boxes, grid);
  const auto launched = static_cast<unsigned>(blocks < (1 << 30) ? blocks : (1 << 30));
  const bool four = last && channels % 4 == 0 && vectors_fit<A>(sums, 4) &&
                    reinterpret_cast<uintptr_t>(data) % (4 * sizeof(T)) == 0;
  if (four)
    align_scatter_kernel<T, 4><<<launched, 128, 0, stream>>>(data, by_channel, by_bin, table, grid,
                                                             channels, blocks, levels);
  else
    align_scatter_kernel<T, 1><<<launched, kThreads, 0, stream>>>(
        data, by_channel, by_bin, table, grid, channels, blocks, levels);
}

std::vector<Tensor> align_backward(const Tensor& grad_any, const Tensor& rois,
                                   const std::optional<Tensor>& given,
                                   const std::vector<double>& scales,
                                   const std::vector<int64_t>& shapes, const Grid& grid,
                                   double canonical_size, int64_t canonical_level,
                                   bool deterministic) {
  const DeviceGuard guard(grad_any.get_device_index());
  const bool channels_last = is_channels_last(grad_any);
  const Tensor grad = channels_last || grad_any.is_contiguous()
                          ? grad_any
                          : torch::stable::contiguous(grad_any);
  std::vector<Tensor> sums;
  for (size_t l = 0; l < scales.size(); ++l)
    sums.push_back(zero_sums(grad, {shapes.begin() + 4 * static_cast<int64_t>(l),
                                    shapes.begin() + 4 * static_cast<int64_t>(l) + 4},
                             channels_last));
  if (grad.numel() > 0) {
    const RoiTable table = with_levels(rois, given);
    const cudaStream_t stream = current_stream(grad);
    dispatch_cuda(grad.scalar_type(), [&](auto zero) {
      launch_backward<decltype(zero)>(grad, table, grid, sums, scales, canonical_size,
                                      canonical_level, deterministic, stream);
    });
    check_launch("roi_align_backward");
  }
  for (Tensor& sum : sums)
    if (sum.scalar_type() != grad.scalar_type()) sum = torch::stable::to(sum, grad.scalar_type());
  return sums;
}

Tensor roi_align(const Tensor& features, const Tensor& rois, double scale, int64_t rows,
                 int64_t columns, int64_t sampling, bool aligned) {
  return align({features}, rois, std::nullopt, {scale},
               {rows, columns, sampling, aligned, !aligned}, 1, 0);
}

Tensor roi_align_backward(const Tensor& grad, const Tensor& rois, double scale,
                          std::vector<int64_t> shape, int64_t sampling, bool aligned,
                          bool deterministic) {
  check(shape.size() == 4 && grad.dim() == 4, "grad and shape must have 4 dimensions");
  return align_backward(grad, rois, std::nullopt, {scale}, shape,
                        {grad.size(2), grad.size(3), sampling, aligned, !aligned}, 1, 0,
                        deterministic)[0];
}

Tensor multi_level(std::vector<Tensor> features, const Tensor& rois, std::optional<Tensor> given,
                   std::vector<double> scales, int64_t rows, int64_t columns, int64_t sampling,
                   bool aligned, double canonical_size, int64_t canonical_level) {
  check(!features.empty() && features.size() == scales.size(), "one spatial scale per level");
  return align(features, rois, given, scales, {rows, columns, sampling, aligned, !aligned},
               canonical_size, canonical_level);
}

std::vector<Tensor> multi_level_backward(const Tensor& grad, const Tensor& rois,
                                         std::optional<Tensor> given, std::vector<double> scales,
                                         std::vector<int64_t> shapes, int64_t sampling,
                                         bool aligned, double canonical_size,
                                         int64_t canonical_level, bool deterministic) {
  check(grad.dim() == 4 && !scales.empty() && shapes.size() == 4 * scales.size(),
        "one shape of 4 numbers per level");
  return align_backward(grad, rois, given, scales, shapes,
                        {grad.size(2), grad.size(3), sampling, aligned, !aligned}, canonical_size,
                        canonical_level, deterministic);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("roi_align", TORCH_BOX(&roi_align));
  m.impl("roi_align_backward", TORCH_BOX(&roi_align_backward));
  m.impl("multi_level_roi_align", TORCH_BOX(&multi_level));
  m.impl("multi_level_roi_align_backward", TORCH_BOX(&multi_level_backward));
}

}  // namespace perception
