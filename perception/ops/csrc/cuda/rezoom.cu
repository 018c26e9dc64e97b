// The rezoom crop on CUDA, forward and backward (to the features and to the boxes).
#include "cuda/gather.cuh"

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

// Neighbours and fraction along one axis; the clamp ends the gradient.
struct Neighbours {
  int64_t lower, upper;
  double part;
  bool known, free;
};

__device__ inline Neighbours neighbours_at(double position, int64_t extent) {
  const double last = static_cast<double>(extent - 1);
  const bool known = position == position;
  const double inside = known ? fmin(fmax(position, 0.0), last) : 0;
  const auto lower = static_cast<int64_t>(inside);
  return {lower, lower + 1 < extent ? lower + 1 : extent - 1,
          inside - static_cast<double>(lower), known, known && position >= 0 && position <= last};
}

struct PointPlace {
  Neighbours y, x;
  double w, h;
  int64_t image;  // -1: the point reads nothing
};

template <typename P>
__device__ inline PointPlace point_at(const RoiTable& rois, int64_t k, int point,
                                      const Offsets& offsets, const P& map) {
  PointPlace place;
  place.w = offsets.w[point / offsets.h_count], place.h = offsets.h[point % offsets.h_count];
  place.x = neighbours_at((rois.at(k, 1) + place.w * rois.at(k, 3)) * offsets.scale, map.width);
  place.y = neighbours_at((rois.at(k, 2) + place.h * rois.at(k, 4)) * offsets.scale, map.height);
  place.image = place.x.known && place.y.known ? rois.image(k, map.images) : -1;
  return place;
}

// Weight and offset of corner 0 .. 3, row by row.
template <typename A, typename P>
__device__ inline A corner(const PointPlace& at, int i, const P& map, int64_t* offset) {
  const A y = static_cast<A>(at.y.part), x = static_cast<A>(at.x.part);
  *offset = (i / 2 ? at.y.upper : at.y.lower) * map.row +
            (i % 2 ? at.x.upper : at.x.lower) * map.column;
  return (i / 2 ? y : 1 - y) * (i % 2 ? x : 1 - x);
}

// `count` vectors of channels, those of a point together.
template <typename T, int Vector>
__global__ void rezoom_kernel(Plane<const T> map, RoiTable rois, Offsets offsets, int64_t count,
                              T* out) {
  using A = accumulate_cuda_t<T>;
  const int64_t points = offsets.w_count * offsets.h_count, vectors = map.channels / Vector;
  GRID_STRIDE_LOOP(index, count) {
    const int64_t c = index % vectors * Vector, k = index / vectors / points;
    const auto at = point_at(rois, k, static_cast<int>(index / vectors % points), offsets, map);
    A sum[Vector] = {};
    for (int i = 0; at.image >= 0 && i < 4; ++i) {
      int64_t offset;
      const A weight = corner<A>(at, i, map, &offset);
      if (weight == 0) continue;
      const auto pixel =
          *reinterpret_cast<const Pack<T, Vector>*>(map.at(at.image, c) + offset);
      for (int v = 0; v < Vector; ++v) sum[v] = fma(weight, A(widen(pixel.value[v])), sum[v]);
    }
    Pack<T, Vector> result;
    for (int v = 0; v < Vector; ++v) narrow(&result.value[v], sum[v]);
    reinterpret_cast<Pack<T, Vector>*>(out)[index] = result;
  }
}

template <typename T>
__global__ void scatter_kernel(const T* grad, RoiTable rois, Offsets offsets, int64_t count,
                               Plane<accumulate_cuda_t<T>> sums) {
  using A = accumulate_cuda_t<T>;
  const int64_t points = offsets.w_count * offsets.h_count;
  GRID_STRIDE_LOOP(index, count) {
    const int64_t c = index % sums.channels, k = index / sums.channels / points;
    const auto at =
        point_at(rois, k, static_cast<int>(index / sums.channels % points), offsets, sums);
    for (int i = 0; at.image >= 0 && i < 4; ++i) {
      int64_t offset;
      const A weight = corner<A>(at, i, sums, &offset);
      if (weight != 0)
        atomicAdd(sums.at(at.image, c) + offset, weight * A(widen(grad[index])));
    }
  }
}

// The points of a box as bins of the deterministic backward: rows are h offsets, columns w offsets.
struct PointAxes {
  RoiTable rois;
  Offsets offsets;
  int64_t images, height, width;

  __device__ bool reaches(int64_t k, const PixelPlace& at) const {
    if (rois.image(k, images) != at.image) return false;
    bool row = false, column = false;
    for (int i = 0; i < offsets.h_count && !row; ++i) row = row_weight(k, i, at) != 0;
    for (int j = 0; j < offsets.w_count && !column; ++j) column = column_weight(k, j, at) != 0;
    return row && column;
  }
  __device__ double row_weight(int64_t k, int64_t i, const PixelPlace& at) const {
    return weight(rois.at(k, 2) + offsets.h[i] * rois.at(k, 4), height, at.y);
  }
  __device__ double column_weight(int64_t k, int64_t j, const PixelPlace& at) const {
    return weight(rois.at(k, 1) + offsets.w[j] * rois.at(k, 3), width, at.x);
  }

 private:
  __device__ double weight(double position, int64_t extent, int64_t pixel) const {
    const Neighbours at = neighbours_at(position * offsets.scale, extent);
    if (!at.known) return 0;
    return (pixel == at.lower ? 1 - at.part : 0) + (pixel == at.upper ? at.part : 0);
  }
};

// One block per box: slopes of all points and channels, summed in a fixed order.
template <typename T>
__global__ void slope_kernel(const T* grad, Plane<const T> map, RoiTable rois, int64_t boxes,
                             Offsets offsets, void* out, bool wide) {
  __shared__ double part[4][kThreads];
  const int points = offsets.w_count * offsets.h_count;
  for (int64_t k = blockIdx.x; k < boxes; k += gridDim.x) {
    double sum[4] = {};
    for (int64_t item = threadIdx.x; item < points * map.channels; item += blockDim.x) {
      const int64_t c = item % map.channels;
      const auto at = point_at(rois, k, static_cast<int>(item / map.channels), offsets, map);
      if (at.image < 0) continue;
      double value[4];
      for (int i = 0; i < 4; ++i) {
        int64_t offset;
        corner<double>(at, i, map, &offset);
        value[i] = widen(map.at(at.image, c)[offset]);
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

Tensor rezoom(const Tensor& features, const Tensor& rois, std::vector<double> w_offsets,
              std::vector<double> h_offsets, double scale) {
  const DeviceGuard guard(features.get_device_index());
  const Offsets offsets = as_offsets(w_offsets, h_offsets, scale);
  const RoiTable table = as_table(rois);
  check(features.dim() == 4, "features must have shape (N, C, H, W)");
  const int64_t points = offsets.w_count * offsets.h_count;
  Tensor out = torch::stable::new_empty(features, {rois.size(0), points * features.size(1)});
  if (out.numel() == 0) return out;
  check(features.numel() > 0, "features is empty");
  const cudaStream_t stream = current_stream(features);
  dispatch_cuda(features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    constexpr int kVector = 16 / sizeof(T);
    const auto map = as_plane<const T>(features);
    T* data = static_cast<T*>(out.data_ptr());
    const int64_t count = out.numel();
    if (vectors_fit<T>(features, kVector))
      rezoom_kernel<T, kVector><<<blocks_for(count / kVector), kThreads, 0, stream>>>(
          map, table, offsets, count / kVector, data);
    else
      rezoom_kernel<T, 1><<<blocks_for(count), kThreads, 0, stream>>>(map, table, offsets, count,
                                                                      data);
  });
  check_launch("rezoom");
  return out;
}

template <typename T>
void launch_backward(const Tensor& grad, const Tensor& features, const RoiTable& table,
                     int64_t boxes, const Offsets& offsets, const Tensor& sums,
                     const Tensor& grad_rois, bool deterministic, cudaStream_t stream) {
  const T* upper = static_cast<const T*>(grad.data_ptr());
  const auto to = as_plane<accumulate_cuda_t<T>>(sums);
  if (deterministic) {
    const int64_t rows = offsets.h_count, columns = offsets.w_count, channels = to.channels;
    launch_gather<Reads::every_bin>(
        PointAxes{table, offsets, to.images, to.height, to.width},
        Upper<T>{upper, nullptr, boxes, rows, columns, rows * columns * channels, 1, channels,
                 rows * channels},
        to, stream);
  } else {
    scatter_kernel<T><<<blocks_for(grad.numel()), kThreads, 0, stream>>>(upper, table, offsets,
                                                                         grad.numel(), to);
  }
  slope_kernel<T><<<blocks_for(boxes, 1), kThreads, 0, stream>>>(
      upper, as_plane<const T>(features), table, boxes, offsets, grad_rois.data_ptr(),
      grad_rois.scalar_type() == ScalarType::Double);
}

std::tuple<Tensor, Tensor> rezoom_backward(const Tensor& grad_any, const Tensor& features,
                                           const Tensor& rois, std::vector<double> w_offsets,
                                           std::vector<double> h_offsets, double scale,
                                           bool deterministic) {
  const DeviceGuard guard(features.get_device_index());
  const Tensor grad = torch::stable::contiguous(grad_any);
  const Offsets offsets = as_offsets(w_offsets, h_offsets, scale);
  const RoiTable table = as_table(rois);
  check(features.dim() == 4 && grad.dim() == 2 && grad.size(0) == rois.size(0) &&
            grad.size(1) == offsets.w_count * offsets.h_count * features.size(1) &&
            grad.scalar_type() == features.scalar_type(),
        "grad does not fit features and boxes");
  const auto size = features.sizes();
  Tensor sums = zero_sums(grad, {size.begin(), size.end()}, is_channels_last(features));
  Tensor grad_rois = torch::stable::new_zeros(rois, {rois.size(0), 5});
  if (grad.numel() > 0) {
    dispatch_cuda(grad.scalar_type(), [&](auto zero) {
      launch_backward<decltype(zero)>(grad, features, table, rois.size(0), offsets, sums,
                                      grad_rois, deterministic, current_stream(grad));
    });
    check_launch("rezoom_backward");
  }
  return {in_dtype_of(sums, grad), grad_rois};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("rezoom", TORCH_BOX(&rezoom));
  m.impl("rezoom_backward", TORCH_BOX(&rezoom_backward));
}

}  // namespace perception
