// Boxes of the pooling ops: read, checked, in float64.
#pragma once

#include <cmath>
#include <vector>

#include "cpu/types.h"
#include "tensors.h"

namespace perception {

// f(T{}) for the storage type of a floating dtype.
template <typename F>
void dispatch_storage(ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Float: return f(float{});
    case ScalarType::Double: return f(double{});
    case ScalarType::Half: return f(half_t{});
    case ScalarType::BFloat16: return f(bfloat16_t{});
    default: refuse("expected float32, float64, float16 or bfloat16");
  }
}

struct Roi {
  int64_t image;
  double box[4];  // x1, y1, x2, y2, or cx, cy, w, h
};

template <typename B>
std::vector<Roi> read_rois_as(const Tensor& rois, int64_t images) {
  const B* row = static_cast<const B*>(rois.data_ptr());
  const int64_t step = rois.stride(0), column = rois.stride(1);
  std::vector<Roi> out(static_cast<size_t>(rois.size(0)));
  for (size_t k = 0; k < out.size(); ++k, row += step) {
    const double index = row[0];
    check(index >= 0 && index < static_cast<double>(images) && index == std::floor(index),
          "boxes: row ", k, " has image index ", index, ", expected a whole number from 0 to ",
          images - 1);
    out[k].image = static_cast<int64_t>(index);
    for (int i = 0; i < 4; ++i) out[k].box[i] = row[(i + 1) * column];
  }
  return out;
}

// (K, 5) rows (image index, 4 numbers); refuses image indices outside 0 .. images - 1.
inline std::vector<Roi> read_rois(const Tensor& rois, int64_t images) {
  check_rois(rois);
  return rois.scalar_type() == ScalarType::Float ? read_rois_as<float>(rois, images)
                                                 : read_rois_as<double>(rois, images);
}

}  // namespace perception
