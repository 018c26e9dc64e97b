// The gradient of RoIAlign on CUDA: fast with atomic additions, or deterministic (gather.cuh).
#include "cuda/gather.cuh"
#include "cuda/roi_align.cuh"

namespace perception {
namespace {

// Fast backward: every bin adds to its pixels. The sums are float32 (float64), so are the atomics.
template <typename T, int Vector>
__global__ void __launch_bounds__(kAligners, 7)
    align_scatter_kernel(const T* grad, int64_t grad_channel, int64_t grad_bin, RoiTable rois,
                         Grid grid, int64_t channels, int64_t blocks,
                         Levels<accumulate_cuda_t<T>> levels) {
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
    for (int64_t t = 0; t < tiles; ++t) {
      set_tile(bins, t / bins.tiles_x, t % bins.tiles_x, place, &tile);
      for (int64_t mine = threadIdx.x; mine < items; mine += blockDim.x) {
        const Item item = item_of<Vector>(mine, place.columns, channels);
        const int64_t bin = place.row * grid.columns + place.column + item.column;
        const auto upper = *reinterpret_cast<const Pack<T, Vector>*>(
            grad + place.box * channels * grid.rows * grid.columns + item.channel * grad_channel +
            bin * grad_bin);
        const Plane<A>& map = levels.map[level];
        A* plane = map.at(image, item.channel);
        for (int i = 0; i < tile.y_count; ++i) {
          if (tile.y[i] == 0) continue;
          for (int j = 0; j < tile.x_count[item.column]; ++j) {
            const A weight = tile.y[i] * tile.x[item.column][j];
            if (tile.x[item.column][j] == 0) continue;
            A* pixel = plane + (tile.y0 + i) * map.row + (tile.x0[item.column] + j) * map.column;
            A part[Vector];
            for (int v = 0; v < Vector; ++v) part[v] = weight * A(widen(upper.value[v]));
            add_vector(pixel, part);
          }
        }
      }
    }
  }
}

template <typename T>
void launch_scatter(const Tensor& grad, const RoiTable& table, const Grid& grid,
                    const std::vector<Tensor>& sums, const Levels<accumulate_cuda_t<T>>& levels,
                    cudaStream_t stream) {
  using A = accumulate_cuda_t<T>;
  const bool last = is_channels_last(grad);
  const int64_t channels = grad.size(1), bins = grid.rows * grid.columns;
  const T* data = static_cast<const T*>(grad.data_ptr());
  const int64_t by_channel = last ? 1 : bins, by_bin = last ? channels : 1;
  const int64_t blocks = blocks_of(grad.size(0), grid);
  if (last && vectors_fit<A>(sums, 4) && vectors_fit<T>(grad, 4))
    align_scatter_kernel<T, 4><<<launched_of(blocks), kAligners, 0, stream>>>(
        data, by_channel, by_bin, table, grid, channels, blocks, levels);
  else
    align_scatter_kernel<T, 1><<<launched_of(blocks), kAligners, 0, stream>>>(
        data, by_channel, by_bin, table, grid, channels, blocks, levels);
}

std::vector<Tensor> align_backward(const Tensor& grad_any, const Tensor& rois,
                                   const std::optional<Tensor>& given,
                                   const std::vector<double>& scales,
                                   const std::vector<int64_t>& shapes, const Grid& grid,
                                   double canonical_size, int64_t canonical_level,
                                   bool deterministic) {
  const DeviceGuard guard(grad_any.get_device_index());
  const Tensor grad = dense(grad_any);
  std::vector<Tensor> sums;
  for (size_t l = 0; l < scales.size(); ++l)
    sums.push_back(zero_sums(grad, {shapes.begin() + 4 * static_cast<int64_t>(l),
                                    shapes.begin() + 4 * static_cast<int64_t>(l) + 4},
                             is_channels_last(grad_any)));
  if (grad.numel() > 0) {
    const RoiTable table = as_table(rois, given);
    const cudaStream_t stream = current_stream(grad);
    dispatch_cuda(grad.scalar_type(), [&](auto zero) {
      using T = decltype(zero);
      using A = accumulate_cuda_t<T>;
      const auto levels = as_levels<A>(sums, scales, canonical_size, canonical_level);
      if (!deterministic) return launch_scatter<T>(grad, table, grid, sums, levels, stream);
      for (int l = 0; l < levels.count; ++l)
        launch_gather<Reads::every_bin>(BoxAxes<A>{table, {grid, Kind::samples}, levels, l},
                                        as_upper<T>(grad), levels.map[l], stream);
    });
    check_launch("roi_align_backward");
  }
  for (Tensor& sum : sums) sum = in_dtype_of(sum, grad);
  return sums;
}

Tensor roi_align_backward(const Tensor& grad, const Tensor& rois, double scale,
                          std::vector<int64_t> shape, int64_t sampling, bool aligned,
                          bool deterministic) {
  check(shape.size() == 4 && grad.dim() == 4, "grad and shape must have 4 dimensions");
  return align_backward(grad, rois, std::nullopt, {scale}, shape,
                        {grad.size(2), grad.size(3), sampling, aligned, !aligned}, 1, 0,
                        deterministic)[0];
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
  m.impl("roi_align_backward", TORCH_BOX(&roi_align_backward));
  m.impl("multi_level_roi_align_backward", TORCH_BOX(&multi_level_backward));
}

}  // namespace perception
