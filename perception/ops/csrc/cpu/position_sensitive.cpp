// Position-sensitive RoIAlign and RoI pooling (R-FCN) on the CPU, forward and backward.
//
// Output channel d of bin (i, j) reads the input channel (d * rows + i) * columns + j alone, so a
// box touches each input channel in one bin: lists of (pixel, weight) per bin serve all d. The lists
// of many boxes are made first. A large map is then read channel by channel, so that the plane of one
// channel comes from memory once and serves all boxes from the cache.
#include "cpu/bins.h"
#include "cpu/maps.h"
#include "cpu/order.h"
#include "cpu/scalars.h"
#include "cpu/taps.h"

namespace perception {
namespace {

constexpr int64_t kBoxes = 4;            // per piece of work
constexpr int64_t kChannels = 16;        // per piece of work: a cache line of the result
constexpr int64_t kOutputs = 16;         // summed side by side
constexpr int64_t kLine = 64;            // bytes that come from memory together
constexpr int64_t kLinesOfBox = 16;      // that a bin of a box is taken to read of a plane
constexpr int64_t kTapBytes = 16 << 20;  // memory for the lists of the boxes at work

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

// Where the bins of a box and its outputs lie in the result, in elements.
struct Layout {
  int64_t channel, bin;
};

Layout layout_of(const Shape& shape, bool channels_last) {
  const int64_t bins = shape.rows * shape.columns;
  return {channels_last ? 1 : bins, channels_last ? shape.outputs : 1};
}

// A plane of the map: its size, and its strides in elements.
struct Plane {
  int64_t height, width, row, column;
};

// A box at work: its number in the result, its image, its bins.
template <typename A>
struct BoxAtWork {
  int64_t number, image;
  BinReader<A> bins;

  void set(int64_t k, const Roi& roi, const Shape& shape, const Rule& rule, const Plane& plane) {
    number = k;
    image = roi.image;
    bins.set(roi, shape, rule, plane.height, plane.width);
    bins.y.set_stride(plane.row);
    bins.x.set_stride(plane.column);
  }
};

// f(boxes, count, first): boxes and their bins, as many at a time as the memory allows; called once
// even if there are none.
template <typename A, typename F>
void for_blocks(const std::vector<Roi>& rois, const std::vector<int64_t>& order,
                const Shape& shape, const Rule& rule, const Plane& plane, const F& f) {
  const int64_t bytes = 32 * (plane.height + plane.width + 2 * (shape.rows + shape.columns));
  const auto all = static_cast<int64_t>(rois.size());
  const int64_t block = std::max<int64_t>(std::min(kTapBytes / bytes, all), 1);
  std::vector<BoxAtWork<A>> boxes(static_cast<size_t>(block));
  for (int64_t first = 0; first == 0 || first < all; first += block) {
    const int64_t count = std::min(block, all - first);
    for_chunks(count, kBoxes, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t k = order[static_cast<size_t>(first + i)];
        boxes[static_cast<size_t>(i)].set(k, rois[static_cast<size_t>(k)], shape, rule, plane);
      }
    });
    f(boxes.data(), count, first == 0);
  }
}

// ------------------------------------------------------------------- forward

// Cache lines of one channel of one image.
int64_t plane_lines(const Map& map, size_t element) {
  return map.height * map.stride_row * static_cast<int64_t>(element) / kLine;
}

// Whether to go channel by channel: planes in one piece that no cache holds together, and enough
// boxes to read most of them. Small maps, and those with the channels together, go box by box.
bool reads_planes(const Map& map, size_t element, int64_t boxes) {
  return map.stride_column < map.stride_channel && map.stride_row < map.stride_channel &&
         map.elements() * static_cast<double>(element) > kCachedBytes &&
         plane_lines(map, element) * map.images <= kLinesOfBox * boxes;
}

template <typename T>
accumulate_t<T> read_bin(const T* plane, const BinReader<accumulate_t<T>>& bins, int64_t row,
                         int64_t column) {
  using A = accumulate_t<T>;
  const auto &y = bins.y, &x = bins.x;
  A sum = 0;
  for (int32_t a = y.first[row]; a < y.first[row + 1]; ++a) {
    const T* line = plane + y.offset[a];
    A part = 0;
    for (int32_t b = x.first[column]; b < x.first[column + 1]; ++b)
      part += x.weight[b] * as_sum(line[x.offset[b]]);
    sum += y.weight[a] * part;
  }
  return sum;
}

// Reads bins of a map and writes them into the result.
template <typename T>
struct BinsOfMap {
  using A = accumulate_t<T>;
  using Box = BoxAtWork<A>;
  const Map& map;
  const Shape& shape;
  Layout at;
  T* out;

  const T* plane(const Box& box, int64_t channel) const {
    return static_cast<const T*>(map.data) + box.image * map.stride_image +
           channel * map.stride_channel;
  }

  // One bin of one channel of all boxes (of one image after the other). Meanwhile the plane of the
  // channel `next` is asked for, line after line: the bins themselves follow no pattern, and the
  // processor would wait for memory at each of them.
  void read_channel(const Box* boxes, int64_t count, int64_t channel, int64_t next) const {
    const int64_t bins = shape.rows * shape.columns, bin = channel % bins, result = map.channels;
    const int64_t row = bin / shape.columns, column = bin % shape.columns;
    const int64_t lines = plane_lines(map, sizeof(T));
    T* const to = out + channel / bins * at.channel + bin * at.bin;
    for (int64_t first = 0, last = 0; first < count; first = last) {
      while (last < count && boxes[last].image == boxes[first].image) ++last;
      const char* wanted = reinterpret_cast<const char*>(plane(boxes[first], next));
      int64_t asked = 0;
      for (int64_t k = first; k < last; ++k) {
        const int64_t due = lines * (k + 1 - first) / (last - first);
        for (; asked < due; ++asked) __builtin_prefetch(wanted + asked * kLine, 0, 2);
        store_sum(to + boxes[k].number * result,
                  read_bin(plane(boxes[k], channel), boxes[k].bins, row, column));
      }
    }
  }

  // All bins of one box; the outputs of a bin share its list.
  void read_box(const Box& box) const {
    const int64_t bins = shape.rows * shape.columns, step = bins * map.stride_channel;
    const auto &y = box.bins.y, &x = box.bins.x;
    for (int64_t bin = 0; bin < bins; ++bin) {
      const int64_t row = bin / shape.columns, column = bin % shape.columns;
      for (int64_t d = 0; d < shape.outputs; d += kOutputs) {
        const T* image = plane(box, d * bins + bin);
        T* to = out + box.number * map.channels + d * at.channel + bin * at.bin;
        const int64_t count = std::min(kOutputs, shape.outputs - d);
        A sum[kOutputs] = {};
        for (int32_t a = y.first[row]; a < y.first[row + 1]; ++a) {
          A part[kOutputs] = {};
          for (int32_t b = x.first[column]; b < x.first[column + 1]; ++b) {
            const T* pixel = image + y.offset[a] + x.offset[b];
            const A weight = x.weight[b];
            for (int64_t i = 0; i < count; ++i) part[i] += weight * as_sum(pixel[i * step]);
          }
          const A weight = y.weight[a];
          for (int64_t i = 0; i < count; ++i) sum[i] += weight * part[i];
        }
        for (int64_t i = 0; i < count; ++i) store_sum(to + i * at.channel, sum[i]);
      }
    }
  }
};

template <typename T>
void read_boxes(const Map& map, const std::vector<Roi>& rois, const Shape& shape, const Rule& rule,
                bool channels_last, T* out) {
  using Box = BoxAtWork<accumulate_t<T>>;
  const BinsOfMap<T> reader{map, shape, layout_of(shape, channels_last), out};
  const std::vector<int64_t> order = reading_order(rois, {}, map.elements() * sizeof(T));
  const Plane plane{map.height, map.width, map.stride_row, map.stride_column};
  const auto all = static_cast<int64_t>(rois.size());
  if (!reads_planes(map, sizeof(T), all)) {
    for_chunks(all, kBoxes, [&](int64_t begin, int64_t end) {
      Box box;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t k = order[static_cast<size_t>(i)];
        box.set(k, rois[static_cast<size_t>(k)], shape, rule, plane);
        reader.read_box(box);
      }
    });
    return;
  }
  for_blocks<accumulate_t<T>>(rois, order, shape, rule, plane,
                              [&](const Box* boxes, int64_t count, bool) {
    for_chunks(map.channels, kChannels, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c)
        reader.read_channel(boxes, count, c, std::min(c + 1, end - 1));
    });
  });
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
  dispatch_storage(features.scalar_type(), [&](auto zero) {
    read_boxes(map, boxes, shape, rule, channels_last,
               static_cast<decltype(zero)*>(out.data_ptr()));
  });
  return out;
}

// ------------------------------------------------------------------- backward

template <typename A>
void add_bin(A value, const BinReader<A>& bins, int64_t row, int64_t column, A* plane) {
  const auto &y = bins.y, &x = bins.x;
  for (int32_t a = y.first[row]; a < y.first[row + 1]; ++a) {
    A* line = plane + y.offset[a];
    const A part = y.weight[a] * value;
    for (int32_t b = x.first[column]; b < x.first[column + 1]; ++b)
      line[x.offset[b]] += x.weight[b] * part;
  }
}

// The sums lie as (N, C, H, W), whatever the layout of the result: a bin's pixels are neighbours.
// Every channel adds its boxes in one order, whichever thread it is given to.
template <typename T>
void add_all(const Tensor& grad, const Shape& shape, const Rule& rule, bool channels_last,
             const std::vector<Roi>& rois, const std::vector<int64_t>& size,
             accumulate_t<T>* sums) {
  using A = accumulate_t<T>;
  const int64_t channels = size[1], pixels = size[2] * size[3];
  const int64_t bins = shape.rows * shape.columns;
  const T* from = static_cast<const T*>(grad.data_ptr());
  const Layout at = layout_of(shape, channels_last);
  const auto elements = static_cast<double>(size[0] * channels) * static_cast<double>(pixels);
  const std::vector<int64_t> order = reading_order(rois, {}, elements * sizeof(A));
  for_blocks<A>(rois, order, shape, rule, {size[2], size[3], size[3], 1},
                [&](const BoxAtWork<A>* boxes, int64_t count, bool first) {
    for_chunks(channels, kChannels, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        for (int64_t n = 0; first && n < size[0]; ++n)
          std::fill_n(sums + (n * channels + c) * pixels, pixels, A{0});
        const int64_t bin = c % bins, place = c / bins * at.channel + bin * at.bin;
        for (int64_t k = 0; k < count; ++k)
          add_bin<A>(as_sum(from[boxes[k].number * channels + place]), boxes[k].bins,
                     bin / shape.columns, bin % shape.columns,
                     sums + (boxes[k].image * channels + c) * pixels);
      }
    });
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
    advise_huge(sums, static_cast<size_t>(out.numel()) * sizeof(A));
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
