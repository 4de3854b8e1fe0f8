// A vector of 64 bytes: one register of AVX-512, two of AVX2, four of SSE2.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "common/isa.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

#if defined(__AVX512F__) || !defined(__GNUC__)
constexpr int register_bytes = 64;
#elif defined(__AVX2__)
constexpr int register_bytes = 32;
#else
constexpr int register_bytes = 16;
#endif

// That many bytes in registers of the processor's size: GCC keeps variables of wider vector types in memory.
template <class T, int bytes> struct Registers {
  static constexpr int half = bytes / 2 / sizeof(T);
  Registers<T, bytes / 2> low, high;

  BIOMECHAU_INLINE void clear() { low.clear(), high.clear(); }
  BIOMECHAU_INLINE void load(const T* from) { low.load(from), high.load(from + half); }
  BIOMECHAU_INLINE void store(T* to) const { low.store(to), high.store(to + half); }
  BIOMECHAU_INLINE void add_scaled(T a, const Registers& x) { low.add_scaled(a, x.low), high.add_scaled(a, x.high); }
  BIOMECHAU_INLINE void to_max(const Registers& x) { low.to_max(x.low), high.to_max(x.high); }
  BIOMECHAU_INLINE void operator+=(const Registers& x) { low += x.low, high += x.high; }
  BIOMECHAU_INLINE void operator-=(const Registers& x) { low -= x.low, high -= x.high; }
  BIOMECHAU_INLINE void operator*=(const Registers& x) { low *= x.low, high *= x.high; }
  BIOMECHAU_INLINE void operator*=(T a) { low *= a, high *= a; }
};

// One register, or a plain array for compilers without vector types.
template <class T> struct Registers<T, register_bytes> {
#if defined(__GNUC__)
  typedef T Lanes __attribute__((vector_size(register_bytes)));
  Lanes lanes;

  // Copied as a register: GCC copies a plain structure in smaller parts, which the processor then waits for.
  Registers() = default;
  BIOMECHAU_INLINE Registers(const Registers& x) : lanes(x.lanes) {}
  BIOMECHAU_INLINE Registers& operator=(const Registers& x) { return lanes = x.lanes, *this; }

  BIOMECHAU_INLINE void add_scaled(T a, const Registers& x) { lanes += a * x.lanes; }
  BIOMECHAU_INLINE void to_max(const Registers& x) { lanes = lanes > x.lanes ? lanes : x.lanes; }
  BIOMECHAU_INLINE void operator+=(const Registers& x) { lanes += x.lanes; }
  BIOMECHAU_INLINE void operator-=(const Registers& x) { lanes -= x.lanes; }
  BIOMECHAU_INLINE void operator*=(const Registers& x) { lanes *= x.lanes; }
  BIOMECHAU_INLINE void operator*=(T a) { lanes *= a; }
#else
  T lanes[register_bytes / sizeof(T)];

  void add_scaled(T a, const Registers& x) { each(x, [a](T y, T z) { return y + a * z; }); }
  void to_max(const Registers& x) { each(x, [](T y, T z) { return y > z ? y : z; }); }
  void operator+=(const Registers& x) { each(x, [](T y, T z) { return y + z; }); }
  void operator-=(const Registers& x) { each(x, [](T y, T z) { return y - z; }); }
  void operator*=(const Registers& x) { each(x, [](T y, T z) { return y * z; }); }
  void operator*=(T a) { each(*this, [a](T y, T) { return a * y; }); }

 private:
  template <class Fn> void each(const Registers& x, const Fn& fn) {
    for (int l = 0; l < static_cast<int>(register_bytes / sizeof(T)); ++l) lanes[l] = fn(lanes[l], x.lanes[l]);
  }

 public:
#endif
  BIOMECHAU_INLINE void clear() { std::memset(&lanes, 0, sizeof(lanes)); }
  BIOMECHAU_INLINE void load(const T* from) { std::memcpy(&lanes, from, sizeof(lanes)); }
  BIOMECHAU_INLINE void store(T* to) const { std::memcpy(to, &lanes, sizeof(lanes)); }
};

template <class T> struct Vector {
  static constexpr int width = 64 / sizeof(T);

  Registers<T, 64> value;

  static BIOMECHAU_INLINE Vector zero() {
    Vector v;
    v.value.clear();
    return v;
  }
  static BIOMECHAU_INLINE Vector load(const T* from) {
    Vector v;
    v.value.load(from);
    return v;
  }
  BIOMECHAU_INLINE void store(T* to) const { value.store(to); }

  // From and to `width` elements of another type.
  template <class Other> static BIOMECHAU_INLINE Vector load_as(const Other* from) {
    alignas(64) T lanes[width];
    for (int l = 0; l < width; ++l) lanes[l] = static_cast<T>(from[l]);
    return load(lanes);
  }
  template <class Other> BIOMECHAU_INLINE void store_as(Other* to) const {
    alignas(64) T lanes[width];
    store(lanes);
    for (int l = 0; l < width; ++l) to[l] = static_cast<Other>(lanes[l]);
  }

  // A store past the caches to an address that is a multiple of 64; `end_stream` before others read it.
  BIOMECHAU_INLINE void stream(T* to) const {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)value.lanes);
#elif defined(__AVX2__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)value.low.lanes);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to) + 1, (__m256i)value.high.lanes);
#else
    store(to);
#endif
  }

  // The first `count` elements, at most `width`; no memory beyond them is touched, the other lanes are 0.
  static BIOMECHAU_INLINE Vector load_first(const T* from, std::int64_t count) {
    if (count >= width) return load(from);
#if defined(__AVX512F__)
    Vector v;
    if constexpr (sizeof(T) == 4)
      v.value.lanes = (Lanes)_mm512_maskz_loadu_ps(mask(count), from);
    else
      v.value.lanes = (Lanes)_mm512_maskz_loadu_pd(mask(count), from);
    return v;
#elif defined(__AVX2__)
    alignas(64) static constexpr std::int32_t masks[32] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                           -1, -1, -1, -1, -1, -1, -1, -1};
    const std::int32_t* const mask = masks + 16 - count * static_cast<std::int64_t>(sizeof(T) / 4);
    const auto load_masked = [](const T* part, const std::int32_t* bits) {
      const __m256i wanted = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bits));
      return _mm256_maskload_epi32(reinterpret_cast<const int*>(part), wanted);
    };
    Vector v;
    v.value.low.lanes = (Lanes)load_masked(from, mask);
    v.value.high.lanes = (Lanes)load_masked(from + width / 2, mask + 8);
    return v;
#else
    T lanes[width] = {};
    for (std::int64_t l = 0; l < count; ++l) lanes[l] = from[l];
    return load(lanes);
#endif
  }
  BIOMECHAU_INLINE void store_first(T* to, std::int64_t count) const {
    if (count >= width) return store(to);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
      _mm512_mask_storeu_ps(to, mask(count), (__m512)value.lanes);
    else
      _mm512_mask_storeu_pd(to, mask(count), (__m512d)value.lanes);
#else
    alignas(64) T lanes[width];
    store(lanes);
    const T* from = lanes;
#pragma GCC unroll 4
    for (std::int64_t part = width / 2; part > 0; part /= 2)
      if (count & part) {
        std::memcpy(to, from, part * sizeof(T));
        to += part, from += part;
      }
#endif
  }

  // this += a x
  BIOMECHAU_INLINE void add_scaled(T a, const Vector& x) { value.add_scaled(a, x.value); }

#if defined(__AVX512F__)
  // Lane l is lane index[l] of the two vectors side by side.
  using Index = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  static BIOMECHAU_INLINE Vector pick(const Vector& a, const Vector& b, const Index (&index)[width]) {
    Vector v;
    const __m512i from = _mm512_load_si512(index);
    if constexpr (sizeof(T) == 4)
      v.value.lanes = (Lanes)_mm512_permutex2var_ps((__m512)a.value.lanes, from, (__m512)b.value.lanes);
    else
      v.value.lanes = (Lanes)_mm512_permutex2var_pd((__m512d)a.value.lanes, from, (__m512d)b.value.lanes);
    return v;
  }
#endif

  static BIOMECHAU_INLINE Vector abs(const Vector& a) { return max(a, T(-1) * a); }
  static BIOMECHAU_INLINE Vector max(Vector a, const Vector& b) { return a.value.to_max(b.value), a; }
  friend BIOMECHAU_INLINE Vector operator+(Vector a, const Vector& b) { return a.value += b.value, a; }
  friend BIOMECHAU_INLINE Vector operator-(Vector a, const Vector& b) { return a.value -= b.value, a; }
  friend BIOMECHAU_INLINE Vector operator*(Vector a, const Vector& b) { return a.value *= b.value, a; }
  friend BIOMECHAU_INLINE Vector operator*(T a, Vector b) { return b.value *= a, b; }

#if defined(__AVX2__)
 private:
  using Lanes = typename Registers<T, register_bytes>::Lanes;
#endif
#if defined(__AVX512F__)
  static unsigned mask(std::int64_t count) { return (1u << count) - 1; }
#endif
};

inline void end_stream() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
