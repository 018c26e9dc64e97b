// Deformable position-sensitive RoI pooling on the CPU: every bin reads one channel.
#include <algorithm>
#include <cmath>

#include "cpu/images.h"
#include "cpu/parallel.h"

namespace perception {
namespace {

struct Plan {
  int64_t size, dims, group, part, samples, classes;
  double scale, deviation;

  // Input channel of bin (i, j) of output channel d.
  int64_t channel(int64_t d, int64_t i, int64_t j) const {
    const auto place = [&](int64_t p) { return std::min(p * group / size, group - 1); };
    return (d * group + place(i)) * group + place(j);
  }
  int64_t class_of(int64_t d) const { return d * classes / dims; }
  int64_t part_of(int64_t i) const { return i * part / size; }
};

// Rounded box on the map.
struct Placed {
  double y, x, height, width;
};

Placed placed(const Roi& roi, const Plan& plan) {
  const double x = std::round(roi.box[0]) * plan.scale - 0.5;
  const double y = std::round(roi.box[1]) * plan.scale - 0.5;
  const double width = (std::round(roi.box[2]) + 1) * plan.scale - 0.5 - x;
  const double height = (std::round(roi.box[3]) + 1) * plan.scale - 0.5 - y;
  return {y, x, std::fmax(height, 0.1), std::fmax(width, 0.1)};
}

// One sample along one axis: its two cells (the same at whole places) and how far between.
struct Between {
  int64_t lower, upper;
  double part;
};

// Samples of a bin along one axis that count.
int64_t samples_of(double start, double step, int64_t count, int64_t extent, Between* out) {
  int64_t number = 0;
  for (int64_t n = 0; n < count; ++n) {
    const double at = start + static_cast<double>(n) * step;
    const auto limit = static_cast<double>(extent);
    if (!(at >= -0.5 && at <= limit - 0.5)) continue;
    const double inside = std::fmin(std::fmax(at, 0), limit - 1);
    out[number++] = {static_cast<int64_t>(std::floor(inside)),
                     static_cast<int64_t>(std::ceil(inside)), inside - std::floor(inside)};
  }
  return number;
}

// The samples of one bin; `reader` knows the offsets, or there are none.
class Bin {
 public:
  Bin(const Plan& plan, const Map& map, const Reader* offset)
      : plan_(plan), map_(map), offset_(offset), ys_(static_cast<size_t>(plan.samples)),
        xs_(static_cast<size_t>(plan.samples)) {}

  void set(const Roi& roi, int64_t k, int64_t d, int64_t i, int64_t j) {
    const Placed box = placed(roi, plan_);
    double shift_x = 0, shift_y = 0;
    if (offset_) {
      const int64_t channel = 2 * plan_.class_of(d), row = plan_.part_of(i), column = plan_.part_of(j);
      shift_x = plan_.deviation * offset_->at(k, channel, row, column) * box.width;
      shift_y = plan_.deviation * offset_->at(k, channel + 1, row, column) * box.height;
    }
    const auto size = static_cast<double>(plan_.size);
    const double steps = size * static_cast<double>(plan_.samples);
    rows = samples_of(box.y + static_cast<double>(i) * box.height / size + shift_y,
                      box.height / steps, plan_.samples, map_.height, ys_.data());
    columns = samples_of(box.x + static_cast<double>(j) * box.width / size + shift_x,
                         box.width / steps, plan_.samples, map_.width, xs_.data());
    move_y = plan_.deviation * box.height;
    move_x = plan_.deviation * box.width;
  }

  // f(y, x) for every sample that counts.
  template <typename F>
  void for_samples(const F& f) const {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        f(ys_[static_cast<size_t>(r)], xs_[static_cast<size_t>(c)]);
  }

  double count() const { return static_cast<double>(rows * columns); }

  int64_t rows = 0, columns = 0;
  double move_y = 0, move_x = 0;  // what an offset of 1 moves the bin by

 private:
  const Plan& plan_;
  const Map& map_;
  const Reader* offset_;
  std::vector<Between> ys_, xs_;
};

// Values of one channel of one image; `value` skips what has no weight, even if infinite.
class Channel {
 public:
  Channel(const Reader& reader, int64_t n, int64_t c) : reader_(reader), n_(n), c_(c) {}
  double at(int64_t y, int64_t x) const { return reader_.at(n_, c_, y, x); }
  double value(const Between& y, const Between& x) const {
    double sum = 0;
    each_corner(y, x, [&](int64_t row, int64_t column, double weight) {
      sum += weight * at(row, column);
    });
    return sum;
  }
  template <typename F>
  static void each_corner(const Between& y, const Between& x, const F& f) {
    const double weights[] = {(1 - y.part) * (1 - x.part), (1 - y.part) * x.part,
                              y.part * (1 - x.part), y.part * x.part};
    for (int i = 0; i < 4; ++i)
      if (weights[i] != 0) f(i / 2 ? y.upper : y.lower, i % 2 ? x.upper : x.lower, weights[i]);
  }
  // Slope across one axis between two cells; 0 where both are the same.
  double slope_y(const Between& y, const Between& x) const {
    if (y.upper == y.lower) return 0;
    double sum = (1 - x.part) * (at(y.upper, x.lower) - at(y.lower, x.lower));
    if (x.part != 0) sum += x.part * (at(y.upper, x.upper) - at(y.lower, x.upper));
    return sum;
  }
  double slope_x(const Between& y, const Between& x) const {
    if (x.upper == x.lower) return 0;
    double sum = (1 - y.part) * (at(y.lower, x.upper) - at(y.lower, x.lower));
    if (y.part != 0) sum += y.part * (at(y.upper, x.upper) - at(y.upper, x.lower));
    return sum;
  }

 private:
  const Reader& reader_;
  int64_t n_, c_;
};

bool usable(const Roi& roi) {
  for (const double number : roi.box)
    if (!std::isfinite(number)) return false;
  return true;
}

Plan checked(const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset,
             int64_t size, double scale, int64_t dims, int64_t group, int64_t part,
             int64_t samples, double deviation) {
  const Map map = as_map("input", input);
  check(size > 0 && dims > 0 && group > 0 && part > 0 && samples > 0 && samples <= 1024,
        "sizes must be above 0, sample_per_part at most 1024");
  check(scale > 0 && std::isfinite(scale) && std::isfinite(deviation),
        "spatial_scale must be above 0, it and trans_std finite");
  check(map.channels == dims * group * group, "input must have ", dims * group * group,
        " channels, got ", map.channels);
  check(rois.size(0) == 0 || (map.height > 0 && map.width > 0), "input has no pixels");
  int64_t classes = 1;
  if (offset) {
    const Map shifts = as_map("offset", *offset);
    classes = shifts.channels / 2;
    check(shifts.images == rois.size(0) && classes > 0 && shifts.channels == 2 * classes &&
              dims % classes == 0 && shifts.height == part && shifts.width == part,
          "offset has the wrong shape");
  }
  return {size, dims, group, part, samples, classes, scale, deviation};
}

std::optional<Reader> reader_of(const std::optional<Tensor>& offset) {
  return offset ? std::optional<Reader>(std::in_place, "offset", *offset) : std::nullopt;
}

// Element (k, c, i, j) of a fresh tensor, whatever its layout and dtype.
void put(Tensor& to, int64_t k, int64_t c, int64_t i, int64_t j, double value) {
  const int64_t place = k * to.stride(0) + c * to.stride(1) + i * to.stride(2) + j * to.stride(3);
  dispatch_storage(to.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    store_sum(static_cast<T*>(to.data_ptr()) + place, static_cast<accumulate_t<T>>(value));
  });
}

Tensor deform_ps_roi_pool(const Tensor& input, const Tensor& rois,
                          const std::optional<Tensor>& offset, int64_t size, double scale,
                          int64_t dims, int64_t group, int64_t part, int64_t samples,
                          double deviation) {
  const Plan plan = checked(input, rois, offset, size, scale, dims, group, part, samples, deviation);
  const Reader reader("input", input);
  const std::vector<Roi> boxes = read_rois(rois, reader.map().images);
  const auto shifts = reader_of(offset);
  Tensor out = empty_map(input, {rois.size(0), dims, size, size}, is_channels_last(input));
  for_chunks(rois.size(0), 1, [&](int64_t begin, int64_t end) {
    Bin bin(plan, reader.map(), shifts ? &*shifts : nullptr);
    for (int64_t k = begin; k < end; ++k) {
      const Roi& roi = boxes[static_cast<size_t>(k)];
      for (int64_t d = 0; d < dims; ++d)
        for (int64_t i = 0; i < size; ++i)
          for (int64_t j = 0; j < size; ++j) {
            double sum = 0;
            if (usable(roi)) {
              bin.set(roi, k, d, i, j);
              const Channel channel(reader, roi.image, plan.channel(d, i, j));
              bin.for_samples([&](const Between& y, const Between& x) {
                sum += channel.value(y, x);
              });
            }
            put(out, k, d, i, j, sum == 0 ? 0 : sum / bin.count());
          }
    }
  });
  return out;
}

// ------------------------------------------------------------------------------- backward

void offset_gradient(const Plan& plan, const Reader& input, const std::vector<Roi>& boxes,
                     const Reader& offset, const Reader& grad, Tensor& out) {
  const int64_t parts = plan.part * plan.part;
  for_chunks(static_cast<int64_t>(boxes.size()), 1, [&](int64_t begin, int64_t end) {
    Bin bin(plan, input.map(), &offset);
    std::vector<double> sums(static_cast<size_t>(2 * plan.classes * parts));
    for (int64_t k = begin; k < end; ++k) {
      const Roi& roi = boxes[static_cast<size_t>(k)];
      std::fill(sums.begin(), sums.end(), 0.0);
      for (int64_t d = 0; d < plan.dims && usable(roi); ++d)
        for (int64_t i = 0; i < plan.size; ++i)
          for (int64_t j = 0; j < plan.size; ++j) {
            bin.set(roi, k, d, i, j);
            const Channel channel(input, roi.image, plan.channel(d, i, j));
            double along_x = 0, along_y = 0;
            bin.for_samples([&](const Between& y, const Between& x) {
              along_x += channel.slope_x(y, x);
              along_y += channel.slope_y(y, x);
            });
            if (bin.count() == 0) continue;
            const double each = grad.at(k, d, i, j) / bin.count();
            const int64_t place = 2 * plan.class_of(d) * parts + plan.part_of(i) * plan.part +
                                  plan.part_of(j);
            sums[static_cast<size_t>(place)] += each * along_x * bin.move_x;
            sums[static_cast<size_t>(place + parts)] += each * along_y * bin.move_y;
          }
      for (int64_t c = 0; c < 2 * plan.classes; ++c)
        for (int64_t p = 0; p < parts; ++p)
          put(out, k, c, p / plan.part, p % plan.part, sums[static_cast<size_t>(c * parts + p)]);
    }
  });
}

// Every input channel walks all boxes of an image, in order.
void image_gradient(const Plan& plan, const Map& map, const std::vector<Roi>& boxes,
                    const Reader* offset, const Reader& grad, Tensor& out) {
  const int64_t pixels = map.height * map.width;
  for_chunks(map.images * map.channels, 1, [&](int64_t begin, int64_t end) {
    Bin bin(plan, map, offset);
    std::vector<double> sums(static_cast<size_t>(pixels));
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t n = piece / map.channels, c = piece % map.channels;
      const int64_t d = c / (plan.group * plan.group);
      std::fill(sums.begin(), sums.end(), 0.0);
      for (size_t k = 0; k < boxes.size(); ++k) {
        if (boxes[k].image != n || !usable(boxes[k])) continue;
        const auto box = static_cast<int64_t>(k);
        for (int64_t i = 0; i < plan.size; ++i)
          for (int64_t j = 0; j < plan.size; ++j) {
            if (plan.channel(d, i, j) != c) continue;
            bin.set(boxes[k], box, d, i, j);
            if (bin.count() == 0) continue;
            const double each = grad.at(box, d, i, j) / bin.count();
            bin.for_samples([&](const Between& y, const Between& x) {
              Channel::each_corner(y, x, [&](int64_t row, int64_t column, double weight) {
                sums[static_cast<size_t>(row * map.width + column)] += weight * each;
              });
            });
          }
      }
      for (int64_t p = 0; p < pixels; ++p)
        put(out, n, c, p / map.width, p % map.width, sums[static_cast<size_t>(p)]);
    }
  });
}

std::tuple<Tensor, Tensor> deform_ps_roi_pool_backward(
    const Tensor& grad, const Tensor& input, const Tensor& rois,
    const std::optional<Tensor>& offset, int64_t size, double scale, int64_t dims, int64_t group,
    int64_t part, int64_t samples, double deviation, bool /* deterministic: always */) {
  const Plan plan = checked(input, rois, offset, size, scale, dims, group, part, samples, deviation);
  const Reader reader("input", input), sums("grad", grad);
  const Map& map = reader.map();
  check(sums.map().images == rois.size(0) && sums.map().channels == dims &&
            sums.map().height == size && sums.map().width == size,
        "grad must have the shape of the output");
  const std::vector<Roi> boxes = read_rois(rois, map.images);
  const auto shifts = reader_of(offset);
  Tensor to_input = empty_map(input, {map.images, map.channels, map.height, map.width},
                              is_channels_last(input));
  Tensor to_offset =
      offset ? empty_map(*offset, {rois.size(0), 2 * plan.classes, part, part}, false)
             : torch::stable::empty({0}, input.scalar_type(), std::nullopt, input.device());
  if (offset) offset_gradient(plan, reader, boxes, *shifts, sums, to_offset);
  image_gradient(plan, map, boxes, shifts ? &*shifts : nullptr, sums, to_input);
  return {to_input, to_offset};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) {
  m.impl("deform_ps_roi_pool", TORCH_BOX(&deform_ps_roi_pool));
  m.impl("deform_ps_roi_pool_backward", TORCH_BOX(&deform_ps_roi_pool_backward));
}

}  // namespace perception
