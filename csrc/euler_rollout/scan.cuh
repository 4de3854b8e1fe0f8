// The rollout without damping and stiffness, unless each frame has a mass of its own. No acceleration depends on the state:
// one product gives those of all frames, and c and v are sums over them, each coordinate by itself. The adjoint sums first
// and multiplies then.
#pragma once

#include "common/product.cuh"
#include "euler_rollout/cuda.h"
#include "euler_rollout/math.h"
#include "euler_rollout/prepare.cuh"

namespace biomechau {
namespace cuda {

constexpr int scan_threads = 64;
constexpr int scan_frames = 8;  // that are loaded together

// One thread for each coordinate of a sequence.
template <class T> __global__ void __launch_bounds__(scan_threads) scan_kernel(EulerRollout<T> args) {
  const std::int64_t n = args.num_coordinates, flat = blockIdx.x * std::int64_t(scan_threads) + threadIdx.x;
  if (flat >= args.num_sequences * n) return;
  const std::int64_t s = flat / n, k = flat % n;
  const Step<T> step = step_of(args.scheme, args.dt);
  const T own = args.inverse[(args.index(args.inverse_span(), s, 0) * n + k) * n + k];
  T c = isnan(own) ? not_a_number<T>() : args.c0[flat], v = args.v0[flat];
  std::int64_t at = s * args.num_frames * n + k;
  for (std::int64_t left = args.num_frames; left > 0; left -= scan_frames) {
    T a[scan_frames];
#pragma unroll
    for (int r = 0; r < scan_frames; ++r) a[r] = r < left ? args.acceleration[at + r * n] : T(0);
#pragma unroll
    for (int r = 0; r < scan_frames; ++r) {
      if (r >= left) break;
      advance(step.h, step.explicit_position, a[r], &c, &v);
      args.c[at] = c;
      args.v[at] = v;
      at += n;
    }
  }
}

// grad_a (S, T, K)
template <class T>
__global__ void __launch_bounds__(scan_threads) scan_adjoint_kernel(EulerRollout<T> args, T* grad_a) {
  const std::int64_t n = args.num_coordinates, flat = blockIdx.x * std::int64_t(scan_threads) + threadIdx.x;
  if (flat >= args.num_sequences * n) return;
  const Step<T> step = step_of(args.scheme, args.dt);
  T lambda = 0, mu = 0;
  std::int64_t at = (flat / n + 1) * args.num_frames * n + flat % n;  // one frame behind the last
  for (std::int64_t left = args.num_frames; left > 0; left -= scan_frames) {
    T grad_c[scan_frames], grad_v[scan_frames];
#pragma unroll
    for (int r = 0; r < scan_frames; ++r) {
      grad_c[r] = r < left && args.grad_c ? args.grad_c[at - (r + 1) * n] : T(0);
      grad_v[r] = r < left && args.grad_v ? args.grad_v[at - (r + 1) * n] : T(0);
    }
#pragma unroll
    for (int r = 0; r < scan_frames; ++r) {
      if (r >= left) break;
      at -= n;
      lambda += grad_c[r];
      mu += grad_v[r];
      grad_a[at] = advance_vjp(step.h, step.explicit_position, &lambda, &mu);
    }
  }
  if (args.grad_c0) args.grad_c0[flat] = lambda;
  if (args.grad_v0) args.grad_v0[flat] = mu;
}

// out (S, T, K) = x (S, T, K) times the inverse of each sequence, or the only one.
template <class T> void multiply_by_inverse(const Launcher& launch, const EulerRollout<T>& args, const T* x, T* out) {
  const std::int64_t n = args.num_coordinates, batches = args.count(args.inverse_span());
  const std::int64_t rows = args.num_sequences * args.num_frames / (batches > 0 ? batches : 1);
  launch_product(launch, ProductSizes::whole(batches, rows, n, n), Strided<T>{x, rows * n, n, 1}, true,
                 Strided<T>{args.inverse, n * n, 1, n}, false, out);
}

template <class T> void launch_scan(const Launcher& launch, const EulerRollout<T>& args) {
  multiply_by_inverse(launch, args, args.force, args.acceleration);
  launch(scan_kernel<T>, blocks_for(args.num_sequences * args.num_coordinates, scan_threads), scan_threads, 0, args);
}

template <class T> void launch_scan_adjoint(const Launcher& launch, const EulerRollout<T>& args, T* grad_a) {
  launch(scan_adjoint_kernel<T>, blocks_for(args.num_sequences * args.num_coordinates, scan_threads), scan_threads, 0,
         args, grad_a);
  multiply_by_inverse<T>(launch, args, grad_a, args.grad_force);
}

}  // namespace cuda
}  // namespace biomechau
