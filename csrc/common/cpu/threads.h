// Threads and scratch memory of the CPU kernels.
#pragma once

#include <cstdint>
#include <new>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "common/isa.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// With fewer operations on vectors in all, of a quarter to half a nanosecond each, the threads may cost more than they save.
constexpr double min_work = 8e4;

// Calls fn(i, thread) for i in [0, count), thread in [0, num_threads), on several threads if its `work` is worth it.
// Which thread runs which i never changes a result: every task owns what it writes.
//
// A task may throw std::bad_alloc, as Scratch does, and nothing else: the exception must not leave the parallel region,
// which would end the process, so it is thrown again behind it.
//
// The threads are torch's own. Two pools would slow each other down: after a parallel region the threads of an OpenMP
// runtime spin for the next one, on the cores that the other pool needs. On Linux torch loads its libgomp into the
// global scope of the process, under whatever name its wheel bundles it; symbols are looked up there first, so these
// regions run in that copy even where the loader maps a libgomp of the system beside it. That needs torch to be loaded
// before this module (biomechau/__init__.py), and the same number of threads that torch requests: a libgomp that is
// asked for fewer ends the others and starts them again.
template <class Fn> void parallel_tasks(std::int64_t count, double work, int num_threads, const Fn& fn) {
#if defined(_OPENMP)
  if (num_threads > 1 && count > 1 && work > min_work) {
    bool out_of_memory = false;
#pragma omp parallel for schedule(dynamic) num_threads(num_threads)
    for (std::int64_t i = 0; i < count; ++i) {
      try {
        fn(i, omp_get_thread_num());
      } catch (const std::bad_alloc&) {
#pragma omp atomic write
        out_of_memory = true;
      }
    }
    if (out_of_memory) throw std::bad_alloc();
    return;
  }
#else
  (void)work;
  (void)num_threads;
#endif
  for (std::int64_t i = 0; i < count; ++i) fn(i, 0);
}

// Likewise, for tasks that need no scratch of their thread.
template <class Fn> void parallel_for(std::int64_t count, double work, int num_threads, const Fn& fn) {
  parallel_tasks(count, work, num_threads, [&fn](std::int64_t i, int) { fn(i); });
}

// An uninitialised array that frees itself, aligned to cache lines.
template <class T> class Scratch {
 public:
  explicit Scratch(std::int64_t size)
      : data_(static_cast<T*>(
            ::operator new((size > 0 ? static_cast<std::size_t>(size) : 1) * sizeof(T), std::align_val_t{64}))) {}
  ~Scratch() { ::operator delete(data_, std::align_val_t{64}); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() { return data_; }
  T& operator[](std::int64_t i) { return data_[i]; }
  const T& operator[](std::int64_t i) const { return data_[i]; }

 private:
  T* data_;
};

// These functions, and functions that do nothing but call them, must be inlined: GCC takes a function of prefetches only
// for one without effect, and drops the call.

// Fetches the cache line of an address that is read soon.
BIOMECHAU_INLINE void prefetch(const void* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address);
#else
  (void)address;
#endif
}

// Fetches [begin, end) ahead of its use: into the second-level cache for reads, into the first for writes.
template <class T> BIOMECHAU_INLINE void prefetch_for_read(const T* begin, const T* end) {
#if defined(__GNUC__)
  for (; begin < end; begin += 64 / sizeof(T)) __builtin_prefetch(begin, 0, 2);
#endif
}
template <class T> BIOMECHAU_INLINE void prefetch_for_write(const T* begin, const T* end) {
#if defined(__GNUC__)
  for (; begin < end; begin += 64 / sizeof(T)) __builtin_prefetch(begin, 1, 3);
#endif
}

inline std::int64_t min_of(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
inline std::int64_t max_of(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
