#include "cpu/ranking.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace perception {
namespace {

struct Ranked {
  uint64_t key;
  int64_t row;
};

// Descending scores have ascending keys; -0 equals 0.
uint64_t key_of(double score) {
  score += 0.0;
  uint64_t bits;
  std::memcpy(&bits, &score, sizeof bits);
  return bits >> 63 ? bits : ~bits & ~(uint64_t{1} << 63);
}
uint64_t key_of(float score) {
  score += 0.0f;
  uint32_t bits;
  std::memcpy(&bits, &score, sizeof bits);
  return bits >> 31 ? bits : ~bits & ~(uint32_t{1} << 31);
}

// Stable, byte by byte from the lowest; bytes that are the same everywhere are passed over.
void radix_sort(std::vector<Ranked>& items, int bytes) {
  std::vector<std::array<uint32_t, 256>> counts(static_cast<size_t>(bytes));
  for (auto& count : counts) count.fill(0);
  for (const Ranked& item : items)
    for (int b = 0; b < bytes; ++b) ++counts[static_cast<size_t>(b)][item.key >> 8 * b & 255];
  std::vector<Ranked> other(items.size());
  for (int b = 0; b < bytes; ++b) {
    auto& count = counts[static_cast<size_t>(b)];
    if (count[items[0].key >> 8 * b & 255] == items.size()) continue;
    uint32_t sum = 0;
    for (uint32_t& each : count) {
      const uint32_t here = each;
      each = sum;
      sum += here;
    }
    for (const Ranked& item : items) other[count[item.key >> 8 * b & 255]++] = item;
    items.swap(other);
  }
}

template <typename B, typename S>
std::vector<Ranked> usable(const Tensor& boxes, const Tensor& scores) {
  const int64_t columns = boxes.size(1), count = boxes.size(0);
  const B* box = static_cast<const B*>(boxes.data_ptr());
  const S* score = static_cast<const S*>(scores.data_ptr());
  const int64_t row = boxes.stride(0), column = boxes.stride(1), step = scores.stride(0);
  std::vector<Ranked> items;
  items.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    B zero = 0;  // NaN unless all numbers are finite
    for (int64_t j = 0; j < columns; ++j) zero += box[i * row + j * column] * 0;
    const S value = score[i * step];
    if (zero == 0 && value == value) items.push_back({key_of(value), i});
  }
  return items;
}

}  // namespace

std::vector<int64_t> ranked(const Tensor& boxes, const Tensor& scores) {
  const bool wide_boxes = boxes.scalar_type() == ScalarType::Double;
  const bool wide_scores = scores.scalar_type() == ScalarType::Double;
  auto items = wide_boxes ? (wide_scores ? usable<double, double>(boxes, scores)
                                         : usable<double, float>(boxes, scores))
                          : (wide_scores ? usable<float, double>(boxes, scores)
                                         : usable<float, float>(boxes, scores));
  if (items.size() > 128 && items.size() < UINT32_MAX) {
    radix_sort(items, wide_scores ? 8 : 4);
  } else {
    std::sort(items.begin(), items.end(), [](const Ranked& a, const Ranked& b) {
      return a.key != b.key ? a.key < b.key : a.row < b.row;
    });
  }
  std::vector<int64_t> rows(items.size());
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = items[i].row;
  return rows;
}

Tensor empty_indices(int64_t count, const Tensor& like) {
  return torch::stable::empty({count}, ScalarType::Long, std::nullopt, like.device());
}

}  // namespace perception
