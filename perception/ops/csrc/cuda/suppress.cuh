// Boxes on the device as suppression and overlap see them: axis-aligned and rotated.
#pragma once

#include <cmath>

#include "cuda/launch.cuh"

namespace perception {

// Rows of a (N, columns) float32 or float64 tensor as a kernel argument.
struct DeviceRows {
  const void* data;
  int64_t count, row, column;
  bool wide;

  __device__ double at(int64_t i, int64_t j = 0) const {
    const int64_t place = i * row + j * column;
    return wide ? static_cast<const double*>(data)[place]
                : static_cast<double>(static_cast<const float*>(data)[place]);
  }
};

inline DeviceRows device_rows(const Tensor& tensor) {
  check(tensor.scalar_type() == ScalarType::Float || tensor.scalar_type() == ScalarType::Double,
        "boxes and scores must be float32 or float64");
  return {tensor.data_ptr(), tensor.size(0), tensor.stride(0),
          tensor.dim() > 1 ? tensor.stride(1) : 0, tensor.scalar_type() == ScalarType::Double};
}

// f(T{}) for float32 and float64.
template <typename F>
void dispatch_real(const Tensor& tensor, const F& f) {
  tensor.scalar_type() == ScalarType::Double ? f(double{}) : f(float{});
}

// Offsets of arrays that share one allocation.
struct Parts {
  int64_t bytes = 0;

  int64_t add(size_t size) {
    const int64_t start = bytes;
    bytes += static_cast<int64_t>((size + 255) / 256 * 256);
    return start;
  }
  Tensor allocate(const Tensor& like) const {
    return torch::stable::empty({bytes}, ScalarType::Byte, std::nullopt, like.device());
  }
};

// A number that a kernel left on the device: here the host waits.
inline int64_t number_on_host(const Tensor& number) {
  const cudaStream_t stream = current_stream(number);
  int64_t value = 0;
  cudaMemcpyAsync(&value, number.data_ptr(), sizeof value, cudaMemcpyDeviceToHost, stream);
  const cudaError_t error = cudaStreamSynchronize(stream);
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
  return value;
}

// An overlap above this removes a box. A float32 is above `exact` when it is above `single`, the
// largest float32 that is not: GPUs compare in float32 many times faster.
struct Limit {
  double exact;
  float single;

  template <typename A>
  __device__ bool is_below(A overlap) const {
    if constexpr (sizeof(A) == sizeof(float)) return overlap > single;
    return overlap > exact;
  }
};

inline Limit limit_of(double threshold) {
  const auto nearest = static_cast<float>(threshold);
  return {threshold, nearest > threshold ? std::nextafter(nearest, -1.0f) : nearest};
}

// (x1, y1, x2, y2); overlap in A, in the operations and order of torchvision's kernel.
template <typename A>
struct alignas(16) CornerBox {
  static constexpr int kColumns = 4;
  A x1, y1, x2, y2, area;

  __device__ static CornerBox read(const DeviceRows& rows, int64_t i) {
    CornerBox box{static_cast<A>(rows.at(i, 0)), static_cast<A>(rows.at(i, 1)),
                  static_cast<A>(rows.at(i, 2)), static_cast<A>(rows.at(i, 3)), 0};
    box.area = (box.x2 - box.x1) * (box.y2 - box.y1);
    return box;
  }

  __device__ bool removes(const CornerBox& b, const Limit& limit) const {
    const A width = fmin(x2, b.x2) - fmax(x1, b.x1), height = fmin(y2, b.y2) - fmax(y1, b.y1);
    if (!(width > 0 && height > 0)) return false;
    const A shared = width * height, joint = area + b.area - shared;
    if (isfinite(joint)) return limit.is_below(shared / joint);
    const double w = fmin(double(x2), double(b.x2)) - fmax(double(x1), double(b.x1));
    const double h = fmin(double(y2), double(b.y2)) - fmax(double(y1), double(b.y1));
    const double own = (double(x2) - x1) * (double(y2) - y1);
    const double other = (double(b.x2) - b.x1) * (double(b.y2) - b.y1);
    return w * h / (own + other - w * h) > limit.exact;
  }
};

// (cx, cy, w, h, degrees); see cpu/simd/rotated.cpp for the integral.
struct RotatedBox {
  static constexpr int kColumns = 5;
  double cx, cy, half_w, half_h, cosine, sine, area, radius;

  __device__ static RotatedBox read(const DeviceRows& rows, int64_t i) {
    const double w = rows.at(i, 2), h = rows.at(i, 3), turn = rows.at(i, 4);
    RotatedBox box{rows.at(i, 0), rows.at(i, 1), w / 2, h / 2, 1, 0, w * h, -1};
    const bool finite = isfinite(box.cx) && isfinite(box.cy) && isfinite(w) && isfinite(h) &&
                        isfinite(turn);
    if (!finite || !(w > 0 && h > 0)) return box;
    sincospi(fmod(turn, 360.0) / 180, &box.sine, &box.cosine);
    box.radius = hypot(box.half_w, box.half_h) * (1 + 1e-12);
    return box;
  }

  __device__ static double clamp(double value, double low, double high) {
    return fmin(fmax(value, low), high);
  }

  // Mean of clamp(y, -limit, limit) while y runs linearly from start to end.
  __device__ static double mean_clamped(double start, double end, double limit) {
    const double low = fmin(start, end), length = fmax(start, end) - low;
    const double safe = length == 0 ? 1e-300 : length;
    const double below = clamp((-limit - low) / safe, 0, 1), above = clamp((limit - low) / safe, 0, 1);
    const double inside = low + (below + above) * 0.5 * length;
    return (above - below) * inside - below * limit + (1 - above) * limit;
  }

  __device__ static double edge(double x0, double y0, double x1, double y1, double half_w,
                                double half_h) {
    const double run = x1 - x0, rise = y1 - y0, safe = run == 0 ? 1e-300 : run;
    const double t0 = clamp((clamp(x0, -half_w, half_w) - x0) / safe, 0, 1);
    const double t1 = clamp((clamp(x1, -half_w, half_w) - x0) / safe, 0, 1);
    return run * (t1 - t0) * mean_clamped(y0 + t0 * rise, y0 + t1 * rise, half_h);
  }

  __device__ double overlap(const RotatedBox& b) const {
    if (!(radius > 0 && b.radius > 0)) return 0;
    const double dx = cx - b.cx, dy = cy - b.cy, reach = radius + b.radius;
    if (!(dx * dx + dy * dy < reach * reach)) return 0;
    const double x = dx * b.cosine - dy * b.sine, y = dx * b.sine + dy * b.cosine;
    const double c = cosine * b.cosine + sine * b.sine, s = sine * b.cosine - cosine * b.sine;
    const double ux = c * half_w, uy = -s * half_w, vx = s * half_h, vy = c * half_h;
    const double xs[] = {x + ux + vx, x - ux + vx, x - ux - vx, x + ux - vx};
    const double ys[] = {y + uy + vy, y - uy + vy, y - uy - vy, y + uy - vy};
    double shared = 0;
    for (int i = 0; i < 4; ++i)
      shared += edge(xs[i], ys[i], xs[(i + 1) % 4], ys[(i + 1) % 4], b.half_w, b.half_h);
    shared = fmin(fabs(shared), fmin(area, b.area));
    if (!(shared > reach * reach * 4e-15)) return 0;
    const double value = shared / (area + b.area - shared);
    return value >= 0 ? value : 0;
  }

  __device__ bool removes(const RotatedBox& b, const Limit& limit) const {
    return overlap(b) > limit.exact;
  }
};

}  // namespace perception
