// Overlaps of all pairs on CUDA, in float64; gradients are summed in a fixed order, without atomics.
#include "cuda/suppress.cuh"
#include "overlap_pair.h"

namespace perception {
namespace {

constexpr int kSummers = 128;  // threads that share the sum for one box

struct Turned {
  PairBox<double> box;
  double turn_w, turn_h;  // derivatives of the aspect angle
};

__device__ Turned read_box(const DeviceRows& rows, int64_t i) {
  Turned out{{rows.at(i, 0), rows.at(i, 1), rows.at(i, 2), rows.at(i, 3), 0, 0}, 0, 0};
  const double width = not_negative(out.box.x2 - out.box.x1);
  const double height = not_negative(out.box.y2 - out.box.y1);
  const double square = width * width + height * height;
  out.box.area = width * height;
  if (square == 0) return out;
  out.box.angle = atan2(width, height);
  out.turn_w = height / square;
  out.turn_h = -width / square;
  return out;
}

template <Overlap kKind, typename T>
__global__ void forward_kernel(DeviceRows boxes1, DeviceRows boxes2, double eps, T* out) {
  GRID_STRIDE_LOOP(index, boxes1.count * boxes2.count) {
    const PairBox<double> a = read_box(boxes1, index / boxes2.count).box;
    const PairBox<double> b = read_box(boxes2, index % boxes2.count).box;
    out[index] = static_cast<T>(value_of<kKind>(pair_of<kKind>(a, b, eps), a, b, eps));
  }
}

// One block per box of `own`: the sum over all boxes of `others`. The overlaps are symmetric, so
// one kernel serves both sides; grad has the given strides.
template <Overlap kKind, typename T>
__global__ void gradient_kernel(DeviceRows own, DeviceRows others, const T* grad, int64_t own_step,
                                int64_t other_step, double eps, T* out) {
  __shared__ double sums[4][kSummers];
  for (int64_t i = blockIdx.x; i < own.count; i += gridDim.x) {
    const Turned one = read_box(own, i);
    double sum[4] = {0, 0, 0, 0};
    for (int64_t j = threadIdx.x; j < others.count; j += kSummers) {
      const PairBox<double> other = read_box(others, j).box;
      const double g = static_cast<double>(grad[i * own_step + j * other_step]);
      const PairGradient<double> each =
          gradient_of<kKind>(one.box, other, one.turn_w, one.turn_h, eps, g);
      sum[0] += each.x1;
      sum[1] += each.y1;
      sum[2] += each.x2;
      sum[3] += each.y2;
    }
    for (int k = 0; k < 4; ++k) sums[k][threadIdx.x] = sum[k];
    for (int half = kSummers / 2; half > 0; half /= 2) {
      __syncthreads();
      if (static_cast<int>(threadIdx.x) < half)
        for (int k = 0; k < 4; ++k) sums[k][threadIdx.x] += sums[k][threadIdx.x + half];
    }
    __syncthreads();
    if (threadIdx.x < 4) out[4 * i + threadIdx.x] = static_cast<T>(sums[threadIdx.x][0]);
    __syncthreads();
  }
}

template <typename T>
__global__ void rotated_kernel(DeviceRows boxes1, DeviceRows boxes2, T* out) {
  GRID_STRIDE_LOOP(index, boxes1.count * boxes2.count) {
    const RotatedBox a = RotatedBox::read(boxes1, index / boxes2.count);
    out[index] = static_cast<T>(a.overlap(RotatedBox::read(boxes2, index % boxes2.count)));
  }
}

void check_boxes(const Tensor& boxes1, const Tensor& boxes2, int64_t columns) {
  for (const Tensor* each : {&boxes1, &boxes2})
    check(each->dim() == 2 && each->size(1) == columns &&
              each->scalar_type() == boxes1.scalar_type(),
          "boxes must have shape (N, ", columns, ") and one dtype");
}

Tensor empty_table(const Tensor& like, int64_t rows, int64_t columns) {
  return torch::stable::empty({rows, columns}, like.scalar_type(), std::nullopt, like.device());
}

template <Overlap kKind>
Tensor forward_eps(const Tensor& boxes1, const Tensor& boxes2, double eps) {
  check_boxes(boxes1, boxes2, 4);
  Tensor out = empty_table(boxes1, boxes1.size(0), boxes2.size(0));
  if (out.numel() == 0) return out;
  const DeviceGuard guard(boxes1.get_device_index());
  dispatch_real(boxes1, [&](auto zero) {
    using T = decltype(zero);
    forward_kernel<kKind, T><<<blocks_for(out.numel()), kThreads, 0, current_stream(boxes1)>>>(
        device_rows(boxes1), device_rows(boxes2), eps, static_cast<T*>(out.data_ptr()));
  });
  check_launch("box_iou");
  return out;
}

template <Overlap kKind>
Tensor forward(const Tensor& boxes1, const Tensor& boxes2) {
  return forward_eps<kKind>(boxes1, boxes2, 0);
}

template <Overlap kKind>
std::tuple<Tensor, Tensor> backward_eps(const Tensor& grad, const Tensor& boxes1,
                                        const Tensor& boxes2, double eps) {
  check_boxes(boxes1, boxes2, 4);
  check(grad.dim() == 2 && grad.size(0) == boxes1.size(0) && grad.size(1) == boxes2.size(0) &&
            grad.scalar_type() == boxes1.scalar_type(),
        "grad must have shape (N, M) and the dtype of the boxes");
  Tensor grad1 = empty_table(boxes1, boxes1.size(0), 4);
  Tensor grad2 = empty_table(boxes2, boxes2.size(0), 4);
  const DeviceGuard guard(boxes1.get_device_index());
  const cudaStream_t stream = current_stream(boxes1);
  dispatch_real(boxes1, [&](auto zero) {
    using T = decltype(zero);
    const DeviceRows a = device_rows(boxes1), b = device_rows(boxes2);
    const auto* from = static_cast<const T*>(grad.data_ptr());
    gradient_kernel<kKind, T><<<blocks_for(a.count, 1), kSummers, 0, stream>>>(
        a, b, from, grad.stride(0), grad.stride(1), eps, static_cast<T*>(grad1.data_ptr()));
    gradient_kernel<kKind, T><<<blocks_for(b.count, 1), kSummers, 0, stream>>>(
        b, a, from, grad.stride(1), grad.stride(0), eps, static_cast<T*>(grad2.data_ptr()));
  });
  check_launch("box_iou_backward");
  return {grad1, grad2};
}

template <Overlap kKind>
std::tuple<Tensor, Tensor> backward(const Tensor& grad, const Tensor& boxes1,
                                    const Tensor& boxes2) {
  return backward_eps<kKind>(grad, boxes1, boxes2, 0);
}

Tensor box_iou_rotated(const Tensor& boxes1, const Tensor& boxes2) {
  check_boxes(boxes1, boxes2, 5);
  Tensor out = empty_table(boxes1, boxes1.size(0), boxes2.size(0));
  if (out.numel() == 0) return out;
  const DeviceGuard guard(boxes1.get_device_index());
  dispatch_real(boxes1, [&](auto zero) {
    using T = decltype(zero);
    rotated_kernel<T><<<blocks_for(out.numel()), kThreads, 0, current_stream(boxes1)>>>(
        device_rows(boxes1), device_rows(boxes2), static_cast<T*>(out.data_ptr()));
  });
  check_launch("box_iou_rotated");
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("box_iou", TORCH_BOX(&forward<Overlap::iou>));
  m.impl("generalized_box_iou", TORCH_BOX(&forward<Overlap::generalized>));
  m.impl("distance_box_iou", TORCH_BOX(&forward_eps<Overlap::distance>));
  m.impl("complete_box_iou", TORCH_BOX(&forward_eps<Overlap::complete>));
  m.impl("box_iou_backward", TORCH_BOX(&backward<Overlap::iou>));
  m.impl("generalized_box_iou_backward", TORCH_BOX(&backward<Overlap::generalized>));
  m.impl("distance_box_iou_backward", TORCH_BOX(&backward_eps<Overlap::distance>));
  m.impl("complete_box_iou_backward", TORCH_BOX(&backward_eps<Overlap::complete>));
  m.impl("box_iou_rotated", TORCH_BOX(&box_iou_rotated));
}

}  // namespace perception
