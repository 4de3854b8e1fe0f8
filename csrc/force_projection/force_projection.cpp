#include "force_projection/force_projection.h"

#include "common/cpu/panel.h"
#include "force_projection/cpu/dense_projection.h"
#include "force_projection/cpu/packed_projection.h"

namespace biomechau {
namespace BIOMECHAU_ISA {
namespace {

constexpr std::int64_t vertex_block = 2048;  // vertices that one task owns

template <class T> void distribute_forces_fwd(const DistributeForces<T>& args, int num_threads) {
  const Distribution<T>& p = args.distribution;
  const std::int64_t blocks = (p.num_vertices + vertex_block - 1) / vertex_block;
  const std::int64_t width = p.force_size();
  parallel_for(args.num_frames * blocks, 6.0 * args.num_frames * p.num_entries, num_threads, [&](std::int64_t task) {
    const std::int64_t x = task / blocks, begin = task % blocks * vertex_block;
    const T* force = args.force + x * p.num_muscles * width;
    const T* directions = p.directions;
    T* out = args.out + x * p.num_vertices * 3;
    for (std::int64_t i = begin; i < min_of(p.num_vertices, begin + vertex_block); ++i) {
      T sum[3] = {0, 0, 0};
      for (std::int64_t e = p.crow[i]; e < p.crow[i + 1]; ++e) {
        if (p.fibre)
          spread_fibre(p.val[e], directions + 3 * e, force[p.col[e]], sum);
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
        if (p.fibre)
          sum[0] += spread_fibre_vjp_f(p.val[e], p.directions + 3 * e, grad);
        else
          spread_vector_vjp_f(p.val[e], grad, sum);
      }
      if (p.fibre)
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
          if (p.fibre)
            spread_vector(args.force[x * p.num_muscles + p.col[e]], grad, w);
          else
            grad_p += spread_vector_vjp_p(args.force + (x * p.num_muscles + p.col[e]) * 3, grad);
        }
        if (p.fibre) grad_p = spread_vector_vjp_p(p.directions + 3 * e, w);
        if (args.grad_val) args.grad_val[e] = grad_p;
        if (args.grad_directions)
          for (int a = 0; a < 3; ++a) args.grad_directions[3 * e + a] = p.val[e] * w[a];
      }
  });
}

template <class T> void reduced_projection_fwd(const ReducedProjection<T>& args, int num_threads) {
  if (args.is_packed) return packed_projection_fwd(args, num_threads);
  if (args.distribution.fibre) return dense_projection_fwd<true>(args, num_threads);
  dense_projection_fwd<false>(args, num_threads);
}

template <class T> void reduced_projection_bwd(const ReducedProjection<T>& args, int num_threads) {
  if (args.is_packed) return packed_projection_bwd(args, num_threads);
  if (args.distribution.fibre) return dense_projection_bwd<true>(args, num_threads);
  dense_projection_bwd<false>(args, num_threads);
}

constexpr std::int64_t task_frames = 16;

// Operations on vectors.
template <class T> double apply_work(const ApplyProjection<T>& args) {
  return 1.0 * args.num_frames * args.num_inputs * args.num_shapes / width_of<T>;
}

template <class T> void apply_projection_fwd(const ApplyProjection<T>& args, int num_threads) {
  const std::int64_t shapes = args.num_shapes, inputs = args.num_inputs, row = padded(shapes);
  Scratch<T> transposed(inputs * row);
  to_transposed_panel(shapes, inputs, args.projection, transposed.data());
  parallel_for((args.num_frames + task_frames - 1) / task_frames, apply_work(args), num_threads,
               [&](std::int64_t task) {
                 const std::int64_t x = task * task_frames, num = min_of(task_frames, args.num_frames - x);
                 product(num, inputs, Rows<T>{args.force + x * inputs, inputs}, transposed.data(), row, 0, row,
                         FromZero<T>{}, ToTensor<T>{args.out + x * shapes, shapes});
               });
}

template <class T> void apply_projection_bwd(const ApplyProjection<T>& args, int num_threads) {
  const std::int64_t shapes = args.num_shapes, inputs = args.num_inputs, row = padded(inputs);
  const std::int64_t blocks = (args.num_frames + task_frames - 1) / task_frames;
  const double work = apply_work(args);
  if (args.grad_force) {
    Scratch<T> projection(shapes * row);
    to_panel(shapes, inputs, args.projection, projection.data());
    parallel_for(blocks, work, num_threads, [&](std::int64_t task) {
      const std::int64_t x = task * task_frames, num = min_of(task_frames, args.num_frames - x);
      product(num, shapes, Rows<T>{args.grad_out + x * shapes, shapes}, projection.data(), row, 0, row, FromZero<T>{},
              ToTensor<T>{args.grad_force + x * inputs, inputs});
    });
  }
  if (args.grad_projection) {
    Scratch<T> force(args.num_frames * row);
    parallel_for(blocks, 2.0 * args.num_frames * inputs, num_threads, [&](std::int64_t task) {
      const std::int64_t x = task * task_frames, num = min_of(task_frames, args.num_frames - x);
      to_panel(num, inputs, args.force + x * inputs, force.data() + x * row);
    });
    constexpr std::int64_t task_shapes = 4;
    parallel_for((shapes + task_shapes - 1) / task_shapes, work, num_threads, [&](std::int64_t task) {
      const std::int64_t k = task * task_shapes, num = min_of(task_shapes, shapes - k);
      product(num, args.num_frames, Rows<T>{args.grad_out + k, 1, shapes}, force.data(), row, 0, row, FromZero<T>{},
              ToTensor<T>{args.grad_projection + k * inputs, inputs});
    });
  }
}

}  // namespace

template <class T> ForceProjectionKernels<T> force_projection_kernels() {
  return {distribute_forces_fwd<T>,  distribute_forces_bwd<T>, reduced_projection_fwd<T>,
          reduced_projection_bwd<T>, apply_projection_fwd<T>,  apply_projection_bwd<T>};
}
BIOMECHAU_INSTANTIATE_KERNELS(ForceProjectionKernels, force_projection_kernels)

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
