// Deformable convolution on CUDA: what forward and backward share. Where every tap looks is worked
// out once into a table of samples; columns (samples x channels) are built from it and multiplied
// by torch. All of it in tiles of output pixels, so that the memory needed is bounded.
#pragma once

#include <optional>
#include <vector>

#include "cuda/maps.cuh"

namespace perception {

#ifndef PERCEPTION_TILE_BYTES
#define PERCEPTION_TILE_BYTES (256 << 20)
#endif
constexpr int64_t kTileBytes = PERCEPTION_TILE_BYTES;  // of columns and tables at a time

// Sizes of one call, as in cpu/deform_conv.h.
struct Convolution {
  int64_t images, channels, height, width, out_channels, group_channels, kernel_rows,
      kernel_columns, rows, columns, offset_groups;
  int64_t stride[2], padding[2], dilation[2];

  __host__ __device__ int64_t taps() const { return kernel_rows * kernel_columns; }
  __host__ __device__ int64_t pixels() const { return rows * columns; }
  __host__ __device__ int64_t groups() const { return channels / group_channels; }
  __host__ __device__ int64_t offset_channels() const { return channels / offset_groups; }
  int64_t filters() const { return out_channels / groups(); }
  int64_t depth() const { return taps() * group_channels; }
  // Cells between pixels that a sample can lie in, those at the borders included.
  __host__ __device__ int64_t cells() const { return (height + 1) * (width + 1); }
};

Convolution plan_of(const Tensor& input, const Tensor& offset, const Tensor& weight,
                    const std::optional<Tensor>& mask, const std::vector<int64_t>& stride,
                    const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation);

// Some output pixels of some images: whole images, or a part of one.
struct PixelTile {
  int64_t image, images, pixel, pixels;

  __host__ __device__ int64_t rows() const { return images * pixels; }
  int64_t first_row(const Convolution& plan) const { return image * plan.pixels() + pixel; }
};

// f(tile) for tiles of at most kTileBytes, in order.
template <typename F>
void for_tiles(const Convolution& plan, int64_t bytes_per_pixel, const F& f) {
  const int64_t most = std::max<int64_t>(1, kTileBytes / bytes_per_pixel);
  const int64_t images = std::max<int64_t>(1, most / plan.pixels());
  const int64_t pixels = std::min(most, plan.pixels());
  for (int64_t n = 0; n < plan.images; n += images)
    for (int64_t p = 0; p < plan.pixels(); p += pixels)
      f(PixelTile{n, std::min(images, plan.images - n), p, std::min(pixels, plan.pixels() - p)});
}

// Where a tap of an output pixel looks, for one offset group: its top left neighbour in the tile's
// images (H, W, C), which of the four neighbours lie on the map (bit 0: top left, 1: top right,
// 2: bottom left, 3: bottom right), how far between them, and the mask's factor.
template <typename A>
struct alignas(16) Sample {
  int64_t place;
  A y, x, factor;
  int32_t on_map;

  __device__ bool has(int i) const { return on_map >> i & 1; }
  __device__ A weight(int i) const { return (i / 2 ? y : 1 - y) * (i % 2 ? x : 1 - x); }
};

// Fills the table: sample (row * taps + tap) * offset_groups + offset group. `cells` (may be null)
// gets the cell of every sample among those of all images and offset groups; one more if it is
// outside.
template <typename A>
void place_samples(const Convolution& plan, const PixelTile& tile, const Tensor& offset,
                   const std::optional<Tensor>& mask, Sample<A>* samples, int64_t* cells,
                   cudaStream_t stream);

// The threads of a block that walk samples (or pixels) with some channels each: `lanes` threads
// side by side, `each` samples at a time.
struct Walk {
  int lanes, each;
  unsigned blocks;
};

inline Walk walk_of(int64_t samples, int64_t vectors) {
  const int lanes = static_cast<int>(std::min<int64_t>(vectors, kThreads));
  const int64_t blocks = (samples + kThreads / lanes - 1) / (kThreads / lanes);
  return {lanes, kThreads / lanes, static_cast<unsigned>(std::clamp<int64_t>(blocks, 1, 1 << 14))};
}

// Whether channels can be handled in vectors of this many: none straddles two groups.
inline bool vectors_fit(const Convolution& plan, int64_t vector) {
  return plan.group_channels % vector == 0 && plan.offset_channels() % vector == 0;
}

// Neighbour i of a sample, some channels from `image` on; 0 unless `wanted`.
template <int Vector, typename T, typename A>
__device__ inline Pack<T, Vector> neighbour(const T* image, const Convolution& plan,
                                            const Sample<A>& sample, int i, bool wanted) {
  Pack<T, Vector> out{};
  if (wanted)
    out = *reinterpret_cast<const Pack<T, Vector>*>(
        image + sample.place + (i / 2 * plan.width + i % 2) * plan.channels);
  return out;
}

// The weights as (groups, filters, taps * group channels), in the dtype of the input.
Tensor pack_weight(const Convolution& plan, const Tensor& weight, ScalarType type);

// A view of a tensor's memory from element `first` of it on.
Tensor view_of(const Tensor& tensor, const std::vector<int64_t>& size,
               const std::vector<int64_t>& stride, int64_t first = 0);

// out = left x right, batches of matrices.
void multiply(const Tensor& left, const Tensor& right, const Tensor& out);

inline Tensor bytes_on(const Tensor& like, int64_t bytes) {
  return torch::stable::empty({bytes}, ScalarType::Byte, std::nullopt, like.device());
}

}  // namespace perception
