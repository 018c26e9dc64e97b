// Position-sensitive pooling on CUDA: one thread per output, each bin from a channel of its own.
#include "cuda/gather.cuh"

namespace perception {
namespace {

template <typename T>
__global__ void read_kernel(Plane<const T> map, RoiTable rois, double scale, Rule rule,
                            int64_t outputs, int64_t count, bool channels_last, T* out) {
  using A = accumulate_cuda_t<T>;
  const Grid& grid = rule.grid;
  GRID_STRIDE_LOOP(index, count) {
    const Output at = output_of(index, outputs, grid.rows, grid.columns, channels_last);
    const int64_t n = rois.image(at.box, map.images);
    const Axis y = axis_of(rois, at.box, 2, scale, rule, at.row, map.height);
    const Axis x = axis_of(rois, at.box, 1, scale, rule, at.column, map.width);
    A sum = 0;
    if (n >= 0) {
      const T* plane = map.at(n, (at.channel * grid.rows + at.row) * grid.columns + at.column);
      for (int64_t i = y.low(); i < y.high(); ++i) {
        const A vertical = static_cast<A>(y.weight(i));
        if (vertical == 0) continue;
        for (int64_t j = x.low(); j < x.high(); ++j) {
          const A weight = vertical * static_cast<A>(x.weight(j));
          if (weight != 0) sum = fma(weight, A(widen(plane[i * map.row + j * map.column])), sum);
        }
      }
    }
    narrow(out + index, sum);
  }
}

// Every output adds its gradient to its pixels.
template <typename T>
__global__ void scatter_kernel(const T* grad, RoiTable rois, double scale, Rule rule,
                               int64_t outputs, int64_t count, bool channels_last,
                               Plane<accumulate_cuda_t<T>> sums) {
  using A = accumulate_cuda_t<T>;
  const Grid& grid = rule.grid;
  GRID_STRIDE_LOOP(index, count) {
    const Output at = output_of(index, outputs, grid.rows, grid.columns, channels_last);
    const int64_t n = rois.image(at.box, sums.images);
    if (n < 0) continue;
    const Axis y = axis_of(rois, at.box, 2, scale, rule, at.row, sums.height);
    const Axis x = axis_of(rois, at.box, 1, scale, rule, at.column, sums.width);
    const A upper = A(widen(grad[index]));
    A* plane = sums.at(n, (at.channel * grid.rows + at.row) * grid.columns + at.column);
    for (int64_t i = y.low(); i < y.high(); ++i) {
      const A vertical = static_cast<A>(y.weight(i));
      if (vertical == 0) continue;
      for (int64_t j = x.low(); j < x.high(); ++j) {
        const A weight = vertical * static_cast<A>(x.weight(j));
        if (weight != 0) atomicAdd(plane + i * sums.row + j * sums.column, weight * upper);
      }
    }
  }
}

Tensor read_all(const Tensor& features, const Tensor& rois, double scale, const Rule& rule) {
  const DeviceGuard guard(features.get_device_index());
  const bool channels_last = is_channels_last(features);
  const int64_t bins = rule.grid.rows * rule.grid.columns;
  check(features.dim() == 4 && bins >= 1 && features.size(1) % bins == 0,
        "input must have a multiple of ", bins, " channels");
  const int64_t outputs = features.size(1) / bins;
  Tensor out = empty_map(features, {rois.size(0), outputs, rule.grid.rows, rule.grid.columns},
                         channels_last);
  if (out.numel() == 0) return out;
  check(features.numel() > 0, "input is empty");
  const RoiTable table = as_table(rois);
  dispatch_cuda(features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    read_kernel<T><<<blocks_for(out.numel()), kThreads, 0, current_stream(features)>>>(
        as_plane<const T>(features), table, scale, rule, outputs, out.numel(), channels_last,
        static_cast<T*>(out.data_ptr()));
  });
  check_launch("ps_roi");
  return out;
}

Tensor add_all(const Tensor& grad_any, const Tensor& rois, double scale,
               const std::vector<int64_t>& shape, const Rule& rule, bool deterministic) {
  const DeviceGuard guard(grad_any.get_device_index());
  const Tensor grad = dense(grad_any);
  check(shape.size() == 4 && shape[1] == grad.size(1) * grad.size(2) * grad.size(3),
        "grad does not fit shape");
  Tensor sums = zero_sums(grad, shape, is_channels_last(grad_any));
  if (grad.numel() == 0) return in_dtype_of(sums, grad);
  const RoiTable table = as_table(rois);
  const cudaStream_t stream = current_stream(grad);
  dispatch_cuda(grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = accumulate_cuda_t<T>;
    const auto levels = as_levels<A>({sums}, {scale});
    if (deterministic)
      launch_gather<Reads::own_bin>(BoxAxes<A>{table, rule, levels, 0}, as_upper<T>(grad),
                                    levels.map[0], stream);
    else
      scatter_kernel<T><<<blocks_for(grad.numel()), kThreads, 0, stream>>>(
          static_cast<const T*>(grad.data_ptr()), table, scale, rule, grad.size(1), grad.numel(),
          is_channels_last(grad), levels.map[0]);
  });
  check_launch("ps_roi_backward");
  return in_dtype_of(sums, grad);
}

// Always shifted by half a pixel, never widened.
Rule samples_rule(int64_t rows, int64_t columns, int64_t sampling) {
  return {{rows, columns, sampling, true, false}, Kind::samples};
}

Rule cells_rule(int64_t rows, int64_t columns) {
  return {{rows, columns, 0, false, false}, Kind::mean_of_cells};
}

Tensor ps_roi_align(const Tensor& features, const Tensor& rois, double scale, int64_t rows,
                    int64_t columns, int64_t sampling) {
  return read_all(features, rois, scale, samples_rule(rows, columns, sampling));
}

Tensor ps_roi_align_backward(const Tensor& grad, const Tensor& rois, double scale,
                             std::vector<int64_t> shape, int64_t sampling, bool deterministic) {
  return add_all(grad, rois, scale, shape, samples_rule(grad.size(2), grad.size(3), sampling),
                 deterministic);
}

Tensor ps_roi_pool(const Tensor& features, const Tensor& rois, double scale, int64_t rows,
                   int64_t columns) {
  return read_all(features, rois, scale, cells_rule(rows, columns));
}

Tensor ps_roi_pool_backward(const Tensor& grad, const Tensor& rois, double scale,
                            std::vector<int64_t> shape, bool deterministic) {
  return add_all(grad, rois, scale, shape, cells_rule(grad.size(2), grad.size(3)), deterministic);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("ps_roi_align", TORCH_BOX(&ps_roi_align));
  m.impl("ps_roi_align_backward", TORCH_BOX(&ps_roi_align_backward));
  m.impl("ps_roi_pool", TORCH_BOX(&ps_roi_pool));
  m.impl("ps_roi_pool_backward", TORCH_BOX(&ps_roi_pool_backward));
}

}  // namespace perception
