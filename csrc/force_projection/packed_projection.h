// The reduced projection A of packed blendshapes and the gradients of P: rows of displacements, a row a vertex, summed
// muscle by muscle.
#pragma once

#include "common/lane_sums.h"
#include "force_projection/entry_lists.h"
#include "force_projection/math.h"
#include "force_projection/pieces.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// Vectors of a row, and entries, whose sums fit the registers.
#if defined(__AVX512F__)
constexpr int tile_row = 12, tile_entries = 8, tile_fibres = 5;
#else
constexpr int tile_row = 3, tile_entries = 4, tile_fibres = 1;
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

// Calls fn(group, lists, row, and after each list `ahead(list)`) for every group of a piece; `row` (padded 3 K) is
// scratch.
template <class T, class Fn>
void for_each_group(const ReducedProjection<T>& args, const RowGroups<T>& groups, std::int64_t piece, const Fn& fn) {
  const Distribution<T>& p = args.distribution;
  const SortedEntries& sorted = args.sorted;
  const std::int64_t pieces = num_pieces(groups.count()), end = groups.begin(piece + 1, pieces);
  Scratch<T> row(padded(3 * args.num_shapes));
  EntrySorter sorter(p.num_muscles, sorted.entry ? 0 : min_of(p.num_entries, groups.largest() * p.num_muscles));
  for (std::int64_t g = groups.begin(piece, pieces); g < end; ++g) {
    const ShapeGroup<T> group = groups.get(g, nullptr, nullptr);
    EntryLists lists;
    if (sorted.entry) {
      const std::int64_t first = sorted.group_crow[g];
      lists = {sorted.group_crow[g + 1] - first, sorted.muscle + first, sorted.list_crow + first, sorted.vertex,
               sorted.entry};
    } else {
      lists = sorter.sort(p, group);
    }
    fn(group, lists, row.data(), [&](std::int64_t list) {
      if (g + 1 < end) groups.prefetch(g + 1, list, lists.count);
    });
  }
}

// out (C vectors) = the sum over i in [begin, end) of P, or P d, of entry(i) times the row row(i), from `offset` on.
// `offset` is a multiple of three vectors, so that it holds axis 0.
template <bool fibre, int C, class T, class Entry, class Row>
void sum_rows(const Distribution<T>& p, std::int64_t begin, std::int64_t end, const Entry& entry, const Row& row,
              std::int64_t offset, const AxisMasks<T>& masks, T* out) {
  constexpr int width = Vector<T>::width;
  Vector<T> sum[C];
  for (int c = 0; c < C; ++c) sum[c] = Vector<T>::zero();
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t e = entry(i);
    const T* values = row(i) + offset;
    if constexpr (fibre) {
      Vector<T> direction[3];
      masks.repeat(p.val[e], p.directions + 3 * e, direction);
      for (int c = 0; c < C; ++c) sum[c] = sum[c] + direction[c % 3] * Vector<T>::load(values + c * width);
    } else {
      const T val = p.val[e];
      for (int c = 0; c < C; ++c) sum[c].add_scaled(val, Vector<T>::load(values + c * width));
    }
  }
  for (int c = 0; c < C; ++c) sum[c].store(out + offset + c * width);
}

// The same of whole rows of `length`, as many vectors at a time as registers hold.
template <bool fibre, int C, class T, class Entry, class Row>
void sum_whole_rows(const Distribution<T>& p, std::int64_t begin, std::int64_t end, const Entry& entry, const Row& row,
                    std::int64_t length, const AxisMasks<T>& masks, T* out, std::int64_t offset = 0) {
  constexpr int width = Vector<T>::width;
  for (; offset + C * width <= length; offset += C * width)
    sum_rows<fibre, C>(p, begin, end, entry, row, offset, masks, out);
  if constexpr (C > 1)
    if (offset < length) sum_whole_rows<fibre, C - 1>(p, begin, end, entry, row, length, masks, out, offset);
}

template <class T, class Entry, class Row>
void sum_rows(const Distribution<T>& p, std::int64_t begin, std::int64_t end, const Entry& entry, const Row& row,
              std::int64_t length, const AxisMasks<T>& masks, T* out) {
  if (p.directions)
    sum_whole_rows<true, tile_row>(p, begin, end, entry, row, length, masks, out);
  else
    sum_whole_rows<false, tile_row>(p, begin, end, entry, row, length, masks, out);
}

template <class T> void packed_projection_fwd(const ReducedProjection<T>& args, int num_threads) {
  const Distribution<T>& p = args.distribution;
  const std::int64_t depth = p.directions ? 1 : 3;
  const RowGroups<T> groups(nullptr, args.packed, args.num_shapes, p.num_vertices);
  const AxisMasks<T> masks;
  sum_pieces(args, groups.count(), num_threads, [&](std::int64_t piece, T* out) {
    for_each_group(args, groups, piece, [&](const auto& group, const auto& lists, T* sum, const auto& ahead) {
      const std::int64_t row = padded(3 * group.num_shapes);
      for (std::int64_t list = 0; list < lists.count; ++list) {
        T* muscle = out + lists.muscle[list] * args.num_shapes * depth;
        sum_rows(
            p, lists.start[list], lists.start[list + 1], [&](std::int64_t i) { return lists.entry[i]; },
            [&](std::int64_t i) { return group.values + lists.vertex[i] * row; }, row, masks, sum);
        for (std::int64_t j = 0; j < group.num_shapes; ++j) {
          if (p.directions)
            muscle[group.shape[j]] += sum[3 * j] + sum[3 * j + 1] + sum[3 * j + 2];
          else
            for (int a = 0; a < 3; ++a) muscle[3 * group.shape[j] + a] += sum[3 * j + a];
        }
        ahead(list);
      }
    });
  });
}

// Gradients of the entries of one list. grad (padded 3 U) are those of A at the group's shapes, thrice for fibres: then
// w = sum over shapes of grad b, grad_P = <w, d>, grad_d = P w; otherwise grad_P = <grad, b>.
template <bool fibre, class T>
void entry_gradients(const ReducedProjection<T>& args, const EntryLists& lists, std::int64_t list,
                     const ShapeGroup<T>& group, const AxisMasks<T>& masks, const T* grad) {
  constexpr int width = Vector<T>::width, phases = fibre ? 3 : 1, C = fibre ? tile_fibres : tile_entries;
  const Distribution<T>& p = args.distribution;
  const std::int64_t row = padded(3 * group.num_shapes), end = lists.start[list + 1];
  for (std::int64_t i = lists.start[list]; i < end; i += C) {
    Vector<T> sum[C][phases];
    const T* b[C];
    for (int c = 0; c < C; ++c) {
      for (int j = 0; j < phases; ++j) sum[c][j] = Vector<T>::zero();
      b[c] = group.values + lists.vertex[min_of(i + c, end - 1)] * row;
    }
    for (std::int64_t at = 0; at < row; at += phases * width)
      for (int j = 0; j < phases && at + j * width < row; ++j) {
        const Vector<T> g = Vector<T>::load(grad + at + j * width);
        for (int c = 0; c < C; ++c) sum[c][j] = sum[c][j] + g * Vector<T>::load(b[c] + at + j * width);
      }
    T sums[C][phases];
    if constexpr (fibre)
      for (int c = 0; c < C; ++c) {
        Vector<T> w[3];
        for (int a = 0; a < 3; ++a)
          w[a] = sum[c][0] * masks.axis[0][a] + sum[c][1] * masks.axis[1][a] + sum[c][2] * masks.axis[2][a];
        for (int a = 0; a < 3; ++a) sum[c][a] = w[a];
      }
    lane_sums<C * phases>(&sum[0][0], &sums[0][0]);
    for (int c = 0; c < C && i + c < end; ++c) {
      const std::int64_t e = lists.entry[i + c];
      if constexpr (fibre) {
        if (args.grad_val) args.grad_val[e] = spread_vector_vjp_p(p.directions + 3 * e, sums[c]);
        for (int a = 0; a < 3; ++a)
          if (args.grad_directions) args.grad_directions[3 * e + a] = p.val[e] * sums[c][a];
      } else {
        args.grad_val[e] = sums[c][0];
      }
    }
  }
}

template <class T> void packed_projection_bwd(const ReducedProjection<T>& args, int num_threads) {
  const Distribution<T>& p = args.distribution;
  const RowGroups<T> groups(nullptr, args.packed, args.num_shapes, p.num_vertices);
  const AxisMasks<T> masks;
  const GradientRows<T> by_muscle(args, 3);
  parallel_for(num_pieces(groups.count()), projection_work(args), num_threads, [&](std::int64_t piece) {
    for_each_group(args, groups, piece, [&](const auto& group, const auto& lists, T* grad, const auto& ahead) {
      for (std::int64_t list = 0; list < lists.count; ++list) {
        const T* muscle = by_muscle.of(lists.muscle[list]);
        for (std::int64_t j = 0; j < group.num_shapes; ++j)
          for (int a = 0; a < 3; ++a) grad[3 * j + a] = muscle[3 * group.shape[j] + a];
        for (std::int64_t i = 3 * group.num_shapes; i < padded(3 * group.num_shapes); ++i) grad[i] = 0;
        if (p.directions)
          entry_gradients<true>(args, lists, list, group, masks, grad);
        else
          entry_gradients<false>(args, lists, list, group, masks, grad);
        ahead(list);
      }
    });
  });
  // The entries of vertices that no shape moves.
  for (std::int64_t v = groups.num_moving(); v < p.num_vertices; ++v)
    for (std::int64_t e = p.crow[args.packed.vertex[v]]; e < p.crow[args.packed.vertex[v] + 1]; ++e) {
      if (args.grad_val) args.grad_val[e] = 0;
      for (int a = 0; a < 3; ++a)
        if (args.grad_directions) args.grad_directions[3 * e + a] = 0;
    }
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
