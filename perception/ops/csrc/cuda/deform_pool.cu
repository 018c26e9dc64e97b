// Deformable RoI pooling on CUDA: RoIAlign's bins, each moved by its own offset.
#include <optional>

#include "cuda/deform_bins_backward.cuh"

namespace perception {
namespace {

// RoIAlign's samples of one bin along one axis.
struct AlignAxis {
  BinSamples bin;
  int64_t low, high;

  __device__ double weight(int64_t pixel) const { return pixel_weight(bin, pixel); }

  // Right-sided; nothing where a sample is clamped to the border.
  __device__ double slope(int64_t pixel) const {
    const double p = static_cast<double>(pixel), last = static_cast<double>(bin.extent - 1);
    const Near near = samples_near(bin.base, bin.bin / bin.samples, bin.samples, pixel);
    double sum = 0;
    for (double i = near.begin; i < near.end; ++i) {
      const double position = bin.base + (i + 0.5) * bin.bin / bin.samples;
      if (!(position >= 0 && position < last)) continue;
      if (p == floor(position)) sum -= 1;
      if (p == floor(position) + 1) sum += 1;
    }
    return sum / bin.samples;
  }
};

struct AlignRule {
  using Axis = AlignAxis;

  int64_t images, height, width, boxes, classes, dims, part_rows, part_columns;
  RoiTable rois;
  AnyMap offset;
  Grid grid;
  double scale, gamma;

  __host__ __device__ int64_t bins() const { return grid.rows * grid.columns; }
  __device__ int64_t channel(int64_t d, int64_t) const { return d; }
  __device__ Span rows_of(int64_t part) const { return {part, part + 1}; }
  __device__ Span columns_of(int64_t part) const { return {part, part + 1}; }

  __device__ int64_t image(int64_t k) const {
    for (int i = 1; i < 5; ++i)
      if (!isfinite(rois.at(k, i))) return -1;
    return rois.image(k, images);
  }
  __device__ double move(int64_t k, int side) const {
    const double from = rois.at(k, side ? 1 : 2) * scale - 0.5;
    return gamma * (rois.at(k, side ? 3 : 4) * scale - 0.5 - from);
  }
  __device__ void place(int64_t k, int64_t, int64_t bin, Axis* axis) const {
    const int64_t i = bin / grid.columns, j = bin % grid.columns;
    const double y = offset.data ? move(k, 0) * offset.at(k, 1, i, j) : 0;
    const double x = offset.data ? move(k, 1) * offset.at(k, 0, i, j) : 0;
    axis[0].bin = bin_samples(rois.at(k, 2), rois.at(k, 4), scale, grid, grid.rows, i, height, y);
    axis[1].bin = bin_samples(rois.at(k, 1), rois.at(k, 3), scale, grid, grid.columns, j, width, x);
    for (int side = 0; side < 2; ++side)
      axis[side].low = axis[side].bin.low, axis[side].high = axis[side].bin.high;
  }
};

AlignRule checked(const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset,
                  int64_t rows, int64_t columns, double scale, int64_t sampling, double gamma) {
  const Map map = as_map("input", input);
  const RoiTable table = as_table(rois);
  check(rows >= 0 && columns >= 0 && sampling <= 65535 && scale > 0,
        "output_size, sampling_ratio or spatial_scale is out of range");
  check(rois.size(0) == 0 || (map.height > 0 && map.width > 0), "input has no pixels");
  check(map.height <= INT32_MAX && map.width <= INT32_MAX, "input is too large");
  if (offset) {
    const Map shifts = as_map("offset", *offset);
    check(shifts.images == rois.size(0) && shifts.channels == 2 && shifts.height == rows &&
              shifts.width == columns,
          "offset has the wrong shape");
  }
  return {map.images, map.height, map.width, rois.size(0), 1, map.channels, rows, columns, table,
          offset ? any_map("offset", *offset) : kNoMap,
          {rows, columns, sampling, true, false}, scale, gamma};
}

Tensor deform_roi_pool(const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset,
                       int64_t rows, int64_t columns, double scale, int64_t sampling,
                       double gamma) {
  const AlignRule rule = checked(input, rois, offset, rows, columns, scale, sampling, gamma);
  const DeviceGuard guard(input.get_device_index());
  const bool channels_last = is_channels_last(input);
  Tensor out = empty_map(input, {rule.boxes, rule.dims, rows, columns}, channels_last);
  if (out.numel() == 0) return out;
  const cudaStream_t stream = current_stream(input);
  const unsigned blocks = blocks_for(blocks_of(rule), 1);
  dispatch_cuda(input.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    constexpr int kVector = 16 / sizeof(T);
    const auto map = as_plane<const T>(input);
    if (channels_last && vectors_fit<T>(input, kVector))
      pool_kernel<T, kVector, AlignRule><<<blocks, kPoolThreads, 0, stream>>>(rule, map, as_pooled<T>(out));
    else
      pool_kernel<T, 1, AlignRule><<<blocks, kPoolThreads, 0, stream>>>(rule, map, as_pooled<T>(out));
  });
  check_launch("deform_roi_pool");
  return out;
}

std::tuple<Tensor, Tensor> deform_roi_pool_backward(
    const Tensor& grad_any, const Tensor& input_any, const Tensor& rois,
    const std::optional<Tensor>& offset, int64_t rows, int64_t columns, double scale,
    int64_t sampling, double gamma, bool deterministic) {
  const AlignRule rule = checked(input_any, rois, offset, rows, columns, scale, sampling, gamma);
  const Map upper = as_map("grad", grad_any);
  check(upper.images == rule.boxes && upper.channels == rule.dims && upper.height == rows &&
            upper.width == columns,
        "grad must have the shape of the output");
  const DeviceGuard guard(input_any.get_device_index());
  const Tensor input = channels_together(input_any);
  const Tensor grad =
      channels_together(torch::stable::to(grad_any, input.scalar_type()));
  const Tensor sums = zero_sums(input, {rule.images, rule.dims, rule.height, rule.width}, true);
  const Tensor to_offset = offset_gradient(offset, input);
  if (grad.numel() > 0)
    dispatch_cuda(input.scalar_type(), [&](auto zero) {
      using T = decltype(zero);
      constexpr int kVector = 16 / sizeof(T);
      const AnyOut moved = offset ? any_out(to_offset) : kNowhere;
      if (rule.dims % kVector == 0 && is_aligned(input) && is_aligned(grad))
        pool_backward<T, kVector>(rule, input, grad, sums, columns, moved, deterministic);
      else
        pool_backward<T, 1>(rule, input, grad, sums, columns, moved, deterministic);
    });
  check_launch("deform_roi_pool_backward");
  return {in_form_of(input_any, sums), to_offset};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("deform_roi_pool", TORCH_BOX(&deform_roi_pool));
  m.impl("deform_roi_pool_backward", TORCH_BOX(&deform_roi_pool_backward));
}

}  // namespace perception
