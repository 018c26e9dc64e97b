// One pair of boxes: overlap and gradient, the same text for vectors of float64 on the CPU and for
// single float64 numbers on the GPU. No header may be included here (see cpu/types.h).
#pragma once

#include "cpu/types.h"

#if defined(__CUDACC__)
#define HOST_DEVICE __device__
#else
#define HOST_DEVICE
#endif

namespace perception {

enum class Overlap { iou, generalized, distance, complete };

constexpr double kAspect = 0.40528473456935108578;  // 4 / pi^2

template <typename V>
struct PairBox {
  V x1, y1, x2, y2, area, angle;
};

// NaN stays NaN: it fails the comparison.
template <typename V>
HOST_DEVICE inline V not_negative(V value) { return value < 0 ? V{} : value; }
template <typename V>
HOST_DEVICE inline V smaller(V a, V b) { return a < b ? a : b; }
template <typename V>
HOST_DEVICE inline V larger(V a, V b) { return a > b ? a : b; }

// part / whole, 0 where the whole is empty.
template <typename V>
HOST_DEVICE inline V ratio(V part, V whole) {
  const V value = part / whole;
  return whole <= 0 ? V{} : value;
}

template <typename V>
struct Pair {
  V width, height, shared, joint, iou;                 // intersection, union
  V around_width, around_height;                       // enclosing box
  V dx, dy, diagonal;                                  // centres apart, squared diagonal + eps
};

template <Overlap kKind, typename V>
HOST_DEVICE inline Pair<V> pair_of(const PairBox<V>& a, const PairBox<V>& b, double eps) {
  Pair<V> p;
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

template <Overlap kKind, typename V>
HOST_DEVICE inline V value_of(const Pair<V>& p, const PairBox<V>& a, const PairBox<V>& b, double eps) {
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

// 1 where a side is the inner one, 1/2 where both coincide, else 0.
template <typename V>
HOST_DEVICE inline V share(V own, V other, bool larger_wins) {
  const V one = (V{} + 1.0), half = (V{} + 0.5), none = {};
  const V strict = larger_wins ? (own > other ? one : none) : (own < other ? one : none);
  return own == other ? half : strict;
}

template <typename V>
HOST_DEVICE inline V where_not_negative(V condition, V value) { return condition >= 0 ? value : V{}; }

template <typename V>
struct PairGradient {
  V x1, y1, x2, y2;
};

// The gradient to box a, times g. All four overlaps are symmetric, so this serves for both sides.
template <Overlap kKind, typename V>
HOST_DEVICE inline PairGradient<V> gradient_of(const PairBox<V>& a, const PairBox<V>& b, V turn_w, V turn_h, double eps, V g) {
  const Pair<V> p = pair_of<kKind>(a, b, eps);
  const V none = {};
  const V empty_safe = p.joint <= 0 ? (V{} + 1.0) : p.joint;
  const V inverse = p.joint <= 0 ? none : 1 / empty_safe;
  V to_shared = g * inverse, to_joint = -g * p.shared * inverse * inverse, to_around = none;
  if constexpr (kKind == Overlap::generalized) {
    const V around = not_negative(p.around_width) * not_negative(p.around_height);
    const V safe = around <= 0 ? (V{} + 1.0) : around;
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

}  // namespace perception
