// Which pixels a bin of a box reads along one axis, and with what weight: the same float64 formulas
// as on the CPU.
#pragma once

#include "cuda/rois.cuh"

namespace perception {

struct Grid {
  int64_t rows, columns, sampling;
  bool aligned;   // half-pixel shift
  bool widened;   // at least one cell wide and high
};

// The samples of one bin along one axis and the pixels they touch: low .. high - 1.
struct BinSamples {
  double base, bin, samples;
  int64_t low, high, extent;
};

// Bin `bin` of `bins` between two corners, moved by some cells.
__device__ inline BinSamples bin_samples(double from, double to, double scale, const Grid& grid,
                                         int64_t bins, int64_t bin, int64_t extent,
                                         double moved = 0) {
  const double shift = grid.aligned ? 0.5 : 0.0;
  const double start = from * scale - shift;
  double size = to * scale - shift - start;
  if (grid.widened && size < 1) size = 1;
  if (!isfinite(from) || !isfinite(to)) size = NAN;  // no samples at all
  BinSamples out{0, size / static_cast<double>(bins), 0, 0, 0, extent};
  out.base = start + static_cast<double>(bin) * out.bin + moved;
  out.samples = grid.sampling > 0 ? static_cast<double>(grid.sampling) : ceil(out.bin);
  if (!(out.samples >= 1 && out.samples <= 1e15) || !isfinite(out.base) || !isfinite(out.bin))
    return out;
  const double a = out.base + 0.5 * out.bin / out.samples;
  const double b = out.base + (out.samples - 0.5) * out.bin / out.samples;
  const double low = fmin(a, b), high = fmax(a, b), limit = static_cast<double>(extent);
  if (!(high >= -1 && low <= limit)) return out;
  out.low = static_cast<int64_t>(fmin(fmax(floor(low), 0.0), limit - 1));
  out.high = static_cast<int64_t>(fmin(fmax(floor(high) + 1, 0.0), limit - 1)) + 1;
  return out;
}

// First and last + 1 of `samples` positions base + i * step less than a pixel away from `pixel`,
// generous by a sample or two.
struct Near {
  double begin, end;
};

__device__ inline Near samples_near(double base, double step, double samples, int64_t pixel) {
  if (step == 0) return {0, samples};
  const double p = static_cast<double>(pixel);
  const double from = (p - 1 - base) / step, to = (p + 1 - base) / step;
  return {fmin(fmax(floor(fmin(from, to)) - 2, 0.0), samples),
          fmin(fmax(ceil(fmax(from, to)) + 2, 0.0), samples)};
}

// The weight of one pixel in a bin: the samples less than a pixel away, and those beyond a border.
__device__ inline double pixel_weight(const BinSamples& bin, int64_t pixel) {
  const double last = static_cast<double>(bin.extent - 1), p = static_cast<double>(pixel);
  const Near near = samples_near(bin.base, bin.bin / bin.samples, bin.samples, pixel);
  double sum = 0;
  for (double i = near.begin; i < near.end; ++i) {
    double position = bin.base + (i + 0.5) * bin.bin / bin.samples;
    if (!(position >= -1 && position <= static_cast<double>(bin.extent))) continue;
    position = fmax(position, 0.0);
    const double lower = fmin(floor(position), last);
    const double part = lower >= last ? 0 : position - lower;
    if (p == lower) sum += 1 - part;
    if (p == lower + 1) sum += part;
  }
  return sum / bin.samples;
}

// Cells first .. end - 1 of one quantised bin, clipped to 0 .. limit.
struct Cells {
  int64_t first, end;
};

__device__ inline Cells cells_of(double from, double to, double scale, bool end_included,
                                 int64_t bins, int64_t bin, int64_t limit) {
  const double start = round(from * scale);
  double size = round(to * scale) - start + (end_included ? 1 : 0);
  if (!isfinite(start) || !isfinite(size)) return {0, 0};
  if (size < 1) size = 1;
  const double step = size / static_cast<double>(bins), top = static_cast<double>(limit);
  const double low = floor(static_cast<double>(bin) * step) + start;
  const double high = ceil(static_cast<double>(bin + 1) * step) + start;
  return {static_cast<int64_t>(fmin(fmax(low, 0.0), top)),
          static_cast<int64_t>(fmin(fmax(high, 0.0), top))};
}

// What a bin is: bilinear samples, the mean of whole cells (end of the box and last cell of the map
// excluded), or whole cells one of which is taken (both included).
enum class Kind { samples, mean_of_cells, one_of_cells };

struct Rule {
  Grid grid;
  Kind kind;
};

// One bin along one axis: the pixels low .. high - 1 and the weight of each.
struct Axis {
  Kind kind;
  BinSamples bin;
  Cells cells;

  __device__ int64_t low() const { return kind == Kind::samples ? bin.low : cells.first; }
  __device__ int64_t high() const { return kind == Kind::samples ? bin.high : cells.end; }
  __device__ double weight(int64_t pixel) const {
    if (kind == Kind::samples) return pixel_weight(bin, pixel);
    return kind == Kind::one_of_cells ? 1 : 1 / static_cast<double>(cells.end - cells.first);
  }
};

// `first` is the column of the box's lower corner: 1 along x, 2 along y.
__device__ inline Axis axis_of(const RoiTable& rois, int64_t k, int first, double scale,
                               const Rule& rule, int64_t bin, int64_t extent) {
  const double from = rois.at(k, first), to = rois.at(k, first + 2);
  const int64_t bins = first == 2 ? rule.grid.rows : rule.grid.columns;
  const bool included = rule.kind == Kind::one_of_cells;
  Axis axis{rule.kind, {}, {}};
  if (rule.kind == Kind::samples)
    axis.bin = bin_samples(from, to, scale, rule.grid, bins, bin, extent);
  else
    axis.cells = cells_of(from, to, scale, included, bins, bin, included ? extent : extent - 1);
  return axis;
}

}  // namespace perception
