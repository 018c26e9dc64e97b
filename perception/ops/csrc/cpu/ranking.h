// Boxes and scores of the suppressing ops: which are usable, and in which order they are taken.
#pragma once

#include <vector>

#include "cpu/rois.h"

namespace perception {

// Reads rows of a (N, columns) float32 or float64 tensor as A.
template <typename A>
struct Rows {
  const void* data;
  bool wide;  // stored as float64
  int64_t row, column;

  explicit Rows(const Tensor& tensor)
      : data(tensor.data_ptr()), wide(tensor.scalar_type() == ScalarType::Double),
        row(tensor.stride(0)), column(tensor.dim() > 1 ? tensor.stride(1) : 0) {}

  A at(int64_t i, int64_t j = 0) const {
    const int64_t place = i * row + j * column;
    return wide ? static_cast<A>(static_cast<const double*>(data)[place])
                : static_cast<A>(static_cast<const float*>(data)[place]);
  }
};

// Rows whose numbers are finite and whose score is not NaN, best first, equal scores in order.
std::vector<int64_t> ranked(const Tensor& boxes, const Tensor& scores);

// (n,) int64 on the CPU.
Tensor empty_indices(int64_t count, const Tensor& like);

}  // namespace perception
