// Rotated boxes on the CPU: overlap and suppression, in float64.
#include "cpu/simd/rotated.h"

#include <algorithm>
#include <cmath>

#include "cpu/isa.h"
#include "cpu/parallel.h"
#include "cpu/ranking.h"

namespace perception {
namespace {

constexpr double kDegree = 0.017453292519943295769;
constexpr int64_t kBlock = 256;  // candidates compared with the kept ones at a time

// (N, 5) boxes as one array per number of RotatedBoxes; places that are not set hold no box.
class Columns {
 public:
  explicit Columns(int64_t count)
      : stride_((count + kRotatedPad) / kRotatedPad * kRotatedPad),
        memory_(static_cast<size_t>(kRotatedNumbers * stride_) * sizeof(double)) {
    std::fill(memory_.as<double>(), memory_.as<double>() + kRotatedNumbers * stride_, 0.0);
    std::fill(column(7), column(7) + stride_, -1.0);
  }

  // From (cx, cy, w, h, degrees); what is not finite or has no area stays unset.
  void set(int64_t i, const double* box) {
    for (int k = 0; k < 5; ++k)
      if (!std::isfinite(box[k])) return;
    if (!(box[2] > 0 && box[3] > 0)) return;
    const double turn = std::fmod(box[4], 360) * kDegree, half_w = box[2] / 2, half_h = box[3] / 2;
    const double radius = std::hypot(half_w, half_h) * (1 + 1e-12);
    const double numbers[kRotatedNumbers] = {box[0],         box[1],         half_w,          half_h,
                                             std::cos(turn), std::sin(turn), box[2] * box[3], radius};
    for (int k = 0; k < kRotatedNumbers; ++k) column(k)[i] = numbers[k];
  }

  void copy(int64_t to, const Columns& other, int64_t from) {
    for (int k = 0; k < kRotatedNumbers; ++k) column(k)[to] = other.column(k)[from];
  }

  RotatedBoxes view() const {
    return {column(0), column(1), column(2), column(3), column(4), column(5), column(6), column(7)};
  }

 private:
  double* column(int k) const { return memory_.as<double>() + k * stride_; }

  int64_t stride_;
  Scratch memory_;
};

Columns read(const Tensor& boxes, const std::vector<int64_t>* order) {
  const auto count = order ? static_cast<int64_t>(order->size()) : boxes.size(0);
  Columns out(count);
  const Rows<double> rows(boxes);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = order ? (*order)[static_cast<size_t>(i)] : i;
    double box[5];
    for (int64_t k = 0; k < 5; ++k) box[k] = rows.at(row, k);
    out.set(i, box);
  }
  return out;
}

template <typename T>
void fill_rows(const Columns& a, int64_t rows, const Columns& b, int64_t columns, T* out) {
  const auto kernel = SELECT_ISA(rotated_row<T>);
  const RotatedBoxes first = a.view(), second = b.view();
  const int64_t piece = std::max<int64_t>(1, 4096 / columns);
  for_chunks(rows, piece, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) kernel(first, i, second, columns, out + i * columns);
  });
}

Tensor box_iou_rotated(const Tensor& boxes1, const Tensor& boxes2) {
  for (const Tensor* each : {&boxes1, &boxes2}) {
    check(each->dim() == 2 && each->size(1) == 5, "boxes must have shape (N, 5)");
    check(each->scalar_type() == boxes1.scalar_type() &&
              (each->scalar_type() == ScalarType::Float || each->scalar_type() == ScalarType::Double),
          "boxes must both be float32 or both float64");
  }
  const int64_t rows = boxes1.size(0), columns = boxes2.size(0);
  Tensor out = torch::stable::empty({rows, columns}, boxes1.scalar_type(), std::nullopt,
                                    boxes1.device());
  if (out.numel() == 0) return out;
  advise_huge(out.data_ptr(), static_cast<size_t>(out.numel()) * out.element_size());
  const Columns a = read(boxes1, nullptr), b = read(boxes2, nullptr);
  if (boxes1.scalar_type() == ScalarType::Double)
    fill_rows(a, rows, b, columns, static_cast<double*>(out.data_ptr()));
  else
    fill_rows(a, rows, b, columns, static_cast<float*>(out.data_ptr()));
  return out;
}

Tensor nms_rotated(const Tensor& boxes, const Tensor& scores, double threshold) {
  check_candidates(boxes, scores, 5);
  check(threshold >= 0 && threshold <= 1, "iou_threshold must lie in [0, 1], got ", threshold);
  const std::vector<int64_t> rows = ranked(boxes, scores);
  const auto count = static_cast<int64_t>(rows.size());
  const Columns candidates = read(boxes, &rows);
  Columns kept(count);
  const auto kernel = SELECT_ISA(rotated_suppressed);
  const RotatedBoxes view = candidates.view(), before = kept.view();
  std::vector<uint8_t> alive(rows.size());
  std::vector<int64_t> survivors;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, count);
    const auto earlier = static_cast<int64_t>(survivors.size());
    for_chunks(end - begin, 16, [&](int64_t from, int64_t to) {
      for (int64_t i = begin + from; i < begin + to; ++i)
        alive[static_cast<size_t>(i)] = !kernel(view, i, before, 0, earlier, threshold);
    });
    for (int64_t i = begin; i < end; ++i) {
      const auto number = static_cast<int64_t>(survivors.size());
      if (!alive[static_cast<size_t>(i)] || kernel(view, i, before, earlier, number, threshold))
        continue;
      kept.copy(number, candidates, i);
      survivors.push_back(rows[static_cast<size_t>(i)]);
    }
  }
  Tensor out = empty_indices(static_cast<int64_t>(survivors.size()), boxes);
  std::copy(survivors.begin(), survivors.end(), static_cast<int64_t*>(out.data_ptr()));
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) {
  m.impl("box_iou_rotated", TORCH_BOX(&box_iou_rotated));
  m.impl("nms_rotated", TORCH_BOX(&nms_rotated));
}

}  // namespace perception
