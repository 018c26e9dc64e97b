// Deformable layers on CUDA, forward: columns of bilinear samples times the weights; poolings with
// one thread per output. Their gradients run the definitions in plain PyTorch, which are
// deterministic where torch's switch asks for it.
#include <optional>
#include <vector>

#include "cuda/pooling.cuh"

namespace perception {
namespace {

constexpr int64_t kColumnBytes = int64_t{256} << 20;  // of columns at a time

// A (N, C, H, W) tensor of any floating dtype as a kernel argument.
struct AnyMap {
  const void* data;
  ScalarType type;
  int64_t image, channel, row, column;

  __device__ double at(int64_t n, int64_t c, int64_t y, int64_t x) const {
    const int64_t place = n * image + c * channel + y * row + x * column;
    switch (type) {
      case ScalarType::Float: return static_cast<const float*>(data)[place];
      case ScalarType::Double: return static_cast<const double*>(data)[place];
      case ScalarType::Half: return widen(static_cast<const __half*>(data)[place]);
      default: return widen(static_cast<const __nv_bfloat16*>(data)[place]);
    }
  }
};

AnyMap any_map(const char* name, const Tensor& tensor) {
  const Map map = as_map(name, tensor);
  return {map.data, tensor.scalar_type(), map.stride_image, map.stride_channel, map.stride_row,
          map.stride_column};
}

// Value of channel c at (y, x); a pixel of weight 0 or outside the map does not count.
template <typename T>
__device__ accumulate_cuda_t<T> lookup(const T* plane, int64_t row, int64_t column, int64_t height,
                                       int64_t width, double y, double x) {
  using A = accumulate_cuda_t<T>;
  const double top = floor(y), left = floor(x);
  A sum = 0;
  for (int i = 0; i < 4; ++i) {
    const double weight = (i / 2 ? y - top : 1 - (y - top)) * (i % 2 ? x - left : 1 - (x - left));
    const int64_t r = static_cast<int64_t>(top) + i / 2, c = static_cast<int64_t>(left) + i % 2;
    if (weight == 0 || r < 0 || r >= height || c < 0 || c >= width) continue;
    sum += static_cast<A>(weight) * widen(plane[r * row + c * column]);
  }
  return sum;
}

// --------------------------------------------------------------------- deformable convolution

struct Convolution {
  int64_t images, channels, height, width, out_channels, group_channels, kernel_rows,
      kernel_columns, rows, columns, offset_groups;
  int64_t stride[2], padding[2], dilation[2];

  __host__ __device__ int64_t taps() const { return kernel_rows * kernel_columns; }
  __host__ __device__ int64_t pixels() const { return rows * columns; }
};

// columns (images, C * taps, pixels) of images first .. first + count - 1.
template <typename T>
__global__ void columns_kernel(Convolution plan, const T* input, AnyMap map, AnyMap offset,
                               AnyMap mask, int64_t first, int64_t count, T* columns) {
  const int64_t rows = plan.channels * plan.taps();
  GRID_STRIDE_LOOP(index, count * rows * plan.pixels()) {
    const int64_t pixel = index % plan.pixels(), k = index / plan.pixels() % rows;
    const int64_t n = first + index / plan.pixels() / rows, c = k / plan.taps();
    const int64_t tap = k % plan.taps(), oy = pixel / plan.columns, ox = pixel % plan.columns;
    const int64_t shift = c / (plan.channels / plan.offset_groups) * plan.taps() + tap;
    const double y = static_cast<double>(oy * plan.stride[0] - plan.padding[0] +
                                         tap / plan.kernel_columns * plan.dilation[0]) +
                     offset.at(n, 2 * shift, oy, ox);
    const double x = static_cast<double>(ox * plan.stride[1] - plan.padding[1] +
                                         tap % plan.kernel_columns * plan.dilation[1]) +
                     offset.at(n, 2 * shift + 1, oy, ox);
    accumulate_cuda_t<T> value = 0;
    if (y >= -1 && y < static_cast<double>(plan.height) && x >= -1 &&
        x < static_cast<double>(plan.width))
      value = lookup(input + n * map.image + c * map.channel, map.row, map.column, plan.height,
                     plan.width, y, x);
    if (mask.data) value *= static_cast<accumulate_cuda_t<T>>(mask.at(n, shift, oy, ox));
    narrow(columns + index, value);
  }
}

// Products plus bias, into the layout of the result.
template <typename T>
__global__ void finish_kernel(const T* products, AnyMap bias, int64_t first, int64_t count,
                              int64_t channels, int64_t columns, int64_t pixels, AnyMap to, T* out) {
  GRID_STRIDE_LOOP(index, count * channels * pixels) {
    const int64_t pixel = index % pixels, c = index / pixels % channels;
    const int64_t n = first + index / pixels / channels;
    accumulate_cuda_t<T> value = widen(products[index]);
    if (bias.data) value += static_cast<accumulate_cuda_t<T>>(bias.at(0, c, 0, 0));
    narrow(out + n * to.image + c * to.channel + pixel / columns * to.row +
               pixel % columns * to.column, value);
  }
}

Convolution plan_of(const Tensor& input, const Tensor& offset, const Tensor& weight,
                    const std::optional<Tensor>& mask, const std::vector<int64_t>& stride,
                    const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation) {
  const Map map = as_map("input", input), filters = as_map("weight", weight);
  const Map shifts = as_map("offset", offset);
  check(weight.numel() > 0 && map.height > 0 && map.width > 0, "input and weight must not be empty");
  check(stride.size() == 2 && padding.size() == 2 && dilation.size() == 2 && stride[0] > 0 &&
            stride[1] > 0 && dilation[0] > 0 && dilation[1] > 0 && padding[0] >= 0 &&
            padding[1] >= 0,
        "stride and dilation must be above 0, padding at least 0, all pairs");
  Convolution plan{map.images, map.channels, map.height, map.width, filters.images,
                   filters.channels, filters.height, filters.width, 0, 0, 0,
                   {stride[0], stride[1]}, {padding[0], padding[1]}, {dilation[0], dilation[1]}};
  plan.rows = (map.height + 2 * padding[0] - dilation[0] * (filters.height - 1) - 1) / stride[0] + 1;
  plan.columns = (map.width + 2 * padding[1] - dilation[1] * (filters.width - 1) - 1) / stride[1] + 1;
  plan.offset_groups = shifts.channels / (2 * plan.taps());
  check(map.channels > 0 && map.channels % filters.channels == 0 &&
            filters.images % (map.channels / filters.channels) == 0 && plan.offset_groups > 0 &&
            map.channels % plan.offset_groups == 0 && plan.rows > 0 && plan.columns > 0 &&
            shifts.images == map.images && shifts.height == plan.rows &&
            shifts.width == plan.columns &&
            shifts.channels == 2 * plan.offset_groups * plan.taps(),
        "input, offset and weight do not fit together");
  if (mask) {
    const Map factors = as_map("mask", *mask);
    check(factors.images == map.images && factors.height == plan.rows &&
              factors.width == plan.columns &&
              factors.channels == plan.offset_groups * plan.taps(),
          "mask has the wrong shape");
  }
  return plan;
}

Tensor deform_conv2d(const Tensor& input, const Tensor& offset, const Tensor& weight,
                     const std::optional<Tensor>& bias, const std::optional<Tensor>& mask,
                     const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                     const std::vector<int64_t>& dilation) {
  const Convolution plan = plan_of(input, offset, weight, mask, stride, padding, dilation);
  check(!bias || (bias->dim() == 1 && bias->size(0) == plan.out_channels &&
                  is_floating(bias->scalar_type())),
        "bias has the wrong shape");
  const DeviceGuard guard(input.get_device_index());
  const cudaStream_t stream = current_stream(input);
  Tensor out = empty_map(input, {plan.images, plan.out_channels, plan.rows, plan.columns},
                         is_channels_last(input));
  if (out.numel() == 0) return out;
  const int64_t groups = plan.channels / plan.group_channels, depth = plan.channels * plan.taps();
  const Tensor factors = torch::stable::to(weight, input.scalar_type());
  const Tensor left = torch::stable::reshape(
      factors, {1, groups, plan.out_channels / groups, depth / groups});
  const AnyMap none{nullptr, ScalarType::Float, 0, 0, 0, 0};
  const AnyMap shift = bias ? AnyMap{bias->data_ptr(), bias->scalar_type(), 0, bias->stride(0), 0, 0}
                            : none;
  const int64_t each = depth * plan.pixels() * static_cast<int64_t>(input.element_size());
  const int64_t step = std::max<int64_t>(1, kColumnBytes / each);
  dispatch_cuda(input.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    for (int64_t first = 0; first < plan.images; first += step) {
      const int64_t count = std::min(step, plan.images - first);
      const Tensor columns = torch::stable::empty({count, groups, depth / groups, plan.pixels()},
                                                  input.scalar_type(), std::nullopt, input.device());
      columns_kernel<T><<<blocks_for(columns.numel()), kThreads, 0, stream>>>(
          plan, static_cast<const T*>(input.data_ptr()), any_map("input", input),
          any_map("offset", offset), mask ? any_map("mask", *mask) : none, first, count,
          static_cast<T*>(columns.data_ptr()));
      const Tensor products = torch::stable::contiguous(torch::stable::matmul(left, columns));
      finish_kernel<T><<<blocks_for(products.numel()), kThreads, 0, stream>>>(
          static_cast<const T*>(products.data_ptr()), shift, first, count, plan.out_channels,
          plan.columns, plan.pixels(), any_map("out", out), static_cast<T*>(out.data_ptr()));
    }
  });
  check_launch("deform_conv2d");
  return out;
}

// ------------------------------------------------------------------------------- poolings

// RoIAlign's lookup, on a place in the map or in its border band.
template <typename T>
__device__ accumulate_cuda_t<T> align_lookup(const T* plane, const AnyMap& map, int64_t height,
                                             int64_t width, double y, double x) {
  y = fmin(fmax(y, 0.0), static_cast<double>(height - 1));
  x = fmin(fmax(x, 0.0), static_cast<double>(width - 1));
  return lookup(plane, map.row, map.column, height, width, y, x);
}

// First and last + 1 of the samples start + (i + 0.5) * length / samples that can be in [-1, extent].
__device__ void sample_range(double start, double length, double samples, int64_t extent,
                             double* begin, double* end) {
  *begin = *end = 0;
  if (!(samples >= 1 && samples <= 1e15) || !isfinite(start)) return;
  const double step = length / samples;
  *end = samples;
  if (step == 0) return;
  const double a = (-1 - start) / step, b = (static_cast<double>(extent) - start) / step;
  *begin = fmin(fmax(floor(fmin(a, b)) - 2, 0.0), samples);
  *end = fmin(fmax(ceil(fmax(a, b)) + 2, 0.0), samples);
}

template <typename T>
__global__ void pool_kernel(const T* input, AnyMap map, int64_t images, int64_t channels,
                            int64_t height, int64_t width, RoiTable rois, int64_t boxes,
                            AnyMap offset, int64_t rows, int64_t columns, double scale,
                            int64_t sampling, double gamma, AnyMap to, T* out) {
  GRID_STRIDE_LOOP(index, boxes * channels * rows * columns) {
    const int64_t j = index % columns, i = index / columns % rows;
    const int64_t c = index / columns / rows % channels, k = index / columns / rows / channels;
    const int64_t n = rois.image(k, images);
    const double x0 = rois.at(k, 1) * scale - 0.5, y0 = rois.at(k, 2) * scale - 0.5;
    const double wide = rois.at(k, 3) * scale - 0.5 - x0, tall = rois.at(k, 4) * scale - 0.5 - y0;
    const double bin_w = wide / static_cast<double>(columns), bin_h = tall / static_cast<double>(rows);
    double y = y0 + static_cast<double>(i) * bin_h, x = x0 + static_cast<double>(j) * bin_w;
    if (offset.data) {
      y += gamma * tall * offset.at(k, 1, i, j);
      x += gamma * wide * offset.at(k, 0, i, j);
    }
    const double count_y = sampling > 0 ? static_cast<double>(sampling) : ceil(bin_h);
    const double count_x = sampling > 0 ? static_cast<double>(sampling) : ceil(bin_w);
    double y_begin, y_end, x_begin, x_end;
    sample_range(y, bin_h, count_y, height, &y_begin, &y_end);
    sample_range(x, bin_w, count_x, width, &x_begin, &x_end);
    accumulate_cuda_t<T> sum = 0;
    if (n >= 0 && isfinite(wide) && isfinite(tall)) {
      const T* plane = input + n * map.image + c * map.channel;
      for (double s = y_begin; s < y_end; ++s) {
        const double at_y = y + (s + 0.5) * bin_h / count_y;
        if (!(at_y >= -1 && at_y <= static_cast<double>(height))) continue;
        for (double t = x_begin; t < x_end; ++t) {
          const double at_x = x + (t + 0.5) * bin_w / count_x;
          if (at_x >= -1 && at_x <= static_cast<double>(width))
            sum += align_lookup(plane, map, height, width, at_y, at_x);
        }
      }
    }
    const double count = count_y * count_x > 1 ? count_y * count_x : 1;
    narrow(out + k * to.image + c * to.channel + i * to.row + j * to.column,
           static_cast<accumulate_cuda_t<T>>(sum / count));
  }
}

Tensor deform_roi_pool(const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset,
                       int64_t rows, int64_t columns, double scale, int64_t sampling,
                       double gamma) {
  const Map map = as_map("input", input);
  check(rows >= 0 && columns >= 0 && sampling <= 65535 && scale > 0,
        "output_size, sampling_ratio or spatial_scale is out of range");
  const RoiTable table = as_table(rois);
  if (offset) {
    const Map shifts = as_map("offset", *offset);
    check(shifts.images == rois.size(0) && shifts.channels == 2 && shifts.height == rows &&
              shifts.width == columns,
          "offset has the wrong shape");
  }
  const DeviceGuard guard(input.get_device_index());
  Tensor out = empty_map(input, {rois.size(0), map.channels, rows, columns},
                         is_channels_last(input));
  if (out.numel() == 0) return out;
  check(map.height > 0 && map.width > 0, "input has no pixels");
  const AnyMap none{nullptr, ScalarType::Float, 0, 0, 0, 0};
  dispatch_cuda(input.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    pool_kernel<T><<<blocks_for(out.numel()), kThreads, 0, current_stream(input)>>>(
        static_cast<const T*>(input.data_ptr()), any_map("input", input), map.images, map.channels,
        map.height, map.width, table, rois.size(0), offset ? any_map("offset", *offset) : none,
        rows, columns, scale, sampling, gamma, any_map("out", out),
        static_cast<T*>(out.data_ptr()));
  });
  check_launch("deform_roi_pool");
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("deform_conv2d", TORCH_BOX(&deform_conv2d));
  m.impl("deform_roi_pool", TORCH_BOX(&deform_roi_pool));
}

}  // namespace perception
