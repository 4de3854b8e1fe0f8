#include "force_projection/force_projection.h"

#include "common/linalg.h"
#include "force_projection/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {
namespace {

constexpr std::int64_t entry_block = 2048;   // entries of P that one task owns
constexpr std::int64_t vertex_block = 2048;  // vertices that one task owns

template <class T> void distribute_forces_fwd(const DistributeForces<T>& args, int num_threads) {
  const Distribution<T>& p = args.distribution;
  const std::int64_t blocks = (p.num_vertices + vertex_block - 1) / vertex_block;
  const std::int64_t width = p.directions ? 1 : 3;
  parallel_for(args.num_frames * blocks, 6.0 * args.num_frames * p.num_entries, num_threads, [&](std::int64_t task) {
    const std::int64_t x = task / blocks, begin = task % blocks * vertex_block;
    const T* force = args.force + x * p.num_muscles * width;
    T* out = args.out + x * p.num_vertices * 3;
    for (std::int64_t i = begin; i < min_of(p.num_vertices, begin + vertex_block); ++i) {
      T sum[3] = {0, 0, 0};
      for (std::int64_t e = p.crow[i]; e < p.crow[i + 1]; ++e) {
        if (p.directions)
          spread_fibre(p.val[e], p.directions + 3 * e, force[p.col[e]], sum);
        else
          spread_vector(p.val[e], force + 3 * p.col[e], sum);
      }
      for (int a = 0; a < 3; ++a) out[3 * i + a] = sum[a];
    }
  });
}

template <class T> void distribute_forces_bwd(const DistributeForces<T>& args, int num_threads) {
  const Distribution<T>& p = args.distribution;
  const double work = 6.0 * args.num_frames * p.num_entries;
  if (args.grad_force) {
    parallel_for(args.num_frames * p.num_muscles, work, num_threads, [&](std::int64_t task) {
      const std::int64_t x = task / p.num_muscles, m = task % p.num_muscles;
      const T* grad_out = args.grad_out + x * p.num_vertices * 3;
      T sum[3] = {0, 0, 0};
      for (std::int64_t l = p.muscle_crow[m]; l < p.muscle_crow[m + 1]; ++l) {
        const std::int64_t e = p.muscle_entry[l];
        const T* grad = grad_out + 3 * p.muscle_row[l];
        if (p.directions)
          sum[0] += spread_fibre_vjp_f(p.val[e], p.directions + 3 * e, grad);
        else
          spread_vector_vjp_f(p.val[e], grad, sum);
      }
      if (p.directions)
        args.grad_force[task] = sum[0];
      else
        for (int a = 0; a < 3; ++a) args.grad_force[3 * task + a] = sum[a];
    });
  }
  if (!args.grad_val && !args.grad_directions) return;
  parallel_for((p.num_vertices + vertex_block - 1) / vertex_block, work, num_threads, [&](std::int64_t task) {
    const std::int64_t end = min_of(p.num_vertices, (task + 1) * vertex_block);
    for (std::int64_t i = task * vertex_block; i < end; ++i)
      for (std::int64_t e = p.crow[i]; e < p.crow[i + 1]; ++e) {
        T grad_p = 0, w[3] = {0, 0, 0};
        for (std::int64_t x = 0; x < args.num_frames; ++x) {
          const T* grad = args.grad_out + (x * p.num_vertices + i) * 3;
          if (p.directions)
            spread_vector(args.force[x * p.num_muscles + p.col[e]], grad, w);
          else
            grad_p += spread_vector_vjp_p(args.force + (x * p.num_muscles + p.col[e]) * 3, grad);
        }
        if (p.directions) grad_p = spread_vector_vjp_p(p.directions + 3 * e, w);
        if (args.grad_val) args.grad_val[e] = grad_p;
        if (args.grad_directions)
          for (int a = 0; a < 3; ++a) args.grad_directions[3 * e + a] = p.val[e] * w[a];
      }
  });
}

template <class T> void reduced_projection_fwd(const ReducedProjection<T>& args, int num_threads) {
  const Distribution<T>& p = args.distribution;
  // One shape a task: its displacements stay in cache while every muscle gathers from them.
  parallel_for(args.num_shapes, 6.0 * args.num_shapes * p.num_entries, num_threads, [&](std::int64_t k) {
    const T* shape = args.blendshapes + k * p.num_vertices * 3;
    for (std::int64_t m = 0; m < p.num_muscles; ++m) {
      T sum[3] = {0, 0, 0};
      for (std::int64_t l = p.muscle_crow[m]; l < p.muscle_crow[m + 1]; ++l) {
        const std::int64_t e = p.muscle_entry[l];
        const T* b = shape + 3 * p.muscle_row[l];
        if (p.directions)
          sum[0] += project_fibre(p.val[e], p.directions + 3 * e, b);
        else
          spread_vector(p.val[e], b, sum);
      }
      const std::int64_t at = k * p.num_muscles + m;
      if (p.directions)
        args.out[at] = sum[0];
      else
        for (int a = 0; a < 3; ++a) args.out[3 * at + a] = sum[a];
    }
  });
}

template <class T> void reduced_projection_bwd(const ReducedProjection<T>& args, int num_threads) {
  const Distribution<T>& p = args.distribution;
  const double work = 6.0 * args.num_shapes * p.num_entries;
  if (args.grad_blendshapes) {
    parallel_for(args.num_shapes, work, num_threads, [&](std::int64_t k) {
      T* grad_shape = args.grad_blendshapes + k * p.num_vertices * 3;
      const T* grad_out = args.grad_out + k * p.num_muscles * (p.directions ? 1 : 3);
      for (std::int64_t i = 0; i < p.num_vertices; ++i) {
        T sum[3] = {0, 0, 0};
        for (std::int64_t e = p.crow[i]; e < p.crow[i + 1]; ++e) {
          if (p.directions)
            project_fibre_vjp_b(p.val[e], p.directions + 3 * e, grad_out[p.col[e]], sum);
          else
            spread_vector_vjp_f(p.val[e], grad_out + 3 * p.col[e], sum);
        }
        for (int a = 0; a < 3; ++a) grad_shape[3 * i + a] = sum[a];
      }
    });
  }
  if (!args.grad_val && !args.grad_directions) return;
  // Entries in the order by muscle, as they lie close together in each shape and share a row of grad_out.
  const std::int64_t width = p.directions ? 3 : 1;
  Scratch<T> sums(width * p.num_entries);
  parallel_for((p.num_entries + entry_block - 1) / entry_block, work, num_threads, [&](std::int64_t task) {
    const std::int64_t begin = task * entry_block, end = min_of(p.num_entries, begin + entry_block);
    T* sum = sums.data() + width * begin;
    for (std::int64_t i = 0; i < width * (end - begin); ++i) sum[i] = 0;
    for (std::int64_t k = 0; k < args.num_shapes; ++k) {
      const T* shape = args.blendshapes + k * p.num_vertices * 3;
      const T* grad_out = args.grad_out + k * p.num_muscles * (p.directions ? 1 : 3);
      std::int64_t l = begin;
      while (l < end) {
        const std::int64_t m = p.col[p.muscle_entry[l]], last = min_of(end, p.muscle_crow[m + 1]);
        if (last <= l) return;  // not the transpose of P: nothing sensible can be computed
        for (; l < last; ++l) {
          const T* b = shape + 3 * p.muscle_row[l];
          if (p.directions)
            spread_vector(grad_out[m], b, sum + 3 * (l - begin));
          else
            sum[l - begin] += spread_vector_vjp_p(b, grad_out + 3 * m);
        }
      }
    }
    for (std::int64_t l = begin; l < end; ++l) {
      const std::int64_t e = p.muscle_entry[l];
      const T* w = sum + width * (l - begin);
      if (args.grad_val) args.grad_val[e] = p.directions ? spread_vector_vjp_p(p.directions + 3 * e, w) : *w;
      if (args.grad_directions)
        for (int a = 0; a < 3; ++a) args.grad_directions[3 * e + a] = p.val[e] * w[a];
    }
  });
}

template <class T> void apply_projection_fwd(const ApplyProjection<T>& args, int num_threads) {
  Scratch<T> transposed(args.num_inputs * args.num_shapes);
  for (std::int64_t k = 0; k < args.num_shapes; ++k)
    for (std::int64_t j = 0; j < args.num_inputs; ++j)
      transposed[j * args.num_shapes + k] = args.projection[k * args.num_inputs + j];
  matmul(args.num_frames, args.num_inputs, args.num_shapes, args.force, transposed.data(), args.out, num_threads);
}

template <class T> void apply_projection_bwd(const ApplyProjection<T>& args, int num_threads) {
  if (args.grad_force)
    matmul(args.num_frames, args.num_shapes, args.num_inputs, args.grad_out, args.projection, args.grad_force,
           num_threads);
  if (args.grad_projection)
    matmul_transposed(args.num_shapes, args.num_frames, args.num_inputs, args.grad_out, args.force,
                      args.grad_projection, num_threads);
}

}  // namespace

template <class T> ForceProjectionKernels<T> force_projection_kernels() {
  return {distribute_forces_fwd<T>,  distribute_forces_bwd<T>, reduced_projection_fwd<T>,
          reduced_projection_bwd<T>, apply_projection_fwd<T>,  apply_projection_bwd<T>};
}
BIOMECHAU_INSTANTIATE_KERNELS(ForceProjectionKernels, force_projection_kernels)

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
