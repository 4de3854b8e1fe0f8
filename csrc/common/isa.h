// One binary for every processor: each CPU kernel file is compiled once per instruction set, in a namespace
// of that name (BIOMECHAU_ISA, set by the build), and hands out a table of its functions. `select` picks the
// table at run time. Kernel files keep to raw pointers and their own namespace: a standard-library template
// compiled for AVX-512 could otherwise be the copy that the linker keeps for all of them.
#pragma once

// The CUDA kernels are in the namespace `cuda`. Header functions that they call are marked for the device too.
#if defined(__CUDACC__)
#define BIOMECHAU_HOST_DEVICE __host__ __device__
#else
#define BIOMECHAU_HOST_DEVICE
#endif

// For functions in headers that all instruction sets share: always inlined, so that the linker has no copy to pick.
#if defined(__CUDACC__)
#define BIOMECHAU_INLINE inline __host__ __device__
#elif defined(_MSC_VER)
#define BIOMECHAU_INLINE __forceinline
#else
#define BIOMECHAU_INLINE inline __attribute__((always_inline))
#endif

namespace biomechau {

enum class Isa : int { baseline = 0, avx2 = 1, avx512 = 2 };

Isa current_isa();

#if defined(BIOMECHAU_X86)
#define BIOMECHAU_DECLARE_KERNELS(Table, name)                          \
  namespace baseline { template <class T> Table<T> name(); }            \
  namespace avx2 { template <class T> Table<T> name(); }                \
  namespace avx512 { template <class T> Table<T> name(); }              \
  template <class T> Table<T> select_##name() {                         \
    switch (current_isa()) {                                            \
      case Isa::avx512: return avx512::name<T>();                       \
      case Isa::avx2: return avx2::name<T>();                           \
      default: return baseline::name<T>();                              \
    }                                                                   \
  }
#else
#define BIOMECHAU_DECLARE_KERNELS(Table, name)                          \
  namespace baseline { template <class T> Table<T> name(); }            \
  template <class T> Table<T> select_##name() { return baseline::name<T>(); }
#endif

// At the end of a kernel file: the table for both precisions.
#define BIOMECHAU_INSTANTIATE_KERNELS(Table, name) \
  template Table<float> name<float>();             \
  template Table<double> name<double>();

}  // namespace biomechau
