// Gradients of deformable convolution on CUDA. One product gives the gradient of the columns; one
// kernel turns that into the gradients to offsets and mask, adds the input's (atomics), and puts
// the columns themselves in its place for the product that gives the weight's. Deterministic: the
// samples are sorted by the cell that they lie in, and every pixel gathers from its four cells.
#include <array>

#include "cuda/deform_conv.cuh"

namespace perception {
namespace {

// Gradients to the position and the mask's factor of one sample.
template <typename A>
struct Slope {
  A y, x, factor;
};

// ------------------------------------------------- gradients to offset, mask and (fast) input

// From the products of the gradient with the four neighbours: differences across, and the sum.
template <typename A>
__device__ Slope<A> slope_of(const Sample<A>& sample, const A (&product)[4]) {
  const A top = product[1] - product[0], bottom = product[3] - product[2];
  const A left = product[2] - product[0], right = product[3] - product[1];
  Slope<A> out{((1 - sample.x) * left + sample.x * right) * sample.factor,
               ((1 - sample.y) * top + sample.y * bottom) * sample.factor, 0};
  for (int i = 0; i < 4; ++i) out.factor = fma(sample.weight(i), product[i], out.factor);
  return out;
}

// Some channels of one sample: `column` holds their gradient and then their value; adds to the
// products and, if `Add`, to the gradient of the neighbours.
template <bool Add, typename T, int Vector, typename A>
__device__ void spread(const Convolution& plan, const T* images, const Sample<A>& sample,
                       Pack<T, Vector>* column, A* sums, A (&product)[4]) {
  const Pack<T, Vector> grad = *column;
  Pack<T, Vector> value[4];
  A total[Vector] = {};
  for (int i = 0; i < 4; ++i)
    value[i] = neighbour<Vector>(images, plan, sample, i, sample.has(i));
  for (int i = 0; i < 4; ++i) {
    const A weight = sample.weight(i);
    A part[Vector];
    for (int v = 0; v < Vector; ++v) {
      A number = widen(value[i].value[v]);
      if (weight == 0 && !isfinite(number)) number = 0;  // its weight is 0: it does not count
      product[i] = fma(A(widen(grad.value[v])), number, product[i]);
      total[v] = fma(weight, number, total[v]);
      part[v] = weight * sample.factor * A(widen(grad.value[v]));
    }
    if (Add && sample.has(i) && weight != 0)
      add_vector(sums + sample.place + (i / 2 * plan.width + i % 2) * plan.channels, part);
  }
  Pack<T, Vector> result;
  for (int v = 0; v < Vector; ++v)
    narrow(&result.value[v], sample.on_map ? total[v] * sample.factor : A{0});
  *column = result;
}

// A power of two of lanes takes one sample of one offset group; their sums are added in a tree.
template <typename T, int Vector, bool Add>
__global__ void __launch_bounds__(kThreads, 3)
    spread_kernel(Convolution plan, const T* images, const Sample<accumulate_cuda_t<T>>* samples,
                  int64_t count, int lanes, T* columns, accumulate_cuda_t<T>* sums,
                  Slope<accumulate_cuda_t<T>>* slopes) {
  using A = accumulate_cuda_t<T>;
  const int lane = threadIdx.x % lanes, own = threadIdx.x / lanes, each = blockDim.x / lanes;
  const int64_t items = count * plan.offset_groups, wide = plan.offset_channels();
  for (int64_t base = blockIdx.x * int64_t{each}; base < items; base += gridDim.x * int64_t{each}) {
    const int64_t item = base + own;
    A product[4] = {};
    Sample<A> sample{};
    if (item < items) {
      sample = samples[item];
      const int64_t s = plan.offset_groups == 1 ? item : item / plan.offset_groups;
      const int64_t first = (item - s * plan.offset_groups) * wide;
      for (int64_t c = first + lane * Vector; c < first + wide; c += lanes * Vector) {
        const int64_t group = plan.group_channels == plan.channels ? 0 : c / plan.group_channels;
        T* column = columns + (group * count + s) * plan.group_channels +
                    (c - group * plan.group_channels);
        spread<Add>(plan, images + c, sample, reinterpret_cast<Pack<T, Vector>*>(column), sums + c,
                    product);
      }
    }
    for (int step = lanes / 2; step > 0; step /= 2)
      for (int i = 0; i < 4; ++i)
        product[i] += __shfl_xor_sync(0xffffffffu, product[i], step);
    if (lane == 0 && item < items) slopes[item] = slope_of(sample, product);
  }
}

// Slopes in the layout of offset and mask, neighbouring pixels side by side.
template <typename A>
__global__ void slopes_kernel(Convolution plan, PixelTile tile, const Slope<A>* slopes, AnyOut to_offset,
                              AnyOut to_mask) {
  const int64_t taps = plan.taps(), channels = plan.offset_groups * taps;
  GRID_STRIDE_LOOP(index, tile.rows() * channels) {
    const int64_t p = index % tile.pixels, channel = index / tile.pixels % channels;
    const int64_t image = index / tile.pixels / channels, n = tile.image + image;
    const Slope<A> slope = slopes[((image * tile.pixels + p) * taps + channel % taps) *
                                      plan.offset_groups + channel / taps];
    const int64_t plane = n * channels + channel, pixel = tile.pixel + p;
    to_offset.put(2 * plane * plan.pixels() + pixel, slope.y);
    to_offset.put((2 * plane + 1) * plan.pixels() + pixel, slope.x);
    if (to_mask.data) to_mask.put(plane * plan.pixels() + pixel, slope.factor);
  }
}

// ------------------------------------------------- gradient to the input, in a fixed order

// starts[cell]: the first of the sorted samples in that cell or a later one.
__global__ void starts_kernel(const int64_t* sorted, int64_t count, int64_t cells,
                              int64_t* starts) {
  GRID_STRIDE_LOOP(cell, cells) {
    int64_t low = 0, high = count;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (sorted[middle] < cell)
        low = middle + 1;
      else
        high = middle;
    }
    starts[cell] = low;
  }
}

// Every thread keeps its channels; a pixel is neighbour i of the samples of one cell.
template <typename T, int Vector>
__global__ void gather_kernel(Convolution plan, const T* columns,
                              const Sample<accumulate_cuda_t<T>>* samples, const int64_t* order,
                              const int64_t* starts, int64_t count, int64_t pixels, Walk walk,
                              accumulate_cuda_t<T>* sums) {
  using A = accumulate_cuda_t<T>;
  const int lane = threadIdx.x % walk.lanes, own = threadIdx.x / walk.lanes;
  if (own >= walk.each) return;
  for (int64_t c = lane * Vector; c < plan.channels; c += walk.lanes * Vector) {
    const int64_t group = c / plan.group_channels, offset_group = c / plan.offset_channels();
    const T* from = columns + group * count * plan.group_channels + c % plan.group_channels;
    for (int64_t pixel = blockIdx.x * int64_t{walk.each} + own; pixel < pixels;
         pixel += gridDim.x * int64_t{walk.each}) {
      const int64_t x = pixel % plan.width, row = pixel / plan.width;
      const int64_t y = row % plan.height, n = row / plan.height;
      const int64_t own_cells = (n * plan.offset_groups + offset_group) * plan.cells();
      auto* to = reinterpret_cast<Pack<A, Vector>*>(sums + pixel * plan.channels + c);
      Pack<A, Vector> sum = *to;
      for (int i = 0; i < 4; ++i) {
        const int64_t cell = own_cells + (y + 1 - i / 2) * (plan.width + 1) + x + 1 - i % 2;
        for (int64_t at = starts[cell]; at < starts[cell + 1]; ++at) {
          const Sample<A> sample = samples[order[at]];
          const A weight = sample.weight(i);
          if (weight == 0) continue;
          const auto grad = *reinterpret_cast<const Pack<T, Vector>*>(
              from + order[at] / plan.offset_groups * plan.group_channels);
          for (int v = 0; v < Vector; ++v)
            sum.value[v] = fma(weight * sample.factor, A(widen(grad.value[v])), sum.value[v]);
        }
      }
      *to = sum;
    }
  }
}

// ------------------------------------------------------------------------------- host

// Ascending values and their places, equal ones in order.
std::tuple<Tensor, Tensor> sort_stably(const Tensor& values) {
  std::array<StableIValue, 4> stack{
      torch::stable::detail::from(values), torch::stable::detail::from(std::optional<bool>(true)),
      torch::stable::detail::from(int64_t{0}), torch::stable::detail::from(false)};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  return {torch::stable::detail::to<Tensor>(stack[0]), torch::stable::detail::to<Tensor>(stack[1])};
}

template <typename T>
__global__ void widen_and_add_kernel(const T* part, int64_t count, accumulate_cuda_t<T>* sums) {
  GRID_STRIDE_LOOP(index, count) sums[index] += widen(part[index]);
}

// The gradients of one call, tile by tile; sums in float32 (float64).
template <typename T>
class Backward {
  using A = accumulate_cuda_t<T>;
  static constexpr int kVector = 16 / sizeof(T);

 public:
  Backward(const Convolution& plan, const Tensor& grad, const Tensor& input, const Tensor& weight,
           bool deterministic)
      : plan_(plan), grad_(channels_together(grad)), images_(channels_together(input)),
        factors_(pack_weight(plan, weight, input.scalar_type())),
        input_sums_(zero_sums(input, {plan.images, plan.channels, plan.height, plan.width}, true)),
        weight_sums_(zero_sums(input, {plan.groups(), plan.filters(), plan.depth()}, false)),
        stream_(current_stream(input)), deterministic_(deterministic),
        vectors_(vectors_fit(plan, kVector) && is_aligned(images_)) {}

  // to_offset, to_mask: what is written at once; the sums are read when all is done.
  void run(const Tensor& offset, const std::optional<Tensor>& mask, const AnyOut& to_offset,
           const AnyOut& to_mask) {
    const int64_t sorting = deterministic_ ? 64 : 0;  // cells, their order, torch's scratch memory
    const int64_t each = static_cast<int64_t>(sizeof(Sample<A>) + sizeof(Slope<A>)) + sorting;
    for_tiles(plan_, plan_.taps() * (plan_.channels * static_cast<int64_t>(sizeof(T)) +
                                     plan_.offset_groups * each),
              [&](const PixelTile& tile) { step(tile, offset, mask, to_offset, to_mask); });
  }

  const Tensor& input_sums() const { return input_sums_; }
  const Tensor& weight_sums() const { return weight_sums_; }

 private:
  void step(const PixelTile& tile, const Tensor& offset, const std::optional<Tensor>& mask,
            const AnyOut& to_offset, const AnyOut& to_mask) {
    const int64_t count = tile.rows() * plan_.taps(), items = count * plan_.offset_groups;
    const Tensor room = bytes_on(images_, items * static_cast<int64_t>(sizeof(Sample<A>)));
    const Tensor cells = torch::stable::empty({deterministic_ ? items : 0}, ScalarType::Long,
                                              std::nullopt, images_.device());
    auto* samples = static_cast<Sample<A>*>(room.data_ptr());
    place_samples(plan_, tile, offset, mask, samples,
                  deterministic_ ? static_cast<int64_t*>(cells.data_ptr()) : nullptr, stream_);
    const Tensor columns = torch::stable::empty({plan_.groups(), tile.rows(), plan_.depth()},
                                                images_.scalar_type(), std::nullopt,
                                                images_.device());
    const Tensor grad = view_of(grad_, {plan_.groups(), tile.rows(), plan_.filters()},
                                {plan_.filters(), plan_.out_channels, 1},
                                tile.first_row(plan_) * plan_.out_channels);
    multiply(grad, factors_, columns);
    if (deterministic_) gather(tile, samples, cells, columns);
    const Tensor slopes = bytes_on(images_, items * static_cast<int64_t>(sizeof(Slope<A>)));
    spread_all(tile, samples, columns, static_cast<Slope<A>*>(slopes.data_ptr()));
    slopes_kernel<A><<<blocks_for(items), kThreads, 0, stream_>>>(
        plan_, tile, static_cast<const Slope<A>*>(slopes.data_ptr()), to_offset, to_mask);
    const Tensor part = torch::stable::matmul(torch::stable::transpose(grad, 1, 2), columns);
    widen_and_add_kernel<T><<<blocks_for(part.numel()), kThreads, 0, stream_>>>(
        static_cast<const T*>(part.data_ptr()), part.numel(),
        static_cast<A*>(weight_sums_.data_ptr()));
    check_launch("deform_conv2d_backward");
  }

  const T* images(const PixelTile& tile) const {
    return static_cast<const T*>(images_.data_ptr()) +
           tile.image * plan_.height * plan_.width * plan_.channels;
  }
  A* sums(const PixelTile& tile) const {
    return static_cast<A*>(input_sums_.data_ptr()) +
           tile.image * plan_.height * plan_.width * plan_.channels;
  }

  void spread_all(const PixelTile& tile, const Sample<A>* samples, const Tensor& columns,
                  Slope<A>* slopes) {
    if (vectors_)
      deterministic_ ? spread_as<kVector, false>(tile, samples, columns, slopes)
                     : spread_as<kVector, true>(tile, samples, columns, slopes);
    else
      deterministic_ ? spread_as<1, false>(tile, samples, columns, slopes)
                     : spread_as<1, true>(tile, samples, columns, slopes);
  }

  template <int Vector, bool Add>
  void spread_as(const PixelTile& tile, const Sample<A>* samples, const Tensor& columns,
                 Slope<A>* slopes) {
    int lanes = 1;
    while (lanes < 32 && lanes * Vector < plan_.offset_channels()) lanes *= 2;
    const int64_t count = tile.rows() * plan_.taps();
    const Walk walk = walk_of(count * plan_.offset_groups, lanes);
    spread_kernel<T, Vector, Add><<<walk.blocks, kThreads, 0, stream_>>>(
        plan_, images(tile), samples, count, lanes, static_cast<T*>(columns.data_ptr()),
        sums(tile), slopes);
  }

  void gather(const PixelTile& tile, const Sample<A>* samples, const Tensor& cells,
              const Tensor& columns) {
    const auto [sorted, order] = sort_stably(cells);
    const int64_t count = tile.rows() * plan_.taps();
    const int64_t all = tile.images * plan_.offset_groups * plan_.cells() + 1;
    const Tensor starts =
        torch::stable::empty({all}, ScalarType::Long, std::nullopt, images_.device());
    auto* first = static_cast<int64_t*>(starts.data_ptr());
    starts_kernel<<<blocks_for(all), kThreads, 0, stream_>>>(
        static_cast<const int64_t*>(sorted.data_ptr()), count * plan_.offset_groups, all, first);
    const int64_t pixels = tile.images * plan_.height * plan_.width;
    const Walk walk = walk_of(pixels, plan_.channels / (vectors_ ? kVector : 1));
    const T* from = static_cast<const T*>(columns.data_ptr());
    const auto* places = static_cast<const int64_t*>(order.data_ptr());
    if (vectors_)
      gather_kernel<T, kVector><<<walk.blocks, kThreads, 0, stream_>>>(
          plan_, from, samples, places, first, count, pixels, walk, sums(tile));
    else
      gather_kernel<T, 1><<<walk.blocks, kThreads, 0, stream_>>>(
          plan_, from, samples, places, first, count, pixels, walk, sums(tile));
  }

  const Convolution& plan_;
  Tensor grad_, images_, factors_, input_sums_, weight_sums_;
  cudaStream_t stream_;
  bool deterministic_, vectors_;
};

Tensor empty_contiguous(const Tensor& like) {
  return empty_map(like, {like.size(0), like.size(1), like.size(2), like.size(3)}, false);
}

// (groups, filters, taps * channels) sums as a weight.
Tensor unpack_weight(const Convolution& plan, const Tensor& sums, const Tensor& weight) {
  const Tensor filters = torch::stable::reshape(
      sums, {plan.out_channels, plan.taps(), plan.group_channels});
  const Tensor taps_last = torch::stable::contiguous(torch::stable::transpose(filters, 1, 2));
  return torch::stable::reshape(torch::stable::to(taps_last, weight.scalar_type()),
                                {weight.size(0), weight.size(1), weight.size(2), weight.size(3)});
}

std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward(
    const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const std::vector<int64_t>& stride,
    const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation,
    bool deterministic) {
  const Convolution plan = plan_of(input, offset, weight, mask, stride, padding, dilation);
  const Map map = as_map("grad", grad);
  check(map.images == plan.images && map.channels == plan.out_channels &&
            map.height == plan.rows && map.width == plan.columns,
        "grad must have the shape of the output");
  const DeviceGuard guard(input.get_device_index());
  const Tensor to_offset = empty_contiguous(offset);
  const Tensor to_mask = mask ? empty_contiguous(*mask)
                              : torch::stable::empty({0}, input.scalar_type(), std::nullopt,
                                                     input.device());
  Tensor to_input, to_weight;
  dispatch_cuda(input.scalar_type(), [&](auto zero) {
    Backward<decltype(zero)> backward(plan, torch::stable::to(grad, input.scalar_type()), input,
                                      weight, deterministic);
    backward.run(offset, mask, any_out(to_offset), mask ? any_out(to_mask) : kNowhere);
    to_input = in_form_of(input, backward.input_sums());
    to_weight = unpack_weight(plan, backward.weight_sums(), weight);
  });
  return {to_input, to_offset, to_weight, to_mask};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("deform_conv2d_backward", TORCH_BOX(&deform_conv2d_backward));
}

}  // namespace perception
