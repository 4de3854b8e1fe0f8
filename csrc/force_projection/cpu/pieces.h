// Shared by dense and packed reduced projection: the pieces of the sum over vertices, and the gradient of A by muscle.
#pragma once

#include "common/cpu/panel.h"
#include "common/cpu/threads.h"
#include "force_projection/force_projection.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// How many pieces the groups are cut into. It depends on the sizes alone: the order of the sum, and so its last bit, is
// the same for every number of threads.
inline std::int64_t num_pieces(std::int64_t num_groups) { return max_of(1, min_of(num_groups, 16)); }

template <class T> double projection_work(const ReducedProjection<T>& args) {
  return 6.0 * args.num_shapes * args.distribution.num_entries;
}

// args.out = the sum of what fn(piece, sum) adds to `sum` (M, K, slot) of each piece, the first D numbers of each slot.
template <class T, class Fn>
void sum_pieces(const ReducedProjection<T>& args, std::int64_t num_groups, std::int64_t slot, int num_threads,
                const Fn& fn) {
  const std::int64_t num_muscles = args.distribution.num_muscles, num_shapes = args.num_shapes;
  const std::int64_t depth = args.distribution.force_size();
  const std::int64_t pieces = num_pieces(num_groups), size = num_muscles * num_shapes * slot;
  Scratch<T> partial(pieces * size);
  parallel_for(pieces, projection_work(args), num_threads, [&](std::int64_t piece) {
    T* sum = partial.data() + piece * size;
    for (std::int64_t i = 0; i < size; ++i) sum[i] = 0;
    fn(piece, sum);
  });
  for (std::int64_t m = 0; m < num_muscles; ++m) {
    T* sum = partial.data() + m * num_shapes * slot;
    for (std::int64_t piece = 1; piece < pieces; ++piece)
      for (std::int64_t i = 0; i < num_shapes * slot; ++i) sum[i] += sum[piece * size + i];
    for (std::int64_t k = 0; k < num_shapes; ++k)
      for (std::int64_t a = 0; a < depth; ++a) args.out[(k * num_muscles + m) * depth + a] = sum[k * slot + a];
  }
}

// The gradient of A, one row per muscle: (K, axes), with the scalars of fibres repeated for every axis; then at least one
// 0.
template <class T> class GradientRows {
 public:
  GradientRows(const ReducedProjection<T>& args, std::int64_t axes)
      : length_(padded(axes * args.num_shapes + 1)), rows_(args.distribution.num_muscles * length_) {
    const std::int64_t num_muscles = args.distribution.num_muscles;
    for (std::int64_t m = 0; m < num_muscles; ++m) {
      T* to = &rows_[m * length_];
      for (std::int64_t k = 0; k < args.num_shapes; ++k) {
        const T* from = args.grad_out + (k * num_muscles + m) * args.distribution.force_size();
        for (std::int64_t a = 0; a < axes; ++a) to[axes * k + a] = args.distribution.fibre ? *from : from[a];
      }
      for (std::int64_t i = axes * args.num_shapes; i < length_; ++i) to[i] = 0;
    }
  }
  const T* of(std::int64_t muscle) const { return &rows_[muscle * length_]; }

 private:
  std::int64_t length_;
  Scratch<T> rows_;
};

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
