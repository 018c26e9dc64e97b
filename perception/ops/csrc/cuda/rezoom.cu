// The rezoom crop on CUDA, forward and backward (to the features and to the boxes).
#include "cuda/pooling.cuh"

namespace perception {
namespace {

constexpr int kMostOffsets = 32;

// Offsets of the points, as a kernel argument; w outer, h inner.
struct Offsets {
  double w[kMostOffsets], h[kMostOffsets], scale;
  int w_count, h_count;
};

Offsets as_offsets(const std::vector<double>& w, const std::vector<double>& h, double scale) {
  check(w.size() <= kMostOffsets && h.size() <= kMostOffsets, "at most ", kMostOffsets,
        " offsets per axis");
  check(scale > 0 && std::isfinite(scale), "spatial_scale must be finite and above 0, got ", scale);
  Offsets offsets{};
  std::copy(w.begin(), w.end(), offsets.w);
  std::copy(h.begin(), h.end(), offsets.h);
  offsets.scale = scale;
  offsets.w_count = static_cast<int>(w.size()), offsets.h_count = static_cast<int>(h.size());
  return offsets;
}

struct Strides {
  int64_t images, channels, height, width, image, channel, row, column;
};

Strides strides_of(const Tensor& tensor) {
  const Map map = as_map("features", tensor);
  return {map.images, map.channels, map.height, map.width, map.stride_image, map.stride_channel,
          map.stride_row, map.stride_column};
}

// Neighbours and fraction along one axis; the clamp ends the gradient.
struct Axis {
  int64_t lower, upper;
  double part;
  bool known, free;
};

__device__ inline Axis axis_at(double position, int64_t extent) {
  const double last = static_cast<double>(extent - 1);
  const bool known = position == position;
  const double inside = known ? fmin(fmax(position, 0.0), last) : 0;
  const auto lower = static_cast<int64_t>(inside);
  return {lower, lower + 1 < extent ? lower + 1 : extent - 1,
          inside - static_cast<double>(lower), known, known && position >= 0 && position <= last};
}

struct PointPlace {
  Axis y, x;
  double w, h;
  bool known;
};

__device__ inline PointPlace point_at(const RoiTable& rois, int64_t k, int point,
                                      const Offsets& offsets, const Strides& map) {
  PointPlace place;
  place.w = offsets.w[point / offsets.h_count], place.h = offsets.h[point % offsets.h_count];
  place.x = axis_at((rois.at(k, 1) + place.w * rois.at(k, 3)) * offsets.scale, map.width);
  place.y = axis_at((rois.at(k, 2) + place.h * rois.at(k, 4)) * offsets.scale, map.height);
  place.known = place.x.known && place.y.known && rois.image(k, map.images) >= 0;
  return place;
}

// Weight and offset of corner 0 .. 3, row by row.
template <typename A>
__device__ inline A corner(const PointPlace& at, int i, const Strides& map, int64_t* offset) {
  const A y = static_cast<A>(at.y.part), x = static_cast<A>(at.x.part);
  *offset = (i / 2 ? at.y.upper : at.y.lower) * map.row + (i % 2 ? at.x.upper : at.x.lower) * map.column;
  return (i / 2 ? y : 1 - y) * (i % 2 ? x : 1 - x);
}

template <typename T>
__global__ void rezoom_kernel(const T* features, Strides map, RoiTable rois, Offsets offsets,
                              int64_t count, T* out) {
  using A = accumulate_cuda_t<T>;
  const int points = offsets.w_count * offsets.h_count;
  GRID_STRIDE_LOOP(index, count) {
    const int64_t c = index % map.channels, k = index / map.channels / points;
    const auto at = point_at(rois, k, static_cast<int>(index / map.channels % points), offsets, map);
    A sum = 0;
    for (int i = 0; at.known && i < 4; ++i) {
      int64_t offset;
      const A weight = corner<A>(at, i, map, &offset);
      if (weight != 0)
        sum = fma(weight, A(widen(features[rois.image(k, map.images) * map.image +
                                           c * map.channel + offset])), sum);
    }
    narrow(out + index, sum);
  }
}

template <typename T>
__global__ void scatter_kernel(const T* grad, RoiTable rois, Offsets offsets, int64_t count,
                               accumulate_cuda_t<T>* sums, Strides map) {
  using A = accumulate_cuda_t<T>;
  const int points = offsets.w_count * offsets.h_count;
  GRID_STRIDE_LOOP(index, count) {
    const int64_t c = index % map.channels, k = index / map.channels / points;
    const auto at = point_at(rois, k, static_cast<int>(index / map.channels % points), offsets, map);
    for (int i = 0; at.known && i < 4; ++i) {
      int64_t offset;
      const A weight = corner<A>(at, i, map, &offset);
      if (weight != 0)
        atomicAdd(sums + rois.image(k, map.images) * map.image + c * map.channel + offset,
                  weight * A(widen(grad[index])));
    }
  }
}

// Deterministic: one thread per channel walks boxes and points in their order.
template <typename T>
__global__ void scatter_in_order_kernel(const T* grad, RoiTable rois, int64_t boxes,
                                        Offsets offsets, accumulate_cuda_t<T>* sums, Strides map) {
  using A = accumulate_cuda_t<T>;
  const int points = offsets.w_count * offsets.h_count;
  GRID_STRIDE_LOOP(c, map.channels) {
    for (int64_t k = 0; k < boxes; ++k) {
      for (int point = 0; point < points; ++point) {
        const auto at = point_at(rois, k, point, offsets, map);
        const A upper = A(widen(grad[(k * points + point) * map.channels + c]));
        for (int i = 0; at.known && i < 4; ++i) {
          int64_t offset;
          const A weight = corner<A>(at, i, map, &offset);
          sums[rois.image(k, map.images) * map.image + c * map.channel + offset] += weight * upper;
        }
      }
    }
  }
}

// One block per box: slopes of all points and channels, summed in a fixed order.
template <typename T>
__global__ void slope_kernel(const T* grad, const T* features, Strides map, RoiTable rois,
                             int64_t boxes, Offsets offsets, void* out, bool wide) {
  __shared__ double part[4][kThreads];
  const int points = offsets.w_count * offsets.h_count;
  for (int64_t k = blockIdx.x; k < boxes; k += gridDim.x) {
    double sum[4] = {};
    for (int64_t item = threadIdx.x; item < points * map.channels; item += blockDim.x) {
      const int64_t c = item % map.channels;
      const auto at = point_at(rois, k, static_cast<int>(item / map.channels), offsets, map);
      if (!at.known) continue;
      double value[4];
      for (int i = 0; i < 4; ++i) {
        int64_t offset;
        corner<double>(at, i, map, &offset);
        value[i] = widen(features[rois.image(k, map.images) * map.image + c * map.channel + offset]);
      }
      const double upper = widen(grad[k * points * map.channels + item]) * offsets.scale;
      const double dx = at.x.free ? upper * ((1 - at.y.part) * (value[1] - value[0]) +
                                             at.y.part * (value[3] - value[2])) : 0;
      const double dy = at.y.free ? upper * ((1 - at.x.part) * (value[2] - value[0]) +
                                             at.x.part * (value[3] - value[1])) : 0;
      sum[0] += dx, sum[1] += dy, sum[2] += dx * at.w, sum[3] += dy * at.h;
    }
    __syncthreads();
    for (int i = 0; i < 4; ++i) part[i][threadIdx.x] = sum[i];
    __syncthreads();
    for (int half = kThreads / 2; half > 0; half /= 2) {
      if (threadIdx.x < half)
        for (int i = 0; i < 4; ++i) part[i][threadIdx.x] += part[i][threadIdx.x + half];
      __syncthreads();
    }
    if (threadIdx.x < 5) {
      const double value = threadIdx.x == 0 ? 0 : part[threadIdx.x - 1][0];
      if (wide) static_cast<double*>(out)[k * 5 + threadIdx.x] = value;
      else static_cast<float*>(out)[k * 5 + threadIdx.x] = static_cast<float>(value);
    }
  }
}

// ------------------------------------------------------------------- host

Tensor rezoom(const Tensor& features, const Tensor& rois, std::vector<double> w_offsets,
              std::vector<double> h_offsets, double scale) {
  const DeviceGuard guard(features.get_device_index());
  const Offsets offsets = as_offsets(w_offsets, h_offsets, scale);
  const Strides map = strides_of(features);
  const RoiTable table = as_table(rois);
  const int64_t points = offsets.w_count * offsets.h_count;
  Tensor out = torch::stable::new_empty(features, {rois.size(0), points * map.channels});
  if (out.numel() == 0) return out;
  check(features.numel() > 0, "features is empty");
  dispatch_cuda(features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    rezoom_kernel<T><<<blocks_for(out.numel()), kThreads, 0, current_stream(features)>>>(
        static_cast<const T*>(features.data_ptr()), map, table, offsets, out.numel(),
        static_cast<T*>(out.data_ptr()));
  });
  check_launch("rezoom");
  return out;
}

template <typename T>
void launch_backward(const Tensor& grad, const Tensor& features, const RoiTable& table,
                     int64_t boxes, const Offsets& offsets, const Tensor& sums,
                     const Tensor& grad_rois, bool deterministic, cudaStream_t stream) {
  const T* upper = static_cast<const T*>(grad.data_ptr());
  auto* to = static_cast<accumulate_cuda_t<T>*>(sums.data_ptr());
  if (deterministic)
    scatter_in_order_kernel<T><<<blocks_for(sums.size(1), 32), 32, 0, stream>>>(
        upper, table, boxes, offsets, to, strides_of(sums));
  else
    scatter_kernel<T><<<blocks_for(grad.numel()), kThreads, 0, stream>>>(
        upper, table, offsets, grad.numel(), to, strides_of(sums));
  slope_kernel<T><<<blocks_for(boxes, 1), kThreads, 0, stream>>>(
      upper, static_cast<const T*>(features.data_ptr()), strides_of(features), table, boxes,
      offsets, grad_rois.data_ptr(), grad_rois.scalar_type() == ScalarType::Double);
}

std::tuple<Tensor, Tensor> rezoom_backward(const Tensor& grad_any, const Tensor& features,
                                           const Tensor& rois, std::vector<double> w_offsets,
                                           std::vector<double> h_offsets, double scale,
                                           bool deterministic) {
  const DeviceGuard guard(features.get_device_index());
  const Tensor grad = torch::stable::contiguous(grad_any);
  const Offsets offsets = as_offsets(w_offsets, h_offsets, scale);
  const RoiTable table = as_table(rois);
  const bool channels_last = is_channels_last(features);
  check(grad.dim() == 2 && grad.size(0) == rois.size(0) &&
            grad.size(1) == offsets.w_count * offsets.h_count * features.size(1) &&
            grad.scalar_type() == features.scalar_type(),
        "grad does not fit features and boxes");
  const auto type = grad.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  Tensor sums = torch::stable::empty(
      features.sizes(), type, std::nullopt, grad.device(), std::nullopt,
      channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  torch::stable::zero_(sums);
  Tensor grad_rois = torch::stable::new_zeros(rois, {rois.size(0), 5});
  if (grad.numel() > 0) {
    dispatch_cuda(grad.scalar_type(), [&](auto zero) {
      launch_backward<decltype(zero)>(grad, features, table, rois.size(0), offsets, sums,
                                      grad_rois, deterministic, current_stream(grad));
    });
    check_launch("rezoom_backward");
  }
  if (type != grad.scalar_type()) sums = torch::stable::to(sums, grad.scalar_type());
  return {sums, grad_rois};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("rezoom", TORCH_BOX(&rezoom));
  m.impl("rezoom_backward", TORCH_BOX(&rezoom_backward));
}

}  // namespace perception
