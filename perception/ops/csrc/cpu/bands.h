// Splits the rows of maps among threads, so that each adds up pixels of its own.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/rois.h"

namespace perception {

struct Band {
  int64_t begin, end;

  bool empty() const { return begin >= end; }
  Band within(Band other) const { return {std::max(begin, other.begin), std::min(end, other.end)}; }
};

// Rows of a map that bilinear samples in a box can touch, at most.
inline Band touched_rows(const Roi& roi, double scale, int64_t height) {
  const double a = roi.box[1] * scale, b = roi.box[3] * scale, limit = static_cast<double>(height);
  if (!std::isfinite(a) || !std::isfinite(b)) return {0, 0};
  const double low = std::floor(std::fmin(a, b)) - 1, high = std::ceil(std::fmax(a, b)) + 3;
  return {static_cast<int64_t>(std::fmin(std::fmax(low, 0), limit)),
          static_cast<int64_t>(std::fmin(std::fmax(high, 0), limit))};
}

// The rows of all maps as one sequence: map by map, image by image. Parts of it are of equal work;
// where they end does not change any sum.
class RowBands {
 public:
  void add_map(int64_t images, int64_t height) {
    maps_.push_back({static_cast<int64_t>(work_.size()) - 1, height});
    work_.resize(work_.size() + static_cast<size_t>(images * height));
  }

  // A box that touches these rows.
  void add_box(size_t map, int64_t image, Band rows) {
    if (rows.empty()) return;
    ++work_[static_cast<size_t>(start(map, image) + rows.begin)];
    --work_[static_cast<size_t>(start(map, image) + rows.end)];
  }

  // To be called after the last box.
  void finish() {
    for (int twice = 0; twice < 2; ++twice)  // boxes per row, then the sum over the rows so far
      for (size_t i = 1; i < work_.size(); ++i) work_[i] += work_[i - 1];
  }

  // Rows of an image that belong to `part` of `parts`.
  Band of_part(size_t map, int64_t image, int64_t part, int64_t parts) const {
    const int64_t first = start(map, image);
    return Band{bound(part, parts) - first, bound(part + 1, parts) - first}.within(
        {0, maps_[map].height});
  }

 private:
  struct Rows {
    int64_t first, height;
  };

  int64_t start(size_t map, int64_t image) const {
    return maps_[map].first + image * maps_[map].height;
  }

  int64_t bound(int64_t part, int64_t parts) const {
    const auto rows = static_cast<int64_t>(work_.size()) - 1;
    if (part == 0 || part == parts) return part == 0 ? 0 : rows;
    const int64_t wanted = work_.back() / parts * part;
    return std::min(std::lower_bound(work_.begin(), work_.end(), wanted) - work_.begin(), rows);
  }

  std::vector<Rows> maps_;
  std::vector<int64_t> work_ = std::vector<int64_t>(1);
};

}  // namespace perception
