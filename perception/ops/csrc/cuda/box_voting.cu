// Box voting on CUDA, in float64: one block per kept box. Every thread sums its own voters in order,
// then warps and the block add up in a fixed order: the same bits every time.
#include "cuda/suppress.cuh"
#include "overlap_pair.h"

namespace perception {
namespace {

constexpr int kVoters = 128;  // threads of a block
constexpr unsigned kAll = 0xffffffffu;

enum Scoring { kId, kAverage, kMax, kIouAverage, kGeneralizedAverage, kQuasiSum };

// Sums over the voters: number, scores, score * corner, overlaps, score * overlap, score ^ beta.
struct Votes {
  enum { kCount, kWeight, kCorners, kOverlap = kCorners + 4, kWeightedOverlap, kPower, kSums };
  double sum[kSums];
  double best;

  __device__ void join(const Votes& other) {
    for (int k = 0; k < kSums; ++k) sum[k] += other.sum[k];
    best = fmax(best, other.best);
  }
};

struct Voting {
  double threshold;
  int64_t scoring;
  double beta;
};

__device__ PairBox<double> read_box(const DeviceRows& rows, int64_t i) {
  PairBox<double> box{rows.at(i, 0), rows.at(i, 1), rows.at(i, 2), rows.at(i, 3), 0, 0};
  box.area = not_negative(box.x2 - box.x1) * not_negative(box.y2 - box.y1);
  return box;
}

__device__ bool is_finite(const PairBox<double>& box) {
  return isfinite(box.x1) && isfinite(box.y1) && isfinite(box.x2) && isfinite(box.y2);
}

// The votes of the boxes threadIdx.x, threadIdx.x + kVoters, ...
__device__ Votes own_votes(const PairBox<double>& box, const DeviceRows& voters,
                           const DeviceRows& scores, const Voting& rule) {
  Votes votes{{}, -INFINITY};
  for (int64_t i = threadIdx.x; i < voters.count; i += kVoters) {
    const PairBox<double> voter = read_box(voters, i);
    const double score = scores.at(i);
    if (!is_finite(voter) || !isfinite(score)) continue;
    const double overlap = pair_of<Overlap::iou>(box, voter, 0).iou;
    if (!(overlap >= rule.threshold)) continue;
    const double corners[] = {voter.x1, voter.y1, voter.x2, voter.y2};
    votes.sum[Votes::kCount] += 1;
    votes.sum[Votes::kWeight] += score;
    for (int k = 0; k < 4; ++k) votes.sum[Votes::kCorners + k] += score * corners[k];
    votes.sum[Votes::kOverlap] += overlap;
    votes.sum[Votes::kWeightedOverlap] += score * overlap;
    if (rule.scoring == kGeneralizedAverage) votes.sum[Votes::kPower] += pow(score, rule.beta);
    votes.best = fmax(votes.best, score);
  }
  return votes;
}

// The block's votes, for thread 0.
__device__ Votes all_votes(Votes votes) {
  __shared__ Votes warps[kVoters / 32];
  for (int step = 16; step > 0; step /= 2) {
    Votes other;
    for (int k = 0; k < Votes::kSums; ++k)
      other.sum[k] = __shfl_down_sync(kAll, votes.sum[k], step);
    other.best = __shfl_down_sync(kAll, votes.best, step);
    votes.join(other);
  }
  __syncthreads();  // the last box's votes were read
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = votes;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int w = 1; w < kVoters / 32; ++w) votes.join(warps[w]);
  return votes;
}

// A box for which nobody votes keeps its score.
__device__ double voted_score(double score, const Votes& votes, const Voting& rule) {
  const double count = votes.sum[Votes::kCount], weight = votes.sum[Votes::kWeight];
  const double overlap = votes.sum[Votes::kOverlap];
  if (count == 0) return score;
  switch (rule.scoring) {
    case kAverage: return weight / count;
    case kMax: return votes.best;
    case kIouAverage: return overlap == 0 ? score : votes.sum[Votes::kWeightedOverlap] / overlap;
    case kGeneralizedAverage: return pow(votes.sum[Votes::kPower] / count, 1 / rule.beta);
    case kQuasiSum: return weight / pow(count, rule.beta);
    default: return score;
  }
}

template <typename B, typename S>
__global__ void __launch_bounds__(kVoters)
    voting_kernel(DeviceRows boxes, DeviceRows scores, DeviceRows voters, DeviceRows voter_scores,
                  Voting rule, B* new_boxes, S* new_scores) {
  for (int64_t i = blockIdx.x; i < boxes.count; i += gridDim.x) {
    const Votes votes = all_votes(own_votes(read_box(boxes, i), voters, voter_scores, rule));
    if (threadIdx.x != 0) continue;
    const double weight = votes.sum[Votes::kWeight];
    for (int k = 0; k < 4; ++k)
      new_boxes[4 * i + k] = static_cast<B>(
          weight == 0 ? boxes.at(i, k) : votes.sum[Votes::kCorners + k] / weight);
    new_scores[i] = static_cast<S>(voted_score(scores.at(i), votes, rule));
  }
}

std::tuple<Tensor, Tensor> box_voting(const Tensor& boxes, const Tensor& scores,
                                      const Tensor& all_boxes, const Tensor& all_scores,
                                      double threshold, int64_t scoring, double beta) {
  check_candidates(boxes, scores, 4);
  check_candidates(all_boxes, all_scores, 4);
  check(scoring >= kId && scoring <= kQuasiSum, "scoring must be 0 to 5, got ", scoring);
  const int64_t count = boxes.size(0);
  Tensor new_boxes =
      torch::stable::empty({count, 4}, boxes.scalar_type(), std::nullopt, boxes.device());
  Tensor new_scores =
      torch::stable::empty({count}, scores.scalar_type(), std::nullopt, boxes.device());
  if (count == 0) return {new_boxes, new_scores};
  const DeviceGuard guard(boxes.get_device_index());
  dispatch_real(boxes, [&](auto box) {
    dispatch_real(scores, [&](auto score) {
      using B = decltype(box);
      using S = decltype(score);
      voting_kernel<B, S><<<blocks_for(count, 1), kVoters, 0, current_stream(boxes)>>>(
          device_rows(boxes), device_rows(scores), device_rows(all_boxes),
          device_rows(all_scores), {threshold, scoring, beta}, static_cast<B*>(new_boxes.data_ptr()),
          static_cast<S*>(new_scores.data_ptr()));
    });
  });
  check_launch("box_voting");
  return {new_boxes, new_scores};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) { m.impl("box_voting", TORCH_BOX(&box_voting)); }

}  // namespace perception
