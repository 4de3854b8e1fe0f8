// Shared by dense and packed reduced projection: the pieces of the sum over vertices.
#pragma once

#include <type_traits>

#include "common/cpu/threads.h"
#include "common/cpu/vector.h"
#include "force_projection/force_projection.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// How many pieces the groups are cut into. It depends on the sizes alone: the order of the sum, and so its last bit, is
// the same for every number of threads.
inline std::int64_t num_pieces(std::int64_t num_groups) { return max_of(1, min_of(num_groups, 16)); }

// Calls fn(offset, integral_constant) for parts of a row of `length` numbers: Most vectors each, the last what is left.
template <class T, int Most, class Fn>
BIOMECHAU_INLINE void for_each_tile(std::int64_t length, const Fn& fn, std::int64_t at = 0) {
  constexpr std::int64_t size = Most * Vector<T>::width;
  for (; at + size <= length; at += size) fn(at, std::integral_constant<int, Most>{});
  if constexpr (Most > 1)
    if (at < length) for_each_tile<T, Most - 1>(length, fn, at);
}

template <class T> double projection_work(const ReducedProjection<T>& args) {
  return 6.0 * args.num_shapes * args.distribution.num_entries;
}

// args.out = the sum of what fn(piece, sums) adds to the `size` sums of each piece, of which at(k, m, a) is A[k, m, a].
template <class T, class At, class Fn>
void sum_pieces(const ReducedProjection<T>& args, std::int64_t num_groups, std::int64_t size, const At& at,
                int num_threads, const Fn& fn) {
  const std::int64_t num_muscles = args.distribution.num_muscles, depth = args.distribution.force_size();
  const std::int64_t pieces = num_pieces(num_groups);
  Scratch<T> partial(pieces * size);
  parallel_for(pieces, projection_work(args), num_threads, [&](std::int64_t piece) {
    T* sum = partial.data() + piece * size;
    for (std::int64_t i = 0; i < size; ++i) sum[i] = 0;
    fn(piece, sum);
  });
  for (std::int64_t piece = 1; piece < pieces; ++piece)
    for (std::int64_t i = 0; i < size; ++i) partial[i] += partial[piece * size + i];
  for (std::int64_t k = 0; k < args.num_shapes; ++k)
    for (std::int64_t m = 0; m < num_muscles; ++m)
      for (std::int64_t a = 0; a < depth; ++a) args.out[(k * num_muscles + m) * depth + a] = partial[at(k, m, a)];
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
