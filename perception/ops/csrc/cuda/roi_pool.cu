// RoIPool on CUDA: one thread per bin and vector of channels; fast and deterministic backward.
#include "cuda/gather.cuh"

namespace perception {
namespace {

constexpr Kind kKind = Kind::one_of_cells;

template <typename T, int Vector>
__global__ void pool_kernel(Plane<const T> map, RoiTable rois, double scale, Rule rule,
                            int64_t count, bool channels_last, T* out, int32_t* argmax) {
  using A = accumulate_cuda_t<T>;
  GRID_STRIDE_LOOP(index, count) {
    const Output at = output_of<Vector>(index, map.channels, rule.grid.rows, rule.grid.columns,
                                        channels_last);
    const int64_t n = rois.image(at.box, map.images);
    const Axis y = axis_of(rois, at.box, 2, scale, rule, at.row, map.height);
    const Axis x = axis_of(rois, at.box, 1, scale, rule, at.column, map.width);
    A best[Vector] = {};
    Pack<int32_t, Vector> where;
    for (int v = 0; v < Vector; ++v) where.value[v] = -1;
    if (n >= 0) {
      const T* plane = map.at(n, at.channel);
      for (int64_t i = y.low(); i < y.high(); ++i) {
        for (int64_t j = x.low(); j < x.high(); ++j) {
          const auto pixel =
              *reinterpret_cast<const Pack<T, Vector>*>(plane + i * map.row + j * map.column);
          for (int v = 0; v < Vector; ++v) {
            const A value = widen(pixel.value[v]);
            // The first maximum; a NaN beats everything and is never beaten.
            const bool better = !(value <= best[v]) && best[v] == best[v];
            if (better || where.value[v] < 0)
              best[v] = value, where.value[v] = static_cast<int32_t>(i * map.width + j);
          }
        }
      }
    }
    Pack<T, Vector> result;
    for (int v = 0; v < Vector; ++v) narrow(&result.value[v], best[v]);
    reinterpret_cast<Pack<T, Vector>*>(out)[index] = result;
    reinterpret_cast<Pack<int32_t, Vector>*>(argmax)[index] = where;
  }
}

template <typename T>
__global__ void unpool_kernel(const T* grad, const int32_t* argmax, RoiTable rois, int64_t rows,
                              int64_t columns, int64_t count, bool channels_last,
                              Plane<accumulate_cuda_t<T>> sums) {
  GRID_STRIDE_LOOP(index, count) {
    const Output at = output_of(index, sums.channels, rows, columns, channels_last);
    const int64_t n = rois.image(at.box, sums.images), pixel = argmax[index];
    if (n < 0 || pixel < 0 || pixel >= sums.height * sums.width) continue;
    atomicAdd(sums.at(n, at.channel) + pixel / sums.width * sums.row +
                  pixel % sums.width * sums.column,
              accumulate_cuda_t<T>(widen(grad[index])));
  }
}

std::tuple<Tensor, Tensor> roi_pool(const Tensor& features, const Tensor& rois, double scale,
                                    int64_t rows, int64_t columns) {
  const DeviceGuard guard(features.get_device_index());
  const bool channels_last = is_channels_last(features);
  check(features.dim() == 4 && rows >= 1 && columns >= 1, "roi_pool: wrong shapes");
  check(features.size(3) == 0 || features.size(2) <= INT32_MAX / features.size(3),
        "input has more than 2147483647 pixels per image");
  const std::vector<int64_t> size{rois.size(0), features.size(1), rows, columns};
  Tensor out = empty_map(features, size, channels_last);
  Tensor argmax = torch::stable::empty(
      size, ScalarType::Int, std::nullopt, features.device(), std::nullopt,
      channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  if (out.numel() == 0) return {out, argmax};
  check(features.numel() > 0, "input is empty");
  const RoiTable table = as_table(rois);
  const Rule rule{{rows, columns, 0, false, false}, kKind};
  dispatch_cuda(features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    constexpr int kVector = sizeof(T) == 8 ? 2 : 4;
    const cudaStream_t stream = current_stream(features);
    const auto map = as_plane<const T>(features);
    T* values = static_cast<T*>(out.data_ptr());
    auto* places = static_cast<int32_t*>(argmax.data_ptr());
    const int64_t count = out.numel();
    if (channels_last && vectors_fit<T>(features, kVector))
      pool_kernel<T, kVector><<<blocks_for(count / kVector), kThreads, 0, stream>>>(
          map, table, scale, rule, count / kVector, true, values, places);
    else
      pool_kernel<T, 1><<<blocks_for(count), kThreads, 0, stream>>>(
          map, table, scale, rule, count, channels_last, values, places);
  });
  check_launch("roi_pool");
  return {out, argmax};
}

Tensor roi_pool_backward(const Tensor& grad_any, const Tensor& argmax_any, const Tensor& rois,
                         double scale, std::vector<int64_t> shape, bool deterministic) {
  const DeviceGuard guard(grad_any.get_device_index());
  check(shape.size() == 4 && grad_any.dim() == 4 && argmax_any.dim() == 4 &&
            argmax_any.scalar_type() == ScalarType::Int && argmax_any.numel() == grad_any.numel(),
        "grad and argmax (int32) must have one shape of 4 dimensions");
  const bool channels_last = is_channels_last(argmax_any);
  const auto format = channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
  const Tensor grad = torch::stable::contiguous(grad_any, format);
  const Tensor argmax = torch::stable::contiguous(argmax_any, format);
  Tensor sums = zero_sums(grad, shape, channels_last);
  if (grad.numel() == 0) return in_dtype_of(sums, grad);
  const RoiTable table = as_table(rois);
  const cudaStream_t stream = current_stream(grad);
  const Rule rule{{grad.size(2), grad.size(3), 0, false, false}, kKind};
  dispatch_cuda(grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = accumulate_cuda_t<T>;
    const auto levels = as_levels<A>({sums}, {scale});
    const auto* places = static_cast<const int32_t*>(argmax.data_ptr());
    if (deterministic)
      launch_gather<Reads::maximum>(BoxAxes<A>{table, rule, levels, 0}, as_upper<T>(grad, places),
                                    levels.map[0], stream);
    else
      unpool_kernel<T><<<blocks_for(grad.numel()), kThreads, 0, stream>>>(
          static_cast<const T*>(grad.data_ptr()), places, table, grad.size(2), grad.size(3),
          grad.numel(), channels_last, levels.map[0]);
  });
  check_launch("roi_pool_backward");
  return in_dtype_of(sums, grad);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("roi_pool", TORCH_BOX(&roi_pool));
  m.impl("roi_pool_backward", TORCH_BOX(&roi_pool_backward));
}

}  // namespace perception
