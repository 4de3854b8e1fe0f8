// What biomechau's kernels use of CUDA, on the CPU: a host compiler that finds this header instead of CUDA's own builds
// the .cu files into functions that can be tested without a GPU.
//
// A block runs on one thread of the CPU. Each CUDA thread of it is a fiber that runs until it waits for others (a
// barrier, a shuffle or a vote) or ends; then the next one runs, in an order that a test may change: what depends on
// that order is a race. Blocks run one after the other, in a changing order too. Stricter than a GPU: all threads of a
// block must reach each barrier and all of a warp each shuffle; shared memory is NaN before a block writes it, and bytes
// behind it must stay untouched; blocks get no more shared memory than the smallest GPU gives, and more than 48 KB only
// once the kernel's attribute says so, which holds for every thread of the process. Launches run one at a time. As on a
// GPU, an access outside of all memory (see memory.py) or at a misaligned address ends the launch with an error.
#pragma once

#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  explicit dim3(unsigned x_) : x(x_) {}
};

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInsufficientDriver = 35,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorUnsupportedPtxVersion = 222,
  cudaErrorIllegalAddress = 700,
  cudaErrorMisalignedAddress = 716
};
enum cudaFuncAttribute : int { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr : int { cudaDevAttrMaxSharedMemoryPerBlockOptin };
struct cudaFuncAttributes {};
using cudaStream_t = struct CUstream_st*;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;  // of the running thread

namespace biomechau {
namespace cuda {
inline constexpr std::size_t most_shared = 64 * 1024, guard = 256;
// Under this name launch.cuh declares the shared memory of the running block.
alignas(16) extern unsigned char shared_bytes[most_shared + guard];
}  // namespace cuda
}  // namespace biomechau

namespace emulation {

constexpr unsigned warp = 32;
constexpr std::size_t stack_size = 64 * 1024;

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "CUDA emulation: %s\n", what);
  std::abort();  // fibers cannot be unwound: the test process ends, and says why
}

struct Fiber {
  std::unique_ptr<char[]> stack{new char[stack_size]};
  ucontext_t context;
  jmp_buf place;
  bool started, ended, waits_for_block, waits_for_warp;
  unsigned index;
  std::uint64_t slot;  // what the thread shows the others of its warp
};

// The running block, and the state of the device.
struct Machine {
  std::vector<Fiber> fibers;
  std::vector<unsigned> order;
  jmp_buf scheduler;
  Fiber* current = nullptr;
  std::function<void()> body;
  unsigned num_threads = 0;
  // of the devices
  unsigned seed = 0;  // 0: threads and blocks in rising order, 1: falling, else shuffled
  int num_devices = 2, launches = 0;
  std::uintptr_t stream = 0;
  bool refuses_launches = false;
  std::size_t most_shared = biomechau::cuda::most_shared;
  std::map<std::pair<const void*, int>, std::size_t> allowed_shared;  // of a kernel on a device, until it is set again
  std::map<int, cudaError_t> faults;  // what a device answers when a kernel is to be loaded
  std::mutex states, launching;
  void (*before_launch)() = nullptr;  // called once, by the next launch that needs more than 48 KB of shared memory
};
inline Machine& machine() {
  static Machine m;
  return m;
}
inline thread_local int current_device = 0;
inline thread_local jmp_buf* way_out = nullptr;  // where a faulty access of this thread of the CPU leads

// The kernels are compiled so that a misaligned access is an illegal instruction.
inline void leave(int signal, siginfo_t*, void*) {
  if (way_out) _longjmp(*way_out, signal == SIGILL ? cudaErrorMisalignedAddress : cudaErrorIllegalAddress);
  std::signal(signal, SIG_DFL);  // not ours: the instruction runs again, and ends the process
}

// Runs what accesses memory of the device; returns what its faulty access is on a GPU.
template <class Fn> cudaError_t watched(const Fn& fn) {
  static const bool installed = [] {
    struct sigaction action = {};
    action.sa_sigaction = leave;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;  // the handler does not return
    return sigaction(SIGSEGV, &action, nullptr) == 0 && sigaction(SIGILL, &action, nullptr) == 0;
  }();
  if (!installed) fail("no handler of signals");
  jmp_buf place;
  way_out = &place;
  const int fault = _setjmp(place);
  if (fault == 0) fn();
  way_out = nullptr;
  return static_cast<cudaError_t>(fault);
}

// Shared memory that a kernel may ask for at its launch.
inline std::size_t allowed_shared(const void* kernel) {
  Machine& m = machine();
  const std::lock_guard<std::mutex> lock(m.states);
  const auto found = m.allowed_shared.find({kernel, current_device});
  return found == m.allowed_shared.end() ? 48 * 1024 : found->second;
}

inline void pause() {
  Machine& m = machine();
  if (_setjmp(m.current->place) == 0) _longjmp(m.scheduler, 1);
}

inline void enter() {
  machine().body();
  machine().current->ended = true;
  _longjmp(machine().scheduler, 1);
}

// Runs one thread until it waits or ends.
inline void resume(Fiber& fiber) {
  Machine& m = machine();
  m.current = &fiber;
  threadIdx.x = fiber.index;
  if (_setjmp(m.scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.place, 1);
  fiber.started = true;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = stack_size;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, enter, 0);
  setcontext(&fiber.context);
}

inline void arrange(std::vector<unsigned>& order, std::size_t count) {
  const unsigned seed = machine().seed;
  order.resize(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = static_cast<unsigned>(i);
  if (seed == 1) std::reverse(order.begin(), order.end());
  if (seed > 1) std::shuffle(order.begin(), order.end(), std::mt19937(seed));
}

// Lets the threads on that all others have reached; false when nobody is left.
inline bool release() {
  Machine& m = machine();
  unsigned ended = 0, at_barrier = 0;
  bool moved = false;
  for (unsigned first = 0; first < m.num_threads; first += warp) {
    unsigned at_warp = 0, ended_here = 0;
    for (unsigned i = first; i < first + warp; ++i) {
      at_warp += m.fibers[i].waits_for_warp;
      at_barrier += m.fibers[i].waits_for_block;
      ended_here += m.fibers[i].ended;
    }
    ended += ended_here;
    if (at_warp == 0) continue;
    if (at_warp != warp) fail("some threads of a warp wait for a shuffle or vote that the others do not reach");
    for (unsigned i = first; i < first + warp; ++i) m.fibers[i].waits_for_warp = false;
    moved = true;
  }
  if (ended == m.num_threads) return false;
  if (moved) return true;
  if (at_barrier != m.num_threads) fail("some threads of a block wait at a barrier that the others do not reach");
  for (unsigned i = 0; i < m.num_threads; ++i) m.fibers[i].waits_for_block = false;
  return true;
}

inline void run_block(std::size_t shared_size) {
  using biomechau::cuda::guard;
  using biomechau::cuda::shared_bytes;
  Machine& m = machine();
  std::memset(shared_bytes, 0xff, shared_size + guard);
  for (unsigned i = 0; i < m.num_threads; ++i) {
    Fiber& fiber = m.fibers[i];
    fiber.started = fiber.ended = fiber.waits_for_block = fiber.waits_for_warp = false;
    fiber.index = i;
  }
  do {
    for (const unsigned i : m.order) {
      Fiber& fiber = m.fibers[i];
      if (!fiber.ended && !fiber.waits_for_block && !fiber.waits_for_warp) resume(fiber);
    }
  } while (release());
  for (std::size_t i = 0; i < guard; ++i)
    if (shared_bytes[shared_size + i] != 0xff) fail("a kernel wrote behind its shared memory");
}

template <class T> std::uint64_t to_slot(T value) {
  std::uint64_t slot = 0;
  std::memcpy(&slot, &value, sizeof(T));
  return slot;
}

// Shows the value to the warp, and returns what `lane` shows.
template <class T> T exchange(T value, unsigned lane) {
  Machine& m = machine();
  Fiber& self = *m.current;
  self.slot = to_slot(value);
  self.waits_for_warp = true;
  pause();
  T result;
  std::memcpy(&result, &m.fibers[self.index / warp * warp + lane].slot, sizeof(T));
  self.waits_for_warp = true;  // nobody may show the next value before all have read this one
  pause();
  return result;
}

}  // namespace emulation

using std::isfinite;
using std::isnan;

inline void __syncthreads() {
  emulation::machine().current->waits_for_block = true;
  emulation::pause();
}
template <class T> T __shfl_xor_sync(unsigned, T value, int bits) {
  return emulation::exchange(value, (emulation::machine().current->index % emulation::warp) ^ static_cast<unsigned>(bits));
}
inline unsigned __ballot_sync(unsigned, bool vote) {
  unsigned all = 0;
  for (unsigned lane = 0; lane < emulation::warp; ++lane)
    all |= static_cast<unsigned>(emulation::exchange(vote, lane)) << lane;
  return all;
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline unsigned long long atomicMin(unsigned long long* address, unsigned long long value) {
  const unsigned long long before = *address;
  if (value < before) *address = value;
  return before;
}

inline cudaError_t cudaGetDevice(int* device) {
  *device = emulation::current_device;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= emulation::machine().num_devices) return cudaErrorInvalidDevice;
  emulation::current_device = device;
  return cudaSuccess;
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoKernelImageForDevice: return "no kernel image is available for execution on the device";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorMisalignedAddress: return "misaligned address";
    default: return "invalid argument";
  }
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = static_cast<int>(emulation::machine().most_shared);
  return cudaSuccess;
}
inline cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int bytes) {
  emulation::Machine& m = emulation::machine();
  if (static_cast<std::size_t>(bytes) > m.most_shared) return cudaErrorInvalidValue;
  const std::lock_guard<std::mutex> lock(m.states);
  m.allowed_shared[{kernel, emulation::current_device}] = static_cast<std::size_t>(bytes);
  return cudaSuccess;
}
inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void*) {
  const auto& faults = emulation::machine().faults;
  const auto found = faults.find(emulation::current_device);
  return found == faults.end() ? cudaSuccess : found->second;
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t count, cudaStream_t) {
  return emulation::watched([&] { std::memset(memory, value, count); });
}

template <class... Parameters, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), const Args&... args) {
  emulation::Machine& m = emulation::machine();
  const unsigned threads = config->blockDim.x;
  if (m.before_launch && config->dynamicSmemBytes > 48 * 1024) std::exchange(m.before_launch, nullptr)();
  const std::lock_guard<std::mutex> lock(m.launching);
  const std::size_t allowed = emulation::allowed_shared(reinterpret_cast<const void*>(kernel));
  if (m.refuses_launches || threads == 0 || threads > 1024 || threads % emulation::warp != 0 || config->gridDim.x == 0 ||
      config->gridDim.x > 0x7fffffffu || config->dynamicSmemBytes > allowed)
    return cudaErrorInvalidValue;
  ++m.launches;
  m.stream = reinterpret_cast<std::uintptr_t>(config->stream);
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  m.num_threads = threads;
  if (m.fibers.size() < threads) m.fibers = std::vector<emulation::Fiber>(threads);
  m.body = [&] { kernel(static_cast<Parameters>(args)...); };
  emulation::arrange(m.order, threads);
  std::vector<unsigned> blocks;
  emulation::arrange(blocks, config->gridDim.x);
  return emulation::watched([&] {
    for (const unsigned block : blocks) {
      blockIdx.x = block;
      emulation::run_block(config->dynamicSmemBytes);
    }
  });
}
