// Position-sensitive RoIAlign and RoI pooling (R-FCN) on the CPU, forward and backward.
//
// Output channel d of bin (i, j) reads the input channel (d * rows + i) * columns + j alone, so a
// box touches each of its input channels in one bin: lists of (pixel, weight) per bin serve all d.
#include "cpu/bins.h"
#include "cpu/maps.h"
#include "cpu/scalars.h"
#include "cpu/taps.h"

namespace perception {
namespace {

constexpr int64_t kBoxes = 4;

// How bins are read: bilinear samples, or the mean of whole cells.
struct Rule {
  bool samples;
  int64_t sampling;
};

struct Shape {
  int64_t rows, columns, outputs;  // outputs: channels of the result
  double scale;
};

// Weighted pixels of every bin along both axes; the bin's value is the sum times `scale(bin)`.
template <typename A>
class BinReader {
 public:
  AxisTaps<A> y, x;

  void set(const Roi& roi, const Shape& shape, const Rule& rule, int64_t height, int64_t width) {
    axis(roi.box[1], roi.box[3], shape.scale, rule, shape.rows, height, &y);
    axis(roi.box[0], roi.box[2], shape.scale, rule, shape.columns, width, &x);
  }

 private:
  void axis(double low, double high, double scale, const Rule& rule, int64_t bins, int64_t extent,
            AxisTaps<A>* taps) {
    if (rule.samples) {
      const double start = low * scale - 0.5;
      align_taps(start, high * scale - 0.5 - start, bins, rule.sampling, extent, taps);
      return;
    }
    // The last row and column are never read: torchvision clips to size - 1.
    const double start = std::round(low * scale), end = std::round(high * scale);
    const bool widened = end - start < 1 && std::isfinite(end);
    quantised_bins(start, widened ? 1 : end - start, bins, extent - 1, &cells_);
    taps->start(extent);
    for (size_t p = 0; p < cells_.size(); p += 2) {
      for (int64_t cell = cells_[p]; cell < cells_[p + 1]; ++cell) taps->add(cell, 1);
      taps->close_bin(1 / static_cast<double>(std::max<int64_t>(cells_[p + 1] - cells_[p], 1)));
    }
  }

  std::vector<int64_t> cells_;
};

// Where an input channel's pixels and an output channel's bins lie, in elements.
struct Layout {
  int64_t channel, row, column;  // of the map
  int64_t out_channel, out_bin;  // of the result of one box
};

Layout layout_of(int64_t map_channel, int64_t map_row, int64_t map_column, const Shape& shape,
                 bool channels_last) {
  const int64_t bins = shape.rows * shape.columns;
  return {map_channel, map_row, map_column, channels_last ? 1 : bins,
          channels_last ? shape.outputs : 1};
}

// ------------------------------------------------------------------- forward

// Asks for the first and last pixel of each row of a bin: every channel is memory not seen before.
template <typename T>
void fetch_ahead(const T* plane, const AxisTaps<accumulate_t<T>>& y, int64_t row,
                 const AxisTaps<accumulate_t<T>>& x, int64_t column) {
  if (x.first[column] == x.first[column + 1]) return;
  const int64_t left = x.offset[x.first[column]], right = x.offset[x.first[column + 1] - 1];
  for (int32_t a = y.first[row]; a < y.first[row + 1]; ++a) {
    __builtin_prefetch(plane + y.offset[a] + left);
    __builtin_prefetch(plane + y.offset[a] + right);
  }
}

template <typename T>
void read_box(const T* image, const Layout& at, const Shape& shape,
              const AxisTaps<accumulate_t<T>>& y, const AxisTaps<accumulate_t<T>>& x, T* out) {
  using A = accumulate_t<T>;
  for (int64_t i = 0; i < shape.rows; ++i) {
    for (int64_t j = 0; j < shape.columns; ++j) {
      const int64_t bin = i * shape.columns + j, step = shape.rows * shape.columns * at.channel;
      const T* plane = image + bin * at.channel;
      for (int64_t d = 0; d < shape.outputs; ++d, plane += step) {
        A sum = 0;
        if (d + 1 < shape.outputs) fetch_ahead(plane + step, y, i, x, j);
        for (int32_t a = y.first[i]; a < y.first[i + 1]; ++a) {
          const T* line = plane + y.offset[a];
          A part = 0;
          for (int32_t b = x.first[j]; b < x.first[j + 1]; ++b)
            part += x.weight[b] * as_sum(line[x.offset[b]]);
          sum += y.weight[a] * part;
        }
        store_sum(out + d * at.out_channel + bin * at.out_bin, sum);
      }
    }
  }
}

Tensor read_all(const Tensor& features, const Tensor& rois, double scale, int64_t rows,
                int64_t columns, const Rule& rule) {
  const Map map = as_map("input", features);
  check(rows >= 1 && columns >= 1 && rows <= 65535 && columns <= 65535,
        "output_size must be between 1 and 65535, got (", rows, ", ", columns, ")");
  check(scale > 0 && std::isfinite(scale), "spatial_scale must be finite and above 0, got ", scale);
  check(rule.sampling <= 65535, "sampling_ratio must be at most 65535, got ", rule.sampling);
  check(map.channels % (rows * columns) == 0, "input has ", map.channels,
        " channels, expected a multiple of ", rows * columns);
  const std::vector<Roi> boxes = read_rois(rois, map.images);
  check(boxes.empty() || (map.height > 0 && map.width > 0), "input is empty");
  const bool channels_last = is_channels_last(features);
  const Shape shape{rows, columns, map.channels / (rows * columns), scale};
  Tensor out = empty_map(features, {static_cast<int64_t>(boxes.size()), shape.outputs, rows, columns},
                         channels_last);
  const Layout at = layout_of(map.stride_channel, map.stride_row, map.stride_column, shape,
                              channels_last);
  dispatch_storage(features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    for_chunks(static_cast<int64_t>(boxes.size()), kBoxes, [&](int64_t begin, int64_t end) {
      BinReader<accumulate_t<T>> bins;
      for (int64_t k = begin; k < end; ++k) {
        const Roi& roi = boxes[static_cast<size_t>(k)];
        bins.set(roi, shape, rule, map.height, map.width);
        bins.y.set_stride(map.stride_row);
        bins.x.set_stride(map.stride_column);
        read_box(static_cast<const T*>(map.data) + roi.image * map.stride_image, at, shape, bins.y,
                 bins.x, static_cast<T*>(out.data_ptr()) + k * shape.outputs * rows * columns);
      }
    });
  });
  return out;
}

// ------------------------------------------------------------------- backward

// Adds one box's gradient of output channels [begin, end).
template <typename T>
void add_box(const T* grad, const Layout& at, const Shape& shape, int64_t begin, int64_t end,
             const AxisTaps<accumulate_t<T>>& y, const AxisTaps<accumulate_t<T>>& x,
             accumulate_t<T>* image) {
  using A = accumulate_t<T>;
  for (int64_t d = begin; d < end; ++d) {
    for (int64_t i = 0; i < shape.rows; ++i) {
      for (int64_t j = 0; j < shape.columns; ++j) {
        const int64_t bin = i * shape.columns + j;
        A* plane = image + (d * shape.rows * shape.columns + bin) * at.channel;
        const A value = as_sum(grad[d * at.out_channel + bin * at.out_bin]);
        for (int32_t a = y.first[i]; a < y.first[i + 1]; ++a) {
          const A part = y.weight[a] * value;
          for (int32_t b = x.first[j]; b < x.first[j + 1]; ++b)
            plane[y.offset[a] + x.offset[b]] += x.weight[b] * part;
        }
      }
    }
  }
}

// The sums lie as (N, C, H, W), whatever the layout of the result: a bin's pixels are neighbours.
template <typename T>
void add_all(const Tensor& grad, const Shape& shape, const Rule& rule, bool channels_last,
             const std::vector<Roi>& boxes, const std::vector<int64_t>& size,
             accumulate_t<T>* sums) {
  const int64_t height = size[2], width = size[3];
  const Layout at = layout_of(height * width, width, 1, shape, channels_last);
  const int64_t result = shape.outputs * shape.rows * shape.columns;
  for_parts(shape.outputs, [&](int64_t part, int64_t parts) {
    BinReader<accumulate_t<T>> bins;
    for (size_t k = 0; k < boxes.size(); ++k) {
      bins.set(boxes[k], shape, rule, height, width);
      bins.y.set_stride(width);
      bins.x.set_stride(1);
      add_box(static_cast<const T*>(grad.data_ptr()) + static_cast<int64_t>(k) * result, at, shape,
              shape.outputs * part / parts, shape.outputs * (part + 1) / parts, bins.y, bins.x,
              sums + boxes[k].image * size[1] * height * width);
    }
  });
}

Tensor add_back(const Tensor& grad_any, const Tensor& rois, double scale,
                const std::vector<int64_t>& size, const Rule& rule) {
  check(size.size() == 4 && grad_any.dim() == 4, "grad and shape must have 4 dimensions");
  const bool channels_last = is_channels_last(grad_any);
  const Tensor grad = dense(grad_any);
  const Shape shape{grad.size(2), grad.size(3), grad.size(1), scale};
  check(size[1] == shape.outputs * shape.rows * shape.columns, "grad does not fit shape");
  const std::vector<Roi> boxes = read_rois(rois, size[0]);
  check(grad.size(0) == static_cast<int64_t>(boxes.size()), "grad and boxes differ in length");
  check(boxes.empty() || size[2] * size[3] > 0, "input is empty");
  Tensor out = empty_map(grad, size, channels_last);
  dispatch_storage(grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = accumulate_t<T>;
    const bool in_place = !channels_last && sizeof(A) == sizeof(T);
    Scratch scratch(in_place ? 0 : static_cast<size_t>(out.numel()) * sizeof(A));
    A* sums = in_place ? static_cast<A*>(out.data_ptr()) : scratch.as<A>();
    for_chunks(out.numel(), 1 << 18, [&](int64_t begin, int64_t end) {
      std::fill(sums + begin, sums + end, A{0});
    });
    add_all<T>(grad, shape, rule, is_channels_last(grad), boxes, size, sums);
    if (in_place) return;
    T* result = static_cast<T*>(out.data_ptr());
    const int64_t pixels = size[2] * size[3], channels = size[1];
    for_chunks(size[0] * pixels, 256, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const int64_t image = p / pixels * pixels * channels, pixel = p % pixels;
        for (int64_t c = 0; c < channels; ++c)
          store_sum(result + image + (channels_last ? pixel * channels + c : c * pixels + pixel),
                    sums[image + c * pixels + pixel]);
      }
    });
  });
  return out;
}

// ------------------------------------------------------------------- the ops

Tensor ps_roi_align(const Tensor& features, const Tensor& rois, double scale, int64_t rows,
                    int64_t columns, int64_t sampling) {
  return read_all(features, rois, scale, rows, columns, {true, sampling});
}

Tensor ps_roi_align_backward(const Tensor& grad, const Tensor& rois, double scale,
                             std::vector<int64_t> shape, int64_t sampling, bool) {
  return add_back(grad, rois, scale, shape, {true, sampling});
}

Tensor ps_roi_pool(const Tensor& features, const Tensor& rois, double scale, int64_t rows,
                   int64_t columns) {
  return read_all(features, rois, scale, rows, columns, {false, 0});
}

Tensor ps_roi_pool_backward(const Tensor& grad, const Tensor& rois, double scale,
                            std::vector<int64_t> shape, bool) {
  return add_back(grad, rois, scale, shape, {false, 0});
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) {
  m.impl("ps_roi_align", TORCH_BOX(&ps_roi_align));
  m.impl("ps_roi_align_backward", TORCH_BOX(&ps_roi_align_backward));
  m.impl("ps_roi_pool", TORCH_BOX(&ps_roi_pool));
  m.impl("ps_roi_pool_backward", TORCH_BOX(&ps_roi_pool_backward));
}

}  // namespace perception
