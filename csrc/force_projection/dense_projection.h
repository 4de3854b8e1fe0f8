// The reduced projection of blendshapes that are not packed, and its gradients: vectors of vertices, block after block.
#pragma once

#include <type_traits>

#include "common/axes.h"
#include "common/lane_sums.h"
#include "common/shape_group.h"
#include "force_projection/math.h"
#include "force_projection/muscle_lanes.h"
#include "force_projection/pieces.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// What fits the registers: shapes in the sum over vertices and in that over muscles, and slots in that over shapes.
#if defined(__AVX512F__)
constexpr int tile_projected = 8, tile_moved = 4, tile_slots = 12, tile_fibre_slots = 8;
#else
constexpr int tile_projected = 2, tile_moved = 1, tile_slots = 4, tile_fibre_slots = 1;
#endif

template <int Size, class Fn> void call_with_size(std::int64_t first, std::int64_t size, const Fn& fn) {
  if (size == Size)
    fn(first, std::integral_constant<int, Size>{});
  else if constexpr (Size > 1)
    call_with_size<Size - 1>(first, size, fn);
}
// Calls fn(first, integral_constant) for parts of `count` of about the same size, at most `Most`.
template <int Most, class Fn> void for_each_part(std::int64_t count, const Fn& fn) {
  const std::int64_t parts = (count + Most - 1) / Most;
  for (std::int64_t i = 0; i < parts; ++i)
    call_with_size<Most>(count * i / parts, count * (i + 1) / parts - count * i / parts, fn);
}

template <class T> using Blocks = ShapeGroups<T, Lanes<T>>;

// The blocks [begin, end) one after the other, with room for what is known of one.
template <bool fibre, class T> class DenseProjection {
 public:
  using V = Vector<T>;
  static constexpr int width = V::width, depth = fibre ? 1 : 3;

  DenseProjection(const ReducedProjection<T>& args, const Blocks<T>& blocks)
      : args_(args), p_(args.distribution), blocks_(blocks), values_(blocks.values_size()), index_(blocks.index_size()),
        lanes_(p_, Lanes<T>::block), moving_(p_.num_muscles * args.num_shapes * depth) {}

  // out (M, K, D) += A of the blocks.
  void forward(std::int64_t begin, std::int64_t end, T* out) {
    for (std::int64_t i = begin; i < end; ++i) {
      if (!load(i, true)) continue;
      lanes_.sort();
      for_each_part<tile_projected>(group_.num_shapes, [&](std::int64_t first, auto count) {
        lanes_.for_each_muscle([&](std::int64_t m, const std::int32_t* slots, std::int64_t num_slots) {
          project<decltype(count)::value>(slots, num_slots, first, out + m * args_.num_shapes * depth);
        });
      });
    }
  }

  void backward(std::int64_t begin, std::int64_t end, const GradientRows<T>& by_muscle) {
    const bool of_entries = args_.grad_val || args_.grad_directions;
    for (std::int64_t i = begin; i < end; ++i) {
      const bool met = load(i, of_entries);
      if (args_.grad_blendshapes) blendshape_gradient(i, met, by_muscle);
      if (met && of_entries) entry_gradients(by_muscle);
    }
  }

 private:
  // Whether P has an entry in the block.
  bool load(std::int64_t block, bool with_shapes) {
    const std::int64_t first = blocks_.first(block), last = blocks_.first(block + 1);
    if (p_.crow[first] == p_.crow[last]) return false;
    if (with_shapes) group_ = blocks_.get(block, values_.data(), index_.data());
    lanes_.load(first, last - first);
    return true;
  }

  // out (K, D) of a muscle += at C shapes the sum over the vertices of its slots of P b, or P <d, b>.
  template <int C> void project(const std::int32_t* slots, std::int64_t num_slots, std::int64_t first, T* out) const {
    V sum[C * depth];
    repeat<C * depth>([&](int i) BIOMECHAU_INLINE_LAMBDA { sum[i] = V::zero(); });
    for (std::int64_t i = 0; i < num_slots; ++i) {
      const T* b = shapes(lanes_.vector(slots[i])) + first * 3 * width;
      V p[3];
      for (int a = 0; a < 3; ++a) p[a] = V::load(lanes_.lanes(slots[i], fibre ? a : 0));
      repeat<C * 3>([&](int j) BIOMECHAU_INLINE_LAMBDA {
        V& to = sum[fibre ? j / 3 : j];
        to = to + p[j % 3] * V::load(b + j * width);
      });
    }
    T sums[C * depth];
    lane_sums<C * depth>(sum, sums);
    for (int c = 0; c < C; ++c)
      for (int a = 0; a < depth; ++a) out[group_.shape[first + c] * depth + a] += sums[c * depth + a];
  }

  static BIOMECHAU_INLINE void store_rows(const V (&axis)[3], std::int64_t count, T* rows) {
    if (count == width) return join_axes(axis, rows);
    T all[3 * width];
    join_axes(axis, all);
    std::memcpy(rows, all, 3 * count * sizeof(T));
  }

  const T* shapes(std::int64_t vector) const { return group_.values + vector * group_.num_slots * 3 * width; }

  // grad_B_k(v) = sum over muscles of P grad_A, for every shape k, whether it moves the vertices or not.
  void blendshape_gradient(std::int64_t block, bool met, const GradientRows<T>& by_muscle) {
    const std::int64_t first = blocks_.first(block), last = blocks_.first(block + 1);
    for (std::int64_t v = first; v < last; v += width) {
      const std::int64_t vector = (v - first) / width;
      const std::int64_t begin = met ? lanes_.begin(vector) : 0, end = met ? lanes_.end(vector) : 0;
      for_each_part<tile_moved>(args_.num_shapes, [&](std::int64_t shape, auto count) {
        constexpr int C = decltype(count)::value;
        V sum[C][3];
        repeat<3 * C>([&](int i) BIOMECHAU_INLINE_LAMBDA { sum[i / 3][i % 3] = V::zero(); });
        for (std::int64_t slot = begin; slot < end; ++slot) {
          const T* grad = by_muscle.of(lanes_.muscle(slot)) + shape * depth;
          V p[3];
          for (int a = 0; a < 3; ++a) p[a] = V::load(lanes_.lanes(slot, fibre ? a : 0));
          repeat<3 * C>([&](int i) BIOMECHAU_INLINE_LAMBDA {
            sum[i / 3][i % 3].add_scaled(grad[fibre ? i / 3 : i], p[i % 3]);
          });
        }
        T* const out = args_.grad_blendshapes + (shape * p_.num_vertices + v) * 3;
        for (int c = 0; c < C && v + 2 * width <= last; ++c) {
          const T* next = out + (c * p_.num_vertices + width) * 3;
          prefetch_for_write(next, next + 3 * width);
        }
        repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA {
          store_rows(sum[c], min_of(width, last - v), out + c * p_.num_vertices * 3);
        });
      });
    }
  }

  // w = sum over shapes of grad_A b at every entry: grad_P = w, or <w, d> and grad_d = P w with directions.
  void entry_gradients(const GradientRows<T>& by_muscle) {
    const std::int64_t size = group_.num_shapes * depth;
    lanes_.sort();
    lanes_.for_each_muscle([&](std::int64_t m, const std::int32_t*, std::int64_t) {
      for (std::int64_t j = 0; j < group_.num_shapes; ++j)
        for (int a = 0; a < depth; ++a)
          moving_[m * size + j * depth + a] = by_muscle.of(m)[group_.shape[j] * depth + a];
    });
    for (std::int64_t vector = 0; vector < Lanes<T>::num_vectors(group_.num_vertices); ++vector) {
      const std::int64_t begin = lanes_.begin(vector);
      const std::int64_t slots = lanes_.end(vector) - begin;
      for_each_part<fibre ? tile_fibre_slots : tile_slots>(slots, [&](std::int64_t first, auto count) {
        sum_shapes<decltype(count)::value>(shapes(vector), begin + first);
      });
    }
    lanes_.for_each_entry([&](std::int64_t e, std::int64_t slot, std::int64_t lane) {
      if constexpr (fibre) {
        const T w[3] = {lanes_.lanes(slot, 0)[lane], lanes_.lanes(slot, 1)[lane], lanes_.lanes(slot, 2)[lane]};
        if (args_.grad_val) args_.grad_val[e] = spread_vector_vjp_p(p_.directions + 3 * e, w);
        for (int a = 0; a < 3; ++a)
          if (args_.grad_directions) args_.grad_directions[3 * e + a] = p_.val[e] * w[a];
      } else {
        args_.grad_val[e] = lanes_.lanes(slot, 0)[lane];
      }
    });
  }

  // w of C slots from `first` on takes the place of their entries, which nobody needs any more.
  template <int C> void sum_shapes(const T* b, std::int64_t first) {
    constexpr int axes = fibre ? 3 : 1;
    V sum[C][axes];
    const T* grad[C];
    repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA {
      for (int a = 0; a < axes; ++a) sum[c][a] = V::zero();
      grad[c] = &moving_[lanes_.muscle(first + c) * group_.num_shapes * depth];
    });
    for (std::int64_t j = 0; j < group_.num_shapes; ++j, b += 3 * width)
      for (int a = 0; a < 3; ++a) {
        const V x = V::load(b + a * width);
        repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA {
          sum[c][fibre ? a : 0].add_scaled(grad[c][fibre ? j : 3 * j + a], x);
        });
      }
    for (int c = 0; c < C; ++c)
      for (int a = 0; a < axes; ++a) sum[c][a].store(lanes_.lanes(first + c, a));
  }

  const ReducedProjection<T>& args_;
  const Distribution<T>& p_;
  const Blocks<T>& blocks_;
  Scratch<T> values_;
  Scratch<std::int32_t> index_;
  MuscleLanes<T> lanes_;
  Scratch<T> moving_;  // (M, shapes, D): the gradients of A at the shapes of a block
  ShapeGroup<T> group_{};
};

template <bool fibre, class T> void dense_projection_fwd(const ReducedProjection<T>& args, int num_threads) {
  const Blocks<T> blocks(args.blendshapes, args.packed, args.num_shapes, args.distribution.num_vertices);
  const std::int64_t pieces = num_pieces(blocks.count());
  sum_pieces(args, blocks.count(), fibre ? 1 : 3, num_threads, [&](std::int64_t piece, T* out) {
    DenseProjection<fibre, T>(args, blocks).forward(blocks.begin(piece, pieces), blocks.begin(piece + 1, pieces), out);
  });
}

template <bool fibre, class T> void dense_projection_bwd(const ReducedProjection<T>& args, int num_threads) {
  const Blocks<T> blocks(args.blendshapes, args.packed, args.num_shapes, args.distribution.num_vertices);
  const std::int64_t pieces = num_pieces(blocks.count());
  const GradientRows<T> by_muscle(args, fibre ? 1 : 3);
  const double work = projection_work(args) + 3.0 * args.num_shapes * args.distribution.num_vertices;
  parallel_for(pieces, work, num_threads, [&](std::int64_t piece) {
    DenseProjection<fibre, T>(args, blocks)
        .backward(blocks.begin(piece, pieces), blocks.begin(piece + 1, pieces), by_muscle);
  });
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
