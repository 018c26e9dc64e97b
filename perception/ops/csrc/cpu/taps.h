// The sample grid of RoIAlign is separable: per axis, every bin is a short list of weighted pixels.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "cpu/types.h"

namespace perception {

// Above this many samples per bin the part of a bin that lies in the map rounds to nothing.
constexpr double kMostSamples = 1e15;

// The taps of `bins` bins; buffers are reused from box to box.
template <typename A>
struct AxisTaps {
  std::vector<int32_t> first;
  std::vector<int64_t> index;   // pixels along the axis
  std::vector<int64_t> offset;  // pixels times stride
  std::vector<A> weight;
  int64_t low = 0, high = 0;    // pixels touched: low .. high - 1; empty when equal

  Taps<A> view() const { return {first.data(), offset.data(), weight.data()}; }

  void start(int64_t extent) {
    first.assign(1, 0);
    index.clear();
    weight.clear();
    low = extent;
    high = 0;
  }

  // Adds to the open bin; a sample's pixels lie at most one behind the last two added.
  void add(int64_t pixel, double value) {
    if (value == 0) return;
    const size_t open = static_cast<size_t>(first.back()), size = index.size();
    for (size_t back = 1; back <= 2 && back <= size - open; ++back) {
      if (index[size - back] == pixel) {
        sums[size - back] += value;
        return;
      }
    }
    index.push_back(pixel);
    sums.resize(size);
    sums.push_back(value);
    if (pixel < low) low = pixel;
    if (pixel >= high) high = pixel + 1;
  }

  void close_bin(double scale) {
    for (size_t i = weight.size(); i < index.size(); ++i)
      weight.push_back(static_cast<A>(sums[i] * scale));
    first.push_back(static_cast<int32_t>(index.size()));
  }

  void set_stride(int64_t stride) {
    offset.resize(index.size());
    for (size_t i = 0; i < index.size(); ++i) offset[i] = index[i] * stride;
  }

 private:
  std::vector<double> sums;
};

// Which of `samples` positions base + (i + 0.5) * step can lie in [-1, extent]: begin .. end - 1.
// Generous by a sample or two at both ends; empty where the positions are not finite.
inline void samples_in_map(double base, double step, double samples, int64_t extent,
                           double* begin, double* end) {
  *begin = *end = 0;
  if (!std::isfinite(base) || !std::isfinite(step)) return;
  if (step == 0) {
    *end = samples;
    return;
  }
  double from = (-1 - base) / step, to = (static_cast<double>(extent) - base) / step;
  if (from > to) std::swap(from, to);
  *begin = std::fmin(std::fmax(std::floor(from) - 2, 0), samples);
  *end = std::fmin(std::fmax(std::ceil(to) + 2, 0), samples);
}

// One lookup of RoIAlign: outside [-1, extent] nothing, between the border and there the border.
template <typename A>
inline void add_sample(double position, int64_t extent, bool reversed, AxisTaps<A>* taps) {
  if (!(position >= -1 && position <= static_cast<double>(extent))) return;
  if (position < 0) position = 0;
  int64_t lower = static_cast<int64_t>(position), upper = lower + 1;
  double part = position - static_cast<double>(lower);
  if (lower >= extent - 1) {
    lower = upper = extent - 1;
    part = 0;
  }
  if (reversed) {
    taps->add(upper, part);
    taps->add(lower, 1 - part);
  } else {
    taps->add(lower, 1 - part);
    taps->add(upper, part);
  }
}

// Taps of RoIAlign along one axis: `size` from `start` in `bins` bins; `sampling` <= 0 is adaptive.
template <typename A>
void align_taps(double start, double size, int64_t bins, int64_t sampling, int64_t extent,
                AxisTaps<A>* taps) {
  const double bin = size / static_cast<double>(bins);
  const double samples = sampling > 0 ? static_cast<double>(sampling) : std::ceil(bin);
  const bool some = samples >= 1 && samples <= kMostSamples;
  taps->start(extent);
  for (int64_t p = 0; p < bins; ++p) {
    const double base = start + static_cast<double>(p) * bin;
    double begin = 0, end = 0;
    if (some) samples_in_map(base, bin / samples, samples, extent, &begin, &end);
    for (double i = begin; i < end; ++i)
      add_sample(base + (i + 0.5) * bin / samples, extent, bin < 0, taps);
    taps->close_bin(some ? 1 / samples : 0);
  }
}

}  // namespace perception
