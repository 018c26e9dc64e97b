#include "cpu/simd/overlap.h"

#include "cpu/simd/vectors.h"

namespace perception {
namespace PERCEPTION_ISA {
namespace {

constexpr int kLanes = lanes<double>;
using V = vdouble;
using Box = PairBox<V>;
using Gradient = PairGradient<V>;

inline Box box_at(const OverlapBoxes& from, int64_t i) {
  return {load(from.x1 + i), load(from.y1 + i),   load(from.x2 + i),
          load(from.y2 + i), load(from.area + i), load(from.angle + i)};
}

inline Box everywhere(const OverlapBoxes& from, int64_t i) {
  return {all<V>(from.x1[i]), all<V>(from.y1[i]),   all<V>(from.x2[i]),
          all<V>(from.y2[i]), all<V>(from.area[i]), all<V>(from.angle[i])};
}

template <Overlap kKind, typename T>
void row(const OverlapBoxes& a, int64_t i, const OverlapBoxes& b, int64_t count, double eps,
         T* out) {
  const Box one = everywhere(a, i);
  for (int64_t j = 0; j < count; j += kLanes) {
    const Box other = box_at(b, j);
    const V value = value_of<kKind>(pair_of<kKind>(one, other, eps), one, other, eps);
    typedef T Out __attribute__((vector_size(kLanes * sizeof(T))));
    const Out narrow = __builtin_convertvector(value, Out);
    const int64_t left = count - j;
    if (left >= kLanes) {
      __builtin_memcpy(out + j, &narrow, sizeof narrow);
    } else {
      __builtin_memcpy(out + j, &narrow, static_cast<unsigned long>(left) * sizeof(T));
    }
  }
}

template <Overlap kKind>
void first(const OverlapBoxes& a, int64_t i, const OverlapBoxes& b, int64_t count, double eps,
           const double* grad, double* out) {
  const Box one = everywhere(a, i);
  const V turn_w = all<V>(a.turn_w[i]), turn_h = all<V>(a.turn_h[i]);
  Gradient sum = {};
  for (int64_t j = 0; j < count; j += kLanes) {
    const int64_t left = count - j;
    const V g = left >= kLanes ? load(grad + j) : load_part(grad + j, static_cast<int>(left));
    const Gradient each = gradient_of<kKind>(one, box_at(b, j), turn_w, turn_h, eps, g);
    sum.x1 += each.x1;
    sum.y1 += each.y1;
    sum.x2 += each.x2;
    sum.y2 += each.y2;
  }
  out[0] = out[1] = out[2] = out[3] = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    out[0] += sum.x1[lane];
    out[1] += sum.y1[lane];
    out[2] += sum.x2[lane];
    out[3] += sum.y2[lane];
  }
}

template <Overlap kKind>
void second(const OverlapBoxes& a, int64_t rows, const OverlapBoxes& b, int64_t j, double eps,
            const double* grad, int64_t stride, double* out) {
  for (int64_t lane = 0; lane < kOverlapPad; lane += kLanes) {
    const Box one = box_at(b, j + lane);
    const V turn_w = load(b.turn_w + j + lane), turn_h = load(b.turn_h + j + lane);
    Gradient sum = {};
    for (int64_t i = 0; i < rows; ++i) {
      const V g = load(grad + i * stride + lane);
      const Gradient each = gradient_of<kKind>(one, everywhere(a, i), turn_w, turn_h, eps, g);
      sum.x1 += each.x1;
      sum.y1 += each.y1;
      sum.x2 += each.x2;
      sum.y2 += each.y2;
    }
    store(out + lane, sum.x1);
    store(out + kOverlapPad + lane, sum.y1);
    store(out + 2 * kOverlapPad + lane, sum.x2);
    store(out + 3 * kOverlapPad + lane, sum.y2);
  }
}

// f<kind>(args...) for a kind known at run time.
#define FOR_KIND(f, ...)                                                     \
  switch (kind) {                                                            \
    case Overlap::iou: return f<Overlap::iou>(__VA_ARGS__);                  \
    case Overlap::generalized: return f<Overlap::generalized>(__VA_ARGS__);  \
    case Overlap::distance: return f<Overlap::distance>(__VA_ARGS__);        \
    case Overlap::complete: return f<Overlap::complete>(__VA_ARGS__);        \
  }

}  // namespace

template <typename T>
void overlap_row(Overlap kind, const OverlapBoxes& a, int64_t i, const OverlapBoxes& b,
                 int64_t count, double eps, T* out) {
  FOR_KIND(row, a, i, b, count, eps, out)
}

void overlap_gradient_first(Overlap kind, const OverlapBoxes& a, int64_t i, const OverlapBoxes& b,
                            int64_t count, double eps, const double* grad, double* out) {
  FOR_KIND(first, a, i, b, count, eps, grad, out)
}

void overlap_gradient_second(Overlap kind, const OverlapBoxes& a, int64_t rows,
                             const OverlapBoxes& b, int64_t j, double eps, const double* grad,
                             int64_t stride, double* out) {
  FOR_KIND(second, a, rows, b, j, eps, grad, stride, out)
}

template void overlap_row<float>(Overlap, const OverlapBoxes&, int64_t, const OverlapBoxes&,
                                 int64_t, double, float*);
template void overlap_row<double>(Overlap, const OverlapBoxes&, int64_t, const OverlapBoxes&,
                                  int64_t, double, double*);

}  // namespace PERCEPTION_ISA
}  // namespace perception
