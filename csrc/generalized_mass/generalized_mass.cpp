#include "generalized_mass/generalized_mass.h"

#include <cmath>

#include "common/linalg.h"
#include "generalized_mass/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {
namespace {

constexpr std::int64_t block = 32;  // vertices packed together: their displacements fit in the first-level cache
constexpr std::int64_t lane = 16;   // rows are padded to whole vectors of any instruction set

// The displacements of one block of vertices, shape index fastest, and which shapes move each vertex.
template <class T> struct Panel {
  std::int64_t stride;
  T* values;               // (block, 3, stride)
  std::int64_t* active;    // (block, K) shapes that move the vertex
  std::int64_t* count;     // (block)

  static std::int64_t size(std::int64_t stride) { return block * 3 * stride; }

  void load(const GeneralizedMass<T>& args, std::int64_t begin, std::int64_t num) {
    const std::int64_t num_shapes = args.num_shapes;
    for (std::int64_t v = 0; v < num; ++v) {
      count[v] = 0;
      for (int a = 0; a < 3; ++a)
        for (std::int64_t k = num_shapes; k < stride; ++k) values[(v * 3 + a) * stride + k] = 0;
    }
    for (std::int64_t k = 0; k < num_shapes; ++k) {
      const T* shape = args.blendshapes + (k * args.num_vertices + begin) * 3;
      for (std::int64_t v = 0; v < num; ++v) {
        const T* b = shape + 3 * v;
        for (int a = 0; a < 3; ++a) values[(v * 3 + a) * stride + k] = b[a];
        if (b[0] != 0 || b[1] != 0 || b[2] != 0) active[v * num_shapes + count[v]++] = k;
      }
    }
  }
  const T* axis(std::int64_t v, int a) const { return values + (v * 3 + a) * stride; }
};

std::int64_t padded(std::int64_t n) { return (n + lane - 1) / lane * lane; }

// How many pieces the sum over vertices is cut into. A function of the sizes alone: the order of the sum, and so its
// last bit, is the same for every number of threads.
std::int64_t num_pieces(std::int64_t num_vertices, std::int64_t num_sequences) {
  const std::int64_t most = max_of(4, 64 / max_of(1, num_sequences));
  return max_of(1, min_of(most, num_vertices / 512));
}

template <class T> std::int64_t first_bad_mass(const GeneralizedMass<T>& args) {
  for (std::int64_t i = 0; i < args.num_sequences * args.num_vertices; ++i)
    if (!(args.mass[i] >= 0) || !std::isfinite(args.mass[i])) return i;
  return -1;
}

// Adds the upper triangle of scale sum_i m_si B(i)^T B(i) over vertices [begin, end) to out (S, K, stride).
template <class T>
void accumulate(const GeneralizedMass<T>& args, std::int64_t begin, std::int64_t end, Panel<T> panel, T* pairs, T* out) {
  const std::int64_t num_shapes = args.num_shapes, stride = panel.stride;
  std::int64_t cursor[block], member[block];
  for (std::int64_t start = begin; start < end; start += block) {
    const std::int64_t num = min_of(block, end - start);
    panel.load(args, start, num);
    for (std::int64_t v = 0; v < num; ++v) cursor[v] = 0;
    for (std::int64_t k = 0; k < num_shapes; ++k) {
      // The pair products of shape k at every vertex that it moves, formed once and scaled S times.
      const std::int64_t first = k / lane * lane;
      std::int64_t members = 0;
      for (std::int64_t v = 0; v < num; ++v) {
        if (cursor[v] == panel.count[v] || panel.active[v * num_shapes + cursor[v]] != k) continue;
        ++cursor[v];
        const T b[3] = {panel.axis(v, 0)[k], panel.axis(v, 1)[k], panel.axis(v, 2)[k]};
        pair_row(stride - first, b, panel.axis(v, 0) + first, panel.axis(v, 1) + first, panel.axis(v, 2) + first,
                 pairs + members * stride + first);
        member[members++] = v;
      }
      if (members == 0) continue;
      for (std::int64_t s = 0; s < args.num_sequences; ++s) {
        const T* mass = args.mass + s * args.num_vertices + start;
        T* row = out + (s * num_shapes + k) * stride;
        for (std::int64_t j = first; j < stride; j += lane) {
          T sum[lane];
          for (int l = 0; l < lane; ++l) sum[l] = row[j + l];
          for (std::int64_t v = 0; v < members; ++v) {
            const T m = mass[member[v]];
            const T* pair = pairs + v * stride + j;
            for (int l = 0; l < lane; ++l) sum[l] += m * pair[l];
          }
          for (int l = 0; l < lane; ++l) row[j + l] = sum[l];
        }
      }
    }
  }
}

template <class T> std::int64_t generalized_mass_fwd(const GeneralizedMass<T>& args, int num_threads) {
  const std::int64_t bad = first_bad_mass(args);
  if (bad >= 0) return bad;
  const std::int64_t num_shapes = args.num_shapes, stride = padded(num_shapes);
  const std::int64_t pieces = num_pieces(args.num_vertices, args.num_sequences);
  const std::int64_t size = args.num_sequences * num_shapes * stride;
  const std::int64_t length = (args.num_vertices + pieces - 1) / pieces;
  Scratch<T> partial(pieces * size);
  Scratch<T> values(pieces * (Panel<T>::size(stride) + block * stride));
  Scratch<std::int64_t> indices(pieces * block * (num_shapes + 1));
  const double work = (6.0 + args.num_sequences) * args.num_vertices * num_shapes * stride / 4;
  parallel_for(pieces, work, num_threads, [&](std::int64_t piece) {
    T* out = partial.data() + piece * size;
    for (std::int64_t i = 0; i < size; ++i) out[i] = 0;
    T* own_values = values.data() + piece * (Panel<T>::size(stride) + block * stride);
    std::int64_t* own_indices = indices.data() + piece * block * (num_shapes + 1);
    const Panel<T> panel{stride, own_values, own_indices, own_indices + block * num_shapes};
    accumulate(args, piece * length, min_of(args.num_vertices, (piece + 1) * length), panel,
               own_values + Panel<T>::size(stride), out);
  });
  for (std::int64_t s = 0; s < args.num_sequences; ++s)
    for (std::int64_t k = 0; k < num_shapes; ++k)
      for (std::int64_t l = k; l < num_shapes; ++l) {
        T sum = 0;
        for (std::int64_t piece = 0; piece < pieces; ++piece)
          sum += partial[piece * size + (s * num_shapes + k) * stride + l];
        args.out[(s * num_shapes + k) * num_shapes + l] = args.out[(s * num_shapes + l) * num_shapes + k] =
            args.scale * sum;
      }
  return -1;
}

template <class T> void generalized_mass_bwd(const GeneralizedMass<T>& args, int num_threads) {
  const std::int64_t num_shapes = args.num_shapes, stride = padded(num_shapes);
  // G = (grad + grad^T) / 2, padded; M is symmetric in its two shapes whatever grad_out is.
  Scratch<T> sym(args.num_sequences * num_shapes * stride);
  for (std::int64_t s = 0; s < args.num_sequences; ++s) {
    const T* grad = args.grad_out + s * num_shapes * num_shapes;
    T* out = sym.data() + s * num_shapes * stride;
    for (std::int64_t k = 0; k < num_shapes; ++k)
      for (std::int64_t l = 0; l < stride; ++l)
        out[k * stride + l] = l < num_shapes ? (grad[k * num_shapes + l] + grad[l * num_shapes + k]) / 2 : T(0);
  }
  constexpr std::int64_t task_vertices = 8 * block;
  const std::int64_t tasks = (args.num_vertices + task_vertices - 1) / task_vertices;
  const std::int64_t own = 2 * Panel<T>::size(stride) + 3 * stride;
  Scratch<T> values(tasks * own);
  Scratch<std::int64_t> indices(tasks * block * (num_shapes + 1));
  const double work = 6.0 * args.num_sequences * args.num_vertices * num_shapes * stride / 2;
  parallel_for(tasks, work, num_threads, [&](std::int64_t task) {
    T* own_values = values.data() + task * own;
    std::int64_t* own_indices = indices.data() + task * block * (num_shapes + 1);
    Panel<T> panel{stride, own_values, own_indices, own_indices + block * num_shapes};
    T* grad_panel = own_values + Panel<T>::size(stride);
    T* y = grad_panel + Panel<T>::size(stride);
    const std::int64_t end = min_of(args.num_vertices, (task + 1) * task_vertices);
    for (std::int64_t start = task * task_vertices; start < end; start += block) {
      const std::int64_t num = min_of(block, end - start);
      panel.load(args, start, num);
      for (std::int64_t i = 0; i < num * 3 * stride; ++i) grad_panel[i] = 0;
      for (std::int64_t s = 0; s < args.num_sequences; ++s)
        for (std::int64_t v = 0; v < num; ++v) {
          for (std::int64_t i = 0; i < 3 * stride; ++i) y[i] = 0;
          for (std::int64_t l = 0; l < panel.count[v]; ++l) {
            const std::int64_t k = panel.active[v * num_shapes + l];
            const T b[3] = {panel.axis(v, 0)[k], panel.axis(v, 1)[k], panel.axis(v, 2)[k]};
            pair_row_vjp(stride, b, sym.data() + (s * num_shapes + k) * stride, y, y + stride, y + 2 * stride);
          }
          const std::int64_t at = s * args.num_vertices + start + v;
          if (args.grad_mass) args.grad_mass[at] = args.scale * dot(3 * stride, y, panel.axis(v, 0));
          if (args.grad_blendshapes)
            axpy(3 * stride, 2 * args.scale * args.mass[at], y, grad_panel + v * 3 * stride);
        }
      if (!args.grad_blendshapes) continue;
      for (std::int64_t k = 0; k < num_shapes; ++k)
        for (std::int64_t v = 0; v < num; ++v)
          for (int a = 0; a < 3; ++a)
            args.grad_blendshapes[(k * args.num_vertices + start + v) * 3 + a] = grad_panel[(v * 3 + a) * stride + k];
    }
  });
}

}  // namespace

template <class T> GeneralizedMassKernels<T> generalized_mass_kernels() {
  return {generalized_mass_fwd<T>, generalized_mass_bwd<T>};
}
BIOMECHAU_INSTANTIATE_KERNELS(GeneralizedMassKernels, generalized_mass_kernels)

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
