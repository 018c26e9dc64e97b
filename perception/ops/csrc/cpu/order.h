// The order in which boxes are worked on.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "cpu/rois.h"

namespace perception {

constexpr double kCachedBytes = 16 << 20;  // maps up to this size are read from caches anyway

// Indices of the boxes by level (one for all, or one each), image and middle row: boxes that follow
// each other find each other's pixels in the cache. As they come where the maps (`bytes` together)
// are small. The order depends on the boxes alone, so sums added in it are the same for any thread
// count.
inline std::vector<int64_t> reading_order(const std::vector<Roi>& rois,
                                          const std::vector<int32_t>& levels, double bytes) {
  std::vector<int64_t> order(rois.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  if (bytes <= kCachedBytes) return order;
  struct Key {
    int32_t level;
    int64_t image;
    double row;
    int64_t index;
    auto operator<=>(const Key&) const = default;
  };
  std::vector<Key> keys(rois.size());
  for (size_t k = 0; k < keys.size(); ++k) {
    const double row = rois[k].box[1] + rois[k].box[3];
    keys[k] = {levels.empty() ? 0 : levels[k], rois[k].image, std::isfinite(row) ? row : 0,
               static_cast<int64_t>(k)};
  }
  std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) { return a < b; });
  for (size_t k = 0; k < keys.size(); ++k) order[k] = keys[k].index;
  return order;
}

}  // namespace perception
