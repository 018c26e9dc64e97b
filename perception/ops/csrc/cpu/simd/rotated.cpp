// The intersection is the first box's area in the second one's frame, where that is
// [-W, W] x [-H, H]: by Green's theorem the integral of clamp(y, -H, H) over the parts of its four
// edges with x in [-W, W]. Nothing is sorted or compared with a tolerance.
#include "cpu/simd/rotated.h"

#include "cpu/simd/masks.h"

namespace perception {
namespace PERCEPTION_ISA {
namespace {

using V = vdouble;
constexpr int kLanes = lanes<double>;
constexpr double kTiny = 1e-300;    // takes the place of a zero length
constexpr double kNoise = 4e-15;    // rounding of the integral, in squares of the boxes' extent

inline V nonzero(V length) { return length == 0 ? all<V>(kTiny) : length; }
inline V clamp(V value, V low, V high) { return lower(upper(value, low), high); }

// Mean of clamp(y, -limit, limit) while y runs linearly from start to end.
inline V mean_clamped(V start, V end, V limit) {
  const V zero = {}, one = all<V>(1.0);
  const V low = lower(start, end), length = upper(start, end) - low;
  const V inverse = 1 / nonzero(length);
  const V below = clamp((-limit - low) * inverse, zero, one);
  const V above = clamp((limit - low) * inverse, zero, one);
  const V inside = low + (below + above) * 0.5 * length;
  return (above - below) * inside - below * limit + (one - above) * limit;
}

// Integral of clamp(y, -half_h, half_h) dx over the part of an edge with |x| <= half_w.
inline V edge(V x0, V y0, V x1, V y1, V half_w, V half_h) {
  const V zero = {}, one = all<V>(1.0);
  const V run = x1 - x0, rise = y1 - y0, inverse = 1 / nonzero(run);
  const V t0 = clamp((clamp(x0, -half_w, half_w) - x0) * inverse, zero, one);
  const V t1 = clamp((clamp(x1, -half_w, half_w) - x0) * inverse, zero, one);
  return run * (t1 - t0) * mean_clamped(y0 + t0 * rise, y0 + t1 * rise, half_h);
}

// Box i of a and the boxes j .. of b; lanes whose circles do not meet are 0.
inline V overlap_of(const RotatedBoxes& a, int64_t i, const RotatedBoxes& b, int64_t j) {
  const V dx = a.cx[i] - load(b.cx + j), dy = a.cy[i] - load(b.cy + j);
  const V radius = load(b.radius + j), reach = radius + a.radius[i];
  const V near = lower(reach * reach - (dx * dx + dy * dy), radius);  // of real boxes that can meet
  if (!greater(near, V{})) return V{};
  const V cosine = load(b.cosine + j), sine = load(b.sine + j);
  const V x = dx * cosine - dy * sine, y = dx * sine + dy * cosine;
  const V c = a.cosine[i] * cosine + a.sine[i] * sine, s = a.sine[i] * cosine - a.cosine[i] * sine;
  const V ux = c * a.half_w[i], uy = -s * a.half_w[i];
  const V vx = s * a.half_h[i], vy = c * a.half_h[i];
  const V half_w = load(b.half_w + j), half_h = load(b.half_h + j);
  const V x0 = x + ux + vx, y0 = y + uy + vy, x1 = x - ux + vx, y1 = y - uy + vy;
  const V x2 = x - ux - vx, y2 = y - uy - vy, x3 = x + ux - vx, y3 = y + uy - vy;
  V shared = edge(x0, y0, x1, y1, half_w, half_h) + edge(x1, y1, x2, y2, half_w, half_h) +
             edge(x2, y2, x3, y3, half_w, half_h) + edge(x3, y3, x0, y0, half_w, half_h);
  const V own = all<V>(a.area[i]), other = load(b.area + j);
  shared = lower(upper(shared, -shared), lower(own, other));
  shared = shared > reach * reach * kNoise ? shared : V{};
  const V value = shared / (own + other - shared);
  return (near > 0) & (value >= 0) ? value : V{};  // an infinite area gives NaN
}

}  // namespace

template <typename T>
void rotated_row(const RotatedBoxes& a, int64_t i, const RotatedBoxes& b, int64_t count, T* out) {
  if (!(a.radius[i] > 0)) {
    for (int64_t j = 0; j < count; ++j) out[j] = 0;
    return;
  }
  for (int64_t j = 0; j < count; j += kLanes) {
    typedef T Out __attribute__((vector_size(kLanes * sizeof(T))));
    const Out values = __builtin_convertvector(overlap_of(a, i, b, j), Out);
    const int64_t left = count - j < kLanes ? count - j : kLanes;
    __builtin_memcpy(out + j, &values, static_cast<unsigned long>(left) * sizeof(T));
  }
}

bool rotated_suppressed(const RotatedBoxes& boxes, int64_t i, const RotatedBoxes& kept,
                        int64_t begin, int64_t end, double threshold) {
  const V limit = all<V>(threshold);
  // Lanes before `begin` are tested again; their answer is known to be no.
  for (int64_t j = begin / kLanes * kLanes; j < end; j += kLanes)
    if (greater(overlap_of(boxes, i, kept, j), limit)) return true;
  return false;
}

template void rotated_row<float>(const RotatedBoxes&, int64_t, const RotatedBoxes&, int64_t,
                                 float*);
template void rotated_row<double>(const RotatedBoxes&, int64_t, const RotatedBoxes&, int64_t,
                                  double*);

}  // namespace PERCEPTION_ISA
}  // namespace perception
