// One block takes one sequence through all three stages, with some frames at a time in shared memory: forces into modes,
// the recurrence with one thread per mode, modes into motion. The matrices are read through the caches.
#include "common/launch.cuh"
#include "modal_rollout/cuda.h"
#include "modal_rollout/math.h"

namespace biomechau {
namespace cuda {
namespace {

constexpr int threads = 256;
constexpr int warps = threads / warp_size;
constexpr int most_frames = 32;  // taken through the stages together
constexpr int patch_rows = 4;    // of a product, per warp at a time
constexpr int patch_cols = 2;    // per lane

// What both directions hold in shared memory: two tiles (frames, K') and two states (K').
template <class T> struct Tiles {
  T *position, *rate, *position_tile, *rate_tile;

  static std::size_t size(std::int64_t row, int frames) { return 2 * (frames + 1) * row * sizeof(T); }
  __device__ Tiles(std::int64_t row, int frames)
      : position(shared_memory<T>()),
        rate(position + row),
        position_tile(rate + row),
        rate_tile(position_tile + frames * row) {}
};

// The sums that make a state times a matrix (n, n), whose rows lie `row` apart, in parts: of a warp each, at most as
// many as a tile has frames. They lie in a tile until they are added.
template <class T>
__device__ void sum_parts(int n, int num_parts, const T* state, const T* matrix, int row, T* parts) {
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
  if (warp >= num_parts) return;
  const int length = (n + num_parts - 1) / num_parts, begin = warp * length;
  const int end = n < begin + length ? n : begin + length;
  for (int k = lane; k < n; k += warp_size) {
    const T* right = matrix + std::int64_t(begin) * row + k;
    T sum = 0;
    for (int l = begin; l < end; ++l) {
      sum += state[l] * *right;
      right += row;
    }
    parts[warp * row + k] = sum;
  }
}
template <class T> __device__ inline T add_parts(int num_parts, int row, const T* parts, int k) {
  T sum = 0;
  for (int part = 0; part < num_parts; ++part) sum += parts[part * row + k];
  return sum;
}

// Calls put(r, j, entry) for every entry of x (rows, inner) times matrix (inner, cols), or of x itself without one. Rows
// of x lie `x_stride` apart, those of the matrix `stride`.
template <class T, class Put>
__device__ void product(int rows, int inner, int cols, const T* x, int x_stride, const T* matrix, int stride,
                        const Put& put) {
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
  for (int r0 = warp * patch_rows; r0 < rows; r0 += warps * patch_rows)
    for (int j0 = lane; j0 < cols; j0 += warp_size * patch_cols) {
      // What lies beyond the last row or column is computed as the first one again, and not put.
      const T *left[patch_rows], *right[patch_cols];
#pragma unroll
      for (int r = 0; r < patch_rows; ++r) left[r] = x + (r0 + r < rows ? r0 + r : r0) * x_stride;
#pragma unroll
      for (int j = 0; j < patch_cols; ++j) right[j] = matrix + (j0 + j * warp_size < cols ? j0 + j * warp_size : j0);
      T sum[patch_rows][patch_cols] = {};
      if (matrix)
#pragma unroll 4
        for (int l = 0; l < inner; ++l) {
          T values[patch_cols];
#pragma unroll
          for (int j = 0; j < patch_cols; ++j) {
            values[j] = *right[j];
            right[j] += stride;
          }
#pragma unroll
          for (int r = 0; r < patch_rows; ++r) {
#pragma unroll
            for (int j = 0; j < patch_cols; ++j) sum[r][j] += left[r][l] * values[j];
          }
        }
#pragma unroll
      for (int r = 0; r < patch_rows; ++r)
#pragma unroll
        for (int j = 0; j < patch_cols; ++j) {
          const int col = j0 + j * warp_size;
          if (r0 + r < rows && col < cols) put(r0 + r, col, matrix ? sum[r][j] : left[r][col]);
        }
    }
}

template <class T> __device__ inline Mode<T> mode_of(const ModalRollout<T>& args, int k) {
  return {args.gain()[k], args.damping()[k], args.stiffness()[k]};
}

template <class T>
__global__ void __launch_bounds__(threads, sizeof(T) == 4 ? 3 : 2) rollout_kernel(ModalRollout<T> args, int frames) {
  const int n = static_cast<int>(args.num_coordinates), row = static_cast<int>(args.row());
  const int num_inputs = static_cast<int>(args.num_inputs);
  const std::int64_t s = blockIdx.x;
  const Tiles<T> own(row, frames);
  const Step<T> step = step_of(args.scheme, args.dt);
  const int num_parts = frames < warps ? frames : warps;
  const T* to_modes = args.has_modes ? args.inverse_t() : nullptr;
  const T* from_modes = args.has_modes ? args.load() : nullptr;
  if (to_modes) {
    sum_parts(n, num_parts, args.c0 + s * n, to_modes, row, own.position_tile);
    sum_parts(n, num_parts, args.v0 + s * n, to_modes, row, own.rate_tile);
    __syncthreads();
  }
  for (int k = threadIdx.x; k < n; k += threads) {
    own.position[k] = to_modes ? add_parts(num_parts, row, own.position_tile, k) : args.c0[s * n + k];
    own.rate[k] = to_modes ? add_parts(num_parts, row, own.rate_tile, k) : args.v0[s * n + k];
  }
  __syncthreads();  // the tiles are free again
  for (std::int64_t t = 0; t < args.num_frames; t += frames) {
    const int count = static_cast<int>(smaller(frames, args.num_frames - t));
    const std::int64_t at = s * args.num_frames + t;
    if (args.muscle_force)
      product(count, num_inputs, n, args.muscle_force + at * num_inputs, num_inputs, args.projection_t(), row,
              [&](int r, int k, T entry) { own.position_tile[r * row + k] = entry; });
    if (args.force)  // the same threads write the same entries as before: no barrier is needed in between
      product(count, n, n, args.force + at * n, n, args.load_t(), row, [&](int r, int k, T entry) {
        T& sum = own.position_tile[r * row + k];
        sum = args.muscle_force ? sum + entry : entry;
      });
    __syncthreads();
    for (int k = threadIdx.x; k < n; k += threads) {
      const Mode<T> mode = mode_of(args, k);
      T y = own.position[k], w = own.rate[k];
      for (int r = 0; r < count; ++r) {
        const T q = args.force || args.muscle_force ? own.position_tile[r * row + k] : T(0);
        modal_step(step, mode, q, &y, &w);
        own.position_tile[r * row + k] = y;
        own.rate_tile[r * row + k] = w;
      }
      own.position[k] = y;
      own.rate[k] = w;
    }
    __syncthreads();
    product(count, n, n, own.position_tile, row, from_modes, row,
            [&](int r, int k, T entry) { args.c[(at + r) * n + k] = entry; });
    product(count, n, n, own.rate_tile, row, from_modes, row,
            [&](int r, int k, T entry) { args.v[(at + r) * n + k] = entry; });
    __syncthreads();
  }
}

template <class T>
__global__ void __launch_bounds__(threads, sizeof(T) == 4 ? 3 : 2) adjoint_kernel(ModalRollout<T> args, int frames) {
  const int n = static_cast<int>(args.num_coordinates), row = static_cast<int>(args.row());
  const int num_inputs = static_cast<int>(args.num_inputs);
  const std::int64_t s = blockIdx.x;
  const Tiles<T> own(row, frames);
  const Step<T> step = step_of(args.scheme, args.dt);
  const int num_parts = frames < warps ? frames : warps;
  const T* to_modes = args.has_modes ? args.load_t() : nullptr;
  for (int k = threadIdx.x; k < n; k += threads) own.position[k] = own.rate[k] = 0;
  for (std::int64_t end = args.num_frames; end > 0;) {
    const int count = static_cast<int>(end % frames != 0 ? end % frames : frames);
    end -= count;
    const std::int64_t at = s * args.num_frames + end;
    if (args.grad_c)
      product(count, n, n, args.grad_c + at * n, n, to_modes, row,
              [&](int r, int k, T entry) { own.position_tile[r * row + k] = entry; });
    if (args.grad_v)
      product(count, n, n, args.grad_v + at * n, n, to_modes, row,
              [&](int r, int k, T entry) { own.rate_tile[r * row + k] = entry; });
    __syncthreads();
    for (int k = threadIdx.x; k < n; k += threads) {
      const Mode<T> mode = mode_of(args, k);
      T lambda = own.position[k], mu = own.rate[k];
      for (int r = count; r-- > 0;) {
        if (args.grad_c) lambda += own.position_tile[r * row + k];
        if (args.grad_v) mu += own.rate_tile[r * row + k];
        own.position_tile[r * row + k] = modal_step_vjp(step, mode, &lambda, &mu);
      }
      own.position[k] = lambda;
      own.rate[k] = mu;
    }
    __syncthreads();
    if (args.grad_muscle_force)
      product(count, n, num_inputs, own.position_tile, row, args.projection(), static_cast<int>(args.input_row()),
              [&](int r, int i, T entry) { args.grad_muscle_force[(at + r) * num_inputs + i] = entry; });
    if (args.grad_force)
      product(count, n, n, own.position_tile, row, args.load(), row,
              [&](int r, int k, T entry) { args.grad_force[(at + r) * n + k] = entry; });
    __syncthreads();
  }
  __syncthreads();
  const T* from_modes = args.has_modes ? args.inverse() : nullptr;
  if (from_modes) {
    sum_parts(n, num_parts, own.position, from_modes, row, own.position_tile);
    sum_parts(n, num_parts, own.rate, from_modes, row, own.rate_tile);
    __syncthreads();
  }
  for (int k = threadIdx.x; k < n; k += threads) {
    if (args.grad_c0)
      args.grad_c0[s * n + k] = from_modes ? add_parts(num_parts, row, own.position_tile, k) : own.position[k];
    if (args.grad_v0) args.grad_v0[s * n + k] = from_modes ? add_parts(num_parts, row, own.rate_tile, k) : own.rate[k];
  }
}

// Frames that fit into shared memory together.
template <class T> int frames_that_fit(const Launcher& launch, const ModalRollout<T>& args) {
  int frames = most_frames;
  while (frames > 1 && (frames / 2 >= args.num_frames || Tiles<T>::size(args.row(), frames) > launch.most_shared_bytes()))
    frames /= 2;
  return frames;
}

}  // namespace

template <class T> void modal_rollout_fwd(const ModalRollout<T>& args, Device device) {
  const Launcher launch("modal_rollout", device);
  const int frames = frames_that_fit(launch, args);
  launch(rollout_kernel<T>, args.num_sequences, threads, Tiles<T>::size(args.row(), frames), args, frames);
}

template <class T> void modal_rollout_bwd(const ModalRollout<T>& args, Device device) {
  const Launcher launch("modal_rollout_bwd", device);
  const int frames = frames_that_fit(launch, args);
  launch(adjoint_kernel<T>, args.num_sequences, threads, Tiles<T>::size(args.row(), frames), args, frames);
}

#define BIOMECHAU_INSTANTIATE(T)                                      \
  template void modal_rollout_fwd<T>(const ModalRollout<T>&, Device); \
  template void modal_rollout_bwd<T>(const ModalRollout<T>&, Device);
BIOMECHAU_INSTANTIATE(float)
BIOMECHAU_INSTANTIATE(double)

}  // namespace cuda
}  // namespace biomechau
