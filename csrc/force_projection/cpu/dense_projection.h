// The reduced projection of blendshapes that are not packed, and its gradients.
//
// Block after block of vertices, B is turned from one row per shape to one row per vertex. A vector then holds many
// shapes of one vertex, so that the entries of P, one vertex and one muscle each, fill it however few they are.
#pragma once

#include "common/cpu/lane_sums.h"
#include "common/cpu/panel.h"
#include "common/cpu/transpose.h"
#include "force_projection/cpu/entry_lists.h"
#include "force_projection/cpu/pieces.h"
#include "force_projection/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// Vectors of a row, and entries, whose sums fit the registers; of forces along fibres fewer.
#if defined(__AVX512F__)
constexpr int tile_vectors = 12, tile_dots = 8, tile_fibre_dots = 5;
#elif defined(__AVX2__)
constexpr int tile_vectors = 6, tile_dots = 4, tile_fibre_dots = 1;
#else
constexpr int tile_vectors = 3, tile_dots = 3, tile_fibre_dots = 1;
#endif

template <bool fibre, class T> class DenseProjection {
 public:
  using V = Vector<T>;
  // Axes that an entry scales apart: those of d, or the one number P.
  static constexpr int width = V::width, axes = fibre ? 3 : 1;

  // `most_shapes`: of a row.
  DenseProjection(const ReducedProjection<T>& args, std::int64_t most_shapes)
      : args_(args), p_(args.distribution), tile_(block * axes * length(most_shapes) + side),
        staged_(args.grad_blendshapes ? 3 * side * block + width : 0),
        sorter_(p_.num_muscles, args.is_sorted ? 0 : most_entries(p_)) {}

  static std::int64_t num_blocks(const Distribution<T>& p) { return (p.num_vertices + block - 1) / block; }
  // Numbers of a row that belong to a muscle: its shapes if forces follow fibres, otherwise those of x, then y, then z.
  static std::int64_t length(std::int64_t num_shapes) { return padded((fibre ? 1 : 3) * num_shapes); }
  // Shapes whose sums fit the registers.
  static constexpr std::int64_t tile_shapes = tile_vectors * width / (fibre ? 1 : 3);

  // sums (tiles of shapes, M, length of a tile) += A of the blocks [begin, end).
  void forward(std::int64_t begin, std::int64_t end, T* sums) {
    for_each_block(begin, end, [&] {
      if (!has_entries(first_, num_)) return;
      for (std::int64_t k = 0; k < args_.num_shapes; k += tile_shapes) {
        set_shapes(k, min_of(tile_shapes, args_.num_shapes - k));
        to_rows();
        for_each_tile<T, tile_vectors>(length_, [&](std::int64_t at, auto count) {
          T* tile = sums + k / tile_shapes * p_.num_muscles * length(tile_shapes) + at;
          for (std::int64_t list = 0; list < lists_.count; ++list)
            add_list<decltype(count)::value>(list, at, tile + lists_.muscle[list] * length(tile_shapes));
        });
      }
    });
  }

  // The gradients of the blocks [begin, end), from those of A (M, length).
  void backward(std::int64_t begin, std::int64_t end, const T* grad) {
    const bool of_entries = args_.grad_val || args_.grad_directions;
    for_each_block(begin, end, [&] {
      set_shapes(0, args_.num_shapes);
      if (of_entries) {
        to_rows();
        for (std::int64_t list = 0; list < lists_.count; ++list) {
          constexpr int C = fibre ? tile_fibre_dots : tile_dots;
          const T* of_muscle = grad + lists_.muscle[list] * length_;
          const std::int64_t last = lists_.start[list + 1];
          for (std::int64_t i = lists_.start[list]; i < last; i += C) {
            if (last - i > C / 2)
              entry_gradients<C>(i, last, of_muscle);
            else
              entry_gradients<(C + 1) / 2>(i, last, of_muscle);
          }
        }
      }
      if (!args_.grad_blendshapes) return;
      for (std::int64_t v = 0; v < num_; ++v) blendshape_gradient(v, grad);
      from_rows();
    });
    end_stream();
  }

 private:
  static constexpr int side = block_side<T>;
  static constexpr std::int64_t block = projection_block;

  static std::int64_t most_entries(const Distribution<T>& p) {
    std::int64_t most = 0;
    for (std::int64_t v = 0; v < p.num_vertices; v += block)
      most = max_of(most, p.crow[min_of(p.num_vertices, v + block)] - p.crow[v]);
    return most;
  }

  template <class Fn> void for_each_block(std::int64_t begin, std::int64_t end, const Fn& fn) {
    for (first_ = begin * block; first_ < min_of(p_.num_vertices, end * block); first_ += block) {
      num_ = min_of(block, p_.num_vertices - first_);
      lists_ = args_.is_sorted ? given_lists(args_.sorted, first_ / block)
                               : sorter_.sort(p_, num_, [&](std::int64_t v) { return first_ + v; });
      fn();
    }
  }

  // Whether any of `count` vertices has entries.
  bool has_entries(std::int64_t first, std::int64_t count) const { return p_.crow[first] != p_.crow[first + count]; }

  // P, or an axis of P d.
  T scale(std::int64_t entry, int axis) const {
    return fibre ? p_.val[entry] * p_.directions[3 * entry + axis] : p_.val[entry];
  }

  // sum (C vectors) += rows of a list, from number `at` on, scaled by its entries.
  template <int C> void add_list(std::int64_t list, std::int64_t at, T* out) const {
    V sum[C];
    repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA { sum[c] = V::load(out + c * width); });
    for (std::int64_t i = lists_.start[list]; i < lists_.start[list + 1]; ++i) {
      const T* row = &tile_[lists_.vertex[i] * row_ + at];
      repeat<axes>([&](int a) BIOMECHAU_INLINE_LAMBDA {
        const T by = scale(lists_.entry[i], a);
        const T* values = row + a * length_;
        repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA { sum[c].add_scaled(by, V::load(values + c * width)); });
      });
    }
    repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA { sum[c].store(out + c * width); });
  }

  // With w = grad_A B of the entries from `first` to `end`, at most C: grad_P = w, or <w, d> and grad_d = P w with
  // directions.
  template <int C> void entry_gradients(std::int64_t first, std::int64_t end, const T* grad) const {
    V sum[C][axes];
    const T* values[C];
    repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA {
      repeat<axes>([&](int a) BIOMECHAU_INLINE_LAMBDA { sum[c][a] = V::zero(); });
      values[c] = &tile_[lists_.vertex[min_of(first + c, end - 1)] * row_];
    });
    for (std::int64_t at = 0; at < length_; at += width) {
      const V g = V::load(grad + at);
      repeat<C * axes>([&](int i) BIOMECHAU_INLINE_LAMBDA {
        V& to = sum[i / axes][i % axes];
        to = to + g * V::load(values[i / axes] + i % axes * length_ + at);
      });
    }
    T sums[C][axes];
    lane_sums<C * axes>(&sum[0][0], &sums[0][0]);
    for (int c = 0; c < C && first + c < end; ++c) {
      const std::int64_t e = lists_.entry[first + c];
      if constexpr (fibre) {
        if (args_.grad_val) args_.grad_val[e] = spread_vector_vjp_p(p_.directions + 3 * e, sums[c]);
        for (int a = 0; a < 3; ++a)
          if (args_.grad_directions) args_.grad_directions[3 * e + a] = p_.val[e] * sums[c][a];
      } else {
        args_.grad_val[e] = sums[c][0];
      }
    }
  }

  // The row of a vertex = sum over its muscles of P, or P d, times grad_A.
  void blendshape_gradient(std::int64_t v, const T* grad) {
    for_each_tile<T, tile_vectors>(length_, [&](std::int64_t at, auto count) {
      constexpr int C = decltype(count)::value;
      V sum[axes][C];
      repeat<axes * C>([&](int i) BIOMECHAU_INLINE_LAMBDA { sum[i / C][i % C] = V::zero(); });
      for (std::int64_t e = p_.crow[first_ + v]; e < p_.crow[first_ + v + 1]; ++e) {
        const T* values = grad + p_.col[e] * length_ + at;
        repeat<axes>([&](int a) BIOMECHAU_INLINE_LAMBDA {
          const T by = scale(e, a);
          repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA { sum[a][c].add_scaled(by, V::load(values + c * width)); });
        });
      }
      repeat<axes * C>([&](int i) BIOMECHAU_INLINE_LAMBDA {
        sum[i / C][i % C].store(&tile_[v * row_ + i / C * length_ + at + i % C * width]);
      });
    });
  }

  // Rows hold the shapes from `first` on: shape k of axis a at a * stride + k.
  void set_shapes(std::int64_t first, std::int64_t count) {
    first_shape_ = first;
    shapes_ = count;
    length_ = length(count);
    stride_ = fibre ? length_ : count;
    row_ = axes * length_;
  }

  // Rows of the block's vertices, with 0 behind the last shape. The last squares overlap those before; where the shapes
  // are too few for one, what runs over into the next axis, or row, is written after it.
  void to_rows() {
    for (std::int64_t v = 0; v < num_; ++v)
      for (std::int64_t a = 0; a < axes; ++a)
        for (std::int64_t i = (fibre ? 1 : 3) * shapes_; i < length_; ++i) tile_[v * row_ + a * length_ + i] = 0;
    const std::int64_t step = 3 * p_.num_vertices, next = min_of(block, p_.num_vertices - first_ - num_);
    const std::int64_t ahead = has_entries(first_ + num_, next) ? 3 * next : 0;
    for (std::int64_t begin = 0; begin < shapes_; begin += side) {
      const std::int64_t k = max_of(0, min_of(begin, shapes_ - side)), num_shapes = min_of(side, shapes_);
      const T* from = args_.blendshapes + (first_shape_ + k) * step + 3 * first_;
      for (std::int64_t s = begin - k; s < num_shapes; ++s)
        prefetch_for_read(from + s * step + 3 * num_, from + s * step + 3 * num_ + ahead);
      for (std::int64_t v = 0; v < num_; v += side) {
        const std::int64_t num = min_of(side, num_ - v);
        if (!has_entries(first_ + v, num)) continue;
        T* to = &tile_[v * row_ + k];
        if (num == side && num_shapes == side) {
          to_rows(from + 3 * v, step, to);
        } else {
          T part[side][3 * side] = {};
          for (std::int64_t s = 0; s < num_shapes; ++s)
            std::memcpy(part[s], from + s * step + 3 * v, 3 * num * sizeof(T));
          to_rows(part[0], 3 * side, to);
        }
      }
    }
  }
  BIOMECHAU_INLINE void to_rows(const T* from, std::int64_t step, T* to) const {
    // Local copies: the compiler would read the members again after every store.
    const std::int64_t row = row_, stride = stride_;
    repeat<3>([&](int part) BIOMECHAU_INLINE_LAMBDA {
      transpose_block<T>([=](int i) BIOMECHAU_INLINE_LAMBDA { return from + i * step + part * side; },
                         [=](int i) BIOMECHAU_INLINE_LAMBDA {
                           const int j = part * side + i;
                           return to + j / 3 * row + j % 3 * stride;
                         });
    });
  }

  // And back, to grad_B.
  void from_rows() {
    constexpr std::int64_t length = 3 * block;
    const std::int64_t row = row_, stride = stride_;
    for (std::int64_t k = 0; k < shapes_; k += side) {
      for (std::int64_t v = 0; v < num_; v += side) {
        const T* from = &tile_[v * row_ + k];
        T* to = &staged_[3 * v];
        repeat<3>([&](int part) BIOMECHAU_INLINE_LAMBDA {
          transpose_block<T>([=](int i) BIOMECHAU_INLINE_LAMBDA {
                               const int j = part * side + i;
                               return from + j / 3 * row + j % 3 * stride;
                             },
                             [=](int i) BIOMECHAU_INLINE_LAMBDA { return to + i * length + part * side; });
        });
      }
      for (std::int64_t s = 0; s < min_of(side, shapes_ - k); ++s)
        stream_row(&staged_[s * length], args_.grad_blendshapes + ((k + s) * p_.num_vertices + first_) * 3);
    }
  }

  // Writes whole cache lines past the caches: nothing here reads the gradient again, and it would push B out of them.
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
  std::int64_t first_shape_ = 0, shapes_ = 0, length_ = 0, stride_ = 0, row_ = 0;
  Scratch<T> tile_;    // (block, axes, length), and a register more
  Scratch<T> staged_;  // (side, block, 3), and a vector more
  EntrySorter sorter_;
  EntryLists lists_{};
  std::int64_t first_ = 0, num_ = 0;
};

template <bool fibre, class T> void dense_projection_fwd(const ReducedProjection<T>& args, int num_threads) {
  using Blocks = DenseProjection<fibre, T>;
  const std::int64_t count = Blocks::num_blocks(args.distribution), pieces = num_pieces(count);
  constexpr std::int64_t most = Blocks::tile_shapes;
  const std::int64_t num_muscles = args.distribution.num_muscles, tiles = (args.num_shapes + most - 1) / most;
  const auto at = [&](std::int64_t k, std::int64_t m, std::int64_t a) {
    const std::int64_t tile = k / most, shapes = min_of(most, args.num_shapes - tile * most);
    return (tile * num_muscles + m) * Blocks::length(most) + a * shapes + k % most;
  };
  const std::int64_t size = tiles * num_muscles * Blocks::length(most);
  sum_pieces(args, count, size, at, num_threads, [&](std::int64_t piece, T* sums) {
    Blocks(args, min_of(most, args.num_shapes)).forward(count * piece / pieces, count * (piece + 1) / pieces, sums);
  });
}

template <bool fibre, class T> void dense_projection_bwd(const ReducedProjection<T>& args, int num_threads) {
  using Blocks = DenseProjection<fibre, T>;
  const std::int64_t count = Blocks::num_blocks(args.distribution), pieces = num_pieces(count);
  const std::int64_t num_muscles = args.distribution.num_muscles, depth = args.distribution.force_size();
  const std::int64_t length = Blocks::length(args.num_shapes);
  Scratch<T> grad(num_muscles * length);
  for (std::int64_t i = 0; i < num_muscles * length; ++i) grad[i] = 0;
  for (std::int64_t k = 0; k < args.num_shapes; ++k)
    for (std::int64_t m = 0; m < num_muscles; ++m)
      for (std::int64_t a = 0; a < depth; ++a)
        grad[m * length + a * args.num_shapes + k] = args.grad_out[(k * num_muscles + m) * depth + a];
  const double work = projection_work(args) + 3.0 * args.num_shapes * args.distribution.num_vertices;
  parallel_for(pieces, work, num_threads, [&](std::int64_t piece) {
    Blocks(args, args.num_shapes).backward(count * piece / pieces, count * (piece + 1) / pieces, grad.data());
  });
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
