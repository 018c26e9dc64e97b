#include "cpu/simd/overlap.h"

#include "cpu/simd/vectors.h"

namespace perception {
namespace PERCEPTION_ISA {
namespace {

constexpr double kAspect = 0.40528473456935108578;  // 4 / pi^2
constexpr int kLanes = lanes<double>;
using V = vdouble;

struct Box {
  V x1, y1, x2, y2, area, angle;
};

inline Box box_at(const OverlapBoxes& from, int64_t i) {
  return {load(from.x1 + i), load(from.y1 + i),   load(from.x2 + i),
          load(from.y2 + i), load(from.area + i), load(from.angle + i)};
}

inline Box everywhere(const OverlapBoxes& from, int64_t i) {
  return {all<V>(from.x1[i]), all<V>(from.y1[i]),   all<V>(from.x2[i]),
          all<V>(from.y2[i]), all<V>(from.area[i]), all<V>(from.angle[i])};
}

// NaN stays NaN: it fails the comparison.
inline V not_negative(V value) { return value < 0 ? V{} : value; }
inline V smaller(V a, V b) { return a < b ? a : b; }
inline V larger(V a, V b) { return a > b ? a : b; }

// part / whole, 0 where the whole is empty.
inline V ratio(V part, V whole) {
  const V value = part / whole;
  return whole <= 0 ? V{} : value;
}

struct Pair {
  V width, height, shared, joint, iou;                 // intersection, union
  V around_width, around_height;                       // enclosing box
  V dx, dy, diagonal;                                  // centres apart, squared diagonal + eps
};

template <Overlap kKind>
inline Pair pair_of(const Box& a, const Box& b, double eps) {
  Pair p;
  p.width = smaller(a.x2, b.x2) - larger(a.x1, b.x1);
  p.height = smaller(a.y2, b.y2) - larger(a.y1, b.y1);
  p.shared = not_negative(p.width) * not_negative(p.height);
  p.joint = a.area + b.area - p.shared;
  p.iou = ratio(p.shared, p.joint);
  if constexpr (kKind != Overlap::iou) {
    p.around_width = larger(a.x2, b.x2) - smaller(a.x1, b.x1);
    p.around_height = larger(a.y2, b.y2) - smaller(a.y1, b.y1);
  }
  if constexpr (kKind == Overlap::distance || kKind == Overlap::complete) {
    const V w = not_negative(p.around_width), h = not_negative(p.around_height);
    p.diagonal = w * w + h * h + eps;
    p.dx = (a.x1 + a.x2) * 0.5 - (b.x1 + b.x2) * 0.5;
    p.dy = (a.y1 + a.y2) * 0.5 - (b.y1 + b.y2) * 0.5;
  }
  return p;
}

template <Overlap kKind>
inline V value_of(const Pair& p, const Box& a, const Box& b, double eps) {
  if constexpr (kKind == Overlap::iou) return p.iou;
  if constexpr (kKind == Overlap::generalized) {
    const V around = not_negative(p.around_width) * not_negative(p.around_height);
    return p.iou - ratio(around - p.joint, around);
  }
  V value = p.iou - (p.dx * p.dx + p.dy * p.dy) / p.diagonal;
  if constexpr (kKind == Overlap::complete) {
    const V v = (a.angle - b.angle) * (a.angle - b.angle) * kAspect;
    value -= v / (1 - p.iou + v + eps) * v;
  }
  return value;
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

// 1 where a side is the inner one, 1/2 where both coincide, else 0.
inline V share(V own, V other, bool larger_wins) {
  const V one = all<V>(1.0), half = all<V>(0.5), none = {};
  const V strict = larger_wins ? (own > other ? one : none) : (own < other ? one : none);
  return own == other ? half : strict;
}

inline V where_not_negative(V condition, V value) { return condition >= 0 ? value : V{}; }

struct Gradient {
  V x1, y1, x2, y2;
};

// The gradient to box a, times g. All four overlaps are symmetric, so this serves for both sides.
template <Overlap kKind>
inline Gradient gradient_of(const Box& a, const Box& b, V turn_w, V turn_h, double eps, V g) {
  const Pair p = pair_of<kKind>(a, b, eps);
  const V none = {};
  const V empty_safe = p.joint <= 0 ? all<V>(1.0) : p.joint;
  const V inverse = p.joint <= 0 ? none : 1 / empty_safe;
  V to_shared = g * inverse, to_joint = -g * p.shared * inverse * inverse, to_around = none;
  if constexpr (kKind == Overlap::generalized) {
    const V around = not_negative(p.around_width) * not_negative(p.around_height);
    const V safe = around <= 0 ? all<V>(1.0) : around;
    const V share_of = around <= 0 ? none : 1 / safe;
    to_joint += g * share_of;
    to_around = -g * p.joint * share_of * share_of;
  }
  to_shared -= to_joint;
  const V width = not_negative(p.width), height = not_negative(p.height);
  const V shared_x = where_not_negative(p.width, to_shared * height);
  const V shared_y = where_not_negative(p.height, to_shared * width);
  const V own_width = a.x2 - a.x1, own_height = a.y2 - a.y1;
  V own_x = where_not_negative(own_width, to_joint * not_negative(own_height));
  V own_y = where_not_negative(own_height, to_joint * not_negative(own_width));
  V around_x = none, around_y = none, centre_x = none, centre_y = none;
  if constexpr (kKind == Overlap::generalized) {
    around_x = where_not_negative(p.around_width, to_around * not_negative(p.around_height));
    around_y = where_not_negative(p.around_height, to_around * not_negative(p.around_width));
  }
  if constexpr (kKind == Overlap::distance || kKind == Overlap::complete) {
    const V scale = g / p.diagonal;
    const V far = 2 * scale * (p.dx * p.dx + p.dy * p.dy) / p.diagonal;
    around_x = far * not_negative(p.around_width);
    around_y = far * not_negative(p.around_height);
    centre_x = -scale * p.dx;
    centre_y = -scale * p.dy;
  }
  if constexpr (kKind == Overlap::complete) {
    const V difference = a.angle - b.angle;
    const V v = difference * difference * kAspect;
    const V to_angle = -g * v / (1 - p.iou + v + eps) * (2 * kAspect) * difference;
    own_x += where_not_negative(own_width, to_angle * turn_w);
    own_y += where_not_negative(own_height, to_angle * turn_h);
  }
  return {-shared_x * share(a.x1, b.x1, true) - own_x - around_x * share(a.x1, b.x1, false) + centre_x,
          -shared_y * share(a.y1, b.y1, true) - own_y - around_y * share(a.y1, b.y1, false) + centre_y,
          shared_x * share(a.x2, b.x2, false) + own_x + around_x * share(a.x2, b.x2, true) + centre_x,
          shared_y * share(a.y2, b.y2, false) + own_y + around_y * share(a.y2, b.y2, true) + centre_y};
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
