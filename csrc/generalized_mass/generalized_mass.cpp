#include "generalized_mass/generalized_mass.h"

#include <cmath>

#include "common/linalg.h"
#include "common/vector.h"
#include "generalized_mass/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {
namespace {

constexpr std::int64_t block = 32;  // vertices packed together: their displacements fit in the first-level cache
constexpr std::int64_t lane = 16;   // rows are padded to whole vectors of both precisions
constexpr std::int64_t batch = 16;  // sequences whose masses are gathered together
constexpr std::int64_t few_sequences = 8;  // below it a dot product a sequence is less work than a padded product

// The displacements of one block of vertices, shape index fastest, and which shapes move each vertex.
template <class T> struct Panel {
  std::int64_t stride;
  T* values;               // (block, 3, stride)
  std::int64_t* active;    // (block, K + 1) shapes that move the vertex, rising, then -1

  static std::int64_t size(std::int64_t stride) { return block * 3 * stride; }

  void load(const GeneralizedMass<T>& args, std::int64_t begin, std::int64_t num) {
    const std::int64_t num_shapes = args.num_shapes;
    std::int64_t count[block] = {};
    for (std::int64_t v = 0; v < num; ++v) {
      for (int a = 0; a < 3; ++a)
        for (std::int64_t k = num_shapes; k < stride; ++k) values[(v * 3 + a) * stride + k] = 0;
    }
    for (std::int64_t k = 0; k < num_shapes; ++k) {
      const T* shape = args.blendshapes + (k * args.num_vertices + begin) * 3;
      for (std::int64_t v = 0; v < num; ++v) {
        const T* b = shape + 3 * v;
        for (int a = 0; a < 3; ++a) values[(v * 3 + a) * stride + k] = b[a];
        active[v * (num_shapes + 1) + count[v]] = k;  // stays when the shape moves the vertex; no branch to mispredict
        count[v] += (b[0] != 0) | (b[1] != 0) | (b[2] != 0);
      }
    }
    for (std::int64_t v = 0; v < num; ++v) active[v * (num_shapes + 1) + count[v]] = -1;
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

// The vertices of a panel that one shape moves, shape after shape.
template <class T> struct Members {
  std::int64_t cursor[block] = {};
  std::int64_t vertex[block + 1];

  // Fills `vertex` for shape k and returns how many there are; k must rise from call to call.
  std::int64_t find(const Panel<T>& panel, std::int64_t num, std::int64_t num_shapes, std::int64_t k) {
    std::int64_t count = 0;
    for (std::int64_t v = 0; v < num; ++v) {
      const bool moves = panel.active[v * (num_shapes + 1) + cursor[v]] == k;
      vertex[count] = v;
      count += moves;
      cursor[v] += moves;
    }
    return count;
  }
};

// pairs (members, stride): from `first` on, the products of shape k with every shape at each of its vertices.
template <class T>
void load_pairs(const Panel<T>& panel, const Members<T>& members, std::int64_t count, std::int64_t k,
                std::int64_t first, T* pairs) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t v = members.vertex[i];
    const T b[3] = {panel.axis(v, 0)[k], panel.axis(v, 1)[k], panel.axis(v, 2)[k]};
    pair_row(panel.stride - first, b, panel.axis(v, 0) + first, panel.axis(v, 1) + first, panel.axis(v, 2) + first,
             pairs + i * panel.stride + first);
  }
}

// Adds the upper triangle of sum_i m_si B(i)^T B(i) over vertices [begin, end) to out (S, K, stride).
template <class T>
void accumulate(const GeneralizedMass<T>& args, std::int64_t begin, std::int64_t end, Panel<T> panel, T* pairs, T* out) {
  const std::int64_t num_shapes = args.num_shapes, stride = panel.stride;
  for (std::int64_t start = begin; start < end; start += block) {
    const std::int64_t num = min_of(block, end - start);
    panel.load(args, start, num);
    Members<T> members;
    for (std::int64_t k = 0; k < num_shapes; ++k) {
      // The pair products of shape k are formed once and scaled S times.
      const std::int64_t first = k / lane * lane, count = members.find(panel, num, num_shapes, k);
      load_pairs(panel, members, count, k, first, pairs);
      for (std::int64_t s = 0; s < args.num_sequences; s += batch) {
        const std::int64_t size = min_of(batch, args.num_sequences - s);
        T mass[batch * block];
        for (std::int64_t r = 0; r < size; ++r)
          for (std::int64_t i = 0; i < count; ++i)
            mass[r * block + i] = args.mass[(s + r) * args.num_vertices + start + members.vertex[i]];
        add_product(size, count, stride - first, mass, block, pairs + first, stride,
                    out + (s * num_shapes + k) * stride + first, num_shapes * stride);
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
    const Panel<T> panel{stride, own_values, own_indices};
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

// G_s = (grad_s + grad_s^T) / 2, shape after shape: `full` (K, S, stride) and, to meet the upper triangle of the pair
// products, `upper` (K, stride, width), transposed, with every entry right of the diagonal counted twice.
template <class T> struct Gradients {
  std::int64_t num_shapes, num_sequences, stride, width;
  Scratch<T> full, upper;

  Gradients(const GeneralizedMass<T>& args, std::int64_t stride_)
      : num_shapes(args.num_shapes),
        num_sequences(args.num_sequences),
        stride(stride_),
        width(padded(args.num_sequences)),
        full(num_shapes * num_sequences * stride),
        upper(num_shapes * stride * width) {
    for (std::int64_t i = 0; i < num_shapes * stride * width; ++i) upper[i] = 0;
    for (std::int64_t k = 0; k < num_shapes; ++k)
      for (std::int64_t s = 0; s < num_sequences; ++s) {
        const T* grad = args.grad_out + s * num_shapes * num_shapes;
        T* row = full.data() + (k * num_sequences + s) * stride;
        for (std::int64_t l = 0; l < num_shapes; ++l) {
          row[l] = (grad[k * num_shapes + l] + grad[l * num_shapes + k]) / 2;
          if (l >= k) upper[(k * stride + l) * width + s] = l == k ? row[l] : 2 * row[l];
        }
        for (std::int64_t l = num_shapes; l < stride; ++l) row[l] = 0;
      }
  }
  const T* full_rows(std::int64_t k) { return full.data() + k * num_sequences * stride; }
  const T* upper_rows(std::int64_t k) { return upper.data() + k * stride * width; }
};

// The scratch of one task of the backward pass.
template <class T> struct BackwardScratch {
  T* panel;        // (block, 3, stride)
  T* grad_panel;   // (block, 3, stride)
  T* pairs;        // (block, stride)
  T* mass;         // (block, width) of the vertices, then (block, width) of the members
  T* grad_mass;    // likewise

  static std::int64_t size(std::int64_t stride, std::int64_t width) {
    return 2 * Panel<T>::size(stride) + block * stride + 4 * block * width;
  }
  BackwardScratch(T* memory, std::int64_t stride, std::int64_t width)
      : panel(memory),
        grad_panel(panel + Panel<T>::size(stride)),
        pairs(grad_panel + Panel<T>::size(stride)),
        mass(pairs + block * stride),
        grad_mass(mass + 2 * block * width) {}
};

// grad_mass (vertex, s) += <row k of G_s, row k of the pair products>
template <class T>
void add_mass_gradient(Gradients<T>& gradients, const Members<T>& members, std::int64_t count, std::int64_t k,
                       std::int64_t first, const BackwardScratch<T>& own) {
  const std::int64_t width = gradients.width, stride = gradients.stride, num_sequences = gradients.num_sequences;
  if (num_sequences < few_sequences) {
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t s = 0; s < num_sequences; ++s) {
        const T *pair = own.pairs + i * stride + k, *g = gradients.full_rows(k) + s * stride + k;
        own.grad_mass[members.vertex[i] * width + s] += 2 * dot(stride - k, pair, g) - pair[0] * g[0];
      }
    return;
  }
  T* sums = own.grad_mass + block * width;
  for (std::int64_t i = 0; i < count * width; ++i) sums[i] = 0;
  add_product(count, stride - first, width, own.pairs + first, stride, gradients.upper_rows(k) + first * width, width,
              sums, width);
  for (std::int64_t i = 0; i < count; ++i)
    axpy(num_sequences, T(1), sums + i * width, own.grad_mass + members.vertex[i] * width);
}

// grad_B(i) += what shape k adds to B(i) sum_s m_si G_s
template <class T>
void add_blendshape_gradient(Gradients<T>& gradients, const Panel<T>& panel, const Members<T>& members,
                             std::int64_t count, std::int64_t k, const BackwardScratch<T>& own) {
  const std::int64_t width = gradients.width, stride = gradients.stride;
  T* mass = own.mass + block * width;
  for (std::int64_t i = 0; i < count; ++i)
    for (std::int64_t s = 0; s < width; ++s) mass[i * width + s] = own.mass[members.vertex[i] * width + s];
  for (std::int64_t i = 0; i < count * stride; ++i) own.pairs[i] = 0;
  add_product(count, gradients.num_sequences, stride, mass, width, gradients.full_rows(k), stride, own.pairs, stride);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t v = members.vertex[i];
    const T b[3] = {panel.axis(v, 0)[k], panel.axis(v, 1)[k], panel.axis(v, 2)[k]};
    T* grad = own.grad_panel + v * 3 * stride;
    pair_row_vjp(stride, b, own.pairs + i * stride, grad, grad + stride, grad + 2 * stride);
  }
}

template <class T> void generalized_mass_bwd(const GeneralizedMass<T>& args, int num_threads) {
  const std::int64_t num_shapes = args.num_shapes, num_sequences = args.num_sequences, stride = padded(num_shapes);
  Gradients<T> gradients(args, stride);
  const std::int64_t width = gradients.width;
  constexpr std::int64_t task_vertices = 8 * block;
  const std::int64_t tasks = (args.num_vertices + task_vertices - 1) / task_vertices;
  Scratch<T> values(tasks * BackwardScratch<T>::size(stride, width));
  Scratch<std::int64_t> indices(tasks * block * (num_shapes + 1));
  const double work = 2.0 * (3 + num_sequences) * args.num_vertices * num_shapes * stride / 2;
  parallel_for(tasks, work, num_threads, [&](std::int64_t task) {
    const BackwardScratch<T> own(values.data() + task * BackwardScratch<T>::size(stride, width), stride, width);
    Panel<T> panel{stride, own.panel, indices.data() + task * block * (num_shapes + 1)};
    const std::int64_t end = min_of(args.num_vertices, (task + 1) * task_vertices);
    for (std::int64_t start = task * task_vertices; start < end; start += block) {
      const std::int64_t num = min_of(block, end - start);
      panel.load(args, start, num);
      for (std::int64_t i = 0; i < num * 3 * stride; ++i) own.grad_panel[i] = 0;
      for (std::int64_t v = 0; v < num; ++v)
        for (std::int64_t s = 0; s < width; ++s) {
          own.mass[v * width + s] = s < num_sequences ? args.mass[s * args.num_vertices + start + v] : T(0);
          own.grad_mass[v * width + s] = 0;
        }
      Members<T> members;
      for (std::int64_t k = 0; k < num_shapes; ++k) {
        const std::int64_t first = k / lane * lane, count = members.find(panel, num, num_shapes, k);
        if (args.grad_mass) {
          load_pairs(panel, members, count, k, first, own.pairs);
          add_mass_gradient(gradients, members, count, k, first, own);
        }
        if (args.grad_blendshapes) add_blendshape_gradient(gradients, panel, members, count, k, own);
      }
      if (args.grad_mass)
        for (std::int64_t s = 0; s < num_sequences; ++s)
          for (std::int64_t v = 0; v < num; ++v)
            args.grad_mass[s * args.num_vertices + start + v] = args.scale * own.grad_mass[v * width + s];
      if (args.grad_blendshapes)
        for (std::int64_t k = 0; k < num_shapes; ++k)
          for (std::int64_t v = 0; v < num; ++v)
            for (int a = 0; a < 3; ++a)
              args.grad_blendshapes[(k * args.num_vertices + start + v) * 3 + a] =
                  2 * args.scale * own.grad_panel[(v * 3 + a) * stride + k];
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
