// Gradients of deformable convolution on the CPU, image by image, without atomics: blocks of
// channels are independent, and what is summed over channels is added block by block.
#include <algorithm>
#include <atomic>

#include "cpu/deform_conv.h"
#include "cpu/isa.h"
#include "cpu/maps.h"
#include "cpu/parallel.h"

namespace perception {
namespace {

constexpr int64_t kBlock = 64;  // channels of one piece of work

// Channels that share a weight group and an offset group.
struct ChannelBlock {
  int64_t first, count, group, offset_group;
};

std::vector<ChannelBlock> channel_blocks(const DeformPlan& plan, int64_t most) {
  std::vector<ChannelBlock> blocks;
  for (int64_t c = 0; c < plan.channels;) {
    const int64_t group = c / plan.group_channels, offset_group = c / plan.offset_channels();
    const int64_t end = std::min({c + most, (group + 1) * plan.group_channels,
                                  (offset_group + 1) * plan.offset_channels()});
    blocks.push_back({c, end - c, group, offset_group});
    c = end;
  }
  return blocks;
}

// f(i) for 0 .. count - 1, each on one thread, taken in turn; `Worker` keeps its memory.
template <typename Worker, typename Make>
void for_each_piece(int64_t count, const Make& make) {
  std::atomic<int64_t> next{0};
  for_parts(count, [&](int64_t, int64_t) {
    Worker worker = make();
    for (int64_t i; (i = next++) < count;) worker(i);
  });
}

// What one image needs, whatever gradient is computed from it.
template <typename T>
struct ImageJob {
  using A = accumulate_t<T>;
  const DeformPlan& plan;
  const Reader& offset;
  const Reader* mask;
  const PackedImage<T>& image;
  int64_t n;
  const A* grad;  // (pixels, groups, padded filters), zeros behind the filters

  int64_t grad_row() const { return plan.groups() * plan.padded_filters(); }
  Place<A> place(const ChannelBlock& block, int64_t tap, int64_t pixel) const {
    return place_of<A>(plan, offset, mask, n, block.offset_group, tap, pixel, image.row,
                       image.column);
  }
};

// The gradient of the output of one image as A, pixel by pixel.
template <typename T>
void read_grad(const DeformPlan& plan, const Tensor& grad, int64_t n, accumulate_t<T>* out) {
  using A = accumulate_t<T>;
  const Reader reader("grad", grad);
  const Map& map = reader.map();
  const int64_t padded = plan.padded_filters(), row = plan.groups() * padded;
  const bool planes = sizeof(A) == grad.element_size() && map.stride_column == 1 &&
                      map.stride_row == plan.columns;
  for_chunks(plan.pixels(), 64, [&](int64_t begin, int64_t end) {
    std::fill(out + begin * row, out + end * row, A{0});
    for (int64_t g = 0; g < plan.groups(); ++g) {
      A* to = out + begin * row + g * padded;
      if (planes) {
        const A* from = static_cast<const A*>(map.data) + n * map.stride_image + begin;
        transpose(from + g * plan.filters() * map.stride_channel, map.stride_channel,
                  plan.filters(), end - begin, to, row);
        continue;
      }
      for (int64_t p = begin; p < end; ++p, to += row)
        for (int64_t o = 0; o < plan.filters(); ++o)
          to[o] = static_cast<A>(reader.at(n, g * plan.filters() + o, p / plan.columns,
                                           p % plan.columns));
    }
  });
}

// ------------------------------------------------------- gradient to input, offset and mask

// weight as right factors (filters, channels of a block), per tap.
template <typename A>
void pack_block(const DeformPlan& plan, const Reader& weight, const ChannelBlock& block,
                int64_t tap, A* out) {
  const int64_t filters = plan.filters();
  const int64_t padded = (block.count + kPanel - 1) / kPanel * kPanel;
  std::fill(out, out + filters * padded, A{0});
  for (int64_t o = 0; o < filters; ++o)
    for (int64_t c = 0; c < block.count; ++c)
      out[c / kPanel * kPanel * filters + o * kPanel + c % kPanel] = static_cast<A>(
          weight.at(block.group * filters + o, block.first + c - block.group * plan.group_channels,
                    tap / plan.kernel_columns, tap % plan.kernel_columns));
}

// dy, dx and mask sums of one block of channels, for every tap and pixel.
template <typename A>
struct Partial {
  A y, x, factor;
};

// One block of channels: its gradient of the image, and its part of the offset's and mask's.
template <typename T>
class BlockGradient {
  using A = accumulate_t<T>;

 public:
  BlockGradient(const ImageJob<T>& job, const Reader& weight,
                const std::vector<ChannelBlock>& blocks, A* grad_image, Partial<A>* partials)
      : job_(job), weight_(weight), blocks_(blocks), grad_image_(grad_image), partials_(partials),
        packed_(static_cast<size_t>(job.plan.taps() * job.plan.filters() * kBlock) * sizeof(A)),
        columns_(static_cast<size_t>(kTile * kBlock) * sizeof(A)), places_(kTile),
        samples_(kTile), factors_(kTile), products_(4 * kTile) {}

  void operator()(int64_t i) {
    const DeformPlan& plan = job_.plan;
    const ChannelBlock& block = blocks_[static_cast<size_t>(i)];
    for (int64_t tap = 0; tap < plan.taps(); ++tap)
      pack_block(plan, weight_, block, tap, packed(tap));
    for (int64_t begin = 0; begin < plan.pixels(); begin += kTile) {
      const int64_t count = std::min(kTile, plan.pixels() - begin);
      for (int64_t tap = 0; tap < plan.taps(); ++tap)
        step(block, tap, begin, count,
             partials_ + (i * plan.taps() + tap) * plan.pixels() + begin);
    }
  }

 private:
  A* packed(int64_t tap) const { return packed_.as<A>() + tap * job_.plan.filters() * kBlock; }

  void step(const ChannelBlock& block, int64_t tap, int64_t begin, int64_t count,
            Partial<A>* partials) {
    static const auto add = SELECT_ISA(add_product<A>);
    static const auto spread = SELECT_ISA(spread_samples<T>);
    const DeformPlan& plan = job_.plan;
    A* columns = columns_.as<A>();
    std::fill(columns, columns + count * block.count, A{0});
    const A* grad = job_.grad + begin * job_.grad_row() + block.group * plan.padded_filters();
    add({grad, job_.grad_row(), 1}, {packed(tap), kPanel * plan.filters(), kPanel}, count,
        block.count, plan.filters(), columns, block.count);
    for (int64_t p = 0; p < count; ++p) {
      const auto i = static_cast<size_t>(p);
      places_[i] = job_.place(block, tap, begin + p);
      samples_[i] = places_[i].sample;
      factors_[i] = places_[i].factor;
    }
    spread(job_.image.data + block.first, grad_image_ + block.first, samples_.data(),
           factors_.data(), count, block.count, columns, products_.data());
    for (int64_t p = 0; p < count; ++p)
      partials[p] = along(places_[static_cast<size_t>(p)], products_.data() + 4 * p);
  }

  // From the products with the four neighbours: differences across, and the interpolated value.
  static Partial<A> along(const Place<A>& place, const A* product) {
    const A top = product[1] - product[0], bottom = product[3] - product[2];
    const A left = product[2] - product[0], right = product[3] - product[1];
    Partial<A> out{((1 - place.x_part) * left + place.x_part * right) * place.factor,
                   ((1 - place.y_part) * top + place.y_part * bottom) * place.factor, 0};
    for (int k = 0; k < 4; ++k) out.factor += place.sample.weight[k] * product[k];
    return out;
  }

  const ImageJob<T>& job_;
  const Reader& weight_;
  const std::vector<ChannelBlock>& blocks_;
  A* grad_image_;
  Partial<A>* partials_;
  Scratch packed_, columns_;
  std::vector<Place<A>> places_;
  std::vector<Sample<A>> samples_;
  std::vector<A> factors_, products_;
};

// Adds up the blocks' parts, in order, and stores them for image n.
template <typename A>
void write_offsets(const DeformPlan& plan, const std::vector<ChannelBlock>& blocks,
                   const Partial<A>* partials, int64_t n, Tensor& grad_offset, Tensor* grad_mask) {
  const int64_t pixels = plan.pixels(), taps = plan.taps();
  const auto store = [&](Tensor& to, int64_t channel, int64_t pixel, A value) {
    const int64_t place = (n * to.size(1) + channel) * pixels + pixel;
    dispatch_storage(to.scalar_type(), [&](auto zero) {
      store_sum(static_cast<decltype(zero)*>(to.data_ptr()) + place,
                static_cast<accumulate_t<decltype(zero)>>(value));
    });
  };
  for_chunks(plan.offset_groups * taps, 1, [&](int64_t begin, int64_t end) {
    for (int64_t channel = begin; channel < end; ++channel) {
      for (int64_t p = 0; p < pixels; ++p) {
        Partial<A> sum{0, 0, 0};
        for (size_t i = 0; i < blocks.size(); ++i) {
          if (blocks[i].offset_group != channel / taps) continue;
          const int64_t row = static_cast<int64_t>(i) * taps + channel % taps;
          const Partial<A>& part = partials[row * pixels + p];
          sum = {sum.y + part.y, sum.x + part.x, sum.factor + part.factor};
        }
        store(grad_offset, 2 * channel, p, sum.y);
        store(grad_offset, 2 * channel + 1, p, sum.x);
        if (grad_mask) store(*grad_mask, channel, p, sum.factor);
      }
    }
  });
}

// ------------------------------------------------------------------- gradient to the weight

// The samples of one tap and some channels times the gradient, for all pixels of an image.
template <typename T>
class WeightGradient {
  using A = accumulate_t<T>;

 public:
  // sums: (taps, channels, filters).
  WeightGradient(const ImageJob<T>& job, const std::vector<ChannelBlock>& blocks, A* sums)
      : job_(job), blocks_(blocks), sums_(sums),
        columns_(static_cast<size_t>(kTile * kChannels) * sizeof(A)), samples_(kTile) {}

  void operator()(int64_t i) {
    static const auto read = SELECT_ISA(read_samples<T>);
    static const auto add = SELECT_ISA(add_product<A>);
    const DeformPlan& plan = job_.plan;
    const ChannelBlock& block = blocks_[static_cast<size_t>(i / plan.taps())];
    const int64_t tap = i % plan.taps(), filters = plan.filters();
    A* columns = columns_.as<A>();
    A* sums = sums_ + (tap * plan.channels + block.first) * filters;
    for (int64_t begin = 0; begin < plan.pixels(); begin += kTile) {
      const int64_t count = std::min(kTile, plan.pixels() - begin);
      for (int64_t p = 0; p < count; ++p) {
        Place<A> place = job_.place(block, tap, begin + p);
        for (A& weight : place.sample.weight) weight *= place.factor;
        samples_[static_cast<size_t>(p)] = place.sample;
      }
      read(job_.image.data + block.first, samples_.data(), count, block.count, columns,
           block.count);
      const A* grad = job_.grad + begin * job_.grad_row() + block.group * plan.padded_filters();
      add({columns, 1, block.count}, {grad, kPanel, job_.grad_row()}, block.count, filters, count,
          sums, filters);
    }
  }

 private:
  const ImageJob<T>& job_;
  const std::vector<ChannelBlock>& blocks_;
  A* sums_;
  Scratch columns_;
  std::vector<Sample<A>> samples_;
};

template <typename A>
void write_weight(const DeformPlan& plan, const A* sums, Tensor& out) {
  const int64_t filters = plan.filters(), taps = plan.taps();
  dispatch_storage(out.scalar_type(), [&](auto zero) {
    using W = decltype(zero);
    W* to = static_cast<W*>(out.data_ptr());
    for_chunks(plan.out_channels, 8, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o)
        for (int64_t c = 0; c < plan.group_channels; ++c)
          for (int64_t tap = 0; tap < taps; ++tap) {
            const int64_t channel = o / filters * plan.group_channels + c;
            store_sum(to + (o * plan.group_channels + c) * taps + tap,
                      static_cast<accumulate_t<W>>(
                          sums[(tap * plan.channels + channel) * filters + o % filters]));
          }
    });
  });
}

// ------------------------------------------------------------------------------- all images

struct Gradients {
  Tensor input, offset, weight, mask;
};

template <typename T>
void run(const DeformPlan& plan, const Tensor& grad, const Tensor& input, const Tensor& offset,
         const Tensor& weight, const std::optional<Tensor>& mask, Gradients& out,
         bool channels_last) {
  using A = accumulate_t<T>;
  const Map map = as_map("input", input);
  const Reader shifts("offset", offset), filters("weight", weight);
  const std::optional<Reader> factors =
      mask ? std::optional<Reader>(std::in_place, "mask", *mask) : std::nullopt;
  const auto narrow = channel_blocks(plan, kBlock), wide = channel_blocks(plan, 2 * kBlock);
  const int64_t pixels = plan.pixels();
  const auto blocks = static_cast<int64_t>(narrow.size());
  const int64_t weights = plan.taps() * plan.channels * plan.filters();
  const Scratch sums(static_cast<size_t>(weights) * sizeof(A));
  const Scratch grads(static_cast<size_t>(pixels * plan.groups() * plan.padded_filters()) *
                      sizeof(A));
  MapSum<T> to_input(out.input, channels_last);
  const Scratch partials(static_cast<size_t>(blocks * plan.taps() * pixels) * sizeof(Partial<A>));
  std::fill(sums.as<A>(), sums.as<A>() + weights, A{0});
  for (int64_t n = 0; n < plan.images; ++n) {
    const PackedImage<T> image(map, n, true);
    read_grad<T>(plan, grad, n, grads.as<A>());
    const ImageJob<T> job{plan, shifts, factors ? &*factors : nullptr, image, n, grads.as<A>()};
    for_each_piece<BlockGradient<T>>(blocks, [&] {
      return BlockGradient<T>(job, filters, narrow, to_input.image(n),
                              partials.as<Partial<A>>());
    });
    write_offsets(plan, narrow, partials.as<Partial<A>>(), n, out.offset,
                  mask ? &out.mask : nullptr);
    for_each_piece<WeightGradient<T>>(static_cast<int64_t>(wide.size()) * plan.taps(), [&] {
      return WeightGradient<T>(job, wide, sums.as<A>());
    });
  }
  to_input.finish();
  write_weight(plan, sums.as<A>(), out.weight);
}

Tensor empty_like_shape(const Tensor& like) {
  return empty_map(like, {like.size(0), like.size(1), like.size(2), like.size(3)}, false);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward(
    const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const std::vector<int64_t>& stride,
    const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation,
    bool /* deterministic: always */) {
  const DeformPlan plan = plan_deform_conv(input, offset, weight, mask, stride, padding, dilation);
  const Map map = as_map("grad", grad);
  check(map.images == plan.images && map.channels == plan.out_channels &&
            map.height == plan.rows && map.width == plan.columns,
        "grad must have the shape of the output");
  const bool channels_last = is_channels_last(input);
  Gradients out{empty_map(input, {plan.images, plan.channels, plan.height, plan.width},
                          channels_last),
                empty_like_shape(offset), empty_like_shape(weight),
                mask ? empty_like_shape(*mask)
                     : torch::stable::empty({0}, input.scalar_type(), std::nullopt,
                                            input.device())};
  dispatch_storage(input.scalar_type(), [&](auto zero) {
    run<decltype(zero)>(plan, grad, input, offset, weight, mask, out, channels_last);
  });
  return {out.input, out.offset, out.weight, out.mask};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) {
  m.impl("deform_conv2d_backward", TORCH_BOX(&deform_conv2d_backward));
}

}  // namespace perception
