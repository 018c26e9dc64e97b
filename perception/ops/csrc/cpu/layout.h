// Between (C, H, W) and (H, W, C) memory: whole maps, windows of maps, results of one box.
#pragma once

#include "cpu/isa.h"
#include "cpu/parallel.h"
#include "cpu/simd/transpose.h"
#include "tensors.h"

namespace perception {

template <size_t Bytes>
struct word;
template <>
struct word<2> {
  using type = uint16_t;
};
template <>
struct word<4> {
  using type = uint32_t;
};
template <>
struct word<8> {
  using type = uint64_t;
};

// to[column * to_stride + row] = from[row * from_stride + column].
template <typename T>
void transpose(const T* from, int64_t from_stride, int64_t rows, int64_t columns, T* to,
               int64_t to_stride) {
  using W = typename word<sizeof(T)>::type;
  static const auto kernel = SELECT_ISA(transpose<W>);
  kernel(reinterpret_cast<const W*>(from), from_stride, rows, columns, reinterpret_cast<W*>(to),
         to_stride);
}

// A rectangle of one image, all or some channels, into memory (rows, columns, channels).
template <typename T>
void pack_window(const T* image, const Map& map, int64_t channels, int64_t y0, int64_t y1,
                 int64_t x0, int64_t x1, T* out) {
  const int64_t width = x1 - x0;
  for (int64_t y = y0; y < y1; ++y, out += width * channels) {
    const T* line = image + y * map.stride_row + x0 * map.stride_column;
    if (map.stride_column == 1) {
      transpose(line, map.stride_channel, channels, width, out, channels);
      continue;
    }
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < channels; ++c)
        out[x * channels + c] = line[x * map.stride_column + c * map.stride_channel];
  }
}

// A whole image into (rows, columns, channels), on all threads.
template <typename T>
void pack_image(const T* image, const Map& map, T* out) {
  const int64_t pixels = map.height * map.width, channels = map.channels;
  if (map.stride_column == 1 && map.stride_row == map.width) {
    for_chunks(pixels, 512, [&](int64_t begin, int64_t end) {
      transpose(image + begin, map.stride_channel, channels, end - begin, out + begin * channels,
                channels);
    });
    return;
  }
  for_chunks(map.height, 8, [&](int64_t begin, int64_t end) {
    pack_window(image, map, channels, begin, end, 0, map.width, out + begin * map.width * channels);
  });
}

// Memory (pixels, channels) of one image into (channels, pixels), on all threads.
template <typename T>
void unpack_image(const T* packed, int64_t pixels, int64_t channels, T* out) {
  for_chunks(channels, 32, [&](int64_t begin, int64_t end) {
    transpose(packed + begin, channels, pixels, end - begin, out + begin * pixels, pixels);
  });
}

}  // namespace perception
