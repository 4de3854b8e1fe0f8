// The force ops are three gathers over the entries of P, each the derivative of the others:
//   spread   out (X, N, 3) = P F          distribute_forces; grad_blendshapes, with shapes instead of frames
//   collect  out (X, M, D) = P^T G        reduced_projection, with shapes instead of frames; grad_force
//   entries  one sum over X per entry     the gradients of the values and directions
// and one small matrix product.
#include "common/product.cuh"
#include "force_projection/cuda.h"
#include "force_projection/math.h"

namespace biomechau {
namespace cuda {
namespace {

constexpr int threads = 128;
constexpr int collect_threads = 512;  // of a muscle, which may have thousands of entries
constexpr int group = 4;              // frames or shapes for which P is read once, by vertex
constexpr int collect_group = 8;      // and by muscle, where its entries lie apart

// Each thread takes one vertex and `group` frames.
template <class T>
__global__ void __launch_bounds__(threads)
    spread_kernel(Distribution<T> p, std::int64_t num_frames, const T* force, T* out) {
  const std::int64_t vertex_blocks = (p.num_vertices + threads - 1) / threads;
  const std::int64_t i = blockIdx.x % vertex_blocks * threads + threadIdx.x;
  const std::int64_t x0 = blockIdx.x / vertex_blocks * group;
  if (i >= p.num_vertices) return;
  const std::int64_t width = p.force_size();
  T sum[group][3] = {};
  for (std::int64_t e = p.crow[i]; e < p.crow[i + 1]; ++e) {
    const T val = p.val[e];
    const T* own = force + (x0 * p.num_muscles + p.col[e]) * width;
#pragma unroll
    for (int r = 0; r < group; ++r) {
      if (x0 + r >= num_frames) break;
      if (p.fibre)
        spread_fibre(val, p.directions + 3 * e, own[r * p.num_muscles], sum[r]);
      else
        spread_vector(val, own + r * p.num_muscles * 3, sum[r]);
    }
  }
#pragma unroll
  for (int r = 0; r < group; ++r) {
    if (x0 + r >= num_frames) break;
    for (int a = 0; a < 3; ++a) out[((x0 + r) * p.num_vertices + i) * 3 + a] = sum[r][a];
  }
}

// Each block takes one muscle and `collect_group` frames. What it reads of frames beyond the last is the last again, so that
// all loads of an entry are on their way together.
template <bool fibre, class T>
__global__ void __launch_bounds__(collect_threads)
    collect_kernel(Distribution<T> p, std::int64_t num_frames, const T* field, T* out) {
  const unsigned muscles = static_cast<unsigned>(p.num_muscles), m = blockIdx.x % muscles;
  const std::int64_t x0 = std::int64_t(blockIdx.x / muscles) * collect_group, frame = p.num_vertices * 3;
  const int count = static_cast<int>(smaller(collect_group, num_frames - x0));
  const unsigned begin = static_cast<unsigned>(p.muscle_crow[m]), end = static_cast<unsigned>(p.muscle_crow[m + 1]);
  const T* first = field + x0 * frame;
  T sum[collect_group * 3] = {};
  for (unsigned l = begin + threadIdx.x; l < end; l += collect_threads) {
    const std::int64_t e = p.muscle_entry[l];
    const T val = p.val[e];
    const T* own = first + p.muscle_row[l] * 3;
    T at_vertex[collect_group][3];
#pragma unroll
    for (int r = 0; r < collect_group; ++r)
      for (int a = 0; a < 3; ++a) at_vertex[r][a] = own[(r < count ? r : count - 1) * frame + a];
#pragma unroll
    for (int r = 0; r < collect_group; ++r) {
      if constexpr (fibre)
        sum[3 * r] += spread_fibre_vjp_f(val, p.directions + 3 * e, at_vertex[r]);
      else
        spread_vector_vjp_f(val, at_vertex[r], sum + 3 * r);
    }
  }
  const T total = sum_block<collect_group * 3>(sum, shared_memory<T>());
  const int r = threadIdx.x / 3, a = threadIdx.x % 3;
  if (r >= count) return;
  const std::int64_t at = (x0 + r) * p.num_muscles + m;
  if constexpr (!fibre)
    out[3 * at + a] = total;
  else if (a == 0)
    out[at] = total;
}

// Each thread takes one entry, in the order by muscle: neighbours read vertices that lie close together.
template <class T>
__global__ void __launch_bounds__(threads) entries_kernel(Distribution<T> p, std::int64_t num_frames, const T* force,
                                                          const T* field, T* grad_val, T* grad_directions) {
  const std::int64_t l = blockIdx.x * std::int64_t(threads) + threadIdx.x;
  if (l >= p.num_entries) return;
  const std::int64_t e = p.muscle_entry[l], m = p.col[e], i = p.muscle_row[l];
  T grad_p = 0, w[3] = {0, 0, 0};
  for (std::int64_t x = 0; x < num_frames; ++x) {
    const T* at_vertex = field + (x * p.num_vertices + i) * 3;
    if (p.fibre)
      spread_vector(force[x * p.num_muscles + m], at_vertex, w);
    else
      grad_p += spread_vector_vjp_p(force + (x * p.num_muscles + m) * 3, at_vertex);
  }
  if (p.fibre) grad_p = spread_vector_vjp_p(p.directions + 3 * e, w);
  if (grad_val) grad_val[e] = grad_p;
  if (grad_directions)
    for (int a = 0; a < 3; ++a) grad_directions[3 * e + a] = p.val[e] * w[a];
}

template <class T>
void spread(const Launcher& launch, const Distribution<T>& p, std::int64_t num_frames, const T* force, T* out) {
  launch(spread_kernel<T>, blocks_for(p.num_vertices, threads) * blocks_for(num_frames, group), threads, 0, p,
         num_frames, force, out);
}

template <class T>
void collect(const Launcher& launch, const Distribution<T>& p, std::int64_t num_frames, const T* field, T* out) {
  launch(p.fibre ? collect_kernel<true, T> : collect_kernel<false, T>,
         p.num_muscles * blocks_for(num_frames, collect_group), collect_threads,
         collect_threads / warp_size * collect_group * 3 * sizeof(T), p, num_frames, field, out);
}

template <class T>
void entries(const Launcher& launch, const Distribution<T>& p, std::int64_t num_frames, const T* force, const T* field,
             T* grad_val, T* grad_directions) {
  if (!grad_val && !grad_directions) return;
  launch(entries_kernel<T>, blocks_for(p.num_entries, threads), threads, 0, p, num_frames, force, field, grad_val,
         grad_directions);
}

}  // namespace

template <class T> void distribute_forces_fwd(const DistributeForces<T>& args, Device device) {
  spread(Launcher("distribute_forces", device), args.distribution, args.num_frames, args.force, args.out);
}

template <class T> void distribute_forces_bwd(const DistributeForces<T>& args, Device device) {
  const Launcher launch("distribute_forces_bwd", device);
  if (args.grad_force) collect(launch, args.distribution, args.num_frames, args.grad_out, args.grad_force);
  entries(launch, args.distribution, args.num_frames, args.force, args.grad_out, args.grad_val, args.grad_directions);
}

template <class T> void reduced_projection_fwd(const ReducedProjection<T>& args, Device device) {
  collect(Launcher("reduced_projection", device), args.distribution, args.num_shapes, args.blendshapes, args.out);
}

template <class T> void reduced_projection_bwd(const ReducedProjection<T>& args, Device device) {
  const Launcher launch("reduced_projection_bwd", device);
  if (args.grad_blendshapes) spread(launch, args.distribution, args.num_shapes, args.grad_out, args.grad_blendshapes);
  entries(launch, args.distribution, args.num_shapes, args.grad_out, args.blendshapes, args.grad_val,
          args.grad_directions);
}

template <class T> void apply_projection_fwd(const ApplyProjection<T>& args, Device device) {
  const std::int64_t num_shapes = args.num_shapes, num_inputs = args.num_inputs;
  launch_product(Launcher("apply_projection", device),
                 ProductSizes::whole(1, args.num_frames, num_shapes, num_inputs),
                 Strided<T>{args.force, 0, num_inputs, 1}, true, Strided<T>{args.projection, 0, num_inputs, 1}, true,
                 args.out);
}

template <class T> void apply_projection_bwd(const ApplyProjection<T>& args, T* workspace, Device device) {
  const Launcher launch("apply_projection_bwd", device);
  const std::int64_t num_frames = args.num_frames, num_shapes = args.num_shapes, num_inputs = args.num_inputs;
  if (args.grad_force)
    launch_product(launch, ProductSizes::whole(1, num_frames, num_inputs, num_shapes),
                   Strided<T>{args.grad_out, 0, num_shapes, 1}, true, Strided<T>{args.projection, 0, 1, num_inputs},
                   false, args.grad_force);
  if (args.grad_projection) {
    const ProductSizes sizes = ProductSizes::cut(1, num_shapes, num_inputs, num_frames);
    T* out = sizes.pieces > 1 ? workspace : args.grad_projection;
    launch_product(launch, sizes, Strided<T>{args.grad_out, 0, 1, num_shapes}, false,
                   Strided<T>{args.force, 0, 1, num_inputs}, false, out);
    if (sizes.pieces > 1)
      launch_sum_pieces(launch, 1, sizes.pieces, num_shapes * num_inputs, workspace, args.grad_projection);
  }
}

#define BIOMECHAU_INSTANTIATE(T)                                                      \
  template void distribute_forces_fwd<T>(const DistributeForces<T>&, Device);         \
  template void distribute_forces_bwd<T>(const DistributeForces<T>&, Device);         \
  template void reduced_projection_fwd<T>(const ReducedProjection<T>&, Device);       \
  template void reduced_projection_bwd<T>(const ReducedProjection<T>&, Device);       \
  template void apply_projection_fwd<T>(const ApplyProjection<T>&, Device);           \
  template void apply_projection_bwd<T>(const ApplyProjection<T>&, T* workspace, Device);
BIOMECHAU_INSTANTIATE(float)
BIOMECHAU_INSTANTIATE(double)

}  // namespace cuda
}  // namespace biomechau
