// The reduced projection A of packed blendshapes and the gradients of P: rows of displacements, one per vertex, summed
// muscle by muscle.
#pragma once

#include "common/cpu/lane_sums.h"
#include "common/cpu/shape_group.h"
#include "force_projection/cpu/entry_lists.h"
#include "force_projection/cpu/pieces.h"
#include "force_projection/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// Vectors of a row, and entries, whose sums fit the registers; of forces along fibres fewer.
#if defined(__AVX512F__)
constexpr int tile_row = 12, tile_fibre_row = 12, tile_entries = 8, tile_fibres = 5;
#elif defined(__AVX2__)
constexpr int tile_row = 6, tile_fibre_row = 3, tile_entries = 4, tile_fibres = 1;
#else
constexpr int tile_row = 3, tile_fibre_row = 3, tile_entries = 4, tile_fibres = 1;
#endif

// The axes of displacements that lie side by side: E_a has 1 where lane l of vector j, of rows x0 y0 z0 x1 y1 ..., holds
// axis a. It repeats after three vectors.
template <class T> struct AxisMasks {
  Vector<T> axis[3][3];  // (vector modulo 3, a)

  AxisMasks() {
    constexpr int width = Vector<T>::width;
    for (int a = 0; a < 3; ++a) {
      T ones[3 * width];
      for (int i = 0; i < 3 * width; ++i) ones[i] = i % 3 == a;
      for (int j = 0; j < 3; ++j) axis[j][a] = Vector<T>::load(ones + j * width);
    }
  }
  // d0 d1 d2 d0 d1 d2 ..., scaled by p
  void repeat(T p, const T* d, Vector<T>* out) const {
    for (int j = 0; j < 3; ++j) out[j] = p * d[0] * axis[j][0] + p * d[1] * axis[j][1] + p * d[2] * axis[j][2];
  }
};

template <class T> using RowGroups = ShapeGroups<T, VertexRows<T>>;

// A row for each muscle that a group meets, as long as the group's own rows, with room for one more vector.
template <class T> class GroupRows {
 public:
  GroupRows(std::int64_t num_muscles, std::int64_t longest)
      : rows_(num_muscles * (longest + room)), is_met_(num_muscles), met_(num_muscles) {
    for (std::int64_t m = 0; m < num_muscles; ++m) is_met_[m] = false;
  }
  // Begins another group, whose rows have `length` numbers.
  void begin(std::int64_t length) {
    for (std::int64_t i = 0; i < count_; ++i) is_met_[met_[i]] = false;
    count_ = 0;
    length_ = length;
  }
  std::int64_t length() const { return length_; }
  // The row of a muscle; make(row) fills it when the group meets the muscle for the first time.
  template <class Make> T* get(std::int32_t muscle, const Make& make) {
    T* row = at(muscle);
    if (!is_met_[muscle]) {
      is_met_[muscle] = true;
      met_[count_++] = muscle;
      make(row);
    }
    return row;
  }
  // Calls fn(muscle, row) for every muscle that the group has met.
  template <class Fn> void for_each(const Fn& fn) {
    for (std::int64_t i = 0; i < count_; ++i) fn(met_[i], at(met_[i]));
  }

 private:
  static constexpr std::int64_t room = 16;
  T* at(std::int64_t muscle) { return &rows_[muscle * (length_ + room)]; }

  Scratch<T> rows_;
  Scratch<bool> is_met_;
  Scratch<std::int32_t> met_;
  std::int64_t count_ = 0, length_ = 0;
};

// Calls fn(group, lists, rows, ahead) for every group of a piece. `rows` are empty; fn calls ahead(list) after each list.
template <class T, class Fn>
void for_each_group(const ReducedProjection<T>& args, const RowGroups<T>& groups, std::int64_t piece, const Fn& fn) {
  const Distribution<T>& p = args.distribution;
  const std::int64_t pieces = num_pieces(groups.count()), end = groups.begin(piece + 1, pieces);
  GroupRows<T> rows(p.num_muscles, padded(3 * args.num_shapes));
  EntrySorter sorter(p.num_muscles, args.is_sorted ? 0 : min_of(p.num_entries, groups.largest() * p.num_muscles));
  for (std::int64_t g = groups.begin(piece, pieces); g < end; ++g) {
    const ShapeGroup<T> group = groups.get(g, nullptr, nullptr);
    const EntryLists lists =
        args.is_sorted
            ? given_lists(args.sorted, g)
            : sorter.sort(p, group.num_vertices, [&](std::int64_t v) { return group.vertex[v]; });
    rows.begin(padded(3 * group.num_shapes));
    fn(group, lists, rows, [&](std::int64_t list) {
      if (g + 1 < end) groups.prefetch(g + 1, list, lists.count);
    });
  }
}

// out (C vectors) += the sum over a list's entries of P, or P d, times the rows of their vertices, from `offset` on.
// For fibres `offset` is a multiple of three vectors, so that it holds axis 0.
template <bool fibre, int C, class T>
void sum_rows(const Distribution<T>& p, const EntryLists& lists, std::int64_t list, const T* rows, std::int64_t row,
              std::int64_t offset, const AxisMasks<T>& masks, T* out) {
  constexpr int width = Vector<T>::width;
  const std::int64_t end = lists.start[list + 1];
  const std::int32_t *const entry = lists.entry, *const vertex = lists.vertex;
  const T* const val = p.val;
  Vector<T> sum[C];
  repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA { sum[c] = Vector<T>::load(out + offset + c * width); });
  for (std::int64_t i = lists.start[list]; i < end; ++i) {
    const T* values = rows + vertex[i] * row + offset;
    if constexpr (fibre) {
      Vector<T> direction[3];
      masks.repeat(val[entry[i]], p.directions + 3 * entry[i], direction);
      repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA {
        sum[c] = sum[c] + direction[c % 3] * Vector<T>::load(values + c * width);
      });
    } else {
      const T by = val[entry[i]];
      repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA { sum[c].add_scaled(by, Vector<T>::load(values + c * width)); });
    }
  }
  repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA { sum[c].store(out + offset + c * width); });
}

// to (4) = from (4), or += : the three axes of a shape and one more number, because an instruction takes four.
template <class T> BIOMECHAU_INLINE void copy_four(const T* from, T* to) {
  const T four[4] = {from[0], from[1], from[2], from[3]};
  for (int a = 0; a < 4; ++a) to[a] = four[a];
}
template <class T> BIOMECHAU_INLINE void add_four(const T* from, T* to) {
  const T four[4] = {to[0] + from[0], to[1] + from[1], to[2] + from[2], to[3] + from[3]};
  for (int a = 0; a < 4; ++a) to[a] = four[a];
}

template <class T> void packed_projection_fwd(const ReducedProjection<T>& args, int num_threads) {
  const Distribution<T>& p = args.distribution;
  const std::int64_t slot = p.fibre ? 1 : 4;
  const RowGroups<T> groups(true, nullptr, args.packed, args.num_shapes, p.num_vertices);
  const AxisMasks<T> masks;
  const auto at = [&](std::int64_t k, std::int64_t m, std::int64_t a) { return (m * args.num_shapes + k) * slot + a; };
  const std::int64_t size = p.num_muscles * args.num_shapes * slot;
  sum_pieces(args, groups.count(), size, at, num_threads, [&](std::int64_t piece, T* out) {
    for_each_group(args, groups, piece, [&](const auto& group, const auto& lists, auto& sums, const auto& ahead) {
      const std::int64_t row = sums.length();
      for (std::int64_t list = 0; list < lists.count; ++list) {
        T* sum = sums.get(lists.muscle[list], [&](T* fresh) {
          for (std::int64_t i = 0; i <= row; ++i) fresh[i] = 0;
        });
        if (p.fibre)
          for_each_tile<T, tile_fibre_row>(row, [&](std::int64_t at, auto count) {
            sum_rows<true, decltype(count)::value>(p, lists, list, group.values, row, at, masks, sum);
          });
        else
          for_each_tile<T, tile_row>(row, [&](std::int64_t at, auto count) {
            sum_rows<false, decltype(count)::value>(p, lists, list, group.values, row, at, masks, sum);
          });
        ahead(list);
      }
      sums.for_each([&](std::int64_t m, const T* sum) {
        T* muscle = out + m * args.num_shapes * slot;
        for (std::int64_t j = 0; j < group.num_shapes; ++j) {
          if (p.fibre)
            muscle[group.shape[j]] += sum[3 * j] + sum[3 * j + 1] + sum[3 * j + 2];
          else
            add_four(sum + 3 * j, muscle + 4 * group.shape[j]);
        }
      });
    });
  });
}

// Gradients of the entries of a list from `first` to `end`, at most C. grad (padded 3 U) are those of A at the group's
// shapes, three times each for fibres: then w = sum over shapes of grad b, grad_P = <w, d>, grad_d = P w; otherwise
// grad_P = <grad, b>.
template <bool fibre, int C, class T>
BIOMECHAU_INLINE void entry_gradients(const ReducedProjection<T>& args, const EntryLists& lists, std::int64_t first,
                                      std::int64_t end, const ShapeGroup<T>& group, const AxisMasks<T>& masks,
                                      const T* grad) {
  constexpr int width = Vector<T>::width, phases = fibre ? 3 : 1;
  const Distribution<T>& p = args.distribution;
  const std::int64_t row = padded(3 * group.num_shapes);
  Vector<T> sum[C][phases];
  const T* b[C];
  repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA {
    repeat<phases>([&](int j) BIOMECHAU_INLINE_LAMBDA { sum[c][j] = Vector<T>::zero(); });
    b[c] = group.values + lists.vertex[min_of(first + c, end - 1)] * row;
  });
  for (std::int64_t at = 0; at < row; at += phases * width)
    repeat<phases>([&](int j) BIOMECHAU_INLINE_LAMBDA {
      if (at + j * width >= row) return;
      const Vector<T> g = Vector<T>::load(grad + at + j * width);
      repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA {
        sum[c][j] = sum[c][j] + g * Vector<T>::load(b[c] + at + j * width);
      });
    });
  T sums[C][phases];
  if constexpr (fibre)
    repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA {
      const Vector<T> in[3] = {sum[c][0], sum[c][1], sum[c][2]};
      repeat<3>([&](int a) BIOMECHAU_INLINE_LAMBDA {
        sum[c][a] = in[0] * masks.axis[0][a] + in[1] * masks.axis[1][a] + in[2] * masks.axis[2][a];
      });
    });
  lane_sums<C * phases>(&sum[0][0], &sums[0][0]);
  for (int c = 0; c < C && first + c < end; ++c) {
    const std::int64_t e = lists.entry[first + c];
    if constexpr (fibre) {
      if (args.grad_val) args.grad_val[e] = spread_vector_vjp_p(p.directions + 3 * e, sums[c]);
      for (int a = 0; a < 3; ++a)
        if (args.grad_directions) args.grad_directions[3 * e + a] = p.val[e] * sums[c][a];
    } else {
      args.grad_val[e] = sums[c][0];
    }
  }
}

template <bool fibre, class T>
void list_gradients(const ReducedProjection<T>& args, const EntryLists& lists, std::int64_t list,
                    const ShapeGroup<T>& group, const AxisMasks<T>& masks, const T* grad) {
  constexpr int C = fibre ? tile_fibres : tile_entries;
  const std::int64_t end = lists.start[list + 1];
  for (std::int64_t i = lists.start[list]; i < end; i += C) {
    if (end - i > C / 2)
      entry_gradients<fibre, C>(args, lists, i, end, group, masks, grad);
    else
      entry_gradients<fibre, (C + 1) / 2>(args, lists, i, end, group, masks, grad);
  }
}

// The gradient of A, one row per muscle: (K, 3), with the scalars of fibres repeated for every axis, then at least one
// 0.
template <class T> class GradientRows {
 public:
  explicit GradientRows(const ReducedProjection<T>& args)
      : length_(padded(3 * args.num_shapes + 1)), rows_(args.distribution.num_muscles * length_) {
    const std::int64_t num_muscles = args.distribution.num_muscles;
    for (std::int64_t m = 0; m < num_muscles; ++m) {
      T* to = &rows_[m * length_];
      for (std::int64_t k = 0; k < args.num_shapes; ++k) {
        const T* from = args.grad_out + (k * num_muscles + m) * args.distribution.force_size();
        for (std::int64_t a = 0; a < 3; ++a) to[3 * k + a] = args.distribution.fibre ? *from : from[a];
      }
      for (std::int64_t i = 3 * args.num_shapes; i < length_; ++i) to[i] = 0;
    }
  }
  const T* of(std::int64_t muscle) const { return &rows_[muscle * length_]; }

 private:
  std::int64_t length_;
  Scratch<T> rows_;
};

template <class T> void packed_projection_bwd(const ReducedProjection<T>& args, int num_threads) {
  if (!args.grad_val && !args.grad_directions) return;
  const Distribution<T>& p = args.distribution;
  const RowGroups<T> groups(true, nullptr, args.packed, args.num_shapes, p.num_vertices);
  const AxisMasks<T> masks;
  const GradientRows<T> by_muscle(args);
  parallel_for(num_pieces(groups.count()), projection_work(args), num_threads, [&](std::int64_t piece) {
    for_each_group(args, groups, piece, [&](const auto& group, const auto& lists, auto& grads, const auto& ahead) {
      for (std::int64_t list = 0; list < lists.count; ++list) {
        const T* grad = grads.get(lists.muscle[list], [&](T* fresh) {
          const T* muscle = by_muscle.of(lists.muscle[list]);
          for (std::int64_t j = 0; j < group.num_shapes; ++j) copy_four(muscle + 3 * group.shape[j], fresh + 3 * j);
          for (std::int64_t i = 3 * group.num_shapes; i < grads.length(); ++i) fresh[i] = 0;
        });
        if (p.fibre)
          list_gradients<true>(args, lists, list, group, masks, grad);
        else
          list_gradients<false>(args, lists, list, group, masks, grad);
        ahead(list);
      }
    });
  });
  // The entries of vertices that no shape moves.
  const auto still = [&](std::int64_t e) {
    if (args.grad_val) args.grad_val[e] = 0;
    for (int a = 0; a < 3; ++a)
      if (args.grad_directions) args.grad_directions[3 * e + a] = 0;
  };
  if (args.is_sorted) {
    const std::int64_t moving = args.sorted.list_crow[args.sorted.group_crow[groups.count()]];
    for (std::int64_t i = moving; i < p.num_entries; ++i) still(args.sorted.entry[i]);
  } else {
    for (std::int64_t v = groups.num_moving(); v < p.num_vertices; ++v)
      for (std::int64_t e = p.crow[args.packed.vertex[v]]; e < p.crow[args.packed.vertex[v] + 1]; ++e) still(e);
  }
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
