// The IoU family on the CPU, in float64 whatever the boxes are stored in.
#include "cpu/simd/overlap.h"

#include <algorithm>
#include <cmath>

#include "cpu/isa.h"
#include "cpu/parallel.h"
#include "cpu/ranking.h"

namespace perception {
namespace {

// (N, 4) boxes as one array per number.
class Columns {
 public:
  Columns(const Tensor& boxes, bool angles) : count_(boxes.size(0)) {
    stride_ = (count_ + kOverlapPad) / kOverlapPad * kOverlapPad;
    memory_ = Scratch(static_cast<size_t>(kOverlapNumbers * stride_) * sizeof(double));
    std::fill(memory_.as<double>(), memory_.as<double>() + kOverlapNumbers * stride_, 0.0);
    const Rows<double> rows(boxes);
    for (int64_t i = 0; i < count_; ++i) {
      for (int64_t k = 0; k < 4; ++k) column(k)[i] = rows.at(i, k);
      const double width = side(i, 0), height = side(i, 1);
      column(4)[i] = width * height;
      const double square = width * width + height * height;
      if (!angles || square == 0) continue;
      column(5)[i] = std::atan2(width, height);
      column(6)[i] = height / square;
      column(7)[i] = -width / square;
    }
  }

  int64_t count() const { return count_; }
  OverlapBoxes view() const {
    return {column(0), column(1), column(2), column(3), column(4), column(5), column(6), column(7)};
  }

 private:
  double* column(int64_t k) const { return memory_.as<double>() + k * stride_; }
  // Width or height; 0 for a reversed box, NaN stays.
  double side(int64_t i, int64_t axis) const {
    const double length = column(axis + 2)[i] - column(axis)[i];
    return length < 0 ? 0 : length;
  }

  int64_t count_, stride_;
  Scratch memory_;
};

void check_boxes(const char* name, const Tensor& boxes, const Tensor& other) {
  check(boxes.dim() == 2 && boxes.size(1) == 4, name, " must have shape (N, 4)");
  const ScalarType type = boxes.scalar_type();
  check(type == other.scalar_type() && (type == ScalarType::Float || type == ScalarType::Double),
        "boxes must both be float32 or both float64");
}

int64_t rows_per_piece(int64_t columns) {
  return std::max<int64_t>(1, 65536 / std::max<int64_t>(columns, 1));
}

template <Overlap kKind, typename T>
void fill_rows(const Columns& a, const Columns& b, double eps, T* out) {
  const auto kernel = SELECT_ISA(overlap_row<T>);
  const OverlapBoxes first = a.view(), second = b.view();
  for_chunks(a.count(), rows_per_piece(b.count()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      kernel(kKind, first, i, second, b.count(), eps, out + i * b.count());
  });
}

template <Overlap kKind>
Tensor forward_eps(const Tensor& boxes1, const Tensor& boxes2, double eps) {
  check_boxes("boxes1", boxes1, boxes2);
  check_boxes("boxes2", boxes2, boxes1);
  Tensor out = torch::stable::empty({boxes1.size(0), boxes2.size(0)}, boxes1.scalar_type(),
                                    std::nullopt, boxes1.device());
  if (out.numel() == 0) return out;
  advise_huge(out.data_ptr(), static_cast<size_t>(out.numel()) * out.element_size());
  const Columns a(boxes1, kKind == Overlap::complete), b(boxes2, kKind == Overlap::complete);
  if (boxes1.scalar_type() == ScalarType::Double)
    fill_rows<kKind>(a, b, eps, static_cast<double*>(out.data_ptr()));
  else
    fill_rows<kKind>(a, b, eps, static_cast<float*>(out.data_ptr()));
  return out;
}

template <Overlap kKind>
Tensor forward(const Tensor& boxes1, const Tensor& boxes2) {
  return forward_eps<kKind>(boxes1, boxes2, 0);
}

void put(Tensor& to, int64_t i, int64_t k, double value) {
  const int64_t place = i * to.stride(0) + k * to.stride(1);
  if (to.scalar_type() == ScalarType::Double)
    static_cast<double*>(to.data_ptr())[place] = value;
  else
    static_cast<float*>(to.data_ptr())[place] = static_cast<float>(value);
}

// Gradient to the rows: every box of `a` gathers from all of `b`, in order.
template <Overlap kKind>
void gradient_to_first(const Rows<double>& grad, const Columns& a, const Columns& b, double eps,
                       Tensor& out) {
  const auto kernel = SELECT_ISA(overlap_gradient_first);
  const OverlapBoxes first = a.view(), second = b.view();
  for_chunks(a.count(), rows_per_piece(b.count()), [&](int64_t begin, int64_t end) {
    std::vector<double> row(static_cast<size_t>(b.count()));
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j < b.count(); ++j) row[static_cast<size_t>(j)] = grad.at(i, j);
      double sum[4];
      kernel(kKind, first, i, second, b.count(), eps, row.data(), sum);
      for (int64_t k = 0; k < 4; ++k) put(out, i, k, sum[k]);
    }
  });
}

// Gradient to the columns, kOverlapPad boxes of `b` at a time.
template <Overlap kKind>
void gradient_to_second(const Rows<double>& grad, const Columns& a, const Columns& b, double eps,
                        Tensor& out) {
  const auto kernel = SELECT_ISA(overlap_gradient_second);
  const OverlapBoxes first = a.view(), second = b.view();
  const int64_t pieces = (b.count() + kOverlapPad - 1) / kOverlapPad;
  for_chunks(pieces, rows_per_piece(a.count() * kOverlapPad), [&](int64_t begin, int64_t end) {
    std::vector<double> columns(static_cast<size_t>(a.count() * kOverlapPad));
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t j = piece * kOverlapPad, width = std::min(kOverlapPad, b.count() - j);
      for (int64_t i = 0; i < a.count(); ++i)
        for (int64_t lane = 0; lane < width; ++lane)
          columns[static_cast<size_t>(i * kOverlapPad + lane)] = grad.at(i, j + lane);
      double sums[4 * kOverlapPad];
      kernel(kKind, first, a.count(), second, j, eps, columns.data(), kOverlapPad, sums);
      for (int64_t k = 0; k < 4; ++k)
        for (int64_t lane = 0; lane < width; ++lane)
          put(out, j + lane, k, sums[k * kOverlapPad + lane]);
    }
  });
}

template <Overlap kKind>
std::tuple<Tensor, Tensor> backward_eps(const Tensor& grad, const Tensor& boxes1,
                                        const Tensor& boxes2, double eps) {
  check_boxes("boxes1", boxes1, boxes2);
  check_boxes("boxes2", boxes2, boxes1);
  check(grad.dim() == 2 && grad.size(0) == boxes1.size(0) && grad.size(1) == boxes2.size(0) &&
            grad.scalar_type() == boxes1.scalar_type(),
        "grad must have shape (N, M) and the dtype of the boxes");
  Tensor grad1 = torch::stable::empty({boxes1.size(0), 4}, boxes1.scalar_type(), std::nullopt,
                                      boxes1.device());
  Tensor grad2 = torch::stable::empty({boxes2.size(0), 4}, boxes2.scalar_type(), std::nullopt,
                                      boxes2.device());
  const Columns a(boxes1, kKind == Overlap::complete), b(boxes2, kKind == Overlap::complete);
  gradient_to_first<kKind>(Rows<double>(grad), a, b, eps, grad1);
  gradient_to_second<kKind>(Rows<double>(grad), a, b, eps, grad2);
  return {grad1, grad2};
}

template <Overlap kKind>
std::tuple<Tensor, Tensor> backward(const Tensor& grad, const Tensor& boxes1,
                                    const Tensor& boxes2) {
  return backward_eps<kKind>(grad, boxes1, boxes2, 0);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) {
  m.impl("box_iou", TORCH_BOX(&forward<Overlap::iou>));
  m.impl("generalized_box_iou", TORCH_BOX(&forward<Overlap::generalized>));
  m.impl("distance_box_iou", TORCH_BOX(&forward_eps<Overlap::distance>));
  m.impl("complete_box_iou", TORCH_BOX(&forward_eps<Overlap::complete>));
  m.impl("box_iou_backward", TORCH_BOX(&backward<Overlap::iou>));
  m.impl("generalized_box_iou_backward", TORCH_BOX(&backward<Overlap::generalized>));
  m.impl("distance_box_iou_backward", TORCH_BOX(&backward_eps<Overlap::distance>));
  m.impl("complete_box_iou_backward", TORCH_BOX(&backward_eps<Overlap::complete>));
}

}  // namespace perception
