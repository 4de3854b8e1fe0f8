// The backward pass of one group of vertices.
#pragma once

#include "generalized_mass/cpu/tiles.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// The factor of the product of shapes k and l in the gradients: scale (grad_out_kl + grad_out_lk), at (k, l, sequence) of
// a (K, K, sequences) table. For the masses only pairs k <= l are visited; entries of the diagonal then count half.
template <class T> struct PairGradients {
  std::int64_t num_shapes, sequences;
  Scratch<T> table;

  PairGradients(const GeneralizedMass<T>& args, std::int64_t padded_sequences, bool upper, int num_threads)
      : num_shapes(args.num_shapes), sequences(padded_sequences), table(num_shapes * num_shapes * sequences) {
    const std::int64_t size = num_shapes * num_shapes;
    parallel_for(num_shapes, 4.0 * size * sequences, num_threads, [&](std::int64_t k) {
      for (std::int64_t l = 0; l < num_shapes; ++l)
        for (std::int64_t s = 0; s < sequences; ++s) {
          T value = 0;
          if (s < args.num_sequences && (!upper || k <= l)) {
            const T* grad = args.grad_out + s * size;
            value = args.scale * (grad[k * num_shapes + l] + grad[l * num_shapes + k]);
            if (upper && k == l) value /= 2;
          }
          table[(k * num_shapes + l) * sequences + s] = value;
        }
    });
  }
  const T* row(std::int64_t k) const { return &table[k * num_shapes * sequences]; }
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
  constexpr int width = Vector<T>::width, R = gradient_rows;
  const std::int64_t count = group.num_shapes;
  for (std::int64_t vector = 0; vector < vectors(group); ++vector) {
    Vector<T> total = Vector<T>::zero();
    for (std::int64_t k = 0; k < count; k += R) {
      Vector<T> y[R][3];
      const T* row[R];
      for (int r = 0; r < R; ++r) {
        for (int a = 0; a < 3; ++a) y[r][a] = Vector<T>::zero();
        row[r] = k + r < count ? gradients.row(group.shape[k + r]) : zeros;
      }
      const T* b = at(group, vector, k);
      for (std::int64_t l = k; l < count; ++l, b += 3 * width) {
        Vector<T> other[3];
        load<3>(b, other);
        for (int r = 0; r < R; ++r) pair_vjp(other, row[r][group.shape[l]], y[r]);
      }
      for (int r = 0; r < R; ++r) {
        Vector<T> own[3];
        load<3>(at(group, vector, min_of(k + r, count - 1)), own);
        total = total + pair(own, y[r][0], y[r][1], y[r][2]);
      }
    }
    scatter(group, vector, total, grad_mass);
  }
}

// The same for all sequences, Q at a time: each product of shapes is multiplied by its Q gradients in registers.
template <int Q, class T>
void mass_gradient(const GeneralizedMass<T>& args, const ShapeGroup<T>& group, const PairGradients<T>& gradients) {
  constexpr int width = Vector<T>::width, V = tile_vectors;
  const std::int64_t count = group.num_shapes, sequences = gradients.sequences;
  for (std::int64_t vector = 0; vector < vectors(group); vector += V)
    for (std::int64_t s = 0; s < sequences; s += Q) {
      Vector<T> sum[V][Q];
      const T* first[V];
      for (int v = 0; v < V; ++v) {
        for (int q = 0; q < Q; ++q) sum[v][q] = Vector<T>::zero();
        first[v] = at(group, min_of(vector + v, vectors(group) - 1), 0);
      }
      for (std::int64_t k = 0; k < count; ++k) {
        Vector<T> b[V][3];
        for (int v = 0; v < V; ++v) load<3>(first[v] + k * 3 * width, b[v]);
        const T* row = gradients.row(group.shape[k]) + s;
        for (std::int64_t l = k; l < count; ++l) {
          const T* gradient = row + group.shape[l] * sequences;
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
      for (int v = 0; v < V && vector + v < vectors(group); ++v)
        for (int q = 0; q < Q && s + q < args.num_sequences; ++q)
          scatter(group, vector + v, sum[v][q], args.grad_mass + (s + q) * args.num_vertices);
    }
}

// grad (vertices of a vector, sequences) += the products (shapes, width) of one shape with the others times their
// gradients: vectors of sequences, C at a time, from sequence s on.
template <int C, class T>
void add_gradients_of_many(const ShapeGroup<T>& group, std::int64_t k, const T* products, const T* gradients,
                           std::int64_t sequences, std::int64_t s, T* grad) {
  constexpr int width = Vector<T>::width, V = 4;
  static_assert(width % V == 0, "");
  for (std::int64_t v = 0; v < width; v += V) {
    Vector<T> sum[V][C];
    for (int i = 0; i < V; ++i)
      for (int c = 0; c < C; ++c) sum[i][c] = Vector<T>::load(grad + (v + i) * sequences + s + c * width);
    for (std::int64_t l = k; l < group.num_shapes; ++l) {
      const T *product = products + l * width + v, *gradient = gradients + group.shape[l] * sequences + s;
      for (int c = 0; c < C; ++c) {
        const Vector<T> g = Vector<T>::load(gradient + c * width);
        for (int i = 0; i < V; ++i) sum[i][c].add_scaled(product[i], g);
      }
    }
    for (int i = 0; i < V; ++i)
      for (int c = 0; c < C; ++c) sum[i][c].store(grad + (v + i) * sequences + s + c * width);
  }
}

// The gradients of the masses of many sequences: a vector of vertices at a time, shape after shape.
// scratch: (shapes, width) and (width, sequences).
template <class T>
void mass_gradient_of_many(const GeneralizedMass<T>& args, const ShapeGroup<T>& group,
                           const PairGradients<T>& gradients, T* scratch) {
  constexpr int width = Vector<T>::width;
  const std::int64_t sequences = gradients.sequences;
  T *products = scratch, *grad = scratch + args.num_shapes * width;
  for (std::int64_t vector = 0; vector < vectors(group); ++vector) {
    for (std::int64_t i = 0; i < width * sequences; ++i) grad[i] = 0;
    for (std::int64_t k = 0; k < group.num_shapes; ++k) {
      Vector<T> b[3];
      load<3>(at(group, vector, k), b);
      for (std::int64_t l = k; l < group.num_shapes; ++l) {
        Vector<T> other[3];
        load<3>(at(group, vector, l), other);
        pair(b, other[0], other[1], other[2]).store(products + l * width);
      }
      for_each_vector<tile_columns, T>(0, sequences, [&](auto count, std::int64_t s) {
        add_gradients_of_many<decltype(count)::value>(group, k, products, gradients.row(group.shape[k]), sequences, s,
                                                      grad);
      });
    }
    const std::int64_t first = vector * width, num = min_of(width, group.num_vertices - first);
    for (std::int64_t s = 0; s < args.num_sequences; ++s)
      for (std::int64_t v = 0; v < num; ++v)
        args.grad_mass[s * args.num_vertices + group.vertex[first + v]] = grad[v * sequences + s];
  }
}

// grad_B_k(i) = sum_l (sum_s m_si G_s,kl) b_l(i) for every shape k, also those that do not move the group.
template <class T>
void blendshape_gradient(const GeneralizedMass<T>& args, const ShapeGroup<T>& group, const PairGradients<T>& gradients,
                         const T* mass) {
  constexpr int width = Vector<T>::width, L = 4;
  const std::int64_t count = group.num_shapes, sequences = gradients.sequences, stride = vectors(group) * width;
  for (std::int64_t vector = 0; vector < vectors(group); ++vector)
    for (std::int64_t k = 0; k < args.num_shapes; ++k) {
      Vector<T> y[3] = {Vector<T>::zero(), Vector<T>::zero(), Vector<T>::zero()};
      const T *row = gradients.row(k), *m = mass + vector * width;
      for (std::int64_t l = 0; l < count; l += L) {
        Vector<T> weight[L];
        const T* gradient[L];
        for (int j = 0; j < L; ++j) {
          weight[j] = Vector<T>::zero();
          gradient[j] = row + group.shape[min_of(l + j, count - 1)] * sequences;
        }
        for (std::int64_t s = 0; s < args.num_sequences; ++s) {
          const Vector<T> factor = Vector<T>::load(m + s * stride);
          for (int j = 0; j < L; ++j) weight[j].add_scaled(gradient[j][s], factor);
        }
        for (int j = 0; j < L && l + j < count; ++j) {
          Vector<T> other[3];
          load<3>(at(group, vector, l + j), other);
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

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
