// One block checks and inverts one matrix; one block integrates one sequence.
//
// A triangular solve is a chain of K dependent steps, a product is not. So each matrix is inverted once (prepare.cuh), and a
// step consists of products, each row of which is summed by a few threads of its own. Matrices and states stay in shared
// memory if they fit.
// Without damping and stiffness there is a shorter way: scan.cuh.
#include "common/product.cuh"
#include "euler_rollout/cuda.h"
#include "euler_rollout/math.h"
#include "euler_rollout/prepare.cuh"
#include "euler_rollout/prepare_small.cuh"
#include "euler_rollout/scan.cuh"

namespace biomechau {
namespace cuda {
namespace {

constexpr int parts = 4;                        // threads that share the sum of a row
constexpr int warp_rows = warp_size / parts;    // lane = part * warp_rows + row
constexpr int most_warps = 16;

// A symmetric matrix, which a block reads by columns: from global memory, or a copy in shared memory. Each has a loop of
// its own, so that the compiler knows in which memory an address lies.
template <class T> struct Matrix {
  const T* data;  // in global memory (n, n), or null
  int copy;       // where the copy begins in shared memory, in elements; negative: there is none
  int stride;     // of the copy

  // One part of the sum over j of entry (row, j) times x_j; 0 for rows beyond the last and without a matrix. A part is a
  // run of j: if neighbouring shapes are nearly equal, their large terms cancel before the parts are added. Its length is
  // odd, so that the parts lie in different banks. x lies in shared memory at the offset given.
  __device__ T row_part(int x, int n, int row, int part) const {
    if (!data || row >= n) return T(0);
    const int length = (n + parts - 1) / parts | 1, begin = part * length;
    const int end = n < begin + length ? n : begin + length;
    const T* vector = shared_memory<T>() + x;
    T sum = 0;
    if (copy >= 0) {
      const T* own = shared_memory<T>() + copy + row;
      for (int j = begin; j < end; ++j) sum += own[j * stride] * vector[j];
    } else {
      for (int j = begin; j < end; ++j) sum += data[static_cast<std::int64_t>(j) * n + row] * vector[j];
    }
    return sum;
  }
  __device__ bool poisoned(int n, int k) const {
    if (!data) return false;
    if (copy >= 0) return isnan(shared_memory<T>()[copy + k * stride + k]);
    return isnan(data[static_cast<std::int64_t>(k) * n + k]);
  }
};

// Odd multiples of 8: the four parts of eight rows lie in different banks.
BIOMECHAU_INLINE std::int64_t padded_stride(std::int64_t n) { return (n + 7) / 16 * 16 + 8; }

constexpr int num_vectors = 6;

// The matrix itself, or with a copy in shared memory from `free` on, which moves behind it.
template <class T> __device__ Matrix<T> hold(const T* matrix, std::int64_t n, bool keep, int& free) {
  const int stride = static_cast<int>(padded_stride(n));
  if (!matrix || !keep) return {matrix, -1, stride};
  const int copy = free;
  free += static_cast<int>(n) * stride;
  for_entries(n, [&](std::int64_t i, std::int64_t j) { shared_memory<T>()[copy + i * stride + j] = matrix[i * n + j]; });
  return {matrix, copy, stride};
}

template <class T> struct Held {
  Matrix<T> damping, stiffness, inverse;

  __device__ Held(const System<T>& system, std::int64_t s, int free) {
    const EulerRollout<T>& args = system.args;
    const std::int64_t n = args.num_coordinates, size = n * n;
    inverse = hold<T>(args.inverse + args.index(args.inverse_span(), s, 0) * size, n, system.kept & 1, free);
    damping = hold<T>(system.damping ? system.damping + args.index(args.damping_span, s, 0) * size : nullptr, n,
                      system.kept & 2, free);
    stiffness = hold<T>(system.stiffness ? system.stiffness + args.index(args.stiffness_span, s, 0) * size : nullptr, n,
                        system.kept & 4, free);
  }
};

// Calls fn(row, part) so that whole warps take part, with rows beyond n too.
template <class Fn> __device__ inline void for_rows(int n, const Fn& fn) {
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size, warps = blockDim.x / warp_size;
  for (int base = warp * warp_rows; base < n; base += warps * warp_rows)
    fn(base + lane % warp_rows, lane / warp_rows);
}

template <class T> __global__ void rollout_kernel(System<T> system) {
  const EulerRollout<T>& args = system.args;
  const int n = static_cast<int>(args.num_coordinates);
  const std::int64_t s = blockIdx.x, num_frames = args.num_frames;
  const bool by_frame = args.inverse_span() == Span::per_frame;
  const Step<T> step = step_of(args.scheme, args.dt);
  T *c = shared_memory<T>(), *v = c + n, *pulled = v + n, *force = pulled + n, *rhs = force + n;
  Held<T> held(system, s, num_vectors * n);
  const bool elastic = held.damping.data || held.stiffness.data;
  // Offsets of v, pulled, and what the inverse multiplies.
  const int at_v = n, at_pulled = 2 * n, at_load = elastic ? 4 * n : 3 * n;
  __syncthreads();
  for (int k = threadIdx.x; k < n; k += blockDim.x) {
    c[k] = held.damping.poisoned(n, k) || held.stiffness.poisoned(n, k) ? not_a_number<T>() : args.c0[s * n + k];
    v[k] = args.v0[s * n + k];
    pulled[k] = ahead(step.theta, c[k], v[k]);
    if (num_frames > 0) force[k] = args.force[s * num_frames * n + k];
  }
  __syncthreads();
  for (std::int64_t t = 0; t < num_frames; ++t) {
    const std::int64_t at = (s * num_frames + t) * n;
    if (by_frame) held.inverse.data = args.inverse + (s * num_frames + t) * n * n;
    // The next force is loaded while this frame is computed.
    const bool more = t + 1 < num_frames;
    const T upcoming = more && threadIdx.x < n ? args.force[at + n + threadIdx.x] : T(0);
    if (elastic) {
      for_rows(n, [&](int row, int part) {
        const T sum = sum_lanes(
            held.damping.row_part(at_v, n, row, part) + held.stiffness.row_part(at_pulled, n, row, part), warp_rows);
        if (part == 0 && row < n) rhs[row] = force[row] - sum;
      });
      __syncthreads();
    }
    for_rows(n, [&](int row, int part) {
      const T a = sum_lanes(held.inverse.row_part(at_load, n, row, part), warp_rows);
      if (part != 0 || row >= n) return;
      T c_next = held.inverse.poisoned(n, row) ? not_a_number<T>() : c[row], v_next = v[row];
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

template <class T> __global__ void adjoint_kernel(System<T> system) {
  const EulerRollout<T>& args = system.args;
  const int n = static_cast<int>(args.num_coordinates);
  const std::int64_t s = blockIdx.x, num_frames = args.num_frames;
  const bool by_frame = args.inverse_span() == Span::per_frame;
  const Step<T> step = step_of(args.scheme, args.dt);
  T *lambda = shared_memory<T>(), *mu = lambda + n, *grad_c = mu + n, *grad_v = grad_c + n, *grad_a = grad_v + n;
  T* r = grad_a + n;
  const int at_grad_a = 4 * n, at_r = 5 * n;  // offsets in shared memory
  Held<T> held(system, s, num_vectors * n);
  for (int k = threadIdx.x; k < n; k += blockDim.x) {
    lambda[k] = mu[k] = 0;
    if (num_frames > 0) {
      const std::int64_t last = ((s + 1) * num_frames - 1) * n + k;
      grad_c[k] = args.grad_c ? args.grad_c[last] : T(0);
      grad_v[k] = args.grad_v ? args.grad_v[last] : T(0);
    }
  }
  __syncthreads();
  for (std::int64_t t = num_frames; t-- > 0;) {
    const std::int64_t at = (s * num_frames + t) * n;
    if (by_frame) held.inverse.data = args.inverse + (s * num_frames + t) * n * n;
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
      const T sum = sum_lanes(held.inverse.row_part(at_grad_a, n, row, part), warp_rows);
      if (part == 0 && row < n) args.grad_force[at + row] = r[row] = sum;
    });
    __syncthreads();
    if (held.damping.data || held.stiffness.data) {
      for_rows(n, [&](int row, int part) {
        const T by_damping = sum_lanes(held.damping.row_part(at_r, n, row, part), warp_rows);
        const T by_stiffness = sum_lanes(held.stiffness.row_part(at_r, n, row, part), warp_rows);
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

// grad (batches, n, n) = minus the symmetric part of the sum over the pieces of partial (batches, pieces, n, n)
template <class T>
__global__ void __launch_bounds__(sum_threads) symmetric_sum_kernel(ProductSizes sizes, const T* partial, T* grad) {
  const std::int64_t n = sizes.rows, count = sizes.batches * n * n;
  const std::int64_t flat = blockIdx.x * std::int64_t(sum_columns) + threadIdx.x % sum_columns;
  const std::int64_t batch = flat / (n * n), i = flat / n % n, j = flat % n;
  const T total = sum_pieces<T>(sizes.pieces, [&](std::int64_t piece) {
    return flat < count ? symmetric_entry(partial + (batch * sizes.pieces + piece) * n * n, n, i, j) : T(0);
  });
  if (threadIdx.x < sum_columns && flat < count) grad[flat] = -total;
}

// grad (count, n, n) = minus the symmetric part of r x^T, of one frame each
template <class T>
__global__ void frame_gradient_kernel(std::int64_t count, std::int64_t n, const T* r, const T* x, T* grad) {
  const std::int64_t flat = blockIdx.x * std::int64_t(blockDim.x) + threadIdx.x;
  if (flat >= count * n * n) return;
  const std::int64_t at = flat / (n * n) * n, i = flat / n % n, j = flat % n;
  grad[flat] = -(r[at + i] * x[at + j] + r[at + j] * x[at + i]) / 2;
}

template <class T>
void matrix_gradient(const Launcher& launch, const EulerRollout<T>& args, const T* values, const T* initial, Span span,
                     T* workspace, T* grad) {
  if (!grad) return;
  const std::int64_t n = args.num_coordinates, num_frames = args.num_frames, count = args.count(span) * n * n;
  if (span == Span::per_frame) {
    constexpr int threads = 256;
    launch(frame_gradient_kernel<T>, blocks_for(count, threads), threads, 0, args.count(span), n, args.grad_force,
           values, grad);
    return;
  }
  const ProductSizes sizes = gradient_sums(args, span);
  const Strided<T> r{args.grad_force, sizes.inner * n, 1, n};
  const LatePartner<T> late{values, initial, n, sizes.inner, static_cast<unsigned>(num_frames)};
  if (initial)
    launch_product(launch, sizes, r, false, late, false, workspace);
  else
    launch_product(launch, sizes, r, false, Strided<T>{values, sizes.inner * n, 1, n}, false, workspace);
  launch(symmetric_sum_kernel<T>, blocks_for(count, sum_columns), sum_threads, sum_threads * sizeof(T), sizes, workspace,
         grad);
}

// Where the symmetric parts lie in the workspace, and how much shared memory a rollout gets.
template <class T> struct Plan {
  System<T> system;
  int threads;
  std::size_t shared_bytes;

  Plan(const Launcher& launch, const EulerRollout<T>& args, T* workspace, std::int64_t* fault) {
    const std::int64_t n = args.num_coordinates;
    if (args.num_sequences * args.num_frames > 0xffffffffLL || n > 0x7fffff)
      throw std::invalid_argument("euler_rollout: more than 2^32 frames, or matrices larger than any memory");
    T* stiffness = workspace + args.count(args.damping ? args.damping_span : Span::none) * n * n;
    system = {args, args.damping ? workspace : nullptr, args.stiffness ? stiffness : nullptr, fault, 0};
    const std::int64_t warps = blocks_for(n, warp_rows);
    threads = static_cast<int>(warps < most_warps ? warps : most_warps) * warp_size;

    const std::size_t most = launch.most_shared_bytes(), each = n * padded_stride(n) * sizeof(T);
    shared_bytes = num_vectors * n * sizeof(T);
    const bool wanted[] = {args.inverse_span() != Span::per_frame, args.damping != nullptr, args.stiffness != nullptr};
    for (int i = 0; i < 3; ++i)
      if (wanted[i] && shared_bytes + each <= most) {
        system.kept |= 1 << i;
        shared_bytes += each;
      }
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
  const Plan<T> plan(launch, args, workspace, fault);
  if (fault) launch.fill_bytes(fault, 0xff, sizeof(*fault));
  plan.prepare(launch, args.count(args.inverse_span()));
  if (is_free(args))
    launch_scan(launch, args);
  else
    launch(rollout_kernel<T>, args.num_sequences, plan.threads, plan.shared_bytes, plan.system);
}

template <class T> void euler_rollout_bwd(const EulerRollout<T>& args, T* workspace, Device device) {
  const Launcher launch("euler_rollout_bwd", device);
  const Plan<T> plan(launch, args, workspace, nullptr);
  plan.prepare(launch, 0);
  T* pieces = workspace + euler_rollout_fwd_workspace(args);
  if (is_free(args))
    launch_scan_adjoint(launch, args, pieces);
  else
    launch(adjoint_kernel<T>, args.num_sequences, plan.threads, plan.shared_bytes, plan.system);
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
