// Deformable convolution on CUDA, forward.
#include "cuda/deform_conv.cuh"

#include <array>

namespace perception {

Convolution plan_of(const Tensor& input, const Tensor& offset, const Tensor& weight,
                    const std::optional<Tensor>& mask, const std::vector<int64_t>& stride,
                    const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation) {
  const Map map = as_map("input", input), filters = as_map("weight", weight);
  const Map shifts = as_map("offset", offset);
  check(weight.numel() > 0 && map.height > 0 && map.width > 0, "input and weight must not be empty");
  check(stride.size() == 2 && padding.size() == 2 && dilation.size() == 2 && stride[0] > 0 &&
            stride[1] > 0 && dilation[0] > 0 && dilation[1] > 0 && padding[0] >= 0 &&
            padding[1] >= 0,
        "stride and dilation must be above 0, padding at least 0, all pairs");
  Convolution plan{map.images, map.channels, map.height, map.width, filters.images,
                   filters.channels, filters.height, filters.width, 0, 0, 0,
                   {stride[0], stride[1]}, {padding[0], padding[1]}, {dilation[0], dilation[1]}};
  plan.rows = (map.height + 2 * padding[0] - dilation[0] * (filters.height - 1) - 1) / stride[0] + 1;
  plan.columns = (map.width + 2 * padding[1] - dilation[1] * (filters.width - 1) - 1) / stride[1] + 1;
  plan.offset_groups = shifts.channels / (2 * plan.taps());
  check(map.channels > 0 && map.channels % filters.channels == 0 &&
            filters.images % (map.channels / filters.channels) == 0 && plan.offset_groups > 0 &&
            map.channels % plan.offset_groups == 0 && plan.rows > 0 && plan.columns > 0 &&
            shifts.images == map.images && shifts.height == plan.rows &&
            shifts.width == plan.columns &&
            shifts.channels == 2 * plan.offset_groups * plan.taps(),
        "input, offset and weight do not fit together");
  if (mask) {
    const Map factors = as_map("mask", *mask);
    check(factors.images == map.images && factors.height == plan.rows &&
              factors.width == plan.columns &&
              factors.channels == plan.offset_groups * plan.taps(),
          "mask has the wrong shape");
  }
  return plan;
}

// ------------------------------------------------------------------- the table of samples

namespace {

// A fraction below 1, also where rounding it to A would make it 1.
template <typename A>
__device__ A fraction(double part) {
  constexpr A kBelow = sizeof(A) == 4 ? A(0x1.fffffep-1) : A(0x1.fffffffffffffp-1);
  const A rounded = static_cast<A>(part);
  return rounded < kBelow ? rounded : kBelow;
}

// One thread per sample, neighbouring pixels side by side, as offsets lie in memory.
template <typename A>
__global__ void place_kernel(Convolution plan, PixelTile tile, AnyMap offset, AnyMap mask,
                             Sample<A>* samples, int64_t* cells) {
  const int64_t taps = plan.taps(), channels = plan.offset_groups * taps;
  GRID_STRIDE_LOOP(index, tile.rows() * channels) {
    const int64_t p = index % tile.pixels, channel = index / tile.pixels % channels;
    const int64_t image = index / tile.pixels / channels, n = tile.image + image;
    const int64_t group = channel / taps, tap = channel % taps;
    const int64_t oy = (tile.pixel + p) / plan.columns, ox = (tile.pixel + p) % plan.columns;
    const double y = static_cast<double>(oy * plan.stride[0] - plan.padding[0] +
                                         tap / plan.kernel_columns * plan.dilation[0]) +
                     offset.at(n, 2 * channel, oy, ox);
    const double x = static_cast<double>(ox * plan.stride[1] - plan.padding[1] +
                                         tap % plan.kernel_columns * plan.dilation[1]) +
                     offset.at(n, 2 * channel + 1, oy, ox);
    Sample<A> sample{0, 0, 0, 1, 0};
    int64_t cell = tile.images * plan.offset_groups * plan.cells();
    if (y >= -1 && y < static_cast<double>(plan.height) && x >= -1 &&
        x < static_cast<double>(plan.width)) {
      const auto top = static_cast<int64_t>(floor(y)), left = static_cast<int64_t>(floor(x));
      sample.y = fraction<A>(y - floor(y));
      sample.x = fraction<A>(x - floor(x));
      sample.place = ((image * plan.height + top) * plan.width + left) * plan.channels;
      const int above = top >= 0, below = top + 1 < plan.height;
      const int before = left >= 0, after = left + 1 < plan.width;
      sample.on_map = (above & before) | (above & after) << 1 | (below & before) << 2 |
                      (below & after) << 3;
      cell = (image * plan.offset_groups + group) * plan.cells() +
             (top + 1) * (plan.width + 1) + left + 1;
    }
    if (mask.data) sample.factor = static_cast<A>(mask.at(n, channel, oy, ox));
    const int64_t place = ((image * tile.pixels + p) * taps + tap) * plan.offset_groups + group;
    samples[place] = sample;
    if (cells) cells[place] = cell;
  }
}

}  // namespace

template <typename A>
void place_samples(const Convolution& plan, const PixelTile& tile, const Tensor& offset,
                   const std::optional<Tensor>& mask, Sample<A>* samples, int64_t* cells,
                   cudaStream_t stream) {
  const int64_t count = tile.rows() * plan.taps() * plan.offset_groups;
  place_kernel<A><<<blocks_for(count), kThreads, 0, stream>>>(
      plan, tile, any_map("offset", offset), mask ? any_map("mask", *mask) : kNoMap, samples,
      cells);
}

template void place_samples(const Convolution&, const PixelTile&, const Tensor&,
                            const std::optional<Tensor>&, Sample<float>*, int64_t*, cudaStream_t);
template void place_samples(const Convolution&, const PixelTile&, const Tensor&,
                            const std::optional<Tensor>&, Sample<double>*, int64_t*, cudaStream_t);

// ------------------------------------------------------------------- products

Tensor view_of(const Tensor& tensor, const std::vector<int64_t>& size,
               const std::vector<int64_t>& stride, int64_t first) {
  using torch::headeronly::IntHeaderOnlyArrayRef;
  std::array<StableIValue, 4> stack{
      torch::stable::detail::from(tensor),
      torch::stable::detail::from(IntHeaderOnlyArrayRef(size)),
      torch::stable::detail::from(IntHeaderOnlyArrayRef(stride)),
      torch::stable::detail::from(std::optional<int64_t>(tensor.storage_offset() + first))};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::as_strided", "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

void multiply(const Tensor& left, const Tensor& right, const Tensor& out) {
  std::array<StableIValue, 3> stack{torch::stable::detail::from(left),
                                    torch::stable::detail::from(right),
                                    torch::stable::detail::from(out)};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::bmm", "out", stack.data(), TORCH_ABI_VERSION));
  const Tensor same = torch::stable::detail::to<Tensor>(stack[0]);  // owns and drops it
}

Tensor pack_weight(const Convolution& plan, const Tensor& weight, ScalarType type) {
  const Tensor filters = torch::stable::reshape(
      torch::stable::to(weight, type), {plan.out_channels, plan.group_channels, plan.taps()});
  return torch::stable::reshape(
      torch::stable::contiguous(torch::stable::transpose(filters, 1, 2)),
      {plan.groups(), plan.filters(), plan.depth()});
}

// ------------------------------------------------------------------------------- forward

namespace {

// columns (groups, samples, channels of a group): every thread keeps its channels.
template <typename T, int Vector>
__global__ void columns_kernel(Convolution plan, const T* images,
                               const Sample<accumulate_cuda_t<T>>* samples, int64_t count,
                               Walk walk, T* columns) {
  using A = accumulate_cuda_t<T>;
  const int lane = threadIdx.x % walk.lanes, own = threadIdx.x / walk.lanes;
  if (own >= walk.each) return;
  for (int64_t c = lane * Vector; c < plan.channels; c += walk.lanes * Vector) {
    const int64_t group = c / plan.group_channels, within = c % plan.group_channels;
    const Sample<A>* of_group = samples + c / plan.offset_channels();
    T* out = columns + group * count * plan.group_channels + within;
    for (int64_t s = blockIdx.x * int64_t{walk.each} + own; s < count;
         s += gridDim.x * int64_t{walk.each}) {
      const Sample<A> sample = of_group[s * plan.offset_groups];
      Pack<T, Vector> value[4], result;
      for (int i = 0; i < 4; ++i)
        value[i] = neighbour<Vector>(images + c, plan, sample, i,
                                     sample.has(i) && sample.weight(i) != 0);
      for (int v = 0; v < Vector; ++v) {
        A sum = 0;
        for (int i = 0; i < 4; ++i) sum = fma(sample.weight(i), A(widen(value[i].value[v])), sum);
        narrow(&result.value[v], sample.on_map ? sum * sample.factor : A{0});
      }
      *reinterpret_cast<Pack<T, Vector>*>(out + s * plan.group_channels) = result;
    }
  }
}

template <typename T>
void build_columns(const Convolution& plan, const PixelTile& tile, const Tensor& images,
                   const Sample<accumulate_cuda_t<T>>* samples, const Tensor& columns,
                   cudaStream_t stream) {
  constexpr int kVector = 16 / sizeof(T);
  const T* first = static_cast<const T*>(images.data_ptr()) +
                   tile.image * plan.height * plan.width * plan.channels;
  T* out = static_cast<T*>(columns.data_ptr());
  const int64_t count = tile.rows() * plan.taps();
  const bool vectors = vectors_fit(plan, kVector) && is_aligned(images);
  const Walk walk = walk_of(count, plan.channels / (vectors ? kVector : 1));
  if (vectors)
    columns_kernel<T, kVector><<<walk.blocks, kThreads, 0, stream>>>(plan, first, samples, count,
                                                                     walk, out);
  else
    columns_kernel<T, 1><<<walk.blocks, kThreads, 0, stream>>>(plan, first, samples, count, walk,
                                                               out);
}

// One side of a batch of products: how many there are and how far apart their matrices lie.
struct Batch {
  int64_t count, weight, columns, out;
};

// The tile's part of the output: channels-last rows at once, else images or groups in turn.
void multiply_tile(const Convolution& plan, const PixelTile& tile, const Tensor& weight,
                   const Tensor& columns, const Tensor& out, bool channels_last) {
  const int64_t rows = tile.rows(), depth = plan.depth(), filters = plan.filters();
  if (channels_last) {
    multiply(columns, torch::stable::transpose(weight, 1, 2),
             view_of(out, {plan.groups(), rows, filters}, {filters, plan.out_channels, 1},
                     tile.first_row(plan) * plan.out_channels));
    return;
  }
  const Batch groups{plan.groups(), filters * depth, rows * depth, filters * plan.pixels()};
  const Batch images{tile.images, 0, tile.pixels * depth, plan.out_channels * plan.pixels()};
  const auto& [outer, inner] = groups.count < images.count ? std::tie(groups, images)
                                                           : std::tie(images, groups);
  const int64_t first = tile.image * plan.out_channels * plan.pixels() + tile.pixel;
  for (int64_t i = 0; i < outer.count; ++i)
    multiply(view_of(weight, {inner.count, filters, depth}, {inner.weight, depth, 1},
                     i * outer.weight),
             view_of(columns, {inner.count, depth, tile.pixels}, {inner.columns, 1, depth},
                     i * outer.columns),
             view_of(out, {inner.count, filters, tile.pixels}, {inner.out, plan.pixels(), 1},
                     first + i * outer.out));
}

template <typename T>
__global__ void bias_kernel(AnyMap bias, int64_t channels, int64_t channel_size, int64_t count,
                            T* out) {
  GRID_STRIDE_LOOP(index, count) {
    const double shift = bias.at(0, index / channel_size % channels, 0, 0);
    using A = accumulate_cuda_t<T>;
    narrow(out + index, A(widen(out[index])) + static_cast<A>(shift));
  }
}

template <typename T>
void convolve(const Convolution& plan, const Tensor& input, const Tensor& offset,
              const Tensor& weight, const std::optional<Tensor>& bias,
              const std::optional<Tensor>& mask, const Tensor& out) {
  using A = accumulate_cuda_t<T>;
  const cudaStream_t stream = current_stream(input);
  const bool channels_last = is_channels_last(out);
  const Tensor images = channels_together(input);
  const Tensor factors = pack_weight(plan, weight, input.scalar_type());
  const int64_t table = plan.offset_groups * static_cast<int64_t>(sizeof(Sample<A>));
  const int64_t each = plan.taps() * (plan.channels * static_cast<int64_t>(sizeof(T)) + table);
  for_tiles(plan, each, [&](const PixelTile& tile) {
    const Tensor columns =
        torch::stable::empty({plan.groups(), tile.rows(), plan.depth()}, input.scalar_type(),
                             std::nullopt, input.device());
    const Tensor room = bytes_on(input, tile.rows() * plan.taps() * table);
    auto* samples = static_cast<Sample<A>*>(room.data_ptr());
    place_samples(plan, tile, offset, mask, samples, nullptr, stream);
    build_columns<T>(plan, tile, images, samples, columns, stream);
    check_launch("deform_conv2d");
    multiply_tile(plan, tile, factors, columns, out, channels_last);
  });
  if (!bias) return;
  bias_kernel<T><<<blocks_for(out.numel()), kThreads, 0, stream>>>(
      AnyMap{bias->data_ptr(), bias->scalar_type(), 0, bias->stride(0), 0, 0}, plan.out_channels,
      channels_last ? 1 : plan.pixels(), out.numel(), static_cast<T*>(out.data_ptr()));
  check_launch("deform_conv2d");
}

Tensor deform_conv2d(const Tensor& input, const Tensor& offset, const Tensor& weight,
                     const std::optional<Tensor>& bias, const std::optional<Tensor>& mask,
                     const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                     const std::vector<int64_t>& dilation) {
  const Convolution plan = plan_of(input, offset, weight, mask, stride, padding, dilation);
  check(!bias || (bias->dim() == 1 && bias->size(0) == plan.out_channels &&
                  is_floating(bias->scalar_type())),
        "bias has the wrong shape");
  const DeviceGuard guard(input.get_device_index());
  Tensor out = empty_map(input, {plan.images, plan.out_channels, plan.rows, plan.columns},
                         is_channels_last(input));
  if (out.numel() == 0) return out;
  dispatch_cuda(input.scalar_type(), [&](auto zero) {
    convolve<decltype(zero)>(plan, input, offset, weight, bias, mask, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) {
  m.impl("deform_conv2d", TORCH_BOX(&deform_conv2d));
}

}  // namespace perception
