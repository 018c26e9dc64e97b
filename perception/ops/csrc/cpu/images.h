// Maps read element by element whatever their dtype and layout, and images with channels together.
#pragma once

#include "cpu/layout.h"
#include "cpu/rois.h"
#include "cpu/scalars.h"

namespace perception {

// Reads a (N, C, H, W) tensor of any floating dtype, element by element.
class Reader {
 public:
  explicit Reader(const char* name, const Tensor& tensor)
      : map_(as_map(name, tensor)), type_(tensor.scalar_type()) {}

  double at(int64_t n, int64_t c, int64_t y, int64_t x) const {
    const int64_t place = n * map_.stride_image + c * map_.stride_channel + y * map_.stride_row +
                          x * map_.stride_column;
    switch (type_) {
      case ScalarType::Float: return static_cast<const float*>(map_.data)[place];
      case ScalarType::Double: return static_cast<const double*>(map_.data)[place];
      case ScalarType::Half:
        return static_cast<float>(static_cast<const c10::Half*>(map_.data)[place]);
      default:
        return static_cast<float>(static_cast<const c10::BFloat16*>(map_.data)[place]);
    }
  }
  const Map& map() const { return map_; }

 private:
  Map map_;
  ScalarType type_;
};

// One image as (H, W, C): the tensor itself where its channels lie together (`dense`: and nothing
// lies between its pixels), else a copy.
template <typename T>
struct PackedImage {
  const T* data;
  int64_t row, column;  // strides
  Scratch copy;

  PackedImage(const Map& map, int64_t n, bool dense = false) {
    const T* image = static_cast<const T*>(map.data) + n * map.stride_image;
    const bool gaps = map.stride_column != map.channels || map.stride_row != map.width * map.channels;
    if ((map.stride_channel == 1 || map.channels == 1) && !(dense && gaps)) {
      data = image;
      row = map.stride_row;
      column = map.stride_column;
      return;
    }
    const int64_t elements = map.height * map.width * map.channels;
    copy = Scratch(static_cast<size_t>(elements) * sizeof(T));
    pack_image(image, map, copy.as<T>());
    data = copy.as<T>();
    row = map.width * map.channels;
    column = map.channels;
  }
};

}  // namespace perception
