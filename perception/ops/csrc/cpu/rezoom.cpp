// The rezoom crop on the CPU, forward and backward (to the features and to the boxes).
#include "cpu/simd/rezoom.h"

#include "cpu/maps.h"

namespace perception {
namespace {

constexpr int64_t kBoxes = 16;
constexpr int64_t kChannelBlock = 64;

struct Offsets {
  std::vector<double> w, h;
  double scale;

  int64_t points() const { return static_cast<int64_t>(w.size() * h.size()); }
};

// Lower neighbour, upper neighbour and fraction along one axis; the clamp ends the gradient.
struct Place {
  int64_t lower, upper;
  double part;
  bool known, free;
};

Place place(double position, int64_t extent) {
  const double last = static_cast<double>(extent - 1);
  const bool known = position == position;
  const double inside = known ? std::fmin(std::fmax(position, 0), last) : 0;
  const auto lower = static_cast<int64_t>(inside);
  return {lower, std::min(lower + 1, extent - 1), inside - static_cast<double>(lower), known,
          known && position >= 0 && position <= last};
}

template <typename A>
void set_weights(const Place& y, const Place& x, Point<A>* point) {
  const A ly = point->y_part = static_cast<A>(y.part), lx = point->x_part = static_cast<A>(x.part);
  const A known = y.known && x.known ? A{1} : A{0};
  point->weight[0] = known * (1 - ly) * (1 - lx);
  point->weight[1] = known * (1 - ly) * lx;
  point->weight[2] = known * ly * (1 - lx);
  point->weight[3] = known * ly * lx;
}

// The four pixels around a point of a map with strides (row, column).
template <typename A>
Point<A> point_at(const Place& y, const Place& x, int64_t row, int64_t column) {
  Point<A> point{{y.lower * row + x.lower * column, y.lower * row + x.upper * column,
                  y.upper * row + x.lower * column, y.upper * row + x.upper * column}};
  set_weights(y, x, &point);
  return point;
}

// Finds the four pixels of a point with their channels together; copies them where they are not.
template <typename T>
class PointReader {
 public:
  Point<accumulate_t<T>> point;
  const T* origin;

  void find(const Level& level, int64_t image, const Place& y, const Place& x) {
    const Map& map = level.map;
    origin = static_cast<const T*>(map.data) + image * map.stride_image;
    if (const T* packed = level.packed_image<T>(image)) {
      origin = packed;
      point = point_at<accumulate_t<T>>(y, x, map.width * map.channels, map.channels);
      return;
    }
    point = point_at<accumulate_t<T>>(y, x, map.stride_row, map.stride_column);
    if (!level.channels_together()) copy(map);
  }

 private:
  void copy(const Map& map) {
    corners_.resize(static_cast<size_t>(4 * map.channels));
    T* to = corners_.data();
    for (int i = 0; i < 4; ++i) {
      const T* from = origin + point.offset[i];
      point.offset[i] = i * map.channels;
      for (int64_t c = 0; c < map.channels; ++c) *to++ = from[c * map.stride_channel];
    }
    origin = corners_.data();
  }

  std::vector<T> corners_;
};

// f(number of the point, place in y, place in x) for all points of a box (cx, cy, w, h).
template <typename F>
void for_points(const Roi& roi, const Offsets& offsets, int64_t height, int64_t width, const F& f) {
  int64_t number = 0;
  for (const double w : offsets.w) {
    const Place x = place((roi.box[0] + w * roi.box[2]) * offsets.scale, width);
    for (const double h : offsets.h)
      f(number++, place((roi.box[1] + h * roi.box[3]) * offsets.scale, height), x);
  }
}

void check_scale(double scale) {
  check(scale > 0 && std::isfinite(scale), "spatial_scale must be finite and above 0, got ", scale);
}

// Copies images to (H, W, C) where the points read more pixels than they have.
template <typename T>
Level level_for(const Map& map, const std::vector<Roi>& boxes, const Offsets& offsets) {
  Level level{map, 1, {}};
  std::vector<double> area(static_cast<size_t>(map.images), 0.0);
  for (const Roi& roi : boxes)
    area[static_cast<size_t>(roi.image)] += 4 * static_cast<double>(offsets.points());
  pack_where_it_pays<T>(level, area);
  return level;
}

Tensor rezoom(const Tensor& features, const Tensor& rois, std::vector<double> w_offsets,
              std::vector<double> h_offsets, double scale) {
  const Offsets offsets{std::move(w_offsets), std::move(h_offsets), scale};
  check_scale(scale);
  const Map map = as_map("features", features);
  const std::vector<Roi> boxes = read_rois(rois, map.images);
  check(boxes.empty() || (map.height > 0 && map.width > 0), "features is empty");
  const auto count = static_cast<int64_t>(boxes.size()), points = offsets.points();
  Tensor out = torch::stable::new_empty(features, {count, points * map.channels});
  if (out.numel() == 0) return out;
  dispatch_storage(features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const Level level = level_for<T>(map, boxes, offsets);
    for_chunks(count, kBoxes, [&](int64_t begin, int64_t end) {
      static const auto kernel = SELECT_ISA(read_point<T>);
      PointReader<T> reader;
      for (int64_t k = begin; k < end; ++k) {
        const Roi& roi = boxes[static_cast<size_t>(k)];
        T* row = static_cast<T*>(out.data_ptr()) + k * points * map.channels;
        for_points(roi, offsets, map.height, map.width,
                   [&](int64_t number, const Place& y, const Place& x) {
                     reader.find(level, roi.image, y, x);
                     kernel(reader.origin, reader.point, map.channels,
                            row + number * map.channels);
                   });
      }
    });
  });
  return out;
}

// ------------------------------------------------------------------- backward

// Gradient to (cx, cy, w, h) of boxes [begin, end); the image index has none.
template <typename T, typename B>
void box_slopes(const T* grad, const Level& level, const std::vector<Roi>& boxes,
                const Offsets& offsets, int64_t begin, int64_t end, B* out) {
  static const auto kernel = SELECT_ISA(slope_point<T>);
  const Map& map = level.map;
  PointReader<T> reader;
  for (int64_t k = begin; k < end; ++k) {
    const Roi& roi = boxes[static_cast<size_t>(k)];
    const T* row = grad + k * offsets.points() * map.channels;
    double sum[4] = {};
    const auto heights = static_cast<int64_t>(offsets.h.size());
    for_points(roi, offsets, map.height, map.width,
               [&](int64_t number, const Place& y, const Place& x) {
                 if (!y.known || !x.known || !(y.free || x.free)) return;
                 accumulate_t<T> slope[2];
                 reader.find(level, roi.image, y, x);
                 kernel(row + number * map.channels, reader.origin, reader.point, map.channels,
                        slope);
                 const double dy = y.free ? slope[0] * offsets.scale : 0;
                 const double dx = x.free ? slope[1] * offsets.scale : 0;
                 sum[0] += dx;
                 sum[1] += dy;
                 sum[2] += dx * offsets.w[static_cast<size_t>(number / heights)];
                 sum[3] += dy * offsets.h[static_cast<size_t>(number % heights)];
               });
    out[k * 5] = 0;
    for (int i = 0; i < 4; ++i) out[k * 5 + 1 + i] = static_cast<B>(sum[i]);
  }
}

// Adds the gradient of channels [begin, end) to the map, box by box.
template <typename T>
void add_points(const T* grad, const std::vector<Roi>& boxes, const Offsets& offsets,
                const Map& map, const MapSum<T>& sum, int64_t begin, int64_t end) {
  static const auto kernel = SELECT_ISA(add_point<T>);
  for (size_t k = 0; k < boxes.size(); ++k) {
    const T* row = grad + static_cast<int64_t>(k) * offsets.points() * map.channels + begin;
    for_points(boxes[k], offsets, map.height, map.width,
               [&](int64_t number, const Place& y, const Place& x) {
                 if (!y.known || !x.known) return;
                 const auto point = point_at<accumulate_t<T>>(y, x, map.width * map.channels,
                                                              map.channels);
                 kernel(row + number * map.channels, point, end - begin,
                        sum.image(boxes[k].image) + begin);
               });
  }
}

template <typename T>
void backward(const Tensor& grad, const Map& map, const std::vector<Roi>& boxes,
              const Offsets& offsets, const Tensor& grad_features, bool channels_last,
              const Tensor& grad_rois) {
  const T* upper = static_cast<const T*>(grad.data_ptr());
  const Level level = level_for<T>(map, boxes, offsets);
  for_chunks(static_cast<int64_t>(boxes.size()), kBoxes, [&](int64_t begin, int64_t end) {
    if (grad_rois.scalar_type() == ScalarType::Float)
      box_slopes(upper, level, boxes, offsets, begin, end,
                 static_cast<float*>(grad_rois.data_ptr()));
    else
      box_slopes(upper, level, boxes, offsets, begin, end,
                 static_cast<double*>(grad_rois.data_ptr()));
  });
  MapSum<T> sum(grad_features, channels_last);
  const int64_t blocks = (map.channels + kChannelBlock - 1) / kChannelBlock;
  for_parts(blocks, [&](int64_t part, int64_t parts) {
    add_points(upper, boxes, offsets, map, sum, blocks * part / parts * kChannelBlock,
               std::min(blocks * (part + 1) / parts * kChannelBlock, map.channels));
  });
  sum.finish();
}

std::tuple<Tensor, Tensor> rezoom_backward(const Tensor& grad_any, const Tensor& features,
                                           const Tensor& rois, std::vector<double> w_offsets,
                                           std::vector<double> h_offsets, double scale, bool) {
  const Offsets offsets{std::move(w_offsets), std::move(h_offsets), scale};
  check_scale(scale);
  check(features.dim() == 4, "features must have shape (N, C, H, W)");
  const Tensor grad = torch::stable::contiguous(grad_any);
  const Map map = as_map("features", features);
  const std::vector<Roi> boxes = read_rois(rois, map.images);
  const auto count = static_cast<int64_t>(boxes.size());
  check(boxes.empty() || (map.height > 0 && map.width > 0), "features is empty");
  check(grad.dim() == 2 && grad.size(0) == count &&
            grad.size(1) == offsets.points() * map.channels &&
            grad.scalar_type() == features.scalar_type(),
        "grad does not fit features and boxes");
  const bool channels_last = is_channels_last(features);
  Tensor grad_features = empty_map(
      features, {map.images, map.channels, map.height, map.width}, channels_last);
  Tensor grad_rois = torch::stable::new_empty(rois, {count, 5});
  dispatch_storage(grad.scalar_type(), [&](auto zero) {
    backward<decltype(zero)>(grad, map, boxes, offsets, grad_features, channels_last, grad_rois);
  });
  return {grad_features, grad_rois};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) {
  m.impl("rezoom", TORCH_BOX(&rezoom));
  m.impl("rezoom_backward", TORCH_BOX(&rezoom_backward));
}

}  // namespace perception
