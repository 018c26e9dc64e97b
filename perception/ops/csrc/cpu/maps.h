// Reading boxes from feature maps of any layout, and writing results in the layout of the input.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/layout.h"
#include "cpu/simd/convert.h"
#include "cpu/rois.h"

namespace perception {

constexpr int64_t kWindowBytes = 512 << 10;         // a window of some channels stays in the cache
constexpr int64_t kPackedBytes = int64_t{2} << 30;  // larger copies of maps are not made

// One feature map with its scale; `packed` holds images as (H, W, C) where that pays.
struct Level {
  Map map;
  double scale;
  std::vector<Scratch> packed;  // one per image, or none at all

  bool channels_together() const { return map.stride_channel == 1 || map.channels == 1; }

  template <typename T>
  const T* packed_image(int64_t image) const {
    return packed.empty() ? nullptr : packed[static_cast<size_t>(image)].template as<T>();
  }
};

// Pixels of the map that a box (x1, y1, x2, y2) can touch, at most.
inline double touched(const Roi& roi, const Level& level) {
  double area = 1;
  for (int axis = 0; axis < 2; ++axis) {
    const double a = roi.box[axis] * level.scale, b = roi.box[axis + 2] * level.scale;
    const double limit = static_cast<double>(axis ? level.map.height : level.map.width);
    const double low = std::fmin(std::fmax(std::fmin(a, b) - 1, 0), limit);
    const double high = std::fmin(std::fmax(std::fmax(a, b) + 2, 0), limit);
    area *= high - low;
  }
  return area;
}

// Copies images to (H, W, C) where the boxes read more pixels than they have; `area` (per image).
template <typename T>
void pack_where_it_pays(Level& level, const std::vector<double>& area) {
  const Map& map = level.map;
  if (level.channels_together()) return;
  const int64_t bytes = map.height * map.width * map.channels * static_cast<int64_t>(sizeof(T));
  level.packed.resize(static_cast<size_t>(map.images));
  int64_t budget = kPackedBytes;
  for (size_t n = 0; n < level.packed.size(); ++n) {
    if (area[n] <= static_cast<double>(map.height * map.width) || bytes > budget) continue;
    budget -= bytes;
    level.packed[n] = Scratch(static_cast<size_t>(bytes));
    pack_image(static_cast<const T*>(map.data) + static_cast<int64_t>(n) * map.stride_image, map,
               level.packed[n].template as<T>());
  }
}

// Packs for boxes of one map.
template <typename T>
void pack_for(Level& level, const std::vector<Roi>& rois) {
  if (level.channels_together()) return;
  std::vector<double> area(static_cast<size_t>(level.map.images), 0.0);
  for (const Roi& roi : rois) area[static_cast<size_t>(roi.image)] += touched(roi, level);
  pack_where_it_pays<T>(level, area);
}

// A rectangle of an image with its channels together: pixel (y, x) at origin + y * row + x * column.
template <typename T>
struct View {
  const T* origin;
  int64_t row, column;       // strides
  int64_t channel, channels;  // first channel and how many
};

// Calls f(view) for all channels at once, or, where the window must be copied, for some at a time.
template <typename T>
class WindowReader {
 public:
  template <typename F>
  void read(const Level& level, int64_t image, int64_t y0, int64_t y1, int64_t x0, int64_t x1,
            const F& f) {
    const Map& map = level.map;
    const T* data = static_cast<const T*>(map.data) + image * map.stride_image;
    if (const T* packed = level.packed_image<T>(image)) {
      f(View<T>{packed, map.width * map.channels, map.channels, 0, map.channels});
    } else if (level.channels_together()) {
      f(View<T>{data, map.stride_row, map.stride_column, 0, map.channels});
    } else {
      copy(data, map, y0, y1, x0, x1, f);
    }
  }

 private:
  template <typename F>
  void copy(const T* data, const Map& map, int64_t y0, int64_t y1, int64_t x0, int64_t x1,
            const F& f) {
    const int64_t height = y1 - y0, width = x1 - x0;
    const int64_t fitting = kWindowBytes / static_cast<int64_t>(sizeof(T)) / (height * width);
    const int64_t block = std::max<int64_t>(fitting / 16 * 16, 16);
    for (int64_t c = 0; c < map.channels; c += block) {
      const int64_t channels = std::min(block, map.channels - c);
      window_.resize(static_cast<size_t>(height * width * channels));
      pack_window(data + c * map.stride_channel, map, channels, y0, y1, x0, x1, window_.data());
      f(View<T>{window_.data() - (y0 * width + x0) * channels, width * channels, channels, c,
                channels});
    }
  }

  std::vector<T> window_;
};

// Hands out memory (bins, channels) and brings it to its place in the result.
template <typename T>
class BoxWriter {
 public:
  // `out`: the result of one box, (channels, bins) or (bins, channels) if channels-last.
  T* begin(T* out, int64_t channels, int64_t bins, bool channels_last) {
    if (channels_last) return out;
    pooled_.resize(static_cast<size_t>(channels * bins));
    return pooled_.data();
  }

  void end(T* out, int64_t channel, int64_t channels, int64_t bins, bool channels_last) const {
    if (!channels_last) transpose(pooled_.data(), channels, bins, channels, out + channel * bins, bins);
  }

 private:
  std::vector<T> pooled_;
};

// A gradient as the kernels read it: channels-last, or contiguous.
inline Tensor dense(const Tensor& grad) {
  return is_channels_last(grad) || grad.is_contiguous() ? grad : torch::stable::contiguous(grad);
}

// The gradient of a map while it is summed: float32 (or float64) as (N, H, W, C), zeroed.
template <typename T>
class MapSum {
 public:
  using A = accumulate_t<T>;

  MapSum(const Tensor& out, bool channels_last) : out_(out), channels_last_(channels_last) {
    const auto size = out.sizes();
    images_ = size[0], channels_ = size[1], pixels_ = size[2] * size[3];
    advise_huge(out.data_ptr(), static_cast<size_t>(out.numel()) * sizeof(T));
    in_place_ = channels_last && sizeof(A) == sizeof(T);
    if (!in_place_) scratch_ = Scratch(static_cast<size_t>(out.numel()) * sizeof(A));
    A* sum = data();
    for_chunks(out.numel(), 1 << 18, [&](int64_t begin, int64_t end) {
      std::fill(sum + begin, sum + end, A{0});
    });
  }

  A* data() const { return in_place_ ? static_cast<A*>(out_.data_ptr()) : scratch_.as<A>(); }
  A* image(int64_t n) const { return data() + n * pixels_ * channels_; }

  // Writes the sums to the result, in its dtype and layout.
  void finish() {
    if (in_place_) return;
    T* out = static_cast<T*>(out_.data_ptr());
    T* same_layout = channels_last_ ? out : narrowed();
    if (static_cast<void*>(same_layout) != static_cast<void*>(scratch_.as<A>()))
      narrow_all(same_layout);
    if (channels_last_) return;
    for (int64_t n = 0; n < images_; ++n)
      unpack_image(same_layout + n * pixels_ * channels_, pixels_, channels_,
                   out + n * pixels_ * channels_);
  }

 private:
  // Memory for the sums in dtype T: their own where the dtypes agree.
  T* narrowed() {
    if (sizeof(A) == sizeof(T)) return scratch_.as<T>();
    second_ = Scratch(static_cast<size_t>(out_.numel()) * sizeof(T));
    return second_.as<T>();
  }

  void narrow_all(T* to) const {
    const A* sum = scratch_.as<A>();
    for_chunks(out_.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
      static const auto kernel = SELECT_ISA(convert<T>);
      kernel(sum + begin, end - begin, to + begin);
    });
  }

  const Tensor out_;
  const bool channels_last_;
  bool in_place_;
  int64_t images_, channels_, pixels_;
  Scratch scratch_, second_;
};

}  // namespace perception
