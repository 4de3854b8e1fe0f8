#include "generalized_mass/generalized_mass.h"

#include <cmath>
#include <limits>

#include "common/lane_sums.h"
#include "common/shape_group.h"
#include "generalized_mass/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {
namespace {

// Tiles whose sums fit the registers.
#if defined(__AVX512F__)
constexpr int tile_pairs = 4, tile_sequences = 4;      // forward, several sequences
constexpr int tile_shapes = 4;                         // forward, one sequence: two shapes times so many
constexpr int tile_vectors = 2, tile_gradients = 8;    // backward to the masses, several sequences
constexpr int tile_rows = 4;                           // backward, one sequence
#else
constexpr int tile_pairs = 2, tile_sequences = 2;
constexpr int tile_shapes = 2;
constexpr int tile_vectors = 1, tile_gradients = 4;
constexpr int tile_rows = 1;
#endif

// Pairs (k, l) of shapes with k <= l, row after row.
struct Pairs {
  std::int64_t num_shapes;
  std::int64_t count() const { return num_shapes * (num_shapes + 1) / 2; }
  std::int64_t row(std::int64_t k) const { return k * (2 * num_shapes - k - 1) / 2; }  // (k, l) is row(k) + l
};

std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

template <class T> std::int64_t first_bad_mass(const GeneralizedMass<T>& args, int num_threads) {
  constexpr std::int64_t task_masses = 1 << 14;
  const std::int64_t count = args.num_sequences * args.num_vertices;
  const std::int64_t tasks = (count + task_masses - 1) / task_masses;
  Scratch<int> bad(tasks);
  parallel_for(tasks, 1.0 * count, num_threads, [&](std::int64_t task) {
    int found = 0;
    for (std::int64_t i = task * task_masses; i < min_of(count, (task + 1) * task_masses); ++i)
      found |= !(args.mass[i] >= 0) | !(args.mass[i] <= std::numeric_limits<T>::max());
    bad[task] = found;
  });
  for (std::int64_t task = 0; task < tasks; ++task)
    for (std::int64_t i = task * task_masses; bad[task] && i < count; ++i)
      if (!(args.mass[i] >= 0) || !(args.mass[i] <= std::numeric_limits<T>::max())) return i;
  return -1;
}

// panel (sequences, vertices padded to vectors): the masses of a group, 0 where there is no vertex or no sequence.
template <class T>
void load_masses(const GeneralizedMass<T>& args, const ShapeGroup<T>& group, std::int64_t padded_sequences, T* panel) {
  const std::int64_t stride = group.num_vectors * Vector<T>::width;
  for (std::int64_t s = 0; s < padded_sequences; ++s) {
    const T* mass = args.mass + s * args.num_vertices;
    T* row = panel + s * stride;
    const std::int64_t num = s < args.num_sequences ? group.num_vertices : 0;
    for (std::int64_t v = 0; v < num; ++v) row[v] = mass[group.vertex[v]];
    for (std::int64_t v = num; v < stride; ++v) row[v] = 0;
  }
}

template <int Count, class T> inline void load(const T* from, Vector<T>* to) {
  for (int i = 0; i < Count; ++i) to[i] = Vector<T>::load(from + i * Vector<T>::width);
}

// out (pairs) += sum_i m_i b_k(i) . b_l(i) over the vertices of a group; weighted: room for two shapes' m_i b_k(i).
template <class T>
void add_products(const ShapeGroup<T>& group, const T* mass, Pairs pairs, T* weighted, T* out) {
  constexpr int width = Vector<T>::width, cols = tile_shapes;
  const std::int64_t last = group.num_shapes - 1;
  for (std::int64_t k = 0; k <= last; k += 2) {
    for (std::int64_t vector = 0; vector < group.num_vectors; ++vector) {
      const Vector<T> m = Vector<T>::load(mass + vector * width);
      for (int r = 0; r < 2; ++r) {
        Vector<T> b[3];
        load<3>(group.at(vector, min_of(k + r, last)), b);
        for (int a = 0; a < 3; ++a) (m * b[a]).store(weighted + ((vector * 2 + r) * 3 + a) * width);
      }
    }
    for (std::int64_t l = k; l <= last; l += cols) {
      Vector<T> sum[2 * cols];
      for (int i = 0; i < 2 * cols; ++i) sum[i] = Vector<T>::zero();
      std::int64_t at[cols];
      for (int c = 0; c < cols; ++c) at[c] = min_of(l + c, last) * 3 * width;
      for (std::int64_t vector = 0; vector < group.num_vectors; ++vector) {
        const T* values = group.at(vector, 0);
        Vector<T> b[2 * 3];
        load<6>(weighted + vector * 6 * width, b);
        for (int c = 0; c < cols; ++c) {
          Vector<T> other[3];
          load<3>(values + at[c], other);
          for (int r = 0; r < 2; ++r) sum[r * cols + c] = sum[r * cols + c] + pair(b + 3 * r, other[0], other[1], other[2]);
        }
      }
      T sums[2 * cols];
      lane_sums<2 * cols>(sum, sums);
      for (int r = 0; r < 2; ++r)
        for (int c = 0; c < cols; ++c)
          if (k + r <= l + c && k + r <= last && l + c <= last)
            out[pairs.row(group.shape[k + r]) + group.shape[l + c]] += sums[r * cols + c];
    }
  }
}

// out (pairs, sequences) += sum_i m_si b_k(i) . b_l(i): the products of two by two shapes are formed once, in `products`
// (4, vertices), and added up with the masses (sequences, vertices) of all sequences.
template <class T>
void add_products(const ShapeGroup<T>& group, const T* mass, std::int64_t padded_sequences, Pairs pairs, T* products,
                  T* out) {
  constexpr int width = Vector<T>::width, P = tile_pairs, Q = tile_sequences;
  const std::int64_t last = group.num_shapes - 1, stride = group.num_vectors * width;
  for (std::int64_t k = 0; k <= last; k += 2)
    for (std::int64_t l = k; l <= last; l += 2) {
      const std::int64_t k1 = min_of(k + 1, last) * 3 * width, l1 = min_of(l + 1, last) * 3 * width;
      for (std::int64_t vector = 0; vector < group.num_vectors; ++vector) {
        const T* values = group.at(vector, 0);
        Vector<T> b[2][3], c[2][3];
        load<3>(values + k * 3 * width, b[0]);
        load<3>(values + k1, b[1]);
        load<3>(values + l * 3 * width, c[0]);
        load<3>(values + l1, c[1]);
        for (int p = 0; p < 4; ++p)
          pair(b[p / 2], c[p % 2][0], c[p % 2][1], c[p % 2][2]).store(products + p * stride + vector * width);
      }
      std::int64_t pair[4];  // -1: below the diagonal, or beyond the last shape
      for (int p = 0; p < 4; ++p) {
        const std::int64_t row = k + p / 2, col = l + p % 2;
        pair[p] = row <= col && col <= last ? pairs.row(group.shape[row]) + group.shape[col] : -1;
      }
      for (int p0 = 0; p0 < 4; p0 += P)
        for (std::int64_t s = 0; s < padded_sequences; s += Q) {
          Vector<T> sum[P * Q];
          for (int i = 0; i < P * Q; ++i) sum[i] = Vector<T>::zero();
          const T *product = products + p0 * stride, *m = mass + s * stride;
          for (std::int64_t v = 0; v < stride; v += width) {
            Vector<T> factor[Q];
            for (int q = 0; q < Q; ++q) factor[q] = Vector<T>::load(m + q * stride + v);
            for (int p = 0; p < P; ++p) {
              const Vector<T> x = Vector<T>::load(product + p * stride + v);
              for (int q = 0; q < Q; ++q) sum[p * Q + q] = sum[p * Q + q] + x * factor[q];
            }
          }
          T sums[P * Q];
          lane_sums<P * Q>(sum, sums);
          for (int p = 0; p < P; ++p)
            if (pair[p0 + p] >= 0)
              for (int q = 0; q < Q; ++q) out[pair[p0 + p] * padded_sequences + s + q] += sums[p * Q + q];
        }
    }
}

// How many pieces the sum over vertices is cut into. A function of the sizes alone: the order of the sum, and so its
// last bit, is the same for every number of threads.
std::int64_t num_pieces(std::int64_t num_groups, std::int64_t size) {
  constexpr std::int64_t most = 32, largest = 1 << 21;  // elements of all partial sums
  return max_of(1, min_of(num_groups, max_of(4, min_of(most, largest / max_of(1, size)))));
}

template <class T> std::int64_t generalized_mass_fwd(const GeneralizedMass<T>& args, int num_threads) {
  const std::int64_t bad = first_bad_mass(args, num_threads);
  if (bad >= 0) return bad;
  const std::int64_t num_shapes = args.num_shapes, num_sequences = args.num_sequences;
  const Pairs pairs{num_shapes};
  const ShapeGroups<T> groups(args.blendshapes, args.packed, num_shapes, args.num_vertices);
  const std::int64_t padded = num_sequences == 1 ? 1 : round_up(num_sequences, tile_sequences);
  const std::int64_t size = pairs.count() * padded, pieces = num_pieces(groups.count(), size);
  const std::int64_t panel = padded * groups.largest(), products = 6 * groups.largest();
  const std::int64_t own_size = groups.values_size() + panel + products;
  Scratch<T> partial(pieces * size), own(pieces * own_size);
  Scratch<std::int32_t> own_index(pieces * groups.index_size());
  parallel_for(pieces, 2 * groups.cost() * (3 + num_sequences), num_threads, [&](std::int64_t piece) {
    T *out = partial.data() + piece * size, *values = own.data() + piece * own_size;
    T *mass = values + groups.values_size(), *scratch = mass + panel;
    for (std::int64_t i = 0; i < size; ++i) out[i] = 0;
    for (std::int64_t g = groups.begin(piece, pieces); g < groups.begin(piece + 1, pieces); ++g) {
      const ShapeGroup<T> group = groups.get(g, values, own_index.data() + piece * groups.index_size());
      load_masses(args, group, padded, mass);
      if (padded == 1)
        add_products(group, mass, pairs, scratch, out);
      else
        add_products(group, mass, padded, pairs, scratch, out);
    }
  });
  parallel_for(num_shapes, 1.0 * pieces * size, num_threads, [&](std::int64_t k) {
    for (std::int64_t l = k; l < num_shapes; ++l) {
      const std::int64_t at = (pairs.row(k) + l) * padded;
      for (std::int64_t piece = 1; piece < pieces; ++piece)
        for (std::int64_t s = 0; s < num_sequences; ++s) partial[at + s] += partial[piece * size + at + s];
      for (std::int64_t s = 0; s < num_sequences; ++s) {
        T* out = args.out + s * num_shapes * num_shapes;
        out[k * num_shapes + l] = out[l * num_shapes + k] = args.scale * partial[at + s];
      }
    }
  });
  return -1;
}

// What meets the product of shapes k and l in the gradients: scale (grad_out_kl + grad_out_lk), at (k, l, sequence) of a
// (K, K, padded sequences) table. For the masses only pairs k <= l are met; entries of the diagonal then count half.
template <class T> struct PairGradients {
  std::int64_t num_shapes, padded;
  Scratch<T> table;

  PairGradients(const GeneralizedMass<T>& args, std::int64_t padded_sequences, bool upper, int num_threads)
      : num_shapes(args.num_shapes), padded(padded_sequences), table(num_shapes * num_shapes * padded) {
    const std::int64_t size = num_shapes * num_shapes;
    parallel_for(num_shapes, 4.0 * size * padded, num_threads, [&](std::int64_t k) {
      for (std::int64_t l = 0; l < num_shapes; ++l)
        for (std::int64_t s = 0; s < padded; ++s) {
          T value = 0;
          if (s < args.num_sequences && (!upper || k <= l)) {
            const T* grad = args.grad_out + s * size;
            value = args.scale * (grad[k * num_shapes + l] + grad[l * num_shapes + k]);
            if (upper && k == l) value /= 2;
          }
          table[(k * num_shapes + l) * padded + s] = value;
        }
    });
  }
  const T* row(std::int64_t k) const { return &table[k * num_shapes * padded]; }
};

template <class T>
void scatter(const ShapeGroup<T>& group, std::int64_t vector, const Vector<T>& value, T* out) {
  T lanes[Vector<T>::width];
  value.store(lanes);
  const std::int64_t first = vector * Vector<T>::width, num = min_of(Vector<T>::width, group.num_vertices - first);
  for (std::int64_t l = 0; l < num; ++l) out[group.vertex[first + l]] = lanes[l];
}

// grad_mass_i = <G, B(i)^T B(i)> of one sequence: b_k . sum_{l >= k} G_kl b_l, summed over k.
template <class T>
void mass_gradient(const ShapeGroup<T>& group, const PairGradients<T>& gradients, const T* zeros, T* grad_mass) {
  constexpr int width = Vector<T>::width, R = tile_rows;
  const std::int64_t count = group.num_shapes;
  for (std::int64_t vector = 0; vector < group.num_vectors; ++vector) {
    Vector<T> total = Vector<T>::zero();
    for (std::int64_t k = 0; k < count; k += R) {
      Vector<T> y[R][3];
      const T* row[R];
      for (int r = 0; r < R; ++r) {
        for (int a = 0; a < 3; ++a) y[r][a] = Vector<T>::zero();
        row[r] = k + r < count ? gradients.row(group.shape[k + r]) : zeros;
      }
      const T* b = group.at(vector, k);
      for (std::int64_t l = k; l < count; ++l, b += 3 * width) {
        Vector<T> other[3];
        load<3>(b, other);
        for (int r = 0; r < R; ++r) pair_vjp(other, row[r][group.shape[l]], y[r]);
      }
      for (int r = 0; r < R; ++r) {
        Vector<T> own[3];
        load<3>(group.at(vector, min_of(k + r, count - 1)), own);
        total = total + pair(own, y[r][0], y[r][1], y[r][2]);
      }
    }
    scatter(group, vector, total, grad_mass);
  }
}

// The same of all sequences, Q at a time: each product of shapes meets its Q gradients in registers.
template <int Q, class T>
void mass_gradient(const GeneralizedMass<T>& args, const ShapeGroup<T>& group, const PairGradients<T>& gradients) {
  constexpr int width = Vector<T>::width, V = tile_vectors;
  const std::int64_t count = group.num_shapes, padded = gradients.padded;
  for (std::int64_t vector = 0; vector < group.num_vectors; vector += V)
    for (std::int64_t s = 0; s < padded; s += Q) {
      Vector<T> sum[V][Q];
      const T* first[V];
      for (int v = 0; v < V; ++v) {
        for (int q = 0; q < Q; ++q) sum[v][q] = Vector<T>::zero();
        first[v] = group.at(min_of(vector + v, group.num_vectors - 1), 0);
      }
      for (std::int64_t k = 0; k < count; ++k) {
        Vector<T> b[V][3];
        for (int v = 0; v < V; ++v) load<3>(first[v] + k * 3 * width, b[v]);
        const T* row = gradients.row(group.shape[k]) + s;
        for (std::int64_t l = k; l < count; ++l) {
          const T* gradient = row + group.shape[l] * padded;
          Vector<T> product[V];
          for (int v = 0; v < V; ++v) {
            Vector<T> other[3];
            load<3>(first[v] + l * 3 * width, other);
            product[v] = pair(b[v], other[0], other[1], other[2]);
          }
          for (int q = 0; q < Q; ++q)
            for (int v = 0; v < V; ++v) sum[v][q].add_scaled(gradient[q], product[v]);
        }
      }
      for (int v = 0; v < V && vector + v < group.num_vectors; ++v)
        for (int q = 0; q < Q && s + q < args.num_sequences; ++q)
          scatter(group, vector + v, sum[v][q], args.grad_mass + (s + q) * args.num_vertices);
    }
}

// grad_B_k(i) = sum_l (sum_s m_si G_s,kl) b_l(i) for every shape k, also those that do not move the group.
template <class T>
void blendshape_gradient(const GeneralizedMass<T>& args, const ShapeGroup<T>& group, const PairGradients<T>& gradients,
                         const T* mass) {
  constexpr int width = Vector<T>::width, L = 4;
  const std::int64_t count = group.num_shapes, padded = gradients.padded, stride = group.num_vectors * width;
  for (std::int64_t vector = 0; vector < group.num_vectors; ++vector)
    for (std::int64_t k = 0; k < args.num_shapes; ++k) {
      Vector<T> y[3] = {Vector<T>::zero(), Vector<T>::zero(), Vector<T>::zero()};
      const T *row = gradients.row(k), *m = mass + vector * width;
      for (std::int64_t l = 0; l < count; l += L) {
        Vector<T> weight[L];
        const T* gradient[L];
        for (int j = 0; j < L; ++j) {
          weight[j] = Vector<T>::zero();
          gradient[j] = row + group.shape[min_of(l + j, count - 1)] * padded;
        }
        for (std::int64_t s = 0; s < args.num_sequences; ++s) {
          const Vector<T> factor = Vector<T>::load(m + s * stride);
          for (int j = 0; j < L; ++j) weight[j].add_scaled(gradient[j][s], factor);
        }
        for (int j = 0; j < L && l + j < count; ++j) {
          Vector<T> other[3];
          load<3>(group.at(vector, l + j), other);
          pair_vjp(other, weight[j], y);
        }
      }
      T lanes[3][Vector<T>::width];
      for (int a = 0; a < 3; ++a) y[a].store(lanes[a]);
      const std::int64_t first = group.vertex[0] + vector * width;
      T* out = args.grad_blendshapes + (k * args.num_vertices + first) * 3;
      const std::int64_t num = min_of(width, group.num_vertices - vector * width);
      for (std::int64_t v = 0; v < num; ++v)
        for (int a = 0; a < 3; ++a) out[3 * v + a] = lanes[a][v];
    }
}

template <class T> void generalized_mass_bwd(const GeneralizedMass<T>& args, int num_threads) {
  const std::int64_t num_shapes = args.num_shapes, num_sequences = args.num_sequences;
  const ShapeGroups<T> groups(args.blendshapes, args.packed, num_shapes, args.num_vertices);
  const std::int64_t pieces = num_pieces(groups.count(), 0), panel = num_sequences * groups.largest();
  const std::int64_t own_size = groups.values_size() + (args.grad_blendshapes ? panel : 0);
  Scratch<T> own(pieces * own_size);
  Scratch<std::int32_t> own_index(pieces * groups.index_size());
  const auto each_group = [&](double work, const auto& fn) {
    parallel_for(pieces, work, num_threads, [&](std::int64_t piece) {
      T* values = own.data() + piece * own_size;
      for (std::int64_t g = groups.begin(piece, pieces); g < groups.begin(piece + 1, pieces); ++g)
        fn(groups.get(g, values, own_index.data() + piece * groups.index_size()), values + groups.values_size());
    });
  };
  const double work = 2 * groups.cost() * (3 + num_sequences);
  if (args.grad_mass) {
    const std::int64_t tile = num_sequences <= 2 ? num_sequences : num_sequences <= 4 ? 4 : tile_gradients;
    const PairGradients<T> gradients(args, round_up(num_sequences, tile), true, num_threads);
    Scratch<T> zeros(num_shapes);
    for (std::int64_t k = 0; k < num_shapes; ++k) zeros[k] = 0;
    each_group(work, [&](const ShapeGroup<T>& group, T*) {
      if (tile == 1)
        mass_gradient(group, gradients, zeros.data(), args.grad_mass);
      else if (tile == 2)
        mass_gradient<2>(args, group, gradients);
      else if (tile == 4)
        mass_gradient<4>(args, group, gradients);
      else
        mass_gradient<tile_gradients>(args, group, gradients);
    });
    for (std::int64_t v = groups.num_moving(); v < args.num_vertices; ++v)
      for (std::int64_t s = 0; s < num_sequences; ++s)
        args.grad_mass[s * args.num_vertices + args.packed.vertex[v]] = 0;
  }
  if (args.grad_blendshapes) {
    const PairGradients<T> gradients(args, num_sequences, false, num_threads);
    each_group(2 * work, [&](const ShapeGroup<T>& group, T* mass) {
      load_masses(args, group, num_sequences, mass);
      blendshape_gradient(args, group, gradients, mass);
    });
  }
}

}  // namespace

template <class T> GeneralizedMassKernels<T> generalized_mass_kernels() {
  return {generalized_mass_fwd<T>, generalized_mass_bwd<T>};
}
BIOMECHAU_INSTANTIATE_KERNELS(GeneralizedMassKernels, generalized_mass_kernels)

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
