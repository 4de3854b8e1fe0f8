// The reduced projection of blendshapes that are not packed, and its gradients: vectors of vertices, block after block.
#pragma once

#include <type_traits>

#include "common/cpu/axes.h"
#include "common/cpu/lane_sums.h"
#include "common/cpu/panel.h"
#include "force_projection/cpu/muscle_lanes.h"
#include "force_projection/cpu/pieces.h"
#include "force_projection/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// Shapes whose sums over vertices, or over muscles, fit the registers.
#if defined(__AVX512F__)
constexpr int tile_projected = 8, tile_moved = 8;
#else
constexpr int tile_projected = 2, tile_moved = 1;
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

// Blocks of vertices one after the other, with room for the data of one.
//
// For the memory every row of B is a separate stream: blocks are long, and a tile of shapes is copied row after row, from
// the tensor or to it, before or after its arithmetic.
template <bool fibre, class T> class DenseProjection {
 public:
  using V = Vector<T>;
  static constexpr int width = V::width, depth = fibre ? 1 : 3, axes = fibre ? 3 : 1;

  explicit DenseProjection(const ReducedProjection<T>& args)
      : args_(args), p_(args.distribution), block_(block_size(p_)), lanes_(p_, block_, part),
        tile_(tile_projected * row_size), moved_(tile_moved * row_size),
        sums_(lanes_.most_slots() * axes * width) {}

  static std::int64_t num_blocks(const Distribution<T>& p) {
    return (p.num_vertices + block_size(p) - 1) / block_size(p);
  }

  // out (M, K, D) += A of the blocks [begin, end).
  void forward(std::int64_t begin, std::int64_t end, T* out) {
    for (std::int64_t i = begin; i < end; ++i) {
      if (!load(i)) continue;
      lanes_.sort();
      for_each_part<tile_projected>(args_.num_shapes, [&](std::int64_t shape, auto count) {
        constexpr int C = decltype(count)::value;
        split_shapes<C>(shape);
        lanes_.for_each_list([&](std::int64_t m, const std::int32_t* slots, std::int64_t num_slots) {
          project<C>(slots, num_slots, out + (m * args_.num_shapes + shape) * depth);
        });
      });
    }
  }

  void backward(std::int64_t begin, std::int64_t end, const GradientRows<T>& by_muscle) {
    const bool of_entries = args_.grad_val || args_.grad_directions;
    for (std::int64_t i = begin; i < end; ++i) {
      if (!load(i) && !args_.grad_blendshapes) continue;
      for (std::int64_t j = 0; of_entries && j < lanes_.count() * axes * width; ++j) sums_[j] = 0;
      for_each_part<tile_moved>(args_.num_shapes, [&](std::int64_t shape, auto count) {
        constexpr int C = decltype(count)::value;
        if (of_entries) {
          split_shapes<C>(shape);
          for (std::int64_t v = 0; v < num_; v += width) sum_shapes<C>(shape, v, by_muscle);
        }
        if (args_.grad_blendshapes) {
          for (std::int64_t v = 0; v < num_; v += width) blendshape_gradient<C>(shape, v, by_muscle);
          for (int c = 0; c < C; ++c) stream_row(&moved_[c * row_size], args_.grad_blendshapes + row(shape + c, 0));
        }
      });
      if (of_entries) entry_gradients();
    }
    end_stream();
  }

 private:
  // Vertices of a block at most, and those whose tile stays in the first-level cache. The rows of a tile lie a little
  // more than a multiple of a page apart, so that they do not compete for the same places in that cache.
  static constexpr std::int64_t most = 8192 / sizeof(T), part = 1024 / sizeof(T), row_size = 3 * (most + width);

  // Blocks of about the same size, a multiple of 16 of them unless they are short.
  static std::int64_t block_size(const Distribution<T>& p) {
    const std::int64_t blocks = 16 * max_of(1, (p.num_vertices + 16 * most - 1) / (16 * most));
    const std::int64_t vertices = (p.num_vertices + blocks - 1) / blocks;
    return max_of(part, (vertices + width - 1) / width * width);
  }

  // Whether P has an entry in the block.
  bool load(std::int64_t i) {
    first_ = i * block_;
    num_ = min_of(block_, p_.num_vertices - first_);
    lanes_.load(first_, num_);
    return lanes_.count() > 0;
  }

  // Where a shape's displacements begin, from vertex v of the block on.
  std::int64_t row(std::int64_t shape, std::int64_t v) const { return (shape * p_.num_vertices + first_ + v) * 3; }

  // Rows of the tile (vector, 3, width) = C shapes, where P has entries, while the next row is on its way.
  template <int C> void split_shapes(std::int64_t shape) {
    const std::int64_t step = 3 * p_.num_vertices;
    for (std::int64_t k = shape; k < shape + C; ++k)
      for (std::int64_t v = 0; v < num_; v += width) {
        if (lanes_.begin(v / width) == lanes_.end(v / width)) continue;
        const T* from = args_.blendshapes + row(k, v);
        if (k + 1 < args_.num_shapes) prefetch_for_read(from + step, from + step + 3 * min_of(width, num_ - v));
        V axis[3];
        split_axes(from, min_of(width, num_ - v), axis);
        T* to = &tile_[(k - shape) * row_size + 3 * v];
        repeat<3>([&](int a) BIOMECHAU_INLINE_LAMBDA { axis[a].store(to + a * width); });
      }
  }

  // out (C, D) of a muscle += at C shapes the sum over the vertices of its slots of P b, or P <d, b>.
  template <int C> void project(const std::int32_t* slots, std::int64_t num_slots, T* out) const {
    V sum[C * depth];
    repeat<C * depth>([&](int i) BIOMECHAU_INLINE_LAMBDA { sum[i] = V::zero(); });
    for (std::int64_t i = 0; i < num_slots; ++i) {
      const T* b = &tile_[lanes_.vector(slots[i]) * 3 * width];
      V p[3];
      for (int a = 0; a < 3; ++a) p[a] = V::load(lanes_.lanes(slots[i], fibre ? a : 0));
      repeat<C * 3>([&](int j) BIOMECHAU_INLINE_LAMBDA {
        V& to = sum[fibre ? j / 3 : j];
        to = to + p[j % 3] * V::load(b + j / 3 * row_size + j % 3 * width);
      });
    }
    T sums[C * depth];
    lane_sums<C * depth>(sum, sums);
    for (int i = 0; i < C * depth; ++i) out[i] += sums[i];
  }

  // The sums over shapes of grad_A b at the entries of the vector at v grow by C shapes.
  template <int C> void sum_shapes(std::int64_t shape, std::int64_t v, const GradientRows<T>& by_muscle) {
    V b[C * 3];
    repeat<C * 3>([&](int j) BIOMECHAU_INLINE_LAMBDA {
      b[j] = V::load(&tile_[j / 3 * row_size + 3 * v + j % 3 * width]);
    });
    for (std::int64_t slot = lanes_.begin(v / width); slot < lanes_.end(v / width); ++slot) {
      const T* grad = by_muscle.of(lanes_.muscle(slot)) + shape * depth;
      T* to = &sums_[slot * axes * width];
      V sum[3];
      for (int a = 0; a < 3; ++a) sum[a] = a < axes ? V::load(to + a * width) : V::zero();
      repeat<C * 3>([&](int j) BIOMECHAU_INLINE_LAMBDA { sum[j % 3].add_scaled(grad[fibre ? j / 3 : j], b[j]); });
      if (!fibre) sum[0] = sum[0] + sum[1] + sum[2];
      for (int a = 0; a < axes; ++a) sum[a].store(to + a * width);
    }
  }

  // With w = sum over shapes of grad_A b: grad_P = w, or <w, d> and grad_d = P w with directions.
  void entry_gradients() {
    lanes_.for_each_entry([&](std::int64_t e, std::int64_t slot, std::int64_t lane) {
      const T* sum = &sums_[slot * axes * width + lane];
      if constexpr (fibre) {
        const T w[3] = {sum[0], sum[width], sum[2 * width]};
        if (args_.grad_val) args_.grad_val[e] = spread_vector_vjp_p(p_.directions + 3 * e, w);
        for (int a = 0; a < 3; ++a)
          if (args_.grad_directions) args_.grad_directions[3 * e + a] = p_.val[e] * w[a];
      } else {
        args_.grad_val[e] = *sum;
      }
    });
  }

  // grad_B at C shapes and the vector at v = sum over muscles of P grad_A.
  template <int C> void blendshape_gradient(std::int64_t shape, std::int64_t v, const GradientRows<T>& by_muscle) {
    V sum[C][3];
    repeat<3 * C>([&](int i) BIOMECHAU_INLINE_LAMBDA { sum[i / 3][i % 3] = V::zero(); });
    for (std::int64_t slot = lanes_.begin(v / width); slot < lanes_.end(v / width); ++slot) {
      const T* grad = by_muscle.of(lanes_.muscle(slot)) + shape * depth;
      V p[3];
      for (int a = 0; a < 3; ++a) p[a] = V::load(lanes_.lanes(slot, fibre ? a : 0));
      repeat<3 * C>([&](int i) BIOMECHAU_INLINE_LAMBDA {
        sum[i / 3][i % 3].add_scaled(grad[fibre ? i / 3 : i], p[i % 3]);
      });
    }
    repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA { join_axes(sum[c], &moved_[c * row_size + 3 * v]); });
  }

  // Writes past the caches: nothing here reads the gradient again, and it would push B out of them.
  void stream_row(const T* from, T* to) const {
    const std::int64_t size = 3 * num_;
    const std::int64_t unaligned = reinterpret_cast<std::uintptr_t>(to) % 64 / sizeof(T);
    std::int64_t i = unaligned ? min_of(size, width - unaligned) : 0;
    V::load(from).store_first(to, i);
    for (; i + width <= size; i += width) V::load(from + i).stream(to + i);
    V::load(from + i).store_first(to + i, size - i);
  }

  const ReducedProjection<T>& args_;
  const Distribution<T>& p_;
  const std::int64_t block_;
  MuscleLanes<T> lanes_;
  Scratch<T> tile_, moved_;  // rows of B and of its gradient
  Scratch<T> sums_;          // (slots, axes, width)
  std::int64_t first_ = 0, num_ = 0;
};

template <bool fibre, class T> void dense_projection_fwd(const ReducedProjection<T>& args, int num_threads) {
  using Blocks = DenseProjection<fibre, T>;
  const std::int64_t count = Blocks::num_blocks(args.distribution), pieces = num_pieces(count);
  sum_pieces(args, count, fibre ? 1 : 3, num_threads, [&](std::int64_t piece, T* out) {
    Blocks(args).forward(count * piece / pieces, count * (piece + 1) / pieces, out);
  });
}

template <bool fibre, class T> void dense_projection_bwd(const ReducedProjection<T>& args, int num_threads) {
  using Blocks = DenseProjection<fibre, T>;
  const std::int64_t count = Blocks::num_blocks(args.distribution), pieces = num_pieces(count);
  const GradientRows<T> by_muscle(args, fibre ? 1 : 3);
  const double work = projection_work(args) + 3.0 * args.num_shapes * args.distribution.num_vertices;
  parallel_for(pieces, work, num_threads, [&](std::int64_t piece) {
    Blocks(args).backward(count * piece / pieces, count * (piece + 1) / pieces, by_muscle);
  });
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
