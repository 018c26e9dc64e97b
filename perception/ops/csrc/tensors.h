// What every op needs of torch's tensors, through the stable ABI alone: checks, shapes, layouts.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <tuple>
#include <vector>

namespace perception {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Wrong values: std::invalid_argument arrives in Python as ValueError.
template <typename... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::invalid_argument(text.str());
}

template <typename... Parts>
void check(bool good, const Parts&... parts) {
  if (!good) refuse(parts...);
}

inline bool is_floating(ScalarType type) {
  return type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::Half ||
         type == ScalarType::BFloat16;
}

// A feature map (N, C, H, W) as the kernels see it: strides in elements.
struct Map {
  const void* data;
  int64_t images, channels, height, width;
  int64_t stride_image, stride_channel, stride_row, stride_column;

  double elements() const {
    return static_cast<double>(images * channels) * static_cast<double>(height * width);
  }
};

inline Map as_map(const char* name, const Tensor& tensor) {
  check(tensor.dim() == 4, name, " must have shape (N, C, H, W), got ", tensor.dim(),
        " dimensions");
  check(is_floating(tensor.scalar_type()), name, " must be floating");
  const auto size = tensor.sizes(), stride = tensor.strides();
  return {tensor.data_ptr(), size[0],   size[1],   size[2],  size[3],
          stride[0],         stride[1], stride[2], stride[3]};
}

// True where torch would call the tensor channels-last and not contiguous.
inline bool is_channels_last(const Tensor& tensor) {
  if (tensor.dim() != 4 || tensor.is_contiguous()) return false;
  const auto size = tensor.sizes(), stride = tensor.strides();
  int64_t expected = 1;
  for (const int d : {1, 3, 2, 0}) {
    if (size[d] == 1) continue;
    if (stride[d] != expected) return false;
    expected *= size[d];
  }
  return true;
}

inline Tensor empty_map(const Tensor& like, const std::vector<int64_t>& size, bool channels_last) {
  return torch::stable::empty(
      size, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
      channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

inline void check_rois(const Tensor& rois) {
  check(rois.dim() == 2 && rois.size(1) == 5, "boxes must have shape (K, 5)");
  check(rois.scalar_type() == ScalarType::Float || rois.scalar_type() == ScalarType::Double,
        "boxes must be float32 or float64");
}

// (N, columns) boxes and (N,) scores, both float32 or float64.
inline void check_candidates(const Tensor& boxes, const Tensor& scores, int64_t columns) {
  check(boxes.dim() == 2 && boxes.size(1) == columns, "boxes must have shape (N, ", columns, ")");
  check(scores.dim() == 1 && scores.size(0) == boxes.size(0),
        "scores must have as many rows as boxes");
  for (const Tensor* each : {&boxes, &scores}) {
    const ScalarType type = each->scalar_type();
    check(type == ScalarType::Float || type == ScalarType::Double,
          "boxes and scores must be float32 or float64");
  }
}

}  // namespace perception
