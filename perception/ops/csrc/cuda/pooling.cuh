// Boxes and sample grids on the device: the same float64 formulas as the CPU, weights per bin.
#pragma once

#include "cuda/launch.cuh"

namespace perception {

constexpr int kMaxLevels = 8;

// The levels of a pyramid (or one map) as one kernel argument.
template <typename T>
struct Levels {
  T* data[kMaxLevels];
  int64_t image[kMaxLevels], channel[kMaxLevels], row[kMaxLevels], column[kMaxLevels];  // strides
  int64_t height[kMaxLevels], width[kMaxLevels];
  double scale[kMaxLevels];
  int64_t images;
  int count;
  double lowest, canonical_size, canonical_level;
};

struct RoiTable {
  const void* data;
  int64_t row, column;  // strides
  bool wide;            // float64
  const int64_t* levels;
  int64_t level_stride;

  __device__ double at(int64_t k, int i) const {
    const int64_t where = k * row + i * column;
    return wide ? static_cast<const double*>(data)[where]
                : static_cast<double>(static_cast<const float*>(data)[where]);
  }
  // The image index, or -1 where it is none.
  __device__ int64_t image(int64_t k, int64_t images) const {
    const double index = at(k, 0);
    return index >= 0 && index < static_cast<double>(images) && index == floor(index)
               ? static_cast<int64_t>(index)
               : -1;
  }
};

inline RoiTable as_table(const Tensor& rois) {
  check_rois(rois);
  return {rois.data_ptr(), rois.stride(0), rois.stride(1),
          rois.scalar_type() == ScalarType::Double, nullptr, 0};
}

// The level of a box: given, or by its size in the image.
template <typename T>
__device__ inline int level_of(const RoiTable& rois, const Levels<T>& levels, int64_t k) {
  if (levels.count == 1) return 0;
  if (rois.levels) {
    const int64_t level = rois.levels[k * rois.level_stride];
    return level < 0 ? 0 : (level >= levels.count ? levels.count - 1 : static_cast<int>(level));
  }
  const double area = (rois.at(k, 3) - rois.at(k, 1)) * (rois.at(k, 4) - rois.at(k, 2));
  if (!(area > 0)) return 0;
  const double octave = log2(sqrt(area) / levels.canonical_size);
  const double level = floor(levels.canonical_level + octave + 1e-6) - levels.lowest;
  return level > 0 ? static_cast<int>(fmin(level, static_cast<double>(levels.count - 1))) : 0;
}

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

__device__ inline BinSamples bin_samples(double from, double to, double scale, const Grid& grid,
                                         int64_t bins, int64_t bin, int64_t extent) {
  const double shift = grid.aligned ? 0.5 : 0.0;
  const double start = from * scale - shift;
  double size = to * scale - shift - start;
  if (grid.widened && size < 1) size = 1;
  if (!isfinite(from) || !isfinite(to)) size = NAN;  // no samples at all
  BinSamples out{0, size / static_cast<double>(bins), 0, 0, 0, extent};
  out.base = start + static_cast<double>(bin) * out.bin;
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

// The weight of one pixel in a bin: the samples less than a pixel away, and those beyond a border.
__device__ inline double pixel_weight(const BinSamples& bin, int64_t pixel) {
  const double step = bin.bin / bin.samples, last = static_cast<double>(bin.extent - 1);
  const double p = static_cast<double>(pixel);
  double begin = 0, end = bin.samples;
  if (step != 0) {
    const double from = (p - 1 - bin.base) / step, to = (p + 1 - bin.base) / step;
    begin = fmin(fmax(floor(fmin(from, to)) - 2, 0.0), bin.samples);
    end = fmin(fmax(ceil(fmax(from, to)) + 2, 0.0), bin.samples);
  }
  double sum = 0;
  for (double i = begin; i < end; ++i) {
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

}  // namespace perception
