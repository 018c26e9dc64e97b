// RoIAlign on the CPU: one map, or the levels of a pyramid in one call; forward and backward.
#include "cpu/simd/roi_align.h"

#include <optional>

#include "cpu/bands.h"
#include "cpu/maps.h"
#include "cpu/order.h"
#include "cpu/taps.h"

namespace perception {
namespace {

constexpr int64_t kBoxes = 4;          // boxes per piece of work
constexpr double kParallelWork = 2e6;  // multiplications below which one thread is faster

struct Grid {
  int64_t rows, columns, sampling;
  bool aligned;
};

// Boxes and the level that each of them reads (none where there is one level).
struct Boxes {
  std::vector<Roi> rois;
  std::vector<int32_t> level;

  size_t level_of(size_t k) const { return level.empty() ? 0 : static_cast<size_t>(level[k]); }
};

template <typename T>
struct BoxTaps {
  AxisTaps<accumulate_t<T>> y, x;

  void set(const Roi& roi, double scale, const Grid& grid, int64_t height, int64_t width) {
    axis(roi.box[1], roi.box[3], scale, grid, grid.rows, height, &y);
    axis(roi.box[0], roi.box[2], scale, grid, grid.columns, width, &x);
  }

  bool empty() const { return y.low >= y.high || x.low >= x.high; }

  void set_stride(int64_t row, int64_t column) {
    y.set_stride(row);
    x.set_stride(column);
  }

 private:
  static void axis(double low, double high, double scale, const Grid& grid, int64_t bins,
                   int64_t extent, AxisTaps<accumulate_t<T>>* taps) {
    const double shift = grid.aligned ? 0.5 : 0.0;
    const double start = low * scale - shift;
    double size = high * scale - shift - start;
    if (!grid.aligned && size < 1) size = 1;
    if (!std::isfinite(low) || !std::isfinite(high)) size = NAN;  // no samples at all
    align_taps(start, size, bins, grid.sampling, extent, taps);
  }
};

// ------------------------------------------------------------------- forward

template <typename T>
void align_forward(std::vector<Level>& levels, const Boxes& boxes, const Grid& grid, T* out,
                   bool channels_last) {
  const int64_t bins = grid.rows * grid.columns, channels = levels[0].map.channels;
  double bytes = 0;
  for (const Level& level : levels) bytes += level.map.elements() * sizeof(T);
  const std::vector<int64_t> order = reading_order(boxes.rois, boxes.level, bytes);
  for_chunks(static_cast<int64_t>(boxes.rois.size()), kBoxes, [&](int64_t begin, int64_t end) {
    static const auto kernel = SELECT_ISA(align_box<T>);
    BoxTaps<T> taps;
    WindowReader<T> reader;
    BoxWriter<T> writer;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t k = order[static_cast<size_t>(i)];
      const Roi& roi = boxes.rois[static_cast<size_t>(k)];
      const Level& level = levels[boxes.level_of(static_cast<size_t>(k))];
      T* result = out + k * channels * bins;
      taps.set(roi, level.scale, grid, level.map.height, level.map.width);
      if (taps.empty()) {
        std::fill(result, result + channels * bins, T{});
        continue;
      }
      reader.read(level, roi.image, taps.y.low, taps.y.high, taps.x.low, taps.x.high,
                  [&](const View<T>& view) {
                    taps.set_stride(view.row, view.column);
                    T* pooled = writer.begin(result, view.channels, bins, channels_last);
                    kernel(view.origin, view.channels, grid.rows, grid.columns, taps.y.view(),
                           taps.x.view(), pooled);
                    writer.end(result, view.channel, view.channels, bins, channels_last);
                  });
    }
  });
}

template <typename T>
void pack_levels(std::vector<Level>& levels, const Boxes& boxes) {
  std::vector<std::vector<double>> area(levels.size());
  for (size_t l = 0; l < levels.size(); ++l)
    area[l].assign(static_cast<size_t>(levels[l].map.images), 0.0);
  for (size_t k = 0; k < boxes.rois.size(); ++k) {
    const size_t l = boxes.level_of(k);
    area[l][static_cast<size_t>(boxes.rois[k].image)] += touched(boxes.rois[k], levels[l]);
  }
  for (size_t l = 0; l < levels.size(); ++l) pack_where_it_pays<T>(levels[l], area[l]);
}

void check_grid(int64_t rows, int64_t columns, int64_t sampling) {
  check(rows >= 0 && columns >= 0 && rows <= 65535 && columns <= 65535,
        "output_size must be between 0 and 65535, got (", rows, ", ", columns, ")");
  check(sampling <= 65535, "sampling_ratio must be at most 65535, got ", sampling);
}

Tensor align(const std::vector<Tensor>& features, std::vector<Level>& levels, const Boxes& boxes,
             const Grid& grid) {
  check_grid(grid.rows, grid.columns, grid.sampling);
  for (const Level& level : levels) {
    check(level.scale > 0 && std::isfinite(level.scale),
          "spatial_scale must be finite and above 0, got ", level.scale);
    check(boxes.rois.empty() || (level.map.height > 0 && level.map.width > 0), "input is empty");
  }
  const bool channels_last = is_channels_last(features[0]);
  const auto count = static_cast<int64_t>(boxes.rois.size());
  Tensor out = empty_map(features[0], {count, levels[0].map.channels, grid.rows, grid.columns},
                         channels_last);
  if (out.numel() == 0) return out;
  advise_huge(out.data_ptr(), static_cast<size_t>(out.numel()) * out.element_size());
  dispatch_storage(out.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    pack_levels<T>(levels, boxes);
    align_forward<T>(levels, boxes, grid, static_cast<T*>(out.data_ptr()), channels_last);
  });
  return out;
}

// ------------------------------------------------------------------- backward

// The taps of a box the other way round: which bins each touched pixel belongs to.
template <typename A>
struct AxisBins {
  std::vector<int64_t> offset;
  std::vector<int32_t> first, bin;
  std::vector<A> weight;

  BinTaps<A> view() const {
    return {static_cast<int64_t>(offset.size()), offset.data(), first.data(), bin.data(),
            weight.data()};
  }

  // Only the pixels at offsets [begin, end).
  BinTaps<A> view(int64_t begin, int64_t end) const {
    const auto from = std::lower_bound(offset.begin(), offset.end(), begin) - offset.begin();
    const auto to = std::lower_bound(offset.begin(), offset.end(), end) - offset.begin();
    return {to - from, offset.data() + from, first.data() + from, bin.data(), weight.data()};
  }

  void set(const AxisTaps<A>& taps, int64_t stride) {
    const auto extent = static_cast<size_t>(taps.high - taps.low);
    place_.assign(extent + 1, 0);
    for (const int64_t pixel : taps.index) ++place_[static_cast<size_t>(pixel - taps.low) + 1];
    offset.clear();
    first.assign(1, 0);
    for (size_t i = 0; i < extent; ++i) {
      if (place_[i + 1] > 0) {
        offset.push_back((taps.low + static_cast<int64_t>(i)) * stride);
        first.push_back(first.back() + place_[i + 1]);
      }
      place_[i + 1] += place_[i];
    }
    bin.resize(taps.index.size());
    weight.resize(taps.index.size());
    for (size_t p = 0; p + 1 < taps.first.size(); ++p) {
      for (int32_t i = taps.first[p]; i < taps.first[p + 1]; ++i) {
        const auto from = static_cast<size_t>(i);
        const auto to = static_cast<size_t>(place_[static_cast<size_t>(taps.index[from] - taps.low)]++);
        bin[to] = static_cast<int32_t>(p);
        weight[to] = taps.weight[from];
      }
    }
  }

 private:
  std::vector<int32_t> place_;
};

// Adds the boxes, in the given order, to the rows of one part.
template <typename T>
void align_backward_rows(const T* grad, bool channels_last, const std::vector<double>& scales,
                         const Boxes& boxes, const std::vector<int64_t>& order, const Grid& grid,
                         const std::vector<Tensor>& outs, const std::vector<MapSum<T>>& sums,
                         const RowBands& bands, int64_t part, int64_t parts) {
  static const auto kernel = SELECT_ISA(align_box_backward<T>);
  const int64_t bins = grid.rows * grid.columns, channels = outs[0].size(1);
  BoxTaps<T> taps;
  AxisBins<accumulate_t<T>> y, x;
  std::vector<T> block(channels_last ? 0 : static_cast<size_t>(channels * bins));
  for (const int64_t k : order) {
    const Roi& roi = boxes.rois[static_cast<size_t>(k)];
    const size_t l = boxes.level_of(static_cast<size_t>(k));
    const int64_t height = outs[l].size(2), width = outs[l].size(3);
    const Band band = bands.of_part(l, roi.image, part, parts);
    if (band.within(touched_rows(roi, scales[l], height)).empty()) continue;
    taps.set(roi, scales[l], grid, height, width);
    if (taps.empty()) continue;
    y.set(taps.y, width * channels);
    x.set(taps.x, channels);
    const BinTaps<accumulate_t<T>> rows =
        y.view(band.begin * width * channels, band.end * width * channels);
    if (rows.pixels == 0) continue;
    const T* from = grad + k * channels * bins;
    if (!channels_last) {
      transpose(from, bins, channels, bins, block.data(), channels);
      from = block.data();
    }
    kernel(from, channels, channels, grid.columns, rows, x.view(), sums[l].image(roi.image));
  }
}

template <typename T>
void align_backward(const Tensor& grad, const std::vector<double>& scales, const Boxes& boxes,
                    const Grid& grid, const std::vector<Tensor>& outs, bool channels_last) {
  std::vector<MapSum<T>> sums;
  RowBands bands;
  double bytes = 0;
  for (const Tensor& out : outs) {
    sums.emplace_back(out, channels_last);
    bands.add_map(out.size(0), out.size(2));
    bytes += static_cast<double>(out.numel()) * sizeof(accumulate_t<T>);
  }
  for (size_t k = 0; k < boxes.rois.size(); ++k) {
    const size_t l = boxes.level_of(k);
    const Roi& roi = boxes.rois[k];
    bands.add_box(l, roi.image, touched_rows(roi, scales[l], outs[l].size(2)));
  }
  bands.finish();
  const std::vector<int64_t> order = reading_order(boxes.rois, boxes.level, bytes);
  const auto count = static_cast<int64_t>(boxes.rois.size());
  const bool small = static_cast<double>(grad.numel()) * 4 < kParallelWork;
  for_parts(small ? std::min<int64_t>(count, 1) : count, [&](int64_t part, int64_t parts) {
    align_backward_rows(static_cast<const T*>(grad.data_ptr()), is_channels_last(grad), scales,
                        boxes, order, grid, outs, sums, bands, part, parts);
  });
  for (MapSum<T>& sum : sums) sum.finish();
}

std::vector<Tensor> align_backward_all(const Tensor& grad_any, const std::vector<double>& scales,
                                       const Boxes& boxes, const Grid& grid,
                                       const std::vector<int64_t>& shapes) {
  const bool channels_last = is_channels_last(grad_any);
  const Tensor grad = dense(grad_any);
  check_grid(grid.rows, grid.columns, grid.sampling);
  check(grad.size(0) == static_cast<int64_t>(boxes.rois.size()), "grad and boxes differ in length");
  std::vector<Tensor> outs;
  for (size_t l = 0; l < scales.size(); ++l) {
    const std::vector<int64_t> shape(shapes.begin() + 4 * static_cast<int64_t>(l),
                                     shapes.begin() + 4 * static_cast<int64_t>(l) + 4);
    check(shape[1] == grad.size(1), "grad has ", grad.size(1), " channels, expected ", shape[1]);
    check(boxes.rois.empty() || shape[0] * shape[2] * shape[3] > 0, "input is empty");
    outs.push_back(empty_map(grad, shape, channels_last));
  }
  dispatch_storage(grad.scalar_type(), [&](auto zero) {
    align_backward<decltype(zero)>(grad, scales, boxes, grid, outs, channels_last);
  });
  return outs;
}

// ------------------------------------------------------------------- the ops

Tensor roi_align(const Tensor& features, const Tensor& rois, double scale, int64_t rows,
                 int64_t columns, int64_t sampling, bool aligned) {
  std::vector<Level> levels(1);
  levels[0].map = as_map("input", features);
  levels[0].scale = scale;
  const Boxes boxes{read_rois(rois, levels[0].map.images), {}};
  return align({features}, levels, boxes, {rows, columns, sampling, aligned});
}

Tensor roi_align_backward(const Tensor& grad, const Tensor& rois, double scale,
                          std::vector<int64_t> shape, int64_t sampling, bool aligned, bool) {
  check(shape.size() == 4 && grad.dim() == 4, "grad and shape must have 4 dimensions");
  const Boxes boxes{read_rois(rois, shape[0]), {}};
  return align_backward_all(grad, {scale}, boxes,
                            {grad.size(2), grad.size(3), sampling, aligned}, shape)[0];
}

// The level of each box: given, or by the rule of FPN (the size of the box in the image).
Boxes assign_levels(const Tensor& rois, int64_t images, const std::optional<Tensor>& given,
                    const std::vector<double>& scales, double canonical_size,
                    int64_t canonical_level) {
  Boxes boxes{read_rois(rois, images), {}};
  const auto last = static_cast<double>(scales.size()) - 1;
  const double lowest = std::round(-std::log2(scales[0]));
  boxes.level.resize(boxes.rois.size());
  check(!given || (given->dim() == 1 && given->scalar_type() == ScalarType::Long &&
                   given->size(0) == static_cast<int64_t>(boxes.rois.size())),
        "levels must be int64 with one entry per box");
  for (size_t k = 0; k < boxes.rois.size(); ++k) {
    if (given) {
      const int64_t level =
          static_cast<const int64_t*>(given->data_ptr())[static_cast<int64_t>(k) * given->stride(0)];
      check(level >= 0 && static_cast<double>(level) <= last, "levels: entry ", k, " is ", level,
            ", expected 0 to ", last);
      boxes.level[k] = static_cast<int32_t>(level);
      continue;
    }
    const double* box = boxes.rois[k].box;
    const double area = (box[2] - box[0]) * (box[3] - box[1]);
    double level = 0;
    if (area > 0) {
      const double octave = std::log2(std::sqrt(area) / canonical_size);
      level = std::floor(static_cast<double>(canonical_level) + octave + 1e-6) - lowest;
    }
    boxes.level[k] = static_cast<int32_t>(level > 0 ? std::fmin(level, last) : 0);
  }
  return boxes;
}

Tensor multi_level(std::vector<Tensor> features, const Tensor& rois, std::optional<Tensor> given,
                   std::vector<double> scales, int64_t rows, int64_t columns, int64_t sampling,
                   bool aligned, double canonical_size, int64_t canonical_level) {
  check(!features.empty() && features.size() == scales.size(), "one spatial scale per level");
  std::vector<Level> levels(features.size());
  for (size_t l = 0; l < features.size(); ++l) {
    levels[l].map = as_map("features", features[l]);
    levels[l].scale = scales[l];
    check(levels[l].map.channels == levels[0].map.channels &&
              levels[l].map.images == levels[0].map.images &&
              features[l].scalar_type() == features[0].scalar_type(),
          "features differ in images, channels or dtype");
  }
  const Boxes boxes = assign_levels(rois, levels[0].map.images, given, scales, canonical_size,
                                    canonical_level);
  return align(features, levels, boxes, {rows, columns, sampling, aligned});
}

std::vector<Tensor> multi_level_backward(const Tensor& grad, const Tensor& rois,
                                         std::optional<Tensor> given, std::vector<double> scales,
                                         std::vector<int64_t> shapes, int64_t sampling,
                                         bool aligned, double canonical_size,
                                         int64_t canonical_level, bool) {
  check(grad.dim() == 4 && !scales.empty() && shapes.size() == 4 * scales.size(),
        "one shape of 4 numbers per level");
  const Boxes boxes =
      assign_levels(rois, shapes[0], given, scales, canonical_size, canonical_level);
  return align_backward_all(grad, scales, boxes,
                            {grad.size(2), grad.size(3), sampling, aligned}, shapes);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) {
  m.impl("roi_align", TORCH_BOX(&roi_align));
  m.impl("roi_align_backward", TORCH_BOX(&roi_align_backward));
  m.impl("multi_level_roi_align", TORCH_BOX(&multi_level));
  m.impl("multi_level_roi_align_backward", TORCH_BOX(&multi_level_backward));
}

}  // namespace perception
