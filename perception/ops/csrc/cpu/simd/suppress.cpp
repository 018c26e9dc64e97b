#include "cpu/simd/suppress.h"

#include "cpu/simd/masks.h"

namespace perception {
namespace PERCEPTION_ISA {
namespace {

// The decision for one pair, in the operations and order of torchvision's kernel.
template <typename A>
bool overlaps(const Candidate<A>& a, const KeptBoxes<A>& kept, int64_t j, double threshold) {
  const A left = a.x1 > kept.x1[j] ? a.x1 : kept.x1[j], top = a.y1 > kept.y1[j] ? a.y1 : kept.y1[j];
  const A right = a.x2 < kept.x2[j] ? a.x2 : kept.x2[j];
  const A bottom = a.y2 < kept.y2[j] ? a.y2 : kept.y2[j];
  const A width = right > left ? right - left : 0, height = bottom > top ? bottom - top : 0;
  const A shared = width * height, whole = a.area + kept.area[j] - shared;
  if (whole - whole == 0) return static_cast<double>(shared / whole) > threshold;
  const double w = right > left ? (double)right - left : 0, h = bottom > top ? (double)bottom - top : 0;
  const double own = ((double)a.x2 - a.x1) * ((double)a.y2 - a.y1);
  const double other = ((double)kept.x2[j] - kept.x1[j]) * ((double)kept.y2[j] - kept.y1[j]);
  return w * h / (own + other - w * h) > threshold;
}

}  // namespace

template <typename A>
bool suppressed(const Candidate<A>& a, const KeptBoxes<A>& kept, int64_t begin, int64_t end,
                const SuppressRule& rule) {
  using V = vector_t<A>;
  constexpr int kLanes = lanes<A>;
  const V x1 = all<V>(a.x1), y1 = all<V>(a.y1), x2 = all<V>(a.x2), y2 = all<V>(a.y2);
  const V area = all<V>(a.area), zero = {};
  const V generous = all<V>(static_cast<A>(rule.threshold)) * static_cast<A>(0.9999);
  // Lanes before `begin` are tested again; their answer is known to be no.
  for (int64_t j = begin / kLanes * kLanes; j < end; j += kLanes) {
    const V width = lower(x2, load(kept.x2 + j)) - upper(x1, load(kept.x1 + j));
    const V height = lower(y2, load(kept.y2 + j)) - upper(y1, load(kept.y1 + j));
    unsigned hits = greater(lower(width, height), zero);
    if (!hits) continue;
    if (!rule.huge) {
      const V shared = width * height;
      // A product instead of a quotient settles nearly all of them.
      hits &= ~greater(generous * (area + load(kept.area + j) - shared), shared);
    }
    for (; hits; hits &= hits - 1)
      if (overlaps(a, kept, j + __builtin_ctz(hits), rule.threshold)) return true;
  }
  return false;
}

template bool suppressed<float>(const Candidate<float>&, const KeptBoxes<float>&, int64_t, int64_t,
                                const SuppressRule&);
template bool suppressed<double>(const Candidate<double>&, const KeptBoxes<double>&, int64_t,
                                 int64_t, const SuppressRule&);

}  // namespace PERCEPTION_ISA
}  // namespace perception
