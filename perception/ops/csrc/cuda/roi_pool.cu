// RoIPool and position-sensitive pooling on CUDA: one thread per output; fast and deterministic
// backwards (the latter: one thread per channel walks the boxes in their order).
#include "cuda/pooling.cuh"

namespace perception {
namespace {

// A feature map, or its gradient, as a kernel argument.
template <typename T>
struct Plane {
  T* data;
  int64_t images, channels, height, width, image, channel, row, column;

  __device__ T* at(int64_t n, int64_t c) const { return data + n * image + c * channel; }
};

template <typename T>
Plane<T> as_plane(const Tensor& tensor) {
  const Map map = as_map("input", tensor);
  return {static_cast<T*>(const_cast<void*>(map.data)), map.images, map.channels, map.height,
          map.width, map.stride_image, map.stride_channel, map.stride_row, map.stride_column};
}

// Cells first .. end - 1 of one quantised bin, clipped to 0 .. limit.
struct Cells {
  int64_t first, end;
};

__device__ inline Cells cells_of(double from, double to, double scale, bool end_included,
                                 int64_t bins, int64_t bin, int64_t limit) {
  const double start = round(from * scale);
  double size = round(to * scale) - start + (end_included ? 1 : 0);
  if (!isfinite(start) || !isfinite(size)) return {0, 0};
  if (size < 1) size = 1;
  const double step = size / static_cast<double>(bins), top = static_cast<double>(limit);
  const double low = floor(static_cast<double>(bin) * step) + start;
  const double high = ceil(static_cast<double>(bin + 1) * step) + start;
  return {static_cast<int64_t>(fmin(fmax(low, 0.0), top)),
          static_cast<int64_t>(fmin(fmax(high, 0.0), top))};
}

// Box, channel, row and column of an element of a result (K, C, rows, columns) in memory order.
struct Output {
  int64_t box, channel, row, column;
};

__device__ inline Output output_of(int64_t index, int64_t channels, int64_t rows, int64_t columns,
                                   bool channels_last) {
  if (channels_last) {
    const int64_t bin = index / channels;
    return {bin / columns / rows, index % channels, bin / columns % rows, bin % columns};
  }
  return {index / columns / rows / channels, index / columns / rows % channels,
          index / columns % rows, index % columns};
}

// ------------------------------------------------------------------- RoIPool

template <typename T>
__global__ void pool_kernel(Plane<const T> map, RoiTable rois, double scale, int64_t rows,
                            int64_t columns, int64_t count, bool channels_last, T* out,
                            int32_t* argmax) {
  GRID_STRIDE_LOOP(index, count) {
    const Output at = output_of(index, map.channels, rows, columns, channels_last);
    const int64_t n = rois.image(at.box, map.images);
    const Cells y = cells_of(rois.at(at.box, 2), rois.at(at.box, 4), scale, true, rows, at.row,
                             map.height);
    const Cells x = cells_of(rois.at(at.box, 1), rois.at(at.box, 3), scale, true, columns,
                             at.column, map.width);
    if (n < 0 || y.first >= y.end || x.first >= x.end) {
      narrow(out + index, 0.0f);
      argmax[index] = -1;
      continue;
    }
    const T* plane = map.at(n, at.channel);
    int64_t where = y.first * map.width + x.first;
    auto best = widen(plane[y.first * map.row + x.first * map.column]);
    for (int64_t i = y.first; i < y.end; ++i) {
      for (int64_t j = x.first; j < x.end; ++j) {
        const auto value = widen(plane[i * map.row + j * map.column]);
        if (!(value <= best) && best == best) best = value, where = i * map.width + j;
      }
    }
    narrow(out + index, best);
    argmax[index] = static_cast<int32_t>(where);
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

template <typename T>
__global__ void unpool_in_order_kernel(const T* grad, const int32_t* argmax, RoiTable rois,
                                       int64_t boxes, int64_t bins, bool channels_last,
                                       Plane<accumulate_cuda_t<T>> sums) {
  GRID_STRIDE_LOOP(c, sums.channels) {
    for (int64_t k = 0; k < boxes; ++k) {
      const int64_t n = rois.image(k, sums.images);
      for (int64_t bin = 0; n >= 0 && bin < bins; ++bin) {
        const int64_t index = k * sums.channels * bins +
                              (channels_last ? bin * sums.channels + c : c * bins + bin);
        const int64_t pixel = argmax[index];
        if (pixel < 0 || pixel >= sums.height * sums.width) continue;
        sums.at(n, c)[pixel / sums.width * sums.row + pixel % sums.width * sums.column] +=
            accumulate_cuda_t<T>(widen(grad[index]));
      }
    }
  }
}

// ------------------------------------------------------------------- position-sensitive

// How bins are read: bilinear samples, or the mean of whole cells.
struct Rule {
  Grid grid;
  double scale;
  bool samples;
};

// The pixels of a bin along one axis, and the weight of each.
struct Axis {
  BinSamples bin;
  Cells cells;
  bool samples;

  __device__ int64_t low() const { return samples ? bin.low : cells.first; }
  __device__ int64_t high() const { return samples ? bin.high : cells.end; }
  __device__ double weight(int64_t pixel) const {
    return samples ? pixel_weight(bin, pixel) : 1 / static_cast<double>(cells.end - cells.first);
  }
};

__device__ inline Axis axis_of(const RoiTable& rois, int64_t k, int first, const Rule& rule,
                               int64_t bins, int64_t bin, int64_t extent) {
  Axis axis{};
  axis.samples = rule.samples;
  if (rule.samples)
    axis.bin = bin_samples(rois.at(k, first), rois.at(k, first + 2), rule.scale, rule.grid, bins,
                           bin, extent);
  else
    axis.cells = cells_of(rois.at(k, first), rois.at(k, first + 2), rule.scale, false, bins, bin,
                          extent - 1);
  return axis;
}

template <typename T>
__global__ void read_kernel(Plane<const T> map, RoiTable rois, Rule rule, int64_t outputs,
                            int64_t count, bool channels_last, T* out) {
  using A = accumulate_cuda_t<T>;
  const Grid& grid = rule.grid;
  GRID_STRIDE_LOOP(index, count) {
    const Output at = output_of(index, outputs, grid.rows, grid.columns, channels_last);
    const int64_t n = rois.image(at.box, map.images);
    const Axis y = axis_of(rois, at.box, 2, rule, grid.rows, at.row, map.height);
    const Axis x = axis_of(rois, at.box, 1, rule, grid.columns, at.column, map.width);
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

// Adds the gradient of one output to its pixels.
template <bool Atomic, typename A>
__device__ inline void add_back(A value, const Axis& y, const Axis& x, A* plane, int64_t row,
                                int64_t column) {
  for (int64_t i = y.low(); i < y.high(); ++i) {
    const A vertical = static_cast<A>(y.weight(i)) * value;
    if (vertical == 0) continue;
    for (int64_t j = x.low(); j < x.high(); ++j) {
      const A part = vertical * static_cast<A>(x.weight(j));
      if (Atomic) atomicAdd(plane + i * row + j * column, part);
      else plane[i * row + j * column] += part;
    }
  }
}

template <typename T>
__global__ void add_back_kernel(const T* grad, RoiTable rois, Rule rule, int64_t outputs,
                                int64_t count, bool channels_last,
                                Plane<accumulate_cuda_t<T>> sums) {
  using A = accumulate_cuda_t<T>;
  const Grid& grid = rule.grid;
  GRID_STRIDE_LOOP(index, count) {
    const Output at = output_of(index, outputs, grid.rows, grid.columns, channels_last);
    const int64_t n = rois.image(at.box, sums.images);
    if (n < 0) continue;
    const int64_t c = (at.channel * grid.rows + at.row) * grid.columns + at.column;
    add_back<true>(A(widen(grad[index])),
                   axis_of(rois, at.box, 2, rule, grid.rows, at.row, sums.height),
                   axis_of(rois, at.box, 1, rule, grid.columns, at.column, sums.width),
                   sums.at(n, c), sums.row, sums.column);
  }
}

// One thread per input channel, which one bin of every box reads.
template <typename T>
__global__ void add_back_in_order_kernel(const T* grad, RoiTable rois, int64_t boxes, Rule rule,
                                         int64_t outputs, bool channels_last,
                                         Plane<accumulate_cuda_t<T>> sums) {
  using A = accumulate_cuda_t<T>;
  const Grid& grid = rule.grid;
  const int64_t bins = grid.rows * grid.columns;
  GRID_STRIDE_LOOP(c, sums.channels) {
    const int64_t d = c / bins, bin = c % bins;
    for (int64_t k = 0; k < boxes; ++k) {
      const int64_t n = rois.image(k, sums.images);
      if (n < 0) continue;
      const int64_t at = k * outputs * bins + (channels_last ? bin * outputs + d : d * bins + bin);
      add_back<false>(A(widen(grad[at])),
                      axis_of(rois, k, 2, rule, grid.rows, bin / grid.columns, sums.height),
                      axis_of(rois, k, 1, rule, grid.columns, bin % grid.columns, sums.width),
                      sums.at(n, c), sums.row, sums.column);
    }
  }
}

// ------------------------------------------------------------------- host

Tensor dense(const Tensor& grad) {
  return is_channels_last(grad) || grad.is_contiguous() ? grad : torch::stable::contiguous(grad);
}

Tensor zero_sums(const Tensor& like, const std::vector<int64_t>& shape, bool channels_last) {
  const auto type = like.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  Tensor sums = torch::stable::empty(
      shape, type, std::nullopt, like.device(), std::nullopt,
      channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  return torch::stable::zero_(sums);
}

Tensor in_dtype_of(const Tensor& sums, const Tensor& grad) {
  return sums.scalar_type() == grad.scalar_type() ? sums
                                                  : torch::stable::to(sums, grad.scalar_type());
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
  dispatch_cuda(features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    pool_kernel<T><<<blocks_for(out.numel()), kThreads, 0, current_stream(features)>>>(
        as_plane<const T>(features), table, scale, rows, columns, out.numel(), channels_last,
        static_cast<T*>(out.data_ptr()), static_cast<int32_t*>(argmax.data_ptr()));
  });
  check_launch("roi_pool");
  return {out, argmax};
}

Tensor roi_pool_backward(const Tensor& grad_any, const Tensor& argmax_any, const Tensor& rois,
                         std::vector<int64_t> shape, bool deterministic) {
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
  const int64_t rows = grad.size(2), columns = grad.size(3);
  const RoiTable table = as_table(rois);
  const cudaStream_t stream = current_stream(grad);
  dispatch_cuda(grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const auto plane = as_plane<accumulate_cuda_t<T>>(sums);
    const T* data = static_cast<const T*>(grad.data_ptr());
    const int32_t* places = static_cast<const int32_t*>(argmax.data_ptr());
    if (deterministic)
      unpool_in_order_kernel<T><<<blocks_for(shape[1], 32), 32, 0, stream>>>(
          data, places, table, grad.size(0), rows * columns, channels_last, plane);
    else
      unpool_kernel<T><<<blocks_for(grad.numel()), kThreads, 0, stream>>>(
          data, places, table, rows, columns, grad.numel(), channels_last, plane);
  });
  check_launch("roi_pool_backward");
  return in_dtype_of(sums, grad);
}

Tensor read_all(const Tensor& features, const Tensor& rois, const Rule& rule) {
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
        as_plane<const T>(features), table, rule, outputs, out.numel(), channels_last,
        static_cast<T*>(out.data_ptr()));
  });
  check_launch("ps_roi");
  return out;
}

Tensor add_all(const Tensor& grad_any, const Tensor& rois, const std::vector<int64_t>& shape,
               const Rule& rule, bool deterministic) {
  const DeviceGuard guard(grad_any.get_device_index());
  const bool channels_last = is_channels_last(grad_any);
  const Tensor grad = dense(grad_any);
  const bool grad_last = is_channels_last(grad);
  check(shape.size() == 4 && shape[1] == grad.size(1) * grad.size(2) * grad.size(3),
        "grad does not fit shape");
  Tensor sums = zero_sums(grad, shape, channels_last);
  if (grad.numel() == 0) return in_dtype_of(sums, grad);
  const RoiTable table = as_table(rois);
  const cudaStream_t stream = current_stream(grad);
  dispatch_cuda(grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const auto plane = as_plane<accumulate_cuda_t<T>>(sums);
    const T* data = static_cast<const T*>(grad.data_ptr());
    if (deterministic)
      add_back_in_order_kernel<T><<<blocks_for(shape[1], 32), 32, 0, stream>>>(
          data, table, grad.size(0), rule, grad.size(1), grad_last, plane);
    else
      add_back_kernel<T><<<blocks_for(grad.numel()), kThreads, 0, stream>>>(
          data, table, rule, grad.size(1), grad.numel(), grad_last, plane);
  });
  check_launch("ps_roi_backward");
  return in_dtype_of(sums, grad);
}

Rule align_rule(int64_t rows, int64_t columns, int64_t sampling, double scale) {
  return {{rows, columns, sampling, true, false}, scale, true};
}

Rule pool_rule(int64_t rows, int64_t columns, double scale) {
  return {{rows, columns, 0, false, false}, scale, false};
}

Tensor ps_roi_align(const Tensor& features, const Tensor& rois, double scale, int64_t rows,
                    int64_t columns, int64_t sampling) {
  return read_all(features, rois, align_rule(rows, columns, sampling, scale));
}

Tensor ps_roi_align_backward(const Tensor& grad, const Tensor& rois, double scale,
                             std::vector<int64_t> shape, int64_t sampling, bool deterministic) {
  return add_all(grad, rois, shape, align_rule(grad.size(2), grad.size(3), sampling, scale),
                 deterministic);
}

Tensor ps_roi_pool(const Tensor& features, const Tensor& rois, double scale, int64_t rows,
                   int64_t columns) {
  return read_all(features, rois, pool_rule(rows, columns, scale));
}

Tensor ps_roi_pool_backward(const Tensor& grad, const Tensor& rois, double scale,
                            std::vector<int64_t> shape, bool deterministic) {
  return add_all(grad, rois, shape, pool_rule(grad.size(2), grad.size(3), scale), deterministic);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("roi_pool", TORCH_BOX(&roi_pool));
  m.impl("roi_pool_backward", TORCH_BOX(&roi_pool_backward));
  m.impl("ps_roi_align", TORCH_BOX(&ps_roi_align));
  m.impl("ps_roi_align_backward", TORCH_BOX(&ps_roi_align_backward));
  m.impl("ps_roi_pool", TORCH_BOX(&ps_roi_pool));
  m.impl("ps_roi_pool_backward", TORCH_BOX(&ps_roi_pool_backward));
}

}  // namespace perception
