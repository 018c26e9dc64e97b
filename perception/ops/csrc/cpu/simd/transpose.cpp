#include "cpu/simd/transpose.h"

#include "cpu/simd/vectors.h"

namespace perception {
namespace PERCEPTION_ISA {
namespace {

template <int... Numbers>
struct sequence {};
#if defined(__clang__)
template <typename, int... Numbers>
struct wrap {
  using type = sequence<Numbers...>;
};
template <int Count>
using counting = typename __make_integer_seq<wrap, int, Count>::type;
#else
template <int Count>
using counting = sequence<__integer_pack(Count)...>;
#endif

// A block is square: as many elements as a register holds, at most 16.
template <typename Word>
constexpr int kSide =
    kBytes / static_cast<int>(sizeof(Word)) < 16 ? kBytes / static_cast<int>(sizeof(Word)) : 16;
template <typename Word>
struct line {
  typedef Word type __attribute__((vector_size(kSide<Word> * sizeof(Word))));
};

// Swaps the upper right with the lower left squares of side Half in all squares of side 2 * Half.
template <int Half, int Side, typename V, int... Lane>
inline void swap_squares(V* row, sequence<Lane...>) {
  for (int i = 0; i < Side; ++i) {
    if (i & Half) continue;
    const V a = row[i], b = row[i + Half];
    row[i] = __builtin_shufflevector(a, b, ((Lane & Half) ? Side + Lane - Half : Lane)...);
    row[i + Half] = __builtin_shufflevector(a, b, ((Lane & Half) ? Side + Lane : Lane + Half)...);
  }
}

template <typename Word>
inline void transpose_block(const Word* from, int64_t from_stride, Word* to, int64_t to_stride) {
  constexpr int kLanes = kSide<Word>;
  using V = typename line<Word>::type;
  V row[kLanes];
  for (int i = 0; i < kLanes; ++i) __builtin_memcpy(&row[i], from + i * from_stride, sizeof(V));
  if constexpr (kLanes > 8) swap_squares<8, kLanes>(row, counting<kLanes>{});
  if constexpr (kLanes > 4) swap_squares<4, kLanes>(row, counting<kLanes>{});
  if constexpr (kLanes > 2) swap_squares<2, kLanes>(row, counting<kLanes>{});
  swap_squares<1, kLanes>(row, counting<kLanes>{});
  for (int i = 0; i < kLanes; ++i) __builtin_memcpy(to + i * to_stride, &row[i], sizeof(V));
}

// What is left at the edges, element by element.
template <typename Word>
inline void transpose_plain(const Word* from, int64_t from_stride, int64_t rows, int64_t columns,
                            Word* to, int64_t to_stride) {
  for (int64_t column = 0; column < columns; ++column)
    for (int64_t row = 0; row < rows; ++row)
      to[column * to_stride + row] = from[row * from_stride + column];
}

}  // namespace

template <typename Word>
void transpose(const Word* from, int64_t from_stride, int64_t rows, int64_t columns, Word* to,
               int64_t to_stride) {
  constexpr int kLanes = kSide<Word>;
  constexpr int64_t kTile = 64;  // columns at a time: their destination stays in the cache
  const int64_t whole_rows = rows - rows % kLanes, whole_columns = columns - columns % kLanes;
  for (int64_t tile = 0; tile < whole_columns; tile += kTile) {
    const int64_t end = tile + kTile < whole_columns ? tile + kTile : whole_columns;
    for (int64_t row = 0; row < whole_rows; row += kLanes)
      for (int64_t column = tile; column < end; column += kLanes)
        transpose_block(from + row * from_stride + column, from_stride,
                        to + column * to_stride + row, to_stride);
  }
  transpose_plain(from + whole_columns, from_stride, whole_rows, columns - whole_columns,
                  to + whole_columns * to_stride, to_stride);
  transpose_plain(from + whole_rows * from_stride, from_stride, rows - whole_rows, columns,
                  to + whole_rows, to_stride);
}

#define INSTANTIATE(Word) \
  template void transpose<Word>(const Word*, int64_t, int64_t, int64_t, Word*, int64_t);
INSTANTIATE(uint16_t)
INSTANTIATE(uint32_t)
INSTANTIATE(uint64_t)

}  // namespace PERCEPTION_ISA
}  // namespace perception
