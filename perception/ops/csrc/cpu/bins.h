// Quantised bins: the integer ranges of RoIPool and of position-sensitive RoI pooling.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace perception {

// Two ints per bin, first and one past the last cell; floor and ceil of equal parts of `size`
// shifted by `start`, clipped to 0 .. limit. A box that is not finite has empty bins, as has one
// beyond any map (clipped before it is rounded, so that no number overflows).
inline void quantised_bins(double start, double size, int64_t bins, int64_t limit,
                           std::vector<int64_t>* out) {
  out->assign(static_cast<size_t>(2 * bins), 0);
  if (!std::isfinite(start) || !std::isfinite(size)) return;
  const double bin = size / static_cast<double>(bins), top = static_cast<double>(limit);
  for (int64_t p = 0; p < bins; ++p) {
    const double low = std::floor(static_cast<double>(p) * bin) + start;
    const double high = std::ceil(static_cast<double>(p + 1) * bin) + start;
    (*out)[static_cast<size_t>(2 * p)] = static_cast<int64_t>(std::fmin(std::fmax(low, 0), top));
    (*out)[static_cast<size_t>(2 * p + 1)] =
        static_cast<int64_t>(std::fmin(std::fmax(high, 0), top));
  }
}

}  // namespace perception
