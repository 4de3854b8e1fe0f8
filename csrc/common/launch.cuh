// Launches of the CUDA kernels, and what blocks of threads do together.
//
// Kernels get their shared memory at launch only, the order of a sum depends on the sizes alone, and nothing waits for
// the device, so every call can be captured in a graph.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/cuda.h"
#include "common/isa.h"

namespace biomechau {
namespace cuda {

constexpr int warp_size = 32;
constexpr unsigned whole_warp = 0xffffffffu;

// Makes the device current while it lives, and launches kernels in the caller's stream.
class Launcher {
 public:
  Launcher(const char* op, Device device)
      : op_(op), device_(device.index), stream_(reinterpret_cast<cudaStream_t>(device.stream)) {
    check(cudaGetDevice(&before_));
    if (before_ == device.index) return;
    check(cudaSetDevice(device.index));
    switched_ = true;
  }
  ~Launcher() {
    if (switched_) cudaSetDevice(before_);
  }
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  // Runs kernel(args...) on `blocks` blocks; does nothing if there are none.
  template <class... Parameters, class... Args>
  void operator()(void (*kernel)(Parameters...), std::int64_t blocks, int threads, std::size_t shared_bytes,
                  const Args&... args) const {
    if (blocks == 0) return;
    if (blocks > 0x7fffffff) throw std::invalid_argument(std::string(op_) + ": too large for one launch");
    if (shared_bytes > default_shared_bytes) allow_most_shared(reinterpret_cast<const void*>(kernel));
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream_;
    check(cudaLaunchKernelEx(&config, kernel, args...));
  }

  void fill_bytes(void* memory, int value, std::size_t count) const {
    check(cudaMemsetAsync(memory, value, count, stream_));
  }

  // Shared memory that a block of the device may ask for.
  std::size_t most_shared_bytes() const {
    int bytes = 0;
    check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device_));
    return static_cast<std::size_t>(bytes);
  }

 private:
  static constexpr std::size_t default_shared_bytes = 48 * 1024;

  // Lets launches of the kernel request all the shared memory a block of the device may have. Once for each kernel and
  // device: the limit belongs to the process, and another thread may be about to launch.
  void allow_most_shared(const void* kernel) const {
    static std::mutex mutex;
    static std::set<std::pair<const void*, int>> allowed;
    const std::lock_guard<std::mutex> lock(mutex);
    if (allowed.count({kernel, device_})) return;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(most_shared_bytes())));
    allowed.insert({kernel, device_});
  }

  void check(cudaError_t error) const {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // reported here, not again by the next call
    throw std::runtime_error(std::string(op_) + ": CUDA says: " + cudaGetErrorString(error));
  }

  const char* op_;
  int device_;
  cudaStream_t stream_;
  int before_ = 0;
  bool switched_ = false;
};

// The block's shared memory.
template <class T> __device__ inline T* shared_memory() {
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  return reinterpret_cast<T*>(shared_bytes);
}

// Four values that are loaded or stored sixteen bytes at a time.
template <class T> struct alignas(16) Four {
  T values[4];
};
template <class T> __device__ inline const Four<T>& four_at(const T* address) {
  return *reinterpret_cast<const Four<T>*>(address);
}
template <class T> __device__ inline Four<T>& four_at(T* address) { return *reinterpret_cast<Four<T>*>(address); }

__device__ inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

// The sum over the lanes of a warp that differ in the bits from `first` to `last`, in every one of them.
template <class T> __device__ inline T sum_lanes(T x, int first = 1, int last = warp_size / 2) {
  for (int bit = last; bit >= first; bit /= 2) x += __shfl_xor_sync(whole_warp, x, bit);
  return x;
}

// Sums of `count` values over the threads of a block, in the first `count` threads of it. `scratch` holds `count`
// values per warp and must not be in use.
template <int count, class T> __device__ inline T sum_block(const T* values, T* scratch) {
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size, warps = blockDim.x / warp_size;
  for (int i = 0; i < count; ++i) {
    const T sum = sum_lanes(values[i]);
    if (lane == 0) scratch[warp * count + i] = sum;
  }
  __syncthreads();
  T total = 0;
  if (threadIdx.x < count)
    for (int w = 0; w < warps; ++w) total += scratch[w * count + threadIdx.x];
  return total;
}

// The largest of `count` values over the threads of a block, each: in scratch[0 .. count) for every thread. `scratch`
// holds `count` values per warp and must not be in use.
template <int count, class T> __device__ inline void largest_in_block(const T* values, T* scratch) {
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size, warps = blockDim.x / warp_size;
  for (int i = 0; i < count; ++i) {
    T largest = values[i];
    for (int bit = warp_size / 2; bit > 0; bit /= 2) {
      const T other = __shfl_xor_sync(whole_warp, largest, bit);
      largest = other > largest ? other : largest;
    }
    if (lane == 0) scratch[warp * count + i] = largest;
  }
  __syncthreads();
  if (threadIdx.x < count)
    for (int w = 1; w < warps; ++w) {
      const T other = scratch[w * count + threadIdx.x];
      if (other > scratch[threadIdx.x]) scratch[threadIdx.x] = other;
    }
  __syncthreads();
}

}  // namespace cuda
}  // namespace biomechau
