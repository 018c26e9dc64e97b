// Deformable RoI pooling on the CPU: RoIAlign's taps, bin by bin.
#include <algorithm>

#include "cpu/images.h"
#include "cpu/isa.h"
#include "cpu/maps.h"
#include "cpu/simd/roi_align.h"
#include "cpu/taps.h"

namespace perception {
namespace {

constexpr int64_t kBlock = 64;  // channels of one piece of the backward pass

struct Plan {
  int64_t rows, columns, sampling;
  double scale, gamma;

  int64_t bins() const { return rows * columns; }
};

// One box on the map: begin and length of a bin, and what an offset of 1 moves it by.
struct Placed {
  double y, x, bin_height, bin_width, step_y, step_x;
};

Placed placed(const Roi& roi, const Plan& plan) {
  const double x = roi.box[0] * plan.scale - 0.5, y = roi.box[1] * plan.scale - 0.5;
  const double width = roi.box[2] * plan.scale - 0.5 - x;
  const double height = roi.box[3] * plan.scale - 0.5 - y;
  return {y, x, height / static_cast<double>(plan.rows), width / static_cast<double>(plan.columns),
          plan.gamma * height, plan.gamma * width};
}

// f(position, 1 / samples) for the samples of one bin along one axis that can lie on the map.
template <typename F>
void for_samples(double start, double length, int64_t sampling, int64_t extent, const F& f) {
  const double samples = sampling > 0 ? static_cast<double>(sampling) : std::ceil(length);
  if (!(samples >= 1 && samples <= kMostSamples)) return;
  double begin = 0, end = 0;
  samples_in_map(start, length / samples, samples, extent, &begin, &end);
  for (double i = begin; i < end; ++i) f(start + (i + 0.5) * length / samples);
}

double scale_of(double length, int64_t sampling) {
  const double samples = sampling > 0 ? static_cast<double>(sampling) : std::ceil(length);
  return samples >= 1 && samples <= kMostSamples ? 1 / samples : 0;
}

// The weighted pixels of one bin along one axis.
template <typename A>
void bin_taps(double start, double length, int64_t sampling, int64_t extent, AxisTaps<A>* taps) {
  taps->start(extent);
  for_samples(start, length, sampling, extent,
              [&](double at) { add_sample(at, extent, length < 0, taps); });
  taps->close_bin(scale_of(length, sampling));
}

// The derivative of those weights when the bin moves: 0 where a sample is clamped to the border.
template <typename A>
void moving_taps(double start, double length, int64_t sampling, int64_t extent,
                 AxisTaps<A>* taps) {
  taps->start(extent);
  for_samples(start, length, sampling, extent, [&](double at) {
    if (!(at >= 0 && at < static_cast<double>(extent - 1))) return;
    const auto lower = static_cast<int64_t>(at);
    taps->add(length < 0 ? lower + 1 : lower, length < 0 ? 1 : -1);
    taps->add(length < 0 ? lower : lower + 1, length < 0 ? -1 : 1);
  });
  taps->close_bin(scale_of(length, sampling));
}

template <typename T>
class Pool {
  using A = accumulate_t<T>;

 public:
  Pool(const Plan& plan, const Map& map, const Reader* offset)
      : plan_(plan), map_(map), offset_(offset) {}

  // Begin of bin (i, j) of box k.
  double start_y(const Placed& box, int64_t k, int64_t i, int64_t j) const {
    const double start = box.y + static_cast<double>(i) * box.bin_height;
    return offset_ ? start + box.step_y * offset_->at(k, 1, i, j) : start;
  }
  double start_x(const Placed& box, int64_t k, int64_t i, int64_t j) const {
    const double start = box.x + static_cast<double>(j) * box.bin_width;
    return offset_ ? start + box.step_x * offset_->at(k, 0, i, j) : start;
  }

  // out (bins, channels) of box k.
  void forward(const PackedImage<T>& image, const Roi& roi, int64_t k, T* out) {
    const Placed box = placed(roi, plan_);
    for (int64_t i = 0; i < plan_.rows; ++i)
      for (int64_t j = 0; j < plan_.columns; ++j, out += map_.channels) {
        set_taps(box, k, i, j);
        sum(image, y_, x_, out);
      }
  }

  // Gradients to the offsets of bin (i, j) of box k, given the bin's gradient.
  void to_offset(const PackedImage<T>& image, const Roi& roi, int64_t k, int64_t i, int64_t j,
                 const A* grad, double* to_y, double* to_x) {
    const Placed box = placed(roi, plan_);
    set_taps(box, k, i, j);
    values_.resize(static_cast<size_t>(map_.channels));
    moving_taps(start_y(box, k, i, j), box.bin_height, plan_.sampling, map_.height, &moving_);
    *to_y = box.step_y * dot(image, moving_, x_, grad);
    moving_taps(start_x(box, k, i, j), box.bin_width, plan_.sampling, map_.width, &moving_);
    *to_x = box.step_x * dot(image, y_, moving_, grad);
  }

  // Adds the gradient of some channels of bin (i, j) to the image's, (H, W, all channels).
  void to_image(const Roi& roi, int64_t k, int64_t i, int64_t j, const A* grad, int64_t channels,
                A* image) {
    const Placed box = placed(roi, plan_);
    set_taps(box, k, i, j);
    y_.set_stride(map_.width * map_.channels);
    x_.set_stride(map_.channels);
    for (size_t r = 0; r < y_.offset.size(); ++r)
      for (size_t s = 0; s < x_.offset.size(); ++s) {
        const A weight = y_.weight[r] * x_.weight[s];
        A* pixel = image + y_.offset[r] + x_.offset[s];
        for (int64_t c = 0; c < channels; ++c) pixel[c] += weight * grad[c];
      }
  }

 private:
  void set_taps(const Placed& box, int64_t k, int64_t i, int64_t j) {
    bin_taps(start_y(box, k, i, j), box.bin_height, plan_.sampling, map_.height, &y_);
    bin_taps(start_x(box, k, i, j), box.bin_width, plan_.sampling, map_.width, &x_);
  }

  template <typename O>
  void sum(const PackedImage<T>& image, AxisTaps<A>& y, AxisTaps<A>& x, O* out) {
    static const auto kernel = SELECT_ISA(align_box<T, O>);
    y.set_stride(image.row);
    x.set_stride(image.column);
    kernel(image.data, map_.channels, 1, 1, y.view(), x.view(), out);
  }

  double dot(const PackedImage<T>& image, AxisTaps<A>& y, AxisTaps<A>& x, const A* grad) {
    sum(image, y, x, values_.data());
    double total = 0;
    for (int64_t c = 0; c < map_.channels; ++c)
      total += static_cast<double>(grad[c]) * static_cast<double>(values_[static_cast<size_t>(c)]);
    return total;
  }

  const Plan& plan_;
  const Map& map_;
  const Reader* offset_;
  AxisTaps<A> y_, x_, moving_;
  std::vector<A> values_;
};

Plan checked(const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset,
             int64_t rows, int64_t columns, double scale, int64_t sampling, double gamma) {
  const Map map = as_map("input", input);
  check(rows >= 0 && columns >= 0 && rows <= 65535 && columns <= 65535,
        "output_size must be between 0 and 65535, got (", rows, ", ", columns, ")");
  check(scale > 0 && std::isfinite(scale) && std::isfinite(gamma),
        "spatial_scale must be above 0, it and gamma finite");
  check(sampling <= 65535, "sampling_ratio must be at most 65535, got ", sampling);
  check(rois.size(0) == 0 || (map.height > 0 && map.width > 0), "input has no pixels");
  if (offset) {
    const Map shifts = as_map("offset", *offset);
    check(shifts.images == rois.size(0) && shifts.channels == 2 && shifts.height == rows &&
              shifts.width == columns,
          "offset has the wrong shape");
  }
  return {rows, columns, sampling, scale, gamma};
}

// f(n, image, boxes): the boxes of one image after the other.
template <typename T, typename F>
void for_images(const Map& map, const std::vector<Roi>& rois, const F& f) {
  std::vector<std::vector<int64_t>> of_image(static_cast<size_t>(map.images));
  for (size_t k = 0; k < rois.size(); ++k)
    of_image[static_cast<size_t>(rois[k].image)].push_back(static_cast<int64_t>(k));
  for (int64_t n = 0; n < map.images; ++n) {
    const auto& boxes = of_image[static_cast<size_t>(n)];
    if (!boxes.empty()) f(n, PackedImage<T>(map, n), boxes);
  }
}

bool usable(const Roi& roi) {
  return std::isfinite(roi.box[0]) && std::isfinite(roi.box[1]) && std::isfinite(roi.box[2]) &&
         std::isfinite(roi.box[3]);
}

template <typename T>
void pool_all(const Plan& plan, const Map& map, const std::vector<Roi>& rois, const Reader* offset,
              T* out, bool channels_last) {
  const int64_t size = map.channels * plan.bins();
  for_images<T>(map, rois, [&](int64_t, const PackedImage<T>& image, const auto& boxes) {
    for_chunks(static_cast<int64_t>(boxes.size()), 4, [&](int64_t begin, int64_t end) {
      Pool<T> pool(plan, map, offset);
      std::vector<T> pooled(static_cast<size_t>(size));
      for (int64_t b = begin; b < end; ++b) {
        const int64_t k = boxes[static_cast<size_t>(b)];
        const Roi& roi = rois[static_cast<size_t>(k)];
        T* to = out + k * size;
        if (!usable(roi)) {
          std::fill(to, to + size, T{});
        } else if (channels_last) {
          pool.forward(image, roi, k, to);
        } else {
          pool.forward(image, roi, k, pooled.data());
          transpose(pooled.data(), map.channels, plan.bins(), map.channels, to, plan.bins());
        }
      }
    });
  });
}

Tensor deform_roi_pool(const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset,
                       int64_t rows, int64_t columns, double scale, int64_t sampling,
                       double gamma) {
  const Plan plan = checked(input, rois, offset, rows, columns, scale, sampling, gamma);
  const Map map = as_map("input", input);
  const std::vector<Roi> boxes = read_rois(rois, map.images);
  const bool channels_last = is_channels_last(input);
  Tensor out = empty_map(input, {rois.size(0), map.channels, rows, columns}, channels_last);
  if (out.numel() == 0) return out;
  const auto shifts = offset ? std::optional<Reader>(std::in_place, "offset", *offset) : std::nullopt;
  dispatch_storage(input.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    pool_all<T>(plan, map, boxes, shifts ? &*shifts : nullptr, static_cast<T*>(out.data_ptr()),
                channels_last);
  });
  return out;
}

// ------------------------------------------------------------------------------- backward

template <typename T>
void offset_gradient(const Plan& plan, const Map& map, const std::vector<Roi>& rois,
                     const Reader& offset, const Reader& grad, Tensor& out) {
  for_images<T>(map, rois, [&](int64_t, const PackedImage<T>& image, const auto& boxes) {
    for_chunks(static_cast<int64_t>(boxes.size()), 4, [&](int64_t begin, int64_t end) {
      Pool<T> pool(plan, map, &offset);
      std::vector<accumulate_t<T>> own(static_cast<size_t>(map.channels));
      for (int64_t b = begin; b < end; ++b) {
        const int64_t k = boxes[static_cast<size_t>(b)];
        const Roi& roi = rois[static_cast<size_t>(k)];
        for (int64_t bin = 0; bin < plan.bins(); ++bin) {
          const int64_t i = bin / plan.columns, j = bin % plan.columns;
          double to_y = 0, to_x = 0;
          if (usable(roi)) {
            for (int64_t c = 0; c < map.channels; ++c)
              own[static_cast<size_t>(c)] = static_cast<accumulate_t<T>>(grad.at(k, c, i, j));
            pool.to_offset(image, roi, k, i, j, own.data(), &to_y, &to_x);
          }
          dispatch_storage(out.scalar_type(), [&](auto zero) {
            using O = decltype(zero);
            O* to = static_cast<O*>(out.data_ptr()) + 2 * k * plan.bins() + bin;
            store_sum(to, static_cast<accumulate_t<O>>(to_x));
            store_sum(to + plan.bins(), static_cast<accumulate_t<O>>(to_y));
          });
        }
      }
    });
  });
}

// Every block of channels walks all boxes of an image, in order.
template <typename T>
void image_gradient(const Plan& plan, const Map& map, const std::vector<Roi>& rois,
                    const Reader* offset, const Reader& grad, const Tensor& out,
                    bool channels_last) {
  using A = accumulate_t<T>;
  MapSum<T> sum(out, channels_last);
  for (int64_t n = 0; n < map.images; ++n) {
    const int64_t blocks = (map.channels + kBlock - 1) / kBlock;
    for_chunks(blocks, 1, [&](int64_t from, int64_t to) {
      Pool<T> pool(plan, map, offset);
      std::vector<A> own(kBlock);
      for (int64_t block = from; block < to; ++block) {
        const int64_t first = block * kBlock, count = std::min(kBlock, map.channels - first);
        for (size_t k = 0; k < rois.size(); ++k) {
          if (rois[k].image != n || !usable(rois[k])) continue;
          for (int64_t bin = 0; bin < plan.bins(); ++bin) {
            const auto box = static_cast<int64_t>(k);
            const int64_t i = bin / plan.columns, j = bin % plan.columns;
            for (int64_t c = 0; c < count; ++c)
              own[static_cast<size_t>(c)] = static_cast<A>(grad.at(box, first + c, i, j));
            pool.to_image(rois[k], box, i, j, own.data(), count, sum.image(n) + first);
          }
        }
      }
    });
  }
  sum.finish();
}

std::tuple<Tensor, Tensor> deform_roi_pool_backward(
    const Tensor& grad, const Tensor& input, const Tensor& rois,
    const std::optional<Tensor>& offset, int64_t rows, int64_t columns, double scale,
    int64_t sampling, double gamma, bool /* deterministic: always */) {
  const Plan plan = checked(input, rois, offset, rows, columns, scale, sampling, gamma);
  const Map map = as_map("input", input), sums = as_map("grad", grad);
  check(sums.images == rois.size(0) && sums.channels == map.channels && sums.height == rows &&
            sums.width == columns,
        "grad must have the shape of the output");
  const std::vector<Roi> boxes = read_rois(rois, map.images);
  const bool channels_last = is_channels_last(input);
  const Reader reader("grad", grad);
  const auto shifts = offset ? std::optional<Reader>(std::in_place, "offset", *offset) : std::nullopt;
  Tensor to_input =
      empty_map(input, {map.images, map.channels, map.height, map.width}, channels_last);
  Tensor to_offset = offset ? empty_map(*offset, {rois.size(0), 2, rows, columns}, false)
                            : torch::stable::empty({0}, input.scalar_type(), std::nullopt,
                                                   input.device());
  dispatch_storage(input.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    if (offset) offset_gradient<T>(plan, map, boxes, *shifts, reader, to_offset);
    image_gradient<T>(plan, map, boxes, shifts ? &*shifts : nullptr, reader, to_input,
                      channels_last);
  });
  return {to_input, to_offset};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) {
  m.impl("deform_roi_pool", TORCH_BOX(&deform_roi_pool));
  m.impl("deform_roi_pool_backward", TORCH_BOX(&deform_roi_pool_backward));
}

}  // namespace perception
