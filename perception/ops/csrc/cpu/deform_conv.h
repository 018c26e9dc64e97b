// What the forward and the backward pass of deformable convolution share: sizes, sample positions.
#pragma once

#include <cmath>
#include <optional>
#include <vector>

#include "cpu/images.h"
#include "cpu/simd/deform_conv.h"
#include "cpu/simd/matrix.h"

namespace perception {

constexpr int64_t kTile = 192;      // output pixels at a time: a multiple of every block's rows
constexpr int64_t kChannels = 256;  // channels at a time

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

}  // namespace perception
