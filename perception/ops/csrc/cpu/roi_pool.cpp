// RoIPool on the CPU: quantised bins, maxima with their places; forward and backward.
#include "cpu/simd/roi_pool.h"

#include "cpu/bins.h"
#include "cpu/maps.h"
#include "cpu/order.h"
#include "cpu/scalars.h"

namespace perception {
namespace {

constexpr int64_t kBoxes = 4;

// Bins of one box along both axes, and the pixels they cover.
struct BoxBins {
  std::vector<int64_t> y, x;

  void set(const Roi& roi, double scale, int64_t rows, int64_t columns, const Map& map) {
    axis(roi.box[1], roi.box[3], scale, rows, map.height, &y);
    axis(roi.box[0], roi.box[2], scale, columns, map.width, &x);
  }

 private:
  static void axis(double low, double high, double scale, int64_t bins, int64_t limit,
                   std::vector<int64_t>* out) {
    const double start = std::round(low * scale), end = std::round(high * scale);
    const double size = end - start + 1;
    const bool widened = size < 1 && std::isfinite(end);
    quantised_bins(start, widened ? 1 : size, bins, limit, out);
  }
};

template <typename T>
void pool_forward(const Level& level, const std::vector<Roi>& rois, int64_t rows, int64_t columns,
                  T* out, int32_t* argmax, bool channels_last) {
  const Map& map = level.map;
  const int64_t bins = rows * columns, result = map.channels * bins;
  const std::vector<int64_t> order = reading_order(rois, {}, map.elements() * sizeof(T));
  for_chunks(static_cast<int64_t>(rois.size()), kBoxes, [&](int64_t begin, int64_t end) {
    static const auto kernel = SELECT_ISA(pool_box<T>);
    BoxBins box;
    WindowReader<T> reader;
    BoxWriter<T> values;
    BoxWriter<int32_t> places;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t k = order[static_cast<size_t>(i)];
      const Roi& roi = rois[static_cast<size_t>(k)];
      box.set(roi, level.scale, rows, columns, map);
      const auto y = std::minmax_element(box.y.begin(), box.y.end());
      const auto x = std::minmax_element(box.x.begin(), box.x.end());
      if (*y.first >= *y.second || *x.first >= *x.second) {  // wholly outside, or not finite
        std::fill(out + k * result, out + (k + 1) * result, T{});
        std::fill(argmax + k * result, argmax + (k + 1) * result, -1);
        continue;
      }
      reader.read(level, roi.image, *y.first, *y.second, *x.first, *x.second,
                  [&](const View<T>& view) {
                    T* value = values.begin(out + k * result, view.channels, bins, channels_last);
                    int32_t* place =
                        places.begin(argmax + k * result, view.channels, bins, channels_last);
                    kernel(view.origin, view.row, view.column, map.width, view.channels, rows,
                           columns, box.y.data(), box.x.data(), value, place);
                    values.end(out + k * result, view.channel, view.channels, bins, channels_last);
                    places.end(argmax + k * result, view.channel, view.channels, bins,
                               channels_last);
                  });
    }
  });
}

std::tuple<Tensor, Tensor> roi_pool(const Tensor& features, const Tensor& rois, double scale,
                                    int64_t rows, int64_t columns) {
  Level level;
  level.map = as_map("input", features);
  level.scale = scale;
  const Map& map = level.map;
  check(rows >= 1 && columns >= 1 && rows <= 65535 && columns <= 65535,
        "output_size must be between 1 and 65535, got (", rows, ", ", columns, ")");
  check(scale > 0 && std::isfinite(scale), "spatial_scale must be finite and above 0, got ", scale);
  const std::vector<Roi> boxes = read_rois(rois, map.images);
  check(boxes.empty() || (map.height > 0 && map.width > 0), "input is empty");
  check(map.width == 0 || map.height <= INT32_MAX / map.width,
        "input has more than 2147483647 pixels per image, found ", map.height, " x ", map.width);
  const bool channels_last = is_channels_last(features);
  const std::vector<int64_t> size{static_cast<int64_t>(boxes.size()), map.channels, rows, columns};
  Tensor out = empty_map(features, size, channels_last);
  Tensor argmax = torch::stable::empty(
      size, ScalarType::Int, std::nullopt, features.device(), std::nullopt,
      channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  if (out.numel() == 0) return {out, argmax};
  advise_huge(out.data_ptr(), static_cast<size_t>(out.numel()) * out.element_size());
  advise_huge(argmax.data_ptr(), static_cast<size_t>(out.numel()) * sizeof(int32_t));
  dispatch_storage(features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    pack_for<T>(level, boxes);
    pool_forward<T>(level, boxes, rows, columns, static_cast<T*>(out.data_ptr()),
                    static_cast<int32_t*>(argmax.data_ptr()), channels_last);
  });
  return {out, argmax};
}

// ------------------------------------------------------------------- backward

// Strides of one box's result: (channels, bins), or (bins, channels) if channels-last.
struct Strides {
  int64_t channel, bin;
};

// Adds the gradient of channels [begin, end) to the pixels that were the maxima.
template <typename T>
void scatter(const T* grad, const int32_t* argmax, Strides from, const std::vector<Roi>& rois,
             const std::vector<int64_t>& order, int64_t bins, int64_t channels, int64_t pixels,
             const MapSum<T>& sum, int64_t begin, int64_t end) {
  for (const int64_t k : order) {
    accumulate_t<T>* image = sum.image(rois[static_cast<size_t>(k)].image);
    const int64_t box = k * channels * bins;
    for (int64_t bin = 0; bin < bins; ++bin) {
      for (int64_t c = begin; c < end; ++c) {
        const int64_t at = box + c * from.channel + bin * from.bin;
        const int32_t pixel = argmax[at];
        if (pixel >= 0 && pixel < pixels) image[pixel * channels + c] += as_sum(grad[at]);
      }
    }
  }
}

Tensor roi_pool_backward(const Tensor& grad_any, const Tensor& argmax_any, const Tensor& rois,
                         double, std::vector<int64_t> shape, bool) {
  check(shape.size() == 4 && grad_any.dim() == 4 && argmax_any.dim() == 4 &&
            argmax_any.scalar_type() == ScalarType::Int && argmax_any.numel() == grad_any.numel(),
        "grad and argmax (int32) must have one shape of 4 dimensions");
  const bool channels_last = is_channels_last(argmax_any);
  const auto format = channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
  const Tensor grad = torch::stable::contiguous(grad_any, format);
  const Tensor argmax = torch::stable::contiguous(argmax_any, format);
  const std::vector<Roi> boxes = read_rois(rois, shape[0]);
  check(grad.size(0) == static_cast<int64_t>(boxes.size()) && grad.size(1) == shape[1],
        "grad does not fit boxes and shape");
  Tensor out = empty_map(grad, shape, channels_last);
  const int64_t channels = shape[1], bins = grad.size(2) * grad.size(3);
  const Strides from = channels_last ? Strides{1, channels} : Strides{bins, 1};
  dispatch_storage(grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    MapSum<T> sum(out, channels_last);
    const std::vector<int64_t> order =
        reading_order(boxes, {}, static_cast<double>(out.numel()) * sizeof(accumulate_t<T>));
    for_parts((channels + 15) / 16, [&](int64_t part, int64_t parts) {
      scatter(static_cast<const T*>(grad.data_ptr()), static_cast<const int32_t*>(argmax.data_ptr()),
              from, boxes, order, bins, channels, shape[2] * shape[3], sum, channels * part / parts,
              channels * (part + 1) / parts);
    });
    sum.finish();
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) {
  m.impl("roi_pool", TORCH_BOX(&roi_pool));
  m.impl("roi_pool_backward", TORCH_BOX(&roi_pool_backward));
}

}  // namespace perception
