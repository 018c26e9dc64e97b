// Deformable convolution on the CPU: samples of a tile of pixels, tap by tap, times the weights.
#include "cpu/deform_conv.h"

#include <algorithm>
#include <atomic>

#include "cpu/isa.h"
#include "cpu/parallel.h"

namespace perception {

DeformPlan plan_deform_conv(const Tensor& input, const Tensor& offset, const Tensor& weight,
                            const std::optional<Tensor>& mask, const std::vector<int64_t>& stride,
                            const std::vector<int64_t>& padding,
                            const std::vector<int64_t>& dilation) {
  const Map map = as_map("input", input), filters = as_map("weight", weight);
  const Map shifts = as_map("offset", offset);
  for (const auto* pair : {&stride, &padding, &dilation})
    check(pair->size() == 2, "stride, padding and dilation must be pairs");
  DeformPlan plan{};
  plan.images = map.images, plan.channels = map.channels;
  plan.height = map.height, plan.width = map.width;
  plan.out_channels = filters.images, plan.group_channels = filters.channels;
  plan.kernel_rows = filters.height, plan.kernel_columns = filters.width;
  check(weight.numel() > 0, "weight must not be empty");
  for (const size_t axis : {0, 1}) {
    plan.stride[axis] = stride[axis];
    plan.padding[axis] = padding[axis];
    plan.dilation[axis] = dilation[axis];
    check(stride[axis] > 0 && dilation[axis] > 0 && padding[axis] >= 0,
          "stride and dilation must be above 0, padding at least 0");
  }
  check(plan.channels > 0 && plan.channels % plan.group_channels == 0 &&
            plan.out_channels % plan.groups() == 0,
        "weight does not split ", plan.channels, " input channels into groups");
  const auto extent = [&](int64_t size, int64_t kernel, size_t axis) {
    return (size + 2 * padding[axis] - dilation[axis] * (kernel - 1) - 1) / stride[axis] + 1;
  };
  plan.rows = extent(plan.height, plan.kernel_rows, 0);
  plan.columns = extent(plan.width, plan.kernel_columns, 1);
  check(plan.height > 0 && plan.width > 0 && plan.rows > 0 && plan.columns > 0,
        "the output would be empty");
  plan.offset_groups = shifts.channels / (2 * plan.taps());
  check(plan.offset_groups > 0 && plan.channels % plan.offset_groups == 0 &&
            shifts.channels == 2 * plan.offset_groups * plan.taps() &&
            shifts.images == plan.images && shifts.height == plan.rows &&
            shifts.width == plan.columns,
        "offset has the wrong shape");
  if (mask) {
    const Map factors = as_map("mask", *mask);
    check(factors.images == plan.images && factors.channels == plan.offset_groups * plan.taps() &&
              factors.height == plan.rows && factors.width == plan.columns,
          "mask has the wrong shape");
  }
  return plan;
}

namespace {

// weight (O, C / groups, KH, KW) as right factors: for every weight group and tap, panels of
// (group_channels, filters).
template <typename A>
class PackedWeight {
 public:
  PackedWeight(const DeformPlan& plan, const Tensor& weight)
      : channels_(plan.group_channels), taps_(plan.taps()),
        size_(plan.group_channels * plan.padded_filters()),
        memory_(static_cast<size_t>(plan.groups() * taps_ * size_) * sizeof(A)) {
    const Reader reader("weight", weight);
    A* all = memory_.as<A>();
    std::fill(all, all + plan.groups() * taps_ * size_, A{0});
    for_chunks(plan.out_channels, 8, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        const int64_t group = o / plan.filters(), n = o % plan.filters();
        for (int64_t c = 0; c < channels_; ++c)
          for (int64_t tap = 0; tap < taps_; ++tap)
            all[(group * taps_ + tap) * size_ + n / kPanel * kPanel * channels_ + c * kPanel +
                n % kPanel] = static_cast<A>(reader.at(o, c, tap / plan.kernel_columns,
                                                       tap % plan.kernel_columns));
      }
    });
  }

  // From channel `first` of the group on.
  Panels<A> at(int64_t group, int64_t tap, int64_t first) const {
    return {memory_.as<A>() + (group * taps_ + tap) * size_ + first * kPanel, channels_ * kPanel,
            kPanel};
  }

 private:
  int64_t channels_, taps_, size_;
  Scratch memory_;
};

template <typename T>
class Forward {
  using A = accumulate_t<T>;

 public:
  Forward(const DeformPlan& plan, const Reader& offset, const Reader* mask,
          const PackedWeight<A>& weight, const std::vector<A>& bias, T* out, bool channels_last)
      : plan_(plan), offset_(offset), mask_(mask), weight_(weight), bias_(bias), out_(out),
        channels_last_(channels_last),
        sums_(static_cast<size_t>(kTile * plan.out_channels) * sizeof(A)),
        columns_(static_cast<size_t>(kTile * kChannels) * sizeof(A)),
        stored_(static_cast<size_t>(kTile * plan.out_channels) * sizeof(T)),
        samples_(static_cast<size_t>(kTile * plan.offset_groups)) {}

  // Output pixels begin .. end - 1 (at most kTile) of one image.
  void operator()(const PackedImage<T>& image, int64_t n, int64_t begin, int64_t end) {
    const int64_t count = end - begin;
    A* sums = sums_.as<A>();
    for (int64_t p = 0; p < count; ++p)
      std::copy(bias_.begin(), bias_.end(), sums + p * plan_.out_channels);
    for (int64_t tap = 0; tap < plan_.taps(); ++tap) {
      place(image, n, tap, begin, count);
      for (int64_t group = 0; group < plan_.groups(); ++group)
        for (int64_t c = 0; c < plan_.group_channels; c += kChannels)
          multiply(image, group, tap, c, std::min(kChannels, plan_.group_channels - c), count);
    }
    write(n, begin, count);
  }

 private:
  void place(const PackedImage<T>& image, int64_t n, int64_t tap, int64_t begin, int64_t count) {
    for (int64_t g = 0; g < plan_.offset_groups; ++g) {
      for (int64_t p = 0; p < count; ++p) {
        Place<A> place = place_of<A>(plan_, offset_, mask_, n, g, tap, begin + p, image.row,
                                     image.column);
        for (A& weight : place.sample.weight) weight *= place.factor;
        samples_[static_cast<size_t>(g * kTile + p)] = place.sample;
      }
    }
  }

  // Adds the part of `channels` channels from channel c of a weight group.
  void multiply(const PackedImage<T>& image, int64_t group, int64_t tap, int64_t c,
                int64_t channels, int64_t count) {
    static const auto read = SELECT_ISA(read_samples<T>);
    static const auto add = SELECT_ISA(add_product<A>);
    A* columns = columns_.as<A>();
    const int64_t first = group * plan_.group_channels + c, own = plan_.offset_channels();
    for (int64_t from = first; from < first + channels;) {  // one offset group after the other
      const int64_t g = from / own, to = std::min((g + 1) * own, first + channels);
      read(image.data + from, samples_.data() + g * kTile, count, to - from,
           columns + (from - first), channels);
      from = to;
    }
    add({columns, channels, 1}, weight_.at(group, tap, c), count, plan_.filters(), channels,
        sums_.as<A>() + group * plan_.filters(), plan_.out_channels);
  }

  void write(int64_t n, int64_t begin, int64_t count) {
    const int64_t filters = plan_.out_channels;
    T* stored = stored_.as<T>();
    for (int64_t i = 0; i < count * filters; ++i) store_sum(stored + i, sums_.as<A>()[i]);
    T* image = out_ + n * plan_.pixels() * filters;
    if (channels_last_)
      std::copy(stored, stored + count * filters, image + begin * filters);
    else
      transpose(stored, filters, count, filters, image + begin, plan_.pixels());
  }

  const DeformPlan& plan_;
  const Reader& offset_;
  const Reader* mask_;
  const PackedWeight<A>& weight_;
  const std::vector<A>& bias_;
  T* out_;
  const bool channels_last_;
  Scratch sums_, columns_, stored_;
  std::vector<Sample<A>> samples_;
};

template <typename T>
void convolve(const DeformPlan& plan, const Tensor& input, const Tensor& offset,
              const Tensor& weight, const std::optional<Tensor>& bias,
              const std::optional<Tensor>& mask, Tensor& out, bool channels_last) {
  using A = accumulate_t<T>;
  const Map map = as_map("input", input);
  const Reader shifts("offset", offset);
  const std::optional<Reader> factors = mask ? std::optional<Reader>(std::in_place, "mask", *mask)
                                             : std::nullopt;
  const PackedWeight<A> packed(plan, weight);
  std::vector<A> start(static_cast<size_t>(plan.out_channels), A{0});
  if (bias)
    dispatch_storage(bias->scalar_type(), [&](auto zero) {
      const auto* value = static_cast<const decltype(zero)*>(bias->data_ptr());
      for (size_t o = 0; o < start.size(); ++o)
        start[o] = static_cast<A>(as_sum(value[static_cast<int64_t>(o) * bias->stride(0)]));
    });
  const int64_t tiles = (plan.pixels() + kTile - 1) / kTile;
  for (int64_t n = 0; n < plan.images; ++n) {
    const PackedImage<T> image(map, n);
    std::atomic<int64_t> next{0};
    for_parts(tiles, [&](int64_t, int64_t) {
      Forward<T> forward(plan, shifts, factors ? &*factors : nullptr, packed, start,
                         static_cast<T*>(out.data_ptr()), channels_last);
      for (int64_t tile; (tile = next++) < tiles;)
        forward(image, n, tile * kTile, std::min((tile + 1) * kTile, plan.pixels()));
    });
  }
}

Tensor deform_conv2d(const Tensor& input, const Tensor& offset, const Tensor& weight,
                     const std::optional<Tensor>& bias, const std::optional<Tensor>& mask,
                     const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                     const std::vector<int64_t>& dilation) {
  const DeformPlan plan = plan_deform_conv(input, offset, weight, mask, stride, padding, dilation);
  check(!bias || (bias->dim() == 1 && bias->size(0) == plan.out_channels &&
                  is_floating(bias->scalar_type())),
        "bias has the wrong shape");
  const bool channels_last = is_channels_last(input);
  Tensor out = empty_map(input, {plan.images, plan.out_channels, plan.rows, plan.columns},
                         channels_last);
  if (out.numel() == 0) return out;
  advise_huge(out.data_ptr(), static_cast<size_t>(out.numel()) * out.element_size());
  dispatch_storage(input.scalar_type(), [&](auto zero) {
    convolve<decltype(zero)>(plan, input, offset, weight, bias, mask, out, channels_last);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) {
  m.impl("deform_conv2d", TORCH_BOX(&deform_conv2d));
}

}  // namespace perception
