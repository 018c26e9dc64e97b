// Greedy suppression on the CPU: all boxes together, or every class by itself.
#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <unordered_map>

#include "cpu/isa.h"
#include "cpu/parallel.h"
#include "cpu/ranking.h"
#include "cpu/simd/suppress.h"

namespace perception {
namespace {

constexpr int64_t kBlock = 512;              // candidates compared with the kept ones at a time
constexpr int64_t kWorthThreads = 1 << 19;   // pairs below which one thread is faster

// Survivors of one group of boxes that come best first.
template <typename A>
class Greedy {
 public:
  Greedy(const Tensor& boxes, double threshold) : rows_(boxes), threshold_(threshold) {}

  // Sets alive[i] for the boxes rows[0 .. count - 1]; stops after `most` survivors.
  void operator()(const int64_t* rows, int64_t count, int64_t most, uint8_t* alive) {
    read(rows, count);
    const auto kernel = SELECT_ISA(suppressed<A>);
    const SuppressRule rule{threshold_, huge_};
    int64_t kept = 0;
    for (int64_t begin = 0; begin < count && kept < most; begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, count), before = kept;
      const auto compare = [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i)
          alive[i] = !kernel(boxes_[static_cast<size_t>(i)], view_, 0, before, rule);
      };
      if (before * (end - begin) < kWorthThreads) {
        compare(begin, end);
      } else {
        for_chunks(end - begin, 32,
                   [&](int64_t from, int64_t to) { compare(begin + from, begin + to); });
      }
      for (int64_t i = begin; i < end; ++i) {
        const Candidate<A>& box = boxes_[static_cast<size_t>(i)];
        alive[i] = alive[i] && kept < most && !kernel(box, view_, before, kept, rule);
        if (alive[i]) keep(box, kept++);
      }
    }
  }

 private:
  void read(const int64_t* rows, int64_t count) {
    boxes_.resize(static_cast<size_t>(count));
    constexpr A kLimit = std::numeric_limits<A>::max() / 4;
    for (int64_t i = 0; i < count; ++i) {
      Candidate<A>& box = boxes_[static_cast<size_t>(i)];
      box = {rows_.at(rows[i], 0), rows_.at(rows[i], 1), rows_.at(rows[i], 2),
             rows_.at(rows[i], 3), 0};
      box.area = (box.x2 - box.x1) * (box.y2 - box.y1);
      huge_ = huge_ || !(box.area <= kLimit && box.area >= -kLimit);
    }
    const int64_t stride = (count + kSuppressPad) / kSuppressPad * kSuppressPad;
    memory_ = Scratch(static_cast<size_t>(5 * stride) * sizeof(A));
    A* start = memory_.as<A>();
    view_ = {start, start + stride, start + 2 * stride, start + 3 * stride, start + 4 * stride};
  }

  void keep(const Candidate<A>& box, int64_t place) {
    if (place % kSuppressPad == 0) {  // a new vector: boxes with nothing inside
      for (int64_t i = place; i < place + kSuppressPad; ++i) {
        view_.x1[i] = view_.y1[i] = std::numeric_limits<A>::max();
        view_.x2[i] = view_.y2[i] = -std::numeric_limits<A>::max();
        view_.area[i] = 0;
      }
    }
    view_.x1[place] = box.x1;
    view_.y1[place] = box.y1;
    view_.x2[place] = box.x2;
    view_.y2[place] = box.y2;
    view_.area[place] = box.area;
  }

  const Rows<A> rows_;
  const double threshold_;
  bool huge_ = false;
  std::vector<Candidate<A>> boxes_;
  Scratch memory_;
  KeptBoxes<A> view_{};
};

// Ranked rows as groups of equal ids: positions[first[g] .. first[g + 1]] into the ranking.
struct Groups {
  std::vector<int64_t> first, positions;
  int64_t largest = 0;
};

Groups grouped(const std::vector<int64_t>& rows, const Tensor& idxs) {
  const int64_t* ids = static_cast<const int64_t*>(idxs.data_ptr());
  const int64_t step = idxs.stride(0);
  std::unordered_map<int64_t, int64_t> numbers;
  std::vector<int64_t> group(rows.size()), count;
  int64_t last_id = 0, last = -1;
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t id = ids[rows[i] * step];
    if (last < 0 || id != last_id) {
      last_id = id;
      last = numbers.try_emplace(id, static_cast<int64_t>(numbers.size())).first->second;
      if (last == static_cast<int64_t>(count.size())) count.push_back(0);
    }
    group[i] = last;
    ++count[static_cast<size_t>(last)];
  }
  Groups out;
  out.first.assign(count.size() + 1, 0);
  std::partial_sum(count.begin(), count.end(), out.first.begin() + 1);
  out.positions.resize(rows.size());
  std::vector<int64_t> next(out.first.begin(), out.first.end() - 1);
  for (size_t i = 0; i < rows.size(); ++i)
    out.positions[static_cast<size_t>(next[static_cast<size_t>(group[i])]++)] =
        static_cast<int64_t>(i);
  for (const int64_t each : count) out.largest = std::max(out.largest, each);
  return out;
}

template <typename A>
void suppress_group(const Tensor& boxes, const std::vector<int64_t>& rows, const Groups& groups,
                    size_t g, double threshold, uint8_t* alive) {
  const int64_t begin = groups.first[g], count = groups.first[g + 1] - begin;
  const int64_t* positions = groups.positions.data() + begin;
  std::vector<int64_t> own(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    own[static_cast<size_t>(i)] = rows[static_cast<size_t>(positions[i])];
  std::vector<uint8_t> survives(static_cast<size_t>(count));
  Greedy<A>(boxes, threshold)(own.data(), count, count, survives.data());
  for (int64_t i = 0; i < count; ++i) alive[positions[i]] = survives[static_cast<size_t>(i)];
}

// Rows that survive, best first, at most `most`.
template <typename A>
std::vector<int64_t> survivors(const Tensor& boxes, const Tensor& scores,
                               const std::optional<Tensor>& idxs, double threshold, int64_t most) {
  std::vector<int64_t> rows = ranked(boxes, scores);
  std::vector<uint8_t> alive(rows.size());
  const auto count = static_cast<int64_t>(rows.size());
  if (!idxs) {
    Greedy<A>(boxes, threshold)(rows.data(), count, most, alive.data());
  } else {
    const Groups groups = grouped(rows, *idxs);
    const auto number = static_cast<int64_t>(groups.first.size()) - 1;
    const auto run = [&](int64_t begin, int64_t end) {
      for (int64_t g = begin; g < end; ++g)
        suppress_group<A>(boxes, rows, groups, static_cast<size_t>(g), threshold, alive.data());
    };
    // A group that outweighs the rest gets all threads; small ones share them.
    const bool together = 2 * groups.largest > count || count < 512;
    together ? run(0, number) : for_chunks(number, 1, run);
  }
  size_t kept = 0;
  for (size_t i = 0; i < rows.size(); ++i)
    if (alive[i] && static_cast<int64_t>(kept) < most) rows[kept++] = rows[i];
  rows.resize(kept);
  return rows;
}

std::vector<int64_t> kept_rows(const Tensor& boxes, const Tensor& scores,
                               const std::optional<Tensor>& idxs, double threshold, int64_t most) {
  check_candidates(boxes, scores, 4);
  check(threshold >= 0 && threshold <= 1, "iou_threshold must lie in [0, 1], got ", threshold);
  if (idxs)
    check(idxs->dim() == 1 && idxs->size(0) == boxes.size(0) &&
              idxs->scalar_type() == ScalarType::Long,
          "idxs must be int64 with as many rows as boxes");
  return boxes.scalar_type() == ScalarType::Double
             ? survivors<double>(boxes, scores, idxs, threshold, most)
             : survivors<float>(boxes, scores, idxs, threshold, most);
}

Tensor as_tensor(const std::vector<int64_t>& rows, const Tensor& like) {
  Tensor out = empty_indices(static_cast<int64_t>(rows.size()), like);
  std::copy(rows.begin(), rows.end(), static_cast<int64_t*>(out.data_ptr()));
  return out;
}

constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

Tensor nms(const Tensor& boxes, const Tensor& scores, double threshold) {
  return as_tensor(kept_rows(boxes, scores, std::nullopt, threshold, kAll), boxes);
}

Tensor batched_nms(const Tensor& boxes, const Tensor& scores, const Tensor& idxs,
                   double threshold) {
  return as_tensor(kept_rows(boxes, scores, idxs, threshold, kAll), boxes);
}

std::tuple<Tensor, Tensor> nms_padded(const Tensor& boxes, const Tensor& scores,
                                      const std::optional<Tensor>& idxs, double threshold,
                                      int64_t max_output) {
  check(max_output >= 0, "max_output must be at least 0, got ", max_output);
  const std::vector<int64_t> rows = kept_rows(boxes, scores, idxs, threshold, max_output);
  Tensor padded = empty_indices(max_output, boxes);
  auto* out = static_cast<int64_t*>(padded.data_ptr());
  std::fill(std::copy(rows.begin(), rows.end(), out), out + max_output, -1);
  Tensor count = torch::stable::empty({}, ScalarType::Long, std::nullopt, boxes.device());
  *static_cast<int64_t*>(count.data_ptr()) = static_cast<int64_t>(rows.size());
  return {padded, count};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) {
  m.impl("nms", TORCH_BOX(&nms));
  m.impl("batched_nms", TORCH_BOX(&batched_nms));
  m.impl("nms_padded", TORCH_BOX(&nms_padded));
}

}  // namespace perception
