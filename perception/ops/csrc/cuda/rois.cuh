// Boxes and the maps they read, as kernel arguments.
#pragma once

#include <cmath>
#include <optional>

#include "cuda/launch.cuh"

namespace perception {

// A feature map, or the gradient to one; strides in elements.
template <typename T>
struct Plane {
  T* data;
  int64_t images, channels, height, width, image, channel, row, column;

  __device__ T* at(int64_t n, int64_t c) const { return data + n * image + c * channel; }
};

template <typename T>
Plane<T> as_plane(const Tensor& tensor) {
  const Map map = as_map("input", tensor);
  return {static_cast<T*>(const_cast<void*>(map.data)), map.images, map.channels, map.height,
          map.width, map.stride_image, map.stride_channel, map.stride_row, map.stride_column};
}

constexpr int kMaxLevels = 8;

// The levels of a pyramid (or one map) as one kernel argument.
template <typename T>
struct Levels {
  Plane<T> map[kMaxLevels];
  double scale[kMaxLevels];
  int count;
  double lowest, canonical_size, canonical_level;
};

template <typename T>
Levels<T> as_levels(const std::vector<Tensor>& maps, const std::vector<double>& scales,
                    double canonical_size = 1, int64_t canonical_level = 0) {
  check(maps.size() <= kMaxLevels, "at most ", kMaxLevels, " levels, got ", maps.size());
  Levels<T> levels{};
  levels.count = static_cast<int>(maps.size());
  levels.lowest = std::round(-std::log2(scales[0]));
  levels.canonical_size = canonical_size;
  levels.canonical_level = static_cast<double>(canonical_level);
  for (size_t l = 0; l < maps.size(); ++l)
    levels.map[l] = as_plane<T>(maps[l]), levels.scale[l] = scales[l];
  return levels;
}

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

// `given`: the level of each box, int64.
inline RoiTable as_table(const Tensor& rois, const std::optional<Tensor>& given = std::nullopt) {
  check_rois(rois);
  RoiTable table{rois.data_ptr(), rois.stride(0), rois.stride(1),
                 rois.scalar_type() == ScalarType::Double, nullptr, 0};
  if (given) {
    check(given->dim() == 1 && given->scalar_type() == ScalarType::Long &&
              given->size(0) == rois.size(0),
          "levels must be int64 with one entry per box");
    table.levels = static_cast<const int64_t*>(given->data_ptr());
    table.level_stride = given->stride(0);
  }
  return table;
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

}  // namespace perception
