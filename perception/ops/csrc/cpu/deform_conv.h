// What the forward and the backward pass of deformable convolution share: sizes, sample positions.
#pragma once

#include <cmath>
#include <optional>
#include <vector>

#include "cpu/layout.h"
#include "cpu/rois.h"
#include "cpu/simd/deform_conv.h"
#include "cpu/simd/matrix.h"

namespace perception {

constexpr int64_t kTile = 192;      // output pixels at a time: a multiple of every block's rows
constexpr int64_t kChannels = 256;  // channels at a time

// Reads a (N, C, H, W) tensor of any floating dtype, element by element.
class Reader {
 public:
  explicit Reader(const char* name, const Tensor& tensor)
      : map_(as_map(name, tensor)), type_(tensor.scalar_type()) {}

  double at(int64_t n, int64_t c, int64_t y, int64_t x) const {
    const int64_t place = n * map_.stride_image + c * map_.stride_channel + y * map_.stride_row +
                          x * map_.stride_column;
    switch (type_) {
      case ScalarType::Float: return static_cast<const float*>(map_.data)[place];
      case ScalarType::Double: return static_cast<const double*>(map_.data)[place];
      case ScalarType::Half:
        return static_cast<float>(static_cast<const torch::headeronly::Half*>(map_.data)[place]);
      default:
        return static_cast<float>(static_cast<const torch::headeronly::BFloat16*>(map_.data)[place]);
    }
  }
  const Map& map() const { return map_; }

 private:
  Map map_;
  ScalarType type_;
};

// Sizes of one call. Weight group w has channels w * group_channels .. and filters w * filters ..;
// offset group g has channels g * channels / offset_groups ..
struct DeformPlan {
  int64_t images, channels, height, width;
  int64_t out_channels, group_channels, kernel_rows, kernel_columns;
  int64_t rows, columns;  // of the output
  int64_t offset_groups;
  int64_t stride[2], padding[2], dilation[2];

  int64_t groups() const { return channels / group_channels; }
  int64_t filters() const { return out_channels / groups(); }
  int64_t taps() const { return kernel_rows * kernel_columns; }
  int64_t pixels() const { return rows * columns; }
  int64_t offset_channels() const { return channels / offset_groups; }
  // Filters of one weight group, filled up to whole panels.
  int64_t padded_filters() const { return (filters() + kPanel - 1) / kPanel * kPanel; }
};

DeformPlan plan_deform_conv(const Tensor& input, const Tensor& offset, const Tensor& weight,
                            const std::optional<Tensor>& mask, const std::vector<int64_t>& stride,
                            const std::vector<int64_t>& padding,
                            const std::vector<int64_t>& dilation);

// One position in detail: neighbours and weights, how far between them, the mask's factor.
template <typename A>
struct Place {
  Sample<A> sample;
  A y_part, x_part, factor;
};

// Where a tap of an output pixel looks, for one offset group.
template <typename A>
Place<A> place_of(const DeformPlan& plan, const Reader& offset, const Reader* mask, int64_t image,
                  int64_t group, int64_t tap, int64_t pixel, int64_t row_stride,
                  int64_t column_stride) {
  const int64_t oy = pixel / plan.columns, ox = pixel % plan.columns;
  const int64_t channel = group * plan.taps() + tap;
  const double y = static_cast<double>(oy * plan.stride[0] - plan.padding[0] +
                                       tap / plan.kernel_columns * plan.dilation[0]) +
                   offset.at(image, 2 * channel, oy, ox);
  const double x = static_cast<double>(ox * plan.stride[1] - plan.padding[1] +
                                       tap % plan.kernel_columns * plan.dilation[1]) +
                   offset.at(image, 2 * channel + 1, oy, ox);
  Place<A> out{{{-1, -1, -1, -1}, {}}, 0, 0, 1};
  if (mask) out.factor = static_cast<A>(mask->at(image, channel, oy, ox));
  const auto height = static_cast<double>(plan.height), width = static_cast<double>(plan.width);
  if (!(y >= -1 && y < height && x >= -1 && x < width)) return out;
  const double top = std::floor(y), left = std::floor(x);
  out.y_part = static_cast<A>(y - top);
  out.x_part = static_cast<A>(x - left);
  const double weights[4] = {(1 - (y - top)) * (1 - (x - left)), (1 - (y - top)) * (x - left),
                             (y - top) * (1 - (x - left)), (y - top) * (x - left)};
  for (int i = 0; i < 4; ++i) {
    const int64_t row = static_cast<int64_t>(top) + i / 2, column = static_cast<int64_t>(left) + i % 2;
    if (row < 0 || row >= plan.height || column < 0 || column >= plan.width) continue;
    out.sample.place[i] = row * row_stride + column * column_stride;
    out.sample.weight[i] = static_cast<A>(weights[i]);
  }
  return out;
}

// One image with its channels together: the tensor itself where it is so, else a copy.
template <typename T>
struct PackedImage {
  const T* data;
  int64_t row, column;  // strides
  Scratch copy;

  PackedImage(const Map& map, int64_t n) {
    const T* image = static_cast<const T*>(map.data) + n * map.stride_image;
    if (map.stride_channel == 1 || map.channels == 1) {
      data = image;
      row = map.stride_row;
      column = map.stride_column;
      return;
    }
    const int64_t elements = map.height * map.width * map.channels;
    copy = Scratch(static_cast<size_t>(elements) * sizeof(T));
    pack_image(image, map, copy.as<T>());
    data = copy.as<T>();
    row = map.width * map.channels;
    column = map.channels;
  }
};

// What float16 and bfloat16 are converted by outside of the SIMD kernels.
inline float value_of(float value) { return value; }
inline double value_of(double value) { return value; }
inline float value_of(half_t value) {
  return static_cast<float>(torch::headeronly::Half(value.bits, torch::headeronly::Half::from_bits()));
}
inline float value_of(bfloat16_t value) {
  return static_cast<float>(
      torch::headeronly::BFloat16(value.bits, torch::headeronly::BFloat16::from_bits()));
}
inline void set_value(float* to, float value) { *to = value; }
inline void set_value(double* to, double value) { *to = value; }
inline void set_value(half_t* to, float value) { to->bits = torch::headeronly::Half(value).x; }
inline void set_value(bfloat16_t* to, float value) {
  to->bits = torch::headeronly::BFloat16(value).x;
}

}  // namespace perception
