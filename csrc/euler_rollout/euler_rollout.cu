// One block checks and inverts one matrix; one block integrates one sequence.
//
// A triangular solve is a chain of K dependent steps, a product is not. So each matrix is inverted once (prepare.cuh), and a
// step consists of products, each row of which is summed by a few threads of its own (matrices.cuh). States stay in shared
// memory.
// Without damping and stiffness there is a shorter way: scan.cuh.
#include "common/product.cuh"
#include "euler_rollout/cuda.h"
#include "euler_rollout/math.h"
#include "euler_rollout/matrices.cuh"
#include "euler_rollout/prepare.cuh"
#include "euler_rollout/prepare_small.cuh"
#include "euler_rollout/scan.cuh"

namespace biomechau {
namespace cuda {
namespace {

constexpr int num_vectors = 6;  // of the state and what is multiplied

// The matrices that a sequence is multiplied by.
template <class T, class Matrix> struct Matrices {
  Matrix damping, stiffness, inverse;

  __device__ Matrices(const System<T>& system, std::int64_t s) {
    const EulerRollout<T>& args = system.args;
    const std::int64_t n = args.num_coordinates, size = n * n;
    if (system.damping) damping.read(system.damping + args.index(args.damping_span, s, 0) * size, static_cast<int>(n));
    if (system.stiffness)
      stiffness.read(system.stiffness + args.index(args.stiffness_span, s, 0) * size, static_cast<int>(n));
    if (args.inverse_span() != Span::per_frame)
      inverse.read(args.inverse + args.index(args.inverse_span(), s, 0) * size, static_cast<int>(n));
  }
};

template <class T, class Matrix>
__global__ void __launch_bounds__(Matrix::most_threads, Matrix::blocks) rollout_kernel(System<T> system) {
  const EulerRollout<T>& args = system.args;
  const int n = static_cast<int>(args.num_coordinates), stride = Matrix::vector_size(n);
  const std::int64_t s = blockIdx.x, num_frames = args.num_frames;
  const bool by_frame = Matrix::may_change && args.inverse_span() == Span::per_frame;
  const bool elastic = !Matrix::may_change || system.damping || system.stiffness;  // else scan.cuh
  const Step<T> step = step_of(args.scheme, args.dt);
  T *c = shared_memory<T>(), *v = c + stride, *pulled = v + stride, *force = pulled + stride, *rhs = force + stride;
  const T* load = elastic ? rhs : force;  // what the inverse multiplies
  Matrices<T, Matrix> matrices(system, s);
  clear(c, num_vectors * stride);
  __syncthreads();
  for (int k = threadIdx.x; k < n; k += blockDim.x) {
    const bool poisoned = matrices.damping.poisoned || matrices.stiffness.poisoned || matrices.inverse.poisoned;
    c[k] = poisoned ? not_a_number<T>() : args.c0[s * n + k];
    v[k] = args.v0[s * n + k];
    pulled[k] = ahead(step.theta, c[k], v[k]);
    if (num_frames > 0) force[k] = args.force[s * num_frames * n + k];
  }
  __syncthreads();
  for (std::int64_t t = 0; t < num_frames; ++t) {
    const std::int64_t at = (s * num_frames + t) * n;
    if (by_frame) matrices.inverse.read(args.inverse + (s * num_frames + t) * n * n, n);
    // The next force is loaded while this frame is computed.
    const bool more = t + 1 < num_frames;
    const T upcoming = more && threadIdx.x < n ? args.force[at + n + threadIdx.x] : T(0);
    if (elastic) {
      for_rows(n, [&](int row, int part) {
        const T by_damping = system.damping ? matrices.damping.row_part(v, n, row, part) : T(0);
        const T by_stiffness = system.stiffness ? matrices.stiffness.row_part(pulled, n, row, part) : T(0);
        const T sum = sum_lanes(by_damping + by_stiffness, warp_rows);
        if (part == 0 && row < n) rhs[row] = force[row] - sum;
      });
      __syncthreads();
    }
    for_rows(n, [&](int row, int part) {
      const T a = sum_lanes(matrices.inverse.row_part(load, n, row, part), warp_rows);
      if (part != 0 || row >= n) return;
      T c_next = by_frame && matrices.inverse.poisoned ? not_a_number<T>() : c[row], v_next = v[row];
      advance(step.h, step.explicit_position, a, &c_next, &v_next);
      args.acceleration[at + row] = a;
      args.c[at + row] = c[row] = c_next;
      args.v[at + row] = v[row] = v_next;
      pulled[row] = ahead(step.theta, c_next, v_next);
    });
    if (!elastic) __syncthreads();  // this frame's force has just been read
    if (more) {
      if (threadIdx.x < n) force[threadIdx.x] = upcoming;
      for (int k = threadIdx.x + blockDim.x; k < n; k += blockDim.x) force[k] = args.force[at + n + k];
    }
    __syncthreads();
  }
}

template <class T, class Matrix>
__global__ void __launch_bounds__(Matrix::most_threads, Matrix::blocks) adjoint_kernel(System<T> system) {
  const EulerRollout<T>& args = system.args;
  const int n = static_cast<int>(args.num_coordinates), stride = Matrix::vector_size(n);
  const std::int64_t s = blockIdx.x, num_frames = args.num_frames;
  const bool by_frame = Matrix::may_change && args.inverse_span() == Span::per_frame;
  const Step<T> step = step_of(args.scheme, args.dt);
  T *lambda = shared_memory<T>(), *mu = lambda + stride, *grad_c = mu + stride, *grad_v = grad_c + stride;
  T *grad_a = grad_v + stride, *r = grad_a + stride;
  Matrices<T, Matrix> matrices(system, s);
  clear(lambda, num_vectors * stride);
  __syncthreads();
  for (int k = threadIdx.x; k < n; k += blockDim.x) {
    if (num_frames == 0) break;
    const std::int64_t last = ((s + 1) * num_frames - 1) * n + k;
    grad_c[k] = args.grad_c ? args.grad_c[last] : T(0);
    grad_v[k] = args.grad_v ? args.grad_v[last] : T(0);
  }
  __syncthreads();
  for (std::int64_t t = num_frames; t-- > 0;) {
    const std::int64_t at = (s * num_frames + t) * n;
    if (by_frame) matrices.inverse.read(args.inverse + (s * num_frames + t) * n * n, n);
    const bool own = t > 0 && threadIdx.x < n;
    const T upcoming_c = own && args.grad_c ? args.grad_c[at - n + threadIdx.x] : T(0);
    const T upcoming_v = own && args.grad_v ? args.grad_v[at - n + threadIdx.x] : T(0);
    for (int k = threadIdx.x; k < n; k += blockDim.x) {
      lambda[k] += grad_c[k];
      mu[k] += grad_v[k];
      grad_a[k] = advance_vjp(step.h, step.explicit_position, lambda + k, mu + k);
    }
    __syncthreads();
    for_rows(n, [&](int row, int part) {
      const T sum = sum_lanes(matrices.inverse.row_part(grad_a, n, row, part), warp_rows);
      if (part == 0 && row < n) args.grad_force[at + row] = r[row] = sum;
    });
    __syncthreads();
    if (system.damping || system.stiffness) {
      for_rows(n, [&](int row, int part) {
        const T by_damping =
            sum_lanes(system.damping ? matrices.damping.row_part(r, n, row, part) : T(0), warp_rows);
        const T by_stiffness =
            sum_lanes(system.stiffness ? matrices.stiffness.row_part(r, n, row, part) : T(0), warp_rows);
        if (part == 0 && row < n) {
          ahead_vjp(step.theta, by_stiffness, lambda + row, mu + row);
          mu[row] -= by_damping;
        }
      });
    }
    if (own) {
      grad_c[threadIdx.x] = upcoming_c;
      grad_v[threadIdx.x] = upcoming_v;
    }
    if (t > 0)
      for (int k = threadIdx.x + blockDim.x; k < n; k += blockDim.x) {
        grad_c[k] = args.grad_c ? args.grad_c[at - n + k] : T(0);
        grad_v[k] = args.grad_v ? args.grad_v[at - n + k] : T(0);
      }
    __syncthreads();
  }
  for (int k = threadIdx.x; k < n; k += blockDim.x) {
    if (args.grad_c0) args.grad_c0[s * n + k] = lambda[k];
    if (args.grad_v0) args.grad_v0[s * n + k] = mu[k];
  }
}

// What r multiplies in the gradient of a matrix where the scheme reads it one frame late: rows of (S T, K), each
// sequence moved by one frame, after the initial ones.
template <class T> struct LatePartner {
  const T *values, *initial;
  std::int64_t n, batch_frames;
  unsigned num_frames;

  __device__ T operator()(std::int64_t batch, std::int64_t col, std::int64_t frame) const {
    const auto at = static_cast<unsigned>(batch * batch_frames + frame), sequence = at / num_frames;
    return at == sequence * num_frames ? initial[sequence * n + col] : values[(at - 1) * n + col];
  }
};

// grad (batches, n, n) = minus the symmetric part of the sum over the pieces of partial (batches, pieces, n, n). A warp
// takes a run of a row; where there are many pieces, several warps do, of which each adds some and the first all.
template <int shares, class T>
__global__ void __launch_bounds__(sum_threads) symmetric_sum_kernel(ProductSizes sizes, const T* partial, T* grad) {
  constexpr int warps = sum_threads / warp_size / shares;  // of which each takes a run of its own
  const auto n = static_cast<unsigned>(sizes.rows), pieces = static_cast<unsigned>(sizes.pieces);
  const unsigned runs = (n + warp_size - 1) / warp_size, warp = threadIdx.x / warp_size;
  const unsigned task = blockIdx.x * warps + warp % warps, share = warp / warps;
  const unsigned row = task / runs, i = row % n, j = task % runs * warp_size + threadIdx.x % warp_size;
  const std::int64_t batch = row / n, size = std::int64_t(n) * n;
  const bool exists = batch < sizes.batches && j < n;
  T sum = 0;
  if (exists) {
    const T* own = partial + (batch * pieces + share) * size;
    for (unsigned piece = share; piece < pieces; piece += shares) {
      sum += symmetric_entry(own, n, i, j);
      own += shares * size;
    }
  }
  if constexpr (shares > 1) {
    T* scratch = shared_memory<T>();
    scratch[threadIdx.x] = sum;
    __syncthreads();
    if (share > 0) return;
    for (int other = 1; other < shares; ++other) sum += scratch[threadIdx.x + other * warps * warp_size];
  }
  if (exists) grad[batch * size + i * n + j] = -sum;
}

// grad (count, n, n) = minus the symmetric part of r x^T, of one frame each. A warp takes up to 32 columns.
template <class T>
__global__ void __launch_bounds__(sum_threads)
    frame_gradient_kernel(std::int64_t count, unsigned n, const T* r, const T* x, T* grad) {
  const unsigned runs = (n + warp_size - 1) / warp_size;
  const unsigned task = blockIdx.x * (sum_threads / warp_size) + threadIdx.x / warp_size;
  const unsigned j = task % runs * warp_size + threadIdx.x % warp_size;
  const std::int64_t frame = task / runs;
  if (frame >= count || j >= n) return;
  const T *own_r = r + frame * n, *own_x = x + frame * n;
  const T r_j = own_r[j], x_j = own_x[j];
  T* to = grad + frame * n * n + j;
#pragma unroll 4
  for (unsigned i = 0; i < n; ++i) {
    *to = -(own_r[i] * x_j + r_j * own_x[i]) / 2;
    to += n;
  }
}

template <class T>
void matrix_gradient(const Launcher& launch, const EulerRollout<T>& args, const T* values, const T* initial, Span span,
                     T* workspace, T* grad) {
  if (!grad) return;
  constexpr int warps = sum_threads / warp_size;
  const std::int64_t n = args.num_coordinates, num_frames = args.num_frames, runs = blocks_for(n, warp_size);
  if (span == Span::per_frame) {
    const std::int64_t count = args.count(span);
    launch(frame_gradient_kernel<T>, blocks_for(count * runs, warps), sum_threads, 0, count, static_cast<unsigned>(n),
           args.grad_force, values, grad);
    return;
  }
  const ProductSizes sizes = gradient_sums(args, span);
  const Strided<T> r{args.grad_force, sizes.inner * n, 1, n};
  const LatePartner<T> late{values, initial, n, sizes.inner, static_cast<unsigned>(num_frames)};
  if (initial)
    launch_product(launch, sizes, r, false, late, false, workspace);
  else
    launch_product(launch, sizes, r, false, Strided<T>{values, sizes.inner * n, 1, n}, false, workspace);
  const std::int64_t tasks = sizes.batches * n * runs;
  if (sizes.pieces < warps)
    launch(symmetric_sum_kernel<1, T>, blocks_for(tasks, warps), sum_threads, 0, sizes, workspace, grad);
  else
    launch(symmetric_sum_kernel<warps, T>, tasks, sum_threads, sum_threads * sizeof(T), sizes, workspace, grad);
}

// Where the symmetric parts lie in the workspace, and how the kernels are launched.
template <class T> struct Plan {
  System<T> system;

  Plan(const EulerRollout<T>& args, T* workspace, std::int64_t* fault) {
    const std::int64_t n = args.num_coordinates;
    if (args.num_sequences * args.num_frames > 0xffffffffLL || n > 0x7fffff)
      throw std::invalid_argument("euler_rollout: more than 2^32 frames, or matrices larger than any memory");
    T* stiffness = workspace + args.count(args.damping ? args.damping_span : Span::none) * n * n;
    system = {args, args.damping ? workspace : nullptr, args.stiffness ? stiffness : nullptr, fault};
  }

  // One of the two kernels: that for matrices in registers, where they fit and stay the same, or that for matrices in memory.
  void integrate(const Launcher& launch, void (*held)(System<T>), void (*read)(System<T>)) const {
    const std::int64_t n = system.args.num_coordinates, warps = blocks_for(n, warp_rows);
    const bool holds = n <= HeldMatrix<T>::most_rows && system.args.inverse_span() != Span::per_frame;
    const int most_warps = (holds ? HeldMatrix<T>::most_threads : ReadMatrix<T>::most_threads) / warp_size;
    const int stride = holds ? HeldMatrix<T>::vector_size(n) : ReadMatrix<T>::vector_size(n);
    launch(holds ? held : read, system.args.num_sequences,
           static_cast<int>(warps < most_warps ? warps : most_warps) * warp_size, num_vectors * stride * sizeof(T), system);
  }

  // Checks the matrices, makes the symmetric parts and, unless `num_inverses` is 0, the inverses.
  void prepare(const Launcher& launch, std::int64_t num_inverses) const {
    const EulerRollout<T>& args = system.args;
    const std::int64_t n = args.num_coordinates;
    const std::int64_t num_blocks = system.num_symmetric_parts() + num_inverses;
    if (launch_prepare_small<T, 32>(launch, num_blocks, system) || launch_prepare_small<T, 64>(launch, num_blocks, system))
      return;
    const std::size_t scratch = SweptMemory<T, T>::scratch_bytes();
    const std::size_t shared = SweptMemory<T, double>::vectors(n) + n * n * sizeof(double) + scratch;
    const bool fits = num_inverses > 0 && shared <= launch.most_shared_bytes();
    launch(prepare_kernel<T>, num_blocks, prepare_threads, fits ? shared : SweptMemory<T, T>::vectors(n) + scratch, system,
           fits);
  }
};

}  // namespace

template <class T>
void euler_rollout_fwd(const EulerRollout<T>& args, T* workspace, std::int64_t* fault, Device device) {
  const Launcher launch("euler_rollout", device);
  const Plan<T> plan(args, workspace, fault);
  if (fault) launch.fill_bytes(fault, 0xff, sizeof(*fault));
  plan.prepare(launch, args.count(args.inverse_span()));
  if (is_free(args))
    launch_scan(launch, args);
  else
    plan.integrate(launch, rollout_kernel<T, HeldMatrix<T>>, rollout_kernel<T, ReadMatrix<T>>);
}

template <class T> void euler_rollout_bwd(const EulerRollout<T>& args, T* workspace, Device device) {
  const Launcher launch("euler_rollout_bwd", device);
  const Plan<T> plan(args, workspace, nullptr);
  plan.prepare(launch, 0);
  T* pieces = workspace + euler_rollout_fwd_workspace(args);
  if (is_free(args))
    launch_scan_adjoint(launch, args, pieces);
  else
    plan.integrate(launch, adjoint_kernel<T, HeldMatrix<T>>, adjoint_kernel<T, ReadMatrix<T>>);
  const bool late = args.scheme != Scheme::implicit;
  matrix_gradient<T>(launch, args, args.acceleration, nullptr, args.mass_span, pieces, args.grad_mass);
  matrix_gradient<T>(launch, args, args.v, late ? args.v0 : nullptr, args.damping_span, pieces, args.grad_damping);
  matrix_gradient<T>(launch, args, args.c, late ? args.c0 : nullptr, args.stiffness_span, pieces, args.grad_stiffness);
}

#define BIOMECHAU_INSTANTIATE(T)                                                                       \
  template void euler_rollout_fwd<T>(const EulerRollout<T>&, T* workspace, std::int64_t* fault, Device); \
  template void euler_rollout_bwd<T>(const EulerRollout<T>&, T* workspace, Device);
BIOMECHAU_INSTANTIATE(float)
BIOMECHAU_INSTANTIATE(double)

}  // namespace cuda
}  // namespace biomechau
