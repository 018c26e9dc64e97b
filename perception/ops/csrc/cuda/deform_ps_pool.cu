// Deformable position-sensitive RoI pooling on CUDA: every bin reads a channel of its own.
#include <optional>

#include "cuda/deform_bins_backward.cuh"

namespace perception {
namespace {

// Samples at the corners of a bin's parts along one axis; those half a cell outside do not count.
struct CornerAxis {
  double base, step, samples, counted;
  int64_t low, high, extent;

  __device__ static CornerAxis of(double base, double step, int64_t samples, int64_t extent) {
    CornerAxis axis{base, step, static_cast<double>(samples), 0, 0, 0, extent};
    const double last = static_cast<double>(extent - 1);
    double lowest = last, highest = 0;
    for (double i = 0; i < axis.samples; ++i) {
      const double at = base + i * step;
      if (!(at >= -0.5 && at <= last + 0.5)) continue;
      const double inside = fmin(fmax(at, 0.0), last);
      lowest = fmin(lowest, inside), highest = fmax(highest, inside);
      ++axis.counted;
    }
    if (axis.counted > 0)
      axis.low = static_cast<int64_t>(floor(lowest)),
      axis.high = static_cast<int64_t>(ceil(highest)) + 1;
    return axis;
  }

  // f(lower cell, how far behind it) for the samples near a pixel that count.
  template <typename F>
  __device__ void for_near(int64_t pixel, const F& f) const {
    const Near near = samples_near(base, step, samples, pixel);
    const double last = static_cast<double>(extent - 1);
    for (double i = near.begin; i < near.end; ++i) {
      const double at = base + i * step;
      if (!(at >= -0.5 && at <= last + 0.5)) continue;
      const double inside = fmin(fmax(at, 0.0), last);
      f(floor(inside), inside - floor(inside));
    }
  }
  __device__ double weight(int64_t pixel) const {
    double sum = 0;
    for_near(pixel, [&](double lower, double part) {
      if (pixel == lower) sum += 1 - part;
      if (pixel == lower + 1) sum += part;
    });
    return sum / counted;
  }
  // Between two cells; at whole numbers both are the same.
  __device__ double slope(int64_t pixel) const {
    double sum = 0;
    for_near(pixel, [&](double lower, double part) {
      if (part != 0 && pixel == lower) sum -= 1;
      if (part != 0 && pixel == lower + 1) sum += 1;
    });
    return sum / counted;
  }
};

struct CornerRule {
  using Axis = CornerAxis;

  int64_t images, height, width, boxes, classes, dims, part_rows, part_columns;
  RoiTable rois;
  AnyMap offset;
  int64_t size, group, samples;
  double scale, deviation;

  __host__ __device__ int64_t bins() const { return size * size; }
  __device__ int64_t group_of(int64_t i) const {
    const int64_t place = i * group / size;
    return place < group - 1 ? place : group - 1;
  }
  __device__ int64_t channel(int64_t d, int64_t bin) const {
    return (d * group + group_of(bin / size)) * group + group_of(bin % size);
  }
  // The bins i with floor(i * parts / size) = part.
  __device__ Span rows_of(int64_t part) const {
    return {(part * size + part_rows - 1) / part_rows, ((part + 1) * size + part_rows - 1) / part_rows};
  }
  __device__ Span columns_of(int64_t part) const { return rows_of(part); }

  __device__ int64_t image(int64_t k) const {
    for (int i = 1; i < 5; ++i)
      if (!isfinite(rois.at(k, i))) return -1;
    return rois.image(k, images);
  }
  __device__ double start(int64_t k, int side) const {
    return round(rois.at(k, side ? 1 : 2)) * scale - 0.5;
  }
  __device__ double length(int64_t k, int side) const {
    return fmax((round(rois.at(k, side ? 3 : 4)) + 1) * scale - 0.5 - start(k, side), 0.1);
  }
  __device__ double move(int64_t k, int side) const { return deviation * length(k, side); }

  __device__ void place(int64_t k, int64_t kind, int64_t bin, Axis* axis) const {
    const int64_t at[2] = {bin / size, bin % size}, extent[2] = {height, width};
    const double bins = static_cast<double>(size);
    for (int side = 0; side < 2; ++side) {
      const double long_ = length(k, side);
      double base = start(k, side) + static_cast<double>(at[side]) * long_ / bins;
      if (offset.data)
        base += deviation *
                offset.at(k, 2 * kind + (side ? 0 : 1), at[0] * part_rows / size,
                          at[1] * part_columns / size) * long_;
      axis[side] = CornerAxis::of(base, long_ / (bins * static_cast<double>(samples)), samples,
                                  extent[side]);
    }
  }
};

CornerRule checked(const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset,
                   int64_t size, double scale, int64_t dims, int64_t group, int64_t part,
                   int64_t samples, double deviation) {
  const Map map = as_map("input", input);
  const RoiTable table = as_table(rois);
  check(size > 0 && dims > 0 && group > 0 && part > 0 && samples > 0 && samples <= 1024 && scale > 0,
        "sizes and spatial_scale must be above 0, sample_per_part at most 1024");
  check(map.channels == dims * group * group, "input must have ", dims * group * group,
        " channels, got ", map.channels);
  check(rois.size(0) == 0 || (map.height > 0 && map.width > 0), "input has no pixels");
  check(map.height <= INT32_MAX && map.width <= INT32_MAX, "input is too large");
  int64_t classes = 1;
  if (offset) {
    const Map shifts = as_map("offset", *offset);
    classes = shifts.channels / 2;
    check(shifts.images == rois.size(0) && classes > 0 && shifts.channels == 2 * classes &&
              dims % classes == 0 && shifts.height == part && shifts.width == part,
          "offset has the wrong shape");
  }
  return {map.images, map.height, map.width, rois.size(0), classes, dims / classes, part, part,
          table, offset ? any_map("offset", *offset) : kNoMap, size, group, samples, scale,
          deviation};
}

Tensor deform_ps_roi_pool(const Tensor& input, const Tensor& rois,
                          const std::optional<Tensor>& offset, int64_t size, double scale,
                          int64_t dims, int64_t group, int64_t part, int64_t samples,
                          double deviation) {
  const CornerRule rule =
      checked(input, rois, offset, size, scale, dims, group, part, samples, deviation);
  const DeviceGuard guard(input.get_device_index());
  Tensor out = empty_map(input, {rule.boxes, dims, size, size}, is_channels_last(input));
  if (out.numel() == 0) return out;
  const unsigned blocks = blocks_for(blocks_of(rule), 1);
  dispatch_cuda(input.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    pool_kernel<T, 1, CornerRule><<<blocks, kPoolThreads, 0, current_stream(input)>>>(
        rule, as_plane<const T>(input), as_pooled<T>(out));
  });
  check_launch("deform_ps_roi_pool");
  return out;
}

std::tuple<Tensor, Tensor> deform_ps_roi_pool_backward(
    const Tensor& grad_any, const Tensor& input, const Tensor& rois,
    const std::optional<Tensor>& offset, int64_t size, double scale, int64_t dims, int64_t group,
    int64_t part, int64_t samples, double deviation, bool deterministic) {
  const CornerRule rule =
      checked(input, rois, offset, size, scale, dims, group, part, samples, deviation);
  const Map upper = as_map("grad", grad_any);
  check(upper.images == rule.boxes && upper.channels == dims && upper.height == size &&
            upper.width == size,
        "grad must have the shape of the output");
  const DeviceGuard guard(input.get_device_index());
  const Tensor given = torch::stable::to(grad_any, input.scalar_type());
  const Tensor grad = is_channels_last(given) ? given : torch::stable::contiguous(given);
  const Map map = as_map("input", input);
  const Tensor sums = zero_sums(input, {map.images, map.channels, map.height, map.width},
                                is_channels_last(input));
  const Tensor to_offset = offset_gradient(offset, input);
  if (grad.numel() > 0)
    dispatch_cuda(input.scalar_type(), [&](auto zero) {
      pool_backward<decltype(zero), 1>(rule, input, grad, sums, size,
                                       offset ? any_out(to_offset) : kNowhere, deterministic);
    });
  check_launch("deform_ps_roi_pool_backward");
  return {in_form_of(input, sums), to_offset};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("deform_ps_roi_pool", TORCH_BOX(&deform_ps_roi_pool));
  m.impl("deform_ps_roi_pool_backward", TORCH_BOX(&deform_ps_roi_pool_backward));
}

}  // namespace perception
