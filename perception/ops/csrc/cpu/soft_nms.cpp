// Soft suppression and box voting on the CPU, in float64.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/parallel.h"
#include "cpu/ranking.h"

namespace perception {
namespace {

struct Box {
  double x1, y1, x2, y2, area;
};

// NaN stays NaN: it fails the comparison.
double not_negative(double side) { return side < 0 ? 0 : side; }

std::vector<Box> read_boxes(const Tensor& boxes) {
  const Rows<double> rows(boxes);
  std::vector<Box> out(static_cast<size_t>(boxes.size(0)));
  for (size_t i = 0; i < out.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    Box& box = out[i];
    box = {rows.at(row, 0), rows.at(row, 1), rows.at(row, 2), rows.at(row, 3), 0};
    box.area = not_negative(box.x2 - box.x1) * not_negative(box.y2 - box.y1);
  }
  return out;
}

bool is_finite(const Box& box) {
  return std::isfinite(box.x1) && std::isfinite(box.y1) && std::isfinite(box.x2) &&
         std::isfinite(box.y2);
}

// IoU of boxes whose areas are numbers, 0 where the union is empty.
double overlap_of(const Box& a, const Box& b) {
  const double width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  const double height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  if (!(width > 0 && height > 0)) return 0;
  const double shared = width * height, joint = a.area + b.area - shared;
  return joint <= 0 ? 0 : shared / joint;
}

void write(Tensor& to, int64_t place, double value) {
  if (to.scalar_type() == ScalarType::Double)
    static_cast<double*>(to.data_ptr())[place] = value;
  else
    static_cast<float*>(to.data_ptr())[place] = static_cast<float>(value);
}

enum Method { kHard, kLinear, kGaussian };

struct Soft {
  int64_t method;
  double threshold, sigma, least;
};

struct Waiting {
  Box box;
  double score;
  int64_t row;
};

// The new score of a box at an overlap; NaN: it is dropped.
double lowered(double score, double overlap, const Soft& rule) {
  if (rule.method == kGaussian) return score * std::exp(-overlap * overlap / rule.sigma);
  if (rule.method == kHard) return overlap < rule.threshold ? score : std::nan("");
  return overlap >= rule.threshold ? score * (1 - overlap) : score;
}

// Emits the best of the waiting boxes (which keep their order) until none is good enough.
std::vector<Waiting> emitted(std::vector<Waiting> waiting, const Soft& rule) {
  std::vector<Waiting> out;
  while (!waiting.empty()) {
    size_t best = 0;
    for (size_t i = 1; i < waiting.size(); ++i)
      if (waiting[i].score > waiting[best].score) best = i;
    if (waiting[best].score < rule.least) break;
    out.push_back(waiting[best]);
    const Box box = waiting[best].box;
    size_t left = 0;
    for (size_t i = 0; i < waiting.size(); ++i) {
      if (i == best) continue;
      const double score = lowered(waiting[i].score, overlap_of(box, waiting[i].box), rule);
      if (!(score >= rule.least)) continue;
      waiting[left] = waiting[i];
      waiting[left++].score = score;
    }
    waiting.resize(left);
  }
  return out;
}

std::tuple<Tensor, Tensor> soft_nms(const Tensor& boxes, const Tensor& scores, int64_t method,
                                    double threshold, double sigma, double least) {
  check_candidates(boxes, scores, 4);
  check(method >= kHard && method <= kGaussian, "method must be 0, 1 or 2, got ", method);
  check(sigma > 0, "sigma must be above 0, got ", sigma);
  const std::vector<Box> all = read_boxes(boxes);
  const Rows<double> score(scores);
  std::vector<Waiting> waiting;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    const double value = score.at(row);
    if (is_finite(all[i]) && value == value) waiting.push_back({all[i], value, row});
  }
  const std::vector<Waiting> order = emitted(std::move(waiting), {method, threshold, sigma, least});
  const auto count = static_cast<int64_t>(order.size());
  Tensor rows = empty_indices(count, boxes);
  Tensor final_scores =
      torch::stable::empty({count}, scores.scalar_type(), std::nullopt, scores.device());
  for (int64_t i = 0; i < count; ++i) {
    static_cast<int64_t*>(rows.data_ptr())[i] = order[static_cast<size_t>(i)].row;
    write(final_scores, i, order[static_cast<size_t>(i)].score);
  }
  return {rows, final_scores};
}

enum Scoring { kId, kAverage, kMax, kIouAverage, kGeneralizedAverage, kQuasiSum };

struct Votes {
  double count = 0, weight = 0, corners[4] = {}, best = -std::numeric_limits<double>::infinity();
  double overlap = 0, weighted_overlap = 0, power = 0;
};

Votes votes_for(const Box& box, const std::vector<Box>& voters, const std::vector<double>& scores,
                double threshold, double beta) {
  Votes votes;
  for (size_t i = 0; i < voters.size(); ++i) {
    const double overlap = overlap_of(box, voters[i]), score = scores[i];
    if (!(overlap >= threshold)) continue;
    const double corners[] = {voters[i].x1, voters[i].y1, voters[i].x2, voters[i].y2};
    votes.count += 1;
    votes.weight += score;
    for (int k = 0; k < 4; ++k) votes.corners[k] += score * corners[k];
    votes.best = std::max(votes.best, score);
    votes.overlap += overlap;
    votes.weighted_overlap += score * overlap;
    votes.power += beta == 1 ? score : std::pow(score, beta);
  }
  return votes;
}

// A box for which nobody votes keeps its score.
double voted_score(double score, const Votes& votes, int64_t scoring, double beta) {
  if (votes.count == 0) return score;
  switch (scoring) {
    case kAverage: return votes.weight / votes.count;
    case kMax: return votes.best;
    case kIouAverage: return votes.overlap == 0 ? score : votes.weighted_overlap / votes.overlap;
    case kGeneralizedAverage: return std::pow(votes.power / votes.count, 1 / beta);
    case kQuasiSum: return votes.weight / std::pow(votes.count, beta);
    default: return score;
  }
}

std::tuple<Tensor, Tensor> box_voting(const Tensor& boxes, const Tensor& scores,
                                      const Tensor& all_boxes, const Tensor& all_scores,
                                      double threshold, int64_t scoring, double beta) {
  check_candidates(boxes, scores, 4);
  check_candidates(all_boxes, all_scores, 4);
  check(scoring >= kId && scoring <= kQuasiSum, "scoring must be 0 to 5, got ", scoring);
  const std::vector<Box> kept = read_boxes(boxes), everyone = read_boxes(all_boxes);
  std::vector<Box> voters;
  std::vector<double> weights;
  for (size_t i = 0; i < everyone.size(); ++i) {
    const double score = Rows<double>(all_scores).at(static_cast<int64_t>(i));
    if (!is_finite(everyone[i]) || !std::isfinite(score)) continue;
    voters.push_back(everyone[i]);
    weights.push_back(score);
  }
  Tensor new_boxes = torch::stable::empty({boxes.size(0), 4}, boxes.scalar_type(), std::nullopt,
                                          boxes.device());
  Tensor new_scores = torch::stable::empty({scores.size(0)}, scores.scalar_type(), std::nullopt,
                                           scores.device());
  const Rows<double> score(scores), rows(boxes);
  for_chunks(boxes.size(0), 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Box& box = kept[static_cast<size_t>(i)];
      Votes votes;
      if (box.area == box.area) votes = votes_for(box, voters, weights, threshold, beta);
      for (int k = 0; k < 4; ++k)
        write(new_boxes, 4 * i + k,
              votes.weight == 0 ? rows.at(i, k) : votes.corners[k] / votes.weight);
      write(new_scores, i, voted_score(score.at(i), votes, scoring, beta));
    }
  });
  return {new_boxes, new_scores};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CPU, m) {
  m.impl("soft_nms", TORCH_BOX(&soft_nms));
  m.impl("box_voting", TORCH_BOX(&box_voting));
}

}  // namespace perception
