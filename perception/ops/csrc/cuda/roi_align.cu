// RoIAlign on CUDA, one launch for all levels of a pyramid.
#include "cuda/roi_align.cuh"

namespace perception {
namespace {

template <typename T, int Vector>
__global__ void __launch_bounds__(kAligners, 6)
    align_kernel(Levels<const T> levels, RoiTable rois, Grid grid, int64_t channels, int64_t blocks,
                 T* out, int64_t out_channel, int64_t out_bin) {
  using A = accumulate_cuda_t<T>;
  __shared__ Bins bins;
  __shared__ Tile<A> tile;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const Place place = place_of(block, grid);
    const int level = level_of(rois, levels, place.box);
    const int64_t image = rois.image(place.box, levels.map[0].images);
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
        const Plane<const T>& map = levels.map[level];
        const T* plane = map.at(image, item.channel);
        for (int i = 0; i < tile.y_count; ++i) {
          if (tile.y[i] == 0) continue;
          const T* line = plane + (tile.y0 + i) * map.row;
          for (int j = 0; j < tile.x_count[item.column]; ++j) {
            const A weight = tile.y[i] * tile.x[item.column][j];
            if (tile.x[item.column][j] == 0) continue;
            const auto pixel = *reinterpret_cast<const Pack<T, Vector>*>(
                line + (tile.x0[item.column] + j) * map.column);
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
  const RoiTable table = as_table(rois, given);
  const cudaStream_t stream = current_stream(maps[0]);
  const int64_t blocks = blocks_of(boxes, grid);
  dispatch_cuda(out.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    constexpr int kVector = 16 / sizeof(T);
    const auto levels = as_levels<const T>(maps, scales, canonical_size, canonical_level);
    T* data = static_cast<T*>(out.data_ptr());
    if (channels_last && vectors_fit<T>(maps, kVector))
      align_kernel<T, kVector><<<launched_of(blocks), kAligners, 0, stream>>>(
          levels, table, grid, channels, blocks, data, 1, channels);
    else
      align_kernel<T, 1><<<launched_of(blocks), kAligners, 0, stream>>>(
          levels, table, grid, channels, blocks, data, channels_last ? 1 : bins,
          channels_last ? channels : 1);
  });
  check_launch("roi_align");
  return out;
}

Tensor roi_align(const Tensor& features, const Tensor& rois, double scale, int64_t rows,
                 int64_t columns, int64_t sampling, bool aligned) {
  return align({features}, rois, std::nullopt, {scale},
               {rows, columns, sampling, aligned, !aligned}, 1, 0);
}

Tensor multi_level(std::vector<Tensor> features, const Tensor& rois, std::optional<Tensor> given,
                   std::vector<double> scales, int64_t rows, int64_t columns, int64_t sampling,
                   bool aligned, double canonical_size, int64_t canonical_level) {
  check(!features.empty() && features.size() == scales.size(), "one spatial scale per level");
  return align(features, rois, given, scales, {rows, columns, sampling, aligned, !aligned},
               canonical_size, canonical_level);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("roi_align", TORCH_BOX(&roi_align));
  m.impl("multi_level_roi_align", TORCH_BOX(&multi_level));
}

}  // namespace perception
