// Soft suppression on CUDA, in float64. Every emitted box changes the scores of the others, so the
// rounds come one after the other: one block runs all of them in one launch, and the host waits once,
// to size the result.
//
// Cost: a round reads every box that is left and ends in one barrier. Estimated, not measured: half a
// microsecond with 2000 boxes (1 ms where all are emitted), 2 to 3 with 20000 (50 ms). Boxes of
// several classes are better given class by class, or cut down to the best thousands before.
#include "cuda/suppress.cuh"
#include "overlap_pair.h"

namespace perception {
namespace {

constexpr int kFewThreads = 256;    // a small block agrees faster, a large one reads faster
constexpr int kManyThreads = 1024;
constexpr int64_t kMany = 4096;     // boxes
constexpr unsigned kAll = 0xffffffffu;

enum Method { kHard, kLinear, kGaussian };

struct Soft {
  int64_t method;
  double threshold, sigma, least;
};

// As the box is stored: float32 boxes are compared in float32, exactly.
template <typename T>
struct alignas(4 * sizeof(T)) Corners {
  T x1, y1, x2, y2;

  __device__ bool is_finite() const {
    return isfinite(x1) && isfinite(y1) && isfinite(x2) && isfinite(y2);
  }
  __device__ PairBox<double> wide() const {
    PairBox<double> box{x1, y1, x2, y2, 0, 0};
    box.area = not_negative(box.x2 - box.x1) * not_negative(box.y2 - box.y1);
    return box;
  }
  __device__ double overlap(const Corners& b) const {
    const bool apart = !(smaller(x2, b.x2) > larger(x1, b.x1) && smaller(y2, b.y2) > larger(y1, b.y1));
    return apart ? 0 : pair_of<Overlap::iou>(wide(), b.wide(), 0).iou;
  }
};

// Boxes that wait to be emitted. Thread t owns the places t, t + blockDim.x, ... and keeps its
// boxes in the first of them, in order.
template <typename T>
struct Waiting {
  Corners<T>* box;
  double* score;
  int64_t* row;
};

template <typename T>
struct Candidate {
  Corners<T> box;
  double score;
  int64_t row;  // -1: none
};

struct Emitted {
  int64_t* row;
  void* score;
  bool wide;  // scores are float64
  int64_t* number;

  __device__ void write(int64_t place, int64_t of, double value) const {
    row[place] = of;
    if (wide)
      static_cast<double*>(score)[place] = value;
    else
      static_cast<float*>(score)[place] = static_cast<float>(value);
  }
};

// Whether a comes before b: the higher score, then the lower row.
__device__ bool precedes(double score_a, int64_t row_a, double score_b, int64_t row_b) {
  if (row_a < 0 || row_b < 0) return row_a >= 0;
  return score_a > score_b || (score_a == score_b && row_a < row_b);
}

// The best row among those of the warp's lanes.
__device__ int64_t best_row(double score, int64_t row) {
  for (int step = 16; step > 0; step /= 2) {
    const double other_score = __shfl_xor_sync(kAll, score, step);
    const int64_t other = __shfl_xor_sync(kAll, static_cast<long long>(row), step);
    if (!precedes(other_score, other, score, row)) continue;
    score = other_score;
    row = other;
  }
  return row;
}

// The best of all threads' candidates. `board` has a place per warp and must alternate between calls:
// then one barrier is enough.
template <typename T>
__device__ Candidate<T> agreed(const Candidate<T>& mine, Candidate<T>* board) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t best = best_row(mine.score, mine.row);
  if (best < 0 ? lane == 0 : mine.row == best) board[warp] = mine;
  __syncthreads();
  const bool used = lane < static_cast<int>(blockDim.x / 32);
  const int64_t row = used ? board[lane].row : -1;
  const int64_t winner = best_row(used ? board[lane].score : 0, row);
  return board[winner < 0 ? 0 : __ffs(__ballot_sync(kAll, row == winner)) - 1];
}

// The new score of a box at an overlap; NaN: it is dropped.
__device__ double lowered(double score, double overlap, const Soft& rule) {
  if (rule.method == kHard) return overlap < rule.threshold ? score : nan("");
  if (overlap == 0) return score;
  if (rule.method == kGaussian) return score * exp(-overlap * overlap / rule.sigma);
  return overlap >= rule.threshold ? score * (1 - overlap) : score;
}

// Fills this thread's places with its usable boxes; returns their number.
template <typename T>
__device__ int64_t collect(const DeviceRows& boxes, const DeviceRows& scores,
                           const Waiting<T>& waiting, Candidate<T>& best) {
  int64_t place = threadIdx.x;
  for (int64_t i = threadIdx.x; i < boxes.count; i += blockDim.x) {
    const Corners<T> box{static_cast<T>(boxes.at(i, 0)), static_cast<T>(boxes.at(i, 1)),
                         static_cast<T>(boxes.at(i, 2)), static_cast<T>(boxes.at(i, 3))};
    const double score = scores.at(i);
    if (!box.is_finite() || !(score == score)) continue;
    waiting.box[place] = box;
    waiting.score[place] = score;
    waiting.row[place] = i;
    place += blockDim.x;
    if (precedes(score, i, best.score, best.row)) best = {box, score, i};
  }
  return place / blockDim.x;
}

// Lowers the scores of this thread's boxes after `winner`; returns how many of them still wait.
template <typename T>
__device__ int64_t lower(const Candidate<T>& winner, const Soft& rule, int64_t count,
                         const Waiting<T>& waiting, Candidate<T>& best) {
  int64_t place = threadIdx.x;
  const int64_t end = place + count * blockDim.x;
  for (int64_t from = place; from < end; from += blockDim.x) {
    const Corners<T> box = waiting.box[from];
    const int64_t row = waiting.row[from];
    const double score = lowered(waiting.score[from], winner.box.overlap(box), rule);
    if (row == winner.row || !(score >= rule.least)) continue;
    if (place != from) {
      waiting.box[place] = box;
      waiting.row[place] = row;
    }
    waiting.score[place] = score;
    place += blockDim.x;
    if (precedes(score, row, best.score, best.row)) best = {box, score, row};
  }
  return place / blockDim.x;
}

template <typename T>
__global__ void __launch_bounds__(kManyThreads)
    soft_kernel(DeviceRows boxes, DeviceRows scores, Soft rule, Waiting<T> waiting, Emitted out) {
  __shared__ Candidate<T> board[2][kManyThreads / 32];
  const Candidate<T> none{{}, 0, -1};
  Candidate<T> best = none;
  int64_t count = collect(boxes, scores, waiting, best);
  for (int64_t round = 0;; ++round) {
    const Candidate<T> winner = agreed(best, board[round % 2]);
    if (winner.row < 0 || winner.score < rule.least) {
      if (threadIdx.x == 0) *out.number = round;
      return;
    }
    if (threadIdx.x == 0) out.write(round, winner.row, winner.score);
    best = none;
    count = lower(winner, rule, count, waiting, best);
  }
}

template <typename T>
void launch(const Tensor& boxes, const Tensor& scores, const Soft& rule, const Emitted& out) {
  const int64_t count = boxes.size(0);
  const int threads = count > kMany ? kManyThreads : kFewThreads;
  const auto places = static_cast<size_t>((count + threads - 1) / threads * threads);
  Parts parts;
  const int64_t at_box = parts.add(places * sizeof(Corners<T>));
  const int64_t at_score = parts.add(places * sizeof(double));
  const int64_t at_row = parts.add(places * sizeof(int64_t));
  const Tensor memory = parts.allocate(boxes);
  auto* start = static_cast<char*>(memory.data_ptr());
  const Waiting<T> waiting{reinterpret_cast<Corners<T>*>(start + at_box),
                           reinterpret_cast<double*>(start + at_score),
                           reinterpret_cast<int64_t*>(start + at_row)};
  soft_kernel<T><<<1, threads, 0, current_stream(boxes)>>>(device_rows(boxes), device_rows(scores),
                                                           rule, waiting, out);
  check_launch("soft_nms");
}

std::tuple<Tensor, Tensor> soft_nms(const Tensor& boxes, const Tensor& scores, int64_t method,
                                    double threshold, double sigma, double least) {
  check_candidates(boxes, scores, 4);
  check(method >= kHard && method <= kGaussian, "method must be 0, 1 or 2, got ", method);
  check(sigma > 0, "sigma must be above 0, got ", sigma);
  const DeviceGuard guard(boxes.get_device_index());
  const int64_t count = boxes.size(0);
  Tensor rows = torch::stable::empty({count}, ScalarType::Long, std::nullopt, boxes.device());
  Tensor final_scores =
      torch::stable::empty({count}, scores.scalar_type(), std::nullopt, boxes.device());
  if (count == 0) return {rows, final_scores};
  const Tensor number = torch::stable::empty({}, ScalarType::Long, std::nullopt, boxes.device());
  const bool wide = scores.scalar_type() == ScalarType::Double;
  const Emitted out{static_cast<int64_t*>(rows.data_ptr()), final_scores.data_ptr(), wide,
                    static_cast<int64_t*>(number.data_ptr())};
  const Soft rule{method, threshold, sigma, least};
  if (boxes.scalar_type() == ScalarType::Double)
    launch<double>(boxes, scores, rule, out);
  else
    launch<float>(boxes, scores, rule, out);
  const int64_t emitted = number_on_host(number);
  return {torch::stable::narrow(rows, 0, 0, emitted),
          torch::stable::narrow(final_scores, 0, 0, emitted)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(perception, CUDA, m) { m.impl("soft_nms", TORCH_BOX(&soft_nms)); }

}  // namespace perception
