// RoIAlign on the CPU: one map, or the levels of a pyramid in one call.
#include "cpu/simd/roi_align.h"

#include <algorithm>
#include <optional>

#include "cpu/isa.h"
#include "cpu/layout.h"
#include "cpu/parallel.h"
#include "cpu/rois.h"
#include "cpu/taps.h"

namespace perception {
namespace {

constexpr int64_t kBoxes = 4;               // boxes per piece of work
constexpr int64_t kWindowBytes = 512 << 10;  // a window of some channels stays in the cache
constexpr int64_t kPackedBytes = int64_t{2} << 30;  // no larger copy of a map is made

struct Grid {
  int64_t rows, columns, sampling;
  bool aligned;
};

// One feature map with its scale; `packed` holds its images as (H, W, C) where that pays.
struct Level {
  Map map;
  double scale;
  std::vector<Scratch> packed;  // per image; empty: read from `map`
};

// Start and size of a box along one axis, on the map.
struct Extent {
  double start, size;
};

Extent extent_of(double low, double high, double scale, bool aligned) {
  const double shift = aligned ? 0.5 : 0.0;
  const double start = low * scale - shift, size = high * scale - shift - start;
  return {start, aligned || size >= 1 ? size : (size < 1 ? 1.0 : size)};
}

template <typename T>
struct BoxTaps {
  AxisTaps<accumulate_t<T>> y, x;

  void set(const Roi& roi, const Level& level, const Grid& grid) {
    const Extent vertical = extent_of(roi.box[1], roi.box[3], level.scale, grid.aligned);
    const Extent horizontal = extent_of(roi.box[0], roi.box[2], level.scale, grid.aligned);
    align_taps(vertical.start, vertical.size, grid.rows, grid.sampling, level.map.height, &y);
    align_taps(horizontal.start, horizontal.size, grid.columns, grid.sampling, level.map.width, &x);
  }
};

// Pixels of the map that a box can touch, at most.
double touched(const Roi& roi, const Level& level) {
  double area = 1;
  for (int axis = 0; axis < 2; ++axis) {
    const double a = roi.box[axis] * level.scale, b = roi.box[axis + 2] * level.scale;
    const double limit = static_cast<double>(axis ? level.map.height : level.map.width);
    const double low = std::clamp(std::fmin(a, b) - 1, 0.0, limit);
    const double high = std::clamp(std::fmax(a, b) + 2, 0.0, limit);
    area *= high - low;
  }
  return area;
}

// Copies images to (H, W, C) where the boxes together touch more pixels than they have.
template <typename T>
void pack_levels(std::vector<Level>& levels, const std::vector<Roi>& rois,
                 const std::vector<int32_t>& level_of) {
  for (size_t l = 0; l < levels.size(); ++l) {
    Level& level = levels[l];
    const Map& map = level.map;
    if (map.stride_channel == 1 || map.channels == 1) continue;
    std::vector<double> area(static_cast<size_t>(map.images), 0.0);
    for (size_t k = 0; k < rois.size(); ++k)
      if (level_of.empty() || level_of[k] == static_cast<int32_t>(l))
        area[static_cast<size_t>(rois[k].image)] += touched(rois[k], level);
    const int64_t elements = map.height * map.width * map.channels;
    const int64_t bytes = elements * static_cast<int64_t>(sizeof(T));
    level.packed.resize(static_cast<size_t>(map.images));
    int64_t budget = kPackedBytes;
    for (int64_t n = 0; n < map.images; ++n) {
      const bool pays = area[static_cast<size_t>(n)] > static_cast<double>(map.height * map.width);
      if (!pays || bytes > budget) continue;
      budget -= bytes;
      Scratch& copy = level.packed[static_cast<size_t>(n)] = Scratch(static_cast<size_t>(bytes));
      pack_image(static_cast<const T*>(map.data) + n * map.stride_image, map, copy.as<T>());
    }
  }
}

template <typename T>
class Forward {
 public:
  Forward(const Grid& grid, T* out, bool channels_last)
      : grid_(grid), bins_(grid.rows * grid.columns), out_(out), channels_last_(channels_last) {}

  // One box: out (channels, bins), or (bins, channels) if channels-last.
  void operator()(const Roi& roi, const Level& level, int64_t k) {
    const Map& map = level.map;
    taps_.set(roi, level, grid_);
    T* out = out_ + k * map.channels * bins_;
    if (taps_.y.low >= taps_.y.high || taps_.x.low >= taps_.x.high) {
      std::fill(out, out + map.channels * bins_, T{});
      return;
    }
    const T* image = static_cast<const T*>(map.data) + roi.image * map.stride_image;
    const bool packed = !level.packed.empty() && level.packed[static_cast<size_t>(roi.image)].template as<T>();
    if (packed) {
      set_strides(map.width * map.channels, map.channels);
      pool(level.packed[static_cast<size_t>(roi.image)].template as<T>(), map.channels, out);
    } else if (map.stride_channel == 1 || map.channels == 1) {
      set_strides(map.stride_row, map.stride_column);
      pool(image, map.channels, out);
    } else {
      pool_windows(image, map, out);
    }
  }

 private:
  void set_strides(int64_t row, int64_t column) {
    taps_.y.set_stride(row);
    taps_.x.set_stride(column);
  }

  // `image` has its channels together; writes `channels` of the result.
  void pool(const T* image, int64_t channels, T* out) {
    static const auto kernel = SELECT_ISA(align_box<T>);
    if (channels_last_) {
      kernel(image, channels, grid_.rows, grid_.columns, taps_.y.view(), taps_.x.view(), out);
      return;
    }
    pooled_.resize(static_cast<size_t>(channels * bins_));
    kernel(image, channels, grid_.rows, grid_.columns, taps_.y.view(), taps_.x.view(),
           pooled_.data());
    transpose(pooled_.data(), channels, bins_, channels, out, bins_);
  }

  // Copies what the box touches, some channels at a time.
  void pool_windows(const T* image, const Map& map, T* out) {
    const int64_t y0 = taps_.y.low, x0 = taps_.x.low;
    const int64_t height = taps_.y.high - y0, width = taps_.x.high - x0;
    const int64_t fitting = kWindowBytes / static_cast<int64_t>(sizeof(T)) / (height * width);
    const int64_t block = std::clamp<int64_t>(fitting / 16 * 16, 16, std::max<int64_t>(map.channels, 16));
    for (int64_t c = 0; c < map.channels; c += block) {
      const int64_t channels = std::min(block, map.channels - c);
      window_.resize(static_cast<size_t>(height * width * channels));
      pack_window(image + c * map.stride_channel, map, channels, y0, y0 + height, x0, x0 + width,
                  window_.data());
      set_strides(width * channels, channels);
      const T* origin = window_.data() - (y0 * width + x0) * channels;
      pool(origin, channels, out + c * bins_);
    }
  }

  const Grid grid_;
  const int64_t bins_;
  T* const out_;
  const bool channels_last_;
  BoxTaps<T> taps_;
  std::vector<T> pooled_, window_;
};

// All boxes; `level_of` is empty when there is one level.
template <typename T>
void align_forward(std::vector<Level>& levels, const std::vector<Roi>& rois,
                   const std::vector<int32_t>& level_of, const Grid& grid, T* out,
                   bool channels_last) {
  pack_levels<T>(levels, rois, level_of);
  for_chunks(static_cast<int64_t>(rois.size()), kBoxes, [&](int64_t begin, int64_t end) {
    Forward<T> forward(grid, out, channels_last);
    for (int64_t k = begin; k < end; ++k) {
      const auto i = static_cast<size_t>(k);
      forward(rois[i], levels[level_of.empty() ? 0 : static_cast<size_t>(level_of[i])], k);
    }
  });
}

void check_grid(int64_t rows, int64_t columns, int64_t sampling, double scale) {
  check(rows >= 0 && columns >= 0 && rows <= 65535 && columns <= 65535,
        "output_size must be between 0 and 65535, got (", rows, ", ", columns, ")");
  check(sampling <= 65535, "sampling_ratio must be at most 65535, got ", sampling);
  check(scale > 0 && std::isfinite(scale), "spatial_scale must be finite and above 0, got ", scale);
}

Tensor roi_align(const Tensor& features, const Tensor& rois, double scale, int64_t rows,
                 int64_t columns, int64_t sampling, bool aligned) {
  const Map map = as_map("input", features);
  check_grid(rows, columns, sampling, scale);
  const std::vector<Roi> boxes = read_rois(rois, map.images);
  check(boxes.empty() || (map.height > 0 && map.width > 0), "input is empty");
  const bool channels_last = is_channels_last(features);
  const auto count = static_cast<int64_t>(boxes.size());
  Tensor out = empty_map(features, {count, map.channels, rows, columns}, channels_last);
  if (out.numel() == 0) return out;
  advise_huge(out.data_ptr(), static_cast<size_t>(out.numel()) * out.element_size());
  std::vector<Level> levels(1);
  levels[0].map = map;
  levels[0].scale = scale;
  dispatch_storage(features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    align_forward<T>(levels, boxes, {}, {rows, columns, sampling, aligned},
                     static_cast<T*>(out.data_ptr()), channels_last);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) { m.impl("roi_align", TORCH_BOX(&roi_align)); }

}  // namespace perception
